import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.nodes.PersistentTtlNode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.data.Stat;

/**
 * Nodes with a life of their own. The server must be started with zookeeper.extendedTypesEnabled=true
 * (TTL nodes) and look for expired nodes every second or so (znode.container.checkIntervalMs).
 */
final class Nodes extends Section {
    private CuratorFramework client;
    private CuratorFramework other;

    @Override
    void run() throws Exception {
        client = client();
        other = client();
        other.create().forPath(base);
        persistentNode();
        sequentialNode();
        members();
        containers();
        ttl();
        persistentTtlNode();
    }

    private void persistentNode() throws Exception {
        String path = base + "/persistent";
        CuratorFramework owner = client();
        PersistentNode node = keep(new PersistentNode(owner, CreateMode.EPHEMERAL, false, path, "1".getBytes()));
        node.start();
        Check.that(node.waitForInitialCreate(30, TimeUnit.SECONDS), "the node is made");
        long first = other.checkExists().forPath(path).getCzxid();
        other.delete().forPath(path);
        Check.eventually(() -> other.checkExists().forPath(path).getCzxid() > first, "deleted by another, it comes back");
        node.setData("2".getBytes());
        Check.eventually(() -> new String(other.getData().forPath(path)).equals("2"), "its data can be set");
        long session = sessionId(owner);
        Check.equal(session, other.checkExists().forPath(path).getEphemeralOwner(), "owned by the session");
        expire(owner, server);
        Check.eventually(() -> {
            Stat stat = other.checkExists().forPath(path);
            return stat != null && stat.getEphemeralOwner() != session;
        }, "after an expiry it is made anew");
        Check.text("2", other.getData().forPath(path), "with its last data");
        node.close();
        Check.eventually(() -> other.checkExists().forPath(path) == null, "closed, it is gone");
    }

    private void sequentialNode() throws Exception {
        PersistentNode node = keep(new PersistentNode(client, CreateMode.EPHEMERAL_SEQUENTIAL, true, base + "/seq-", "s".getBytes()));
        node.start();
        Check.that(node.waitForInitialCreate(30, TimeUnit.SECONDS), "a protected sequential node is made");
        String path = node.getActualPath();
        Check.that(other.checkExists().forPath(path) != null, "under the name it reports");
        other.delete().forPath(path);
        Check.eventually(() -> other.checkExists().forPath(node.getActualPath()) != null, "and comes back");
        node.close();
    }

    private void members() throws Exception {
        String path = base + "/group";
        GroupMember one = keep(new GroupMember(client, path, "one", "1".getBytes()));
        GroupMember two = keep(new GroupMember(other, path, "two", "2".getBytes()));
        one.start();
        two.start();
        Check.eventually(() -> one.getCurrentMembers().size() == 2, "both are members");
        Check.text("2", one.getCurrentMembers().get("two"), "with their data");
        two.close();
        Check.eventually(() -> one.getCurrentMembers().size() == 1, "one has left");
    }

    private void containers() throws Exception {
        String path = base + "/container";
        client.create().withMode(CreateMode.CONTAINER).forPath(path, "c".getBytes());
        Check.equal(0L, client.checkExists().forPath(path).getEphemeralOwner(), "a container shows no owner");
        client.create().withMode(CreateMode.CONTAINER).forPath(base + "/container-unused");
        client.create().forPath(path + "/child");
        client.create().creatingParentContainersIfNeeded().forPath(base + "/made/of/containers");
        Check.equal(1, client.checkExists().forPath(base + "/made").getNumChildren(), "parents are made");
        client.delete().forPath(base + "/made/of/containers");
        Check.eventually(() -> client.checkExists().forPath(base + "/made") == null, "empty containers go, the outer after the inner");
        Check.that(client.checkExists().forPath(path) != null, "one with a child stays");
        client.delete().forPath(path + "/child");
        Check.eventually(() -> client.checkExists().forPath(path) == null, "until the child goes");
        Check.that(client.checkExists().forPath(base + "/container-unused") != null, "one that never had a child stays");
    }

    private void ttl() throws Exception {
        String path = base + "/ttl";
        Stat stat = new Stat();
        long began = System.nanoTime();
        client.create().withTtl(800).storingStatIn(stat).withMode(CreateMode.PERSISTENT_WITH_TTL).forPath(path, "t".getBytes());
        Check.equal(0L, stat.getEphemeralOwner(), "a TTL node shows neither owner nor TTL");
        String parent = base + "/ttl-parent";
        client.create().withTtl(300).withMode(CreateMode.PERSISTENT_WITH_TTL).forPath(parent);
        client.create().forPath(parent + "/child");
        String sequential = client.create().withTtl(300).withMode(CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL).forPath(base + "/ttl-");
        Check.that(sequential.matches(".*/ttl-\\d{10}"), "a sequential TTL node");
        Check.eventually(() -> client.checkExists().forPath(path) == null, "it goes by itself");
        Check.that(System.nanoTime() - began >= 800_000_000L, "not before its time");
        Check.eventually(() -> client.checkExists().forPath(sequential) == null, "so does the sequential one");
        Check.that(client.checkExists().forPath(parent) != null, "one with a child stays");
        client.delete().forPath(parent + "/child");
        Check.eventually(() -> client.checkExists().forPath(parent) == null, "until the child goes");
    }

    private void persistentTtlNode() throws Exception {
        String path = base + "/persistent-ttl";
        PersistentTtlNode node = keep(new PersistentTtlNode(client, path, 1000, "p".getBytes()));
        node.start();
        Check.that(node.waitForInitialCreate(30, TimeUnit.SECONDS), "a persistent TTL node is made");
        Stat made = other.checkExists().forPath(path);
        String touch = path + "/" + PersistentTtlNode.DEFAULT_CHILD_NODE_NAME;
        Check.eventually(() -> other.checkExists().forPath(touch) != null, "with a child that has the TTL");
        Check.eventually(() -> other.checkExists().forPath(touch).getVersion() >= 3, "which is touched again and again");
        Check.equal(made.getCzxid(), other.checkExists().forPath(path).getCzxid(), "the node outlives its TTL");
        node.close();
        Check.eventually(() -> other.checkExists().forPath(path) == null, "untouched, it goes");
    }
}
