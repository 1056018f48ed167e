import java.util.Arrays;
import java.util.List;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.api.CuratorEvent;
import org.apache.curator.framework.api.CuratorEventType;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.Stat;

/** The plain operations through Curator, in the foreground and in the background. */
final class Basics extends Section {
    @Override
    void run() throws Exception {
        CuratorFramework client = client();
        createAndRead(client);
        versions(client);
        deletes(client);
        sequences(client);
        background(client);
        helpers(client);
        wholeServer(client);
        sizes(client);
    }

    private void createAndRead(CuratorFramework client) throws Exception {
        String path = base + "/node";
        Stat created = new Stat();
        Check.equal(path, client.create().storingStatIn(created).creatingParentsIfNeeded().forPath(path, "one".getBytes()), "create");
        Check.equal(0, created.getVersion(), "create2 answers a stat");
        Check.equal(3, created.getDataLength(), "with the data's length");
        Check.equal(created.getCzxid(), created.getMzxid(), "created and last modified by one zxid");
        Check.equal(created.getCzxid(), created.getPzxid(), "and its children by the same");
        Check.equal(0L, created.getEphemeralOwner(), "not ephemeral");
        Stat read = new Stat();
        Check.text("one", client.getData().storingStatIn(read).forPath(path), "get");
        Check.equal(created, read, "the same stat is read back");
        Check.fails(KeeperException.NodeExistsException.class, "create again", () -> client.create().forPath(path));
        Check.fails(KeeperException.NoNodeException.class, "create without a parent",
                () -> client.create().forPath(base + "/missing/child"));
        Check.fails(KeeperException.NoNodeException.class, "get of a missing node",
                () -> client.getData().forPath(base + "/missing"));
        Check.equal(null, client.checkExists().forPath(base + "/missing"), "exists of a missing node");
        client.create().forPath(base + "/empty", new byte[0]);
        Check.text("", client.getData().forPath(base + "/empty"), "empty data");
        String odd = base + "/umläut-\u4e2d 空.~#";
        client.create().forPath(odd, "x".getBytes());
        Check.that(client.getChildren().forPath(base).contains(odd.substring(base.length() + 1)), "names beyond ASCII");
        client.create().withMode(CreateMode.EPHEMERAL).forPath(base + "/eph");
        Check.equal(sessionId(client), client.checkExists().forPath(base + "/eph").getEphemeralOwner(), "an ephemeral's owner");
        Check.fails(KeeperException.NoChildrenForEphemeralsException.class, "a child of an ephemeral",
                () -> client.create().forPath(base + "/eph/child"));
    }

    private void versions(CuratorFramework client) throws Exception {
        String path = base + "/versions";
        client.create().forPath(path, "0".getBytes());
        Check.equal(1, client.setData().forPath(path, "1".getBytes()).getVersion(), "first set");
        Check.equal(2, client.setData().withVersion(1).forPath(path, "2".getBytes()).getVersion(), "set at the right version");
        Check.fails(KeeperException.BadVersionException.class, "set at a wrong version",
                () -> client.setData().withVersion(1).forPath(path, "3".getBytes()));
        Stat stat = client.setData().forPath(path, "3".getBytes());
        Check.that(stat.getMzxid() > stat.getCzxid(), "mzxid moves, czxid stays");
        Check.that(stat.getMtime() >= stat.getCtime(), "so does time");
        Check.equal(stat.getCzxid(), stat.getPzxid(), "pzxid stays when only data changes");
        client.create().forPath(path + "/child");
        Stat parent = client.checkExists().forPath(path);
        Check.equal(1, parent.getCversion(), "a child's creation counts in cversion");
        Check.equal(client.checkExists().forPath(path + "/child").getCzxid(), parent.getPzxid(), "pzxid is the child's czxid");
        client.delete().forPath(path + "/child");
        Stat after = client.checkExists().forPath(path);
        Check.equal(2, after.getCversion(), "a child's deletion counts too");
        Check.that(after.getPzxid() > parent.getPzxid(), "and moves pzxid");
        Check.fails(KeeperException.BadVersionException.class, "delete at a wrong version",
                () -> client.delete().withVersion(0).forPath(path));
        client.delete().withVersion(3).forPath(path);
        Check.equal(null, client.checkExists().forPath(path), "deleted at the right version");
    }

    private void deletes(CuratorFramework client) throws Exception {
        String path = base + "/deletes";
        for (String name : List.of("/a/b/c", "/a/d", "/e")) client.create().creatingParentsIfNeeded().forPath(path + name);
        Check.fails(KeeperException.NotEmptyException.class, "delete of a parent", () -> client.delete().forPath(path));
        client.delete().deletingChildrenIfNeeded().forPath(path);
        Check.equal(null, client.checkExists().forPath(path), "deleted with its children");
        Check.fails(KeeperException.NoNodeException.class, "delete again", () -> client.delete().forPath(path));
        client.delete().quietly().forPath(path);
        client.delete().quietly().guaranteed().forPath(path);
        Check.equal(null, client.checkExists().forPath(path), "a quiet delete of nothing is no error");
    }

    private void sequences(CuratorFramework client) throws Exception {
        String path = base + "/sequences";
        client.create().forPath(path);
        String first = client.create().withMode(CreateMode.PERSISTENT_SEQUENTIAL).forPath(path + "/n-");
        String second = client.create().withMode(CreateMode.EPHEMERAL_SEQUENTIAL).forPath(path + "/n-");
        Check.equal(path + "/n-0000000000", first, "the first number");
        Check.equal(path + "/n-0000000001", second, "the second number");
        client.delete().forPath(second);
        Check.equal(path + "/n-0000000002",
                client.create().withMode(CreateMode.PERSISTENT_SEQUENTIAL).forPath(path + "/n-"), "a number is not given twice");
        String guarded = client.create().withProtection().withMode(CreateMode.EPHEMERAL_SEQUENTIAL).forPath(path + "/p-");
        Check.that(guarded.contains("_c_"), "a protected name carries its mark");
        Check.that(guarded.endsWith("0000000003"), "and the next number");
        List<String> names = client.getChildren().forPath(path).stream().sorted().collect(Collectors.toList());
        Check.equal(3, names.size(), "three are left");
    }

    private void background(CuratorFramework client) throws Exception {
        String path = base + "/background";
        BlockingQueue<CuratorEvent> events = new ArrayBlockingQueue<>(400);
        client.create().inBackground((c, event) -> events.add(event), "ctx").forPath(path, "x".getBytes());
        CuratorEvent event = events.poll(30, TimeUnit.SECONDS);
        Check.equal(CuratorEventType.CREATE, event.getType(), "type of a background create");
        Check.equal("ctx", event.getContext(), "its context");
        Check.equal(0, event.getResultCode(), "its result");
        client.getData().inBackground((c, e) -> events.add(e)).forPath(path + "/none");
        Check.equal(KeeperException.Code.NONODE.intValue(), events.poll(30, TimeUnit.SECONDS).getResultCode(), "a background error");
        for (int i = 0; i < 300; i++) {
            client.setData().inBackground((c, e) -> events.add(e), i).forPath(path, ("v" + i).getBytes());
        }
        int lastVersion = 0;
        for (int i = 0; i < 300; i++) {
            CuratorEvent next = events.poll(30, TimeUnit.SECONDS);
            if (!Integer.valueOf(i).equals(next.getContext())) throw new AssertionError("replies out of order at " + i);
            if (next.getStat().getVersion() != lastVersion + 1) throw new AssertionError("version gap at " + i);
            lastVersion++;
        }
        Check.equal(300, lastVersion, "three hundred pipelined writes answered in order");
        Check.text("v299", client.getData().forPath(path), "the last one stands");
        client.sync().inBackground((c, e) -> events.add(e)).forPath(path);
        CuratorEvent synced = events.poll(30, TimeUnit.SECONDS);
        Check.equal(CuratorEventType.SYNC, synced.getType(), "sync is answered");
        Check.equal(0, synced.getResultCode(), "without error");
    }

    private void helpers(CuratorFramework client) throws Exception {
        String path = base + "/helpers";
        client.create().orSetData().forPath(path, "first".getBytes());
        client.create().orSetData().forPath(path, "second".getBytes());
        Check.text("second", client.getData().forPath(path), "create-or-set sets");
        client.create().idempotent().forPath(path + "-i", "same".getBytes());
        client.create().idempotent().forPath(path + "-i", "same".getBytes());
        Check.equal(0, client.checkExists().forPath(path + "-i").getVersion(), "an idempotent create creates once");
        client.setData().idempotent().withVersion(0).forPath(path + "-i", "next".getBytes());
        client.setData().idempotent().withVersion(0).forPath(path + "-i", "next".getBytes());
        Check.equal(1, client.checkExists().forPath(path + "-i").getVersion(), "an idempotent set sets once");
        client.delete().idempotent().forPath(path + "-i");
        client.delete().idempotent().forPath(path + "-i");
        Check.equal(null, client.checkExists().forPath(path + "-i"), "an idempotent delete deletes");
        byte[] long_ = new byte[20_000];
        Arrays.fill(long_, (byte) 'z');
        client.create().compressed().forPath(path + "-z", long_);
        Check.that(client.getData().forPath(path + "-z").length < 1000, "compressed data is short");
        Check.that(Arrays.equals(long_, client.getData().decompressed().forPath(path + "-z")), "and comes back whole");
        CuratorFramework spaced = client.usingNamespace(base.substring(1) + "/space");
        spaced.create().creatingParentsIfNeeded().forPath("/inner", "in".getBytes());
        Check.text("in", client.getData().forPath(base + "/space/inner"), "a namespace is a prefix");
        CuratorFramework rooted = started(builder(server + base).build());
        Check.text("second", rooted.getData().forPath("/helpers"), "a chroot is a prefix");
    }

    private void wholeServer(CuratorFramework client) throws Exception {
        String path = base + "/whole";
        client.create().forPath(path);
        for (int i = 0; i < 5; i++) client.create().forPath(path + "/p" + i);
        for (int i = 0; i < 4; i++) client.create().withMode(CreateMode.EPHEMERAL).forPath(path + "/e" + i);
        ZooKeeper raw = client.getZookeeperClient().getZooKeeper();
        Check.equal(9, raw.getAllChildrenNumber(path), "all children are counted");
        Check.equal(4, raw.getEphemerals(path).size(), "own ephemerals under a prefix");
        Check.that(raw.getEphemerals().size() >= 4, "own ephemerals anywhere");
        Check.equal(0, raw.getEphemerals(base + "/nothing").size(), "none elsewhere");
        Stat stat = new Stat();
        Check.equal(9, raw.getChildren(path, false, stat).size(), "children with a stat");
        Check.equal(9, stat.getNumChildren(), "which counts them");
        Check.equal("ip", raw.whoAmI().get(0).getAuthScheme(), "whoAmI knows the address");
        byte[] config = client.getConfig().storingStatIn(stat).forEnsemble();
        Check.text(new String(config), client.getData().forPath("/zookeeper/config"), "getConfig reads /zookeeper/config");
        Check.equal(0, client.getCurrentConfig().getAllMembers().size(), "a standalone server's ensemble is empty");
    }

    private void sizes(CuratorFramework client) throws Exception {
        byte[] big = new byte[1_000_000];
        Arrays.fill(big, (byte) 7);
        client.create().forPath(base + "/big", big);
        Check.that(Arrays.equals(big, client.getData().forPath(base + "/big")), "a megabyte comes back whole");
        client.create().forPath(base + "/many");
        for (int i = 0; i < 1500; i++) client.create().inBackground().forPath(base + "/many/child-with-a-longish-name-" + i);
        Check.eventually(() -> client.getChildren().forPath(base + "/many").size() == 1500, "fifteen hundred children");
    }
}
