import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.api.transaction.CuratorOp;
import org.apache.curator.framework.api.transaction.CuratorTransactionResult;
import org.apache.curator.framework.api.transaction.OperationType;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.Stat;

/** Multi: all or nothing, later operations see earlier ones, one zxid for all. */
final class Transactions extends Section {
    @Override
    void run() throws Exception {
        CuratorFramework client = client();
        client.create().forPath(base);
        committed(client);
        refused(client);
        reads(client);
        edge(client);
    }

    private void committed(CuratorFramework client) throws Exception {
        String a = base + "/a";
        List<CuratorTransactionResult> results = client.transaction().forOperations(
                client.transactionOp().create().forPath(a, "1".getBytes()),
                client.transactionOp().check().withVersion(0).forPath(a),
                client.transactionOp().setData().withVersion(0).forPath(a, "2".getBytes()),
                client.transactionOp().create().withMode(CreateMode.PERSISTENT_SEQUENTIAL).forPath(a + "/s-"),
                client.transactionOp().create().withMode(CreateMode.EPHEMERAL).forPath(a + "/e"),
                client.transactionOp().delete().forPath(a + "/e"));
        Check.equal(Arrays.asList(OperationType.CREATE, OperationType.CHECK, OperationType.SET_DATA,
                OperationType.CREATE, OperationType.CREATE, OperationType.DELETE),
                results.stream().map(CuratorTransactionResult::getType).collect(Collectors.toList()), "types of the results");
        Check.equal(a, results.get(0).getResultPath(), "path created");
        Check.equal(1, results.get(2).getResultStat().getVersion(), "version set");
        Check.equal(a + "/s-0000000000", results.get(3).getResultPath(), "a sequential name inside a transaction");
        for (CuratorTransactionResult result : results) Check.equal(0, result.getError(), "no error in any result");
        Stat stat = client.checkExists().forPath(a);
        Check.equal(stat.getCzxid(), stat.getMzxid(), "one zxid for all");
        Check.equal(stat.getCzxid(), client.checkExists().forPath(a + "/s-0000000000").getCzxid(), "also for the child");
        Check.equal(3, stat.getCversion(), "two creations and a deletion");
        Check.text("2", client.getData().forPath(a), "the data of the later operation");
        Check.equal(null, client.checkExists().forPath(a + "/e"), "created and deleted in one");
    }

    private void refused(CuratorFramework client) throws Exception {
        String b = base + "/b";
        client.create().forPath(b, "0".getBytes());
        Stat before = client.checkExists().forPath(b);
        Stat root = client.checkExists().forPath(base);
        try {
            client.transaction().forOperations(
                    client.transactionOp().setData().forPath(b, "1".getBytes()),
                    client.transactionOp().create().forPath(b + "/child"),
                    client.transactionOp().check().withVersion(7).forPath(b),
                    client.transactionOp().delete().forPath(b));
            throw new AssertionError("a failing transaction was committed");
        } catch (KeeperException.BadVersionException e) {
            List<OpResult> results = e.getResults();
            Check.equal(4, results.size(), "a result for each operation");
            int[] codes = {KeeperException.Code.OK.intValue(), KeeperException.Code.OK.intValue(),
                KeeperException.Code.BADVERSION.intValue(), KeeperException.Code.RUNTIMEINCONSISTENCY.intValue()};
            for (int i = 0; i < 4; i++) {
                Check.equal(codes[i], ((OpResult.ErrorResult) results.get(i)).getErr(), "code of operation " + i);
            }
        }
        Check.text("0", client.getData().forPath(b), "nothing was set");
        Check.equal(before, client.checkExists().forPath(b), "no stat changed");
        Check.equal(root.getCversion(), client.checkExists().forPath(base).getCversion(), "nor the parent's");
        Check.fails(KeeperException.NodeExistsException.class, "create of what exists",
                () -> client.transaction().forOperations(client.transactionOp().create().forPath(b)));
        Check.fails(KeeperException.NoNodeException.class, "delete of what does not",
                () -> client.transaction().forOperations(client.transactionOp().delete().forPath(b + "/none")));
        Check.fails(KeeperException.NotEmptyException.class, "a child made in the same transaction keeps its parent",
                () -> client.transaction().forOperations(
                        client.transactionOp().create().forPath(b + "/x"),
                        client.transactionOp().delete().forPath(b)));
        Check.equal(null, client.checkExists().forPath(b + "/x"), "and is rolled back");
    }

    private void reads(CuratorFramework client) throws Exception {
        ZooKeeper raw = client.getZookeeperClient().getZooKeeper();
        String c = base + "/c";
        client.create().forPath(c, "data".getBytes());
        client.create().forPath(c + "/child");
        List<OpResult> results = raw.multi(Arrays.asList(Op.getData(c), Op.getChildren(c), Op.getData(c + "/none")));
        Check.text("data", ((OpResult.GetDataResult) results.get(0)).getData(), "multiRead of data");
        Check.equal(List.of("child"), ((OpResult.GetChildrenResult) results.get(1)).getChildren(), "multiRead of children");
        Check.equal(KeeperException.Code.NONODE.intValue(), ((OpResult.ErrorResult) results.get(2)).getErr(),
                "one failing read does not spoil the others");
    }

    private void edge(CuratorFramework client) throws Exception {
        ZooKeeper raw = client.getZookeeperClient().getZooKeeper();
        Check.equal(0, raw.multi(new ArrayList<>()).size(), "an empty transaction");
        List<CuratorOp> many = new ArrayList<>();
        for (int i = 0; i < 500; i++) {
            many.add(client.transactionOp().create().forPath(String.format("%s/many-%03d", base, i), new byte[100]));
        }
        Check.equal(500, client.transaction().forOperations(many).size(), "five hundred creations at once");
        Check.equal(client.checkExists().forPath(base + "/many-000").getCzxid(),
                client.checkExists().forPath(base + "/many-499").getCzxid(), "with one zxid");
    }
}
