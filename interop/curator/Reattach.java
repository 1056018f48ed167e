import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooKeeper;

/** A session outlives its connection: ephemerals stay, watches are set again, what was missed is told. */
final class Reattach extends Section {
    @Override
    void run() throws Exception {
        Proxy proxy = keep(new Proxy(server));
        CuratorFramework other = client();
        other.create().forPath(base);
        sameSession(proxy, other);
        manyCuts(proxy, other);
        refusals();
        expiry(proxy, other);
    }

    private void sameSession(Proxy proxy, CuratorFramework other) throws Exception {
        CuratorFramework client = client(proxy.address());
        BlockingQueue<ConnectionState> states = new LinkedBlockingQueue<>();
        client.getConnectionStateListenable().addListener((c, state) -> states.add(state));
        long session = sessionId(client);
        String ephemeral = base + "/ephemeral";
        client.create().withMode(CreateMode.EPHEMERAL).forPath(ephemeral);
        String data = base + "/data";
        String away = base + "/away";
        String quiet = base + "/quiet";
        for (String path : new String[] {data, quiet, base + "/subtree"}) other.create().forPath(path);
        BlockingQueue<WatchedEvent> events = new LinkedBlockingQueue<>();
        client.getData().usingWatcher((Watcher) event -> record(events, event)).forPath(data);
        client.checkExists().usingWatcher((Watcher) event -> record(events, event)).forPath(away);
        client.getChildren().usingWatcher((Watcher) event -> record(events, event)).forPath(quiet);
        client.watchers().add().withMode(AddWatchMode.PERSISTENT_RECURSIVE)
                .usingWatcher((Watcher) event -> record(events, event)).forPath(base + "/subtree");

        proxy.sever();
        Check.equal(ConnectionState.SUSPENDED, next(states), "the cut is noticed");
        other.setData().forPath(data, "while away".getBytes());
        other.create().forPath(away);
        Check.that(other.checkExists().forPath(ephemeral) != null, "the ephemeral stays while its owner is away");
        proxy.mend();
        Check.equal(ConnectionState.RECONNECTED, next(states), "the session comes back");
        Check.equal(session, sessionId(client), "with its old id");
        Check.equal(session, other.checkExists().forPath(ephemeral).getEphemeralOwner(), "and its ephemeral");
        java.util.Set<String> missed = new java.util.TreeSet<>();
        for (int i = 0; i < 2; i++) missed.add(text(events.poll(30, TimeUnit.SECONDS)));
        Check.equal(new java.util.TreeSet<>(java.util.List.of("NodeDataChanged " + data, "NodeCreated " + away)), missed,
                "what happened meanwhile is told, each once");
        other.create().forPath(quiet + "/child");
        Check.equal("NodeChildrenChanged " + quiet, text(events.poll(30, TimeUnit.SECONDS)), "a quiet watch was set again");
        other.create().forPath(base + "/subtree/x");
        Check.equal("NodeCreated " + base + "/subtree/x", text(events.poll(30, TimeUnit.SECONDS)), "a recursive one too");
        client.close();
        Check.eventually(() -> other.checkExists().forPath(ephemeral) == null, "closing ends the session");
    }

    /** The next state; that of the first connection may be told late. */
    private static ConnectionState next(BlockingQueue<ConnectionState> states) throws InterruptedException {
        ConnectionState state;
        do {
            state = states.poll(30, TimeUnit.SECONDS);
        } while (state == ConnectionState.CONNECTED);
        return state;
    }

    private static void record(BlockingQueue<WatchedEvent> events, WatchedEvent event) {
        if (event.getType() != EventType.None) events.add(event);
    }

    private static String text(WatchedEvent event) {
        return event == null ? "nothing" : event.getType() + " " + event.getPath();
    }

    private void manyCuts(Proxy proxy, CuratorFramework other) throws Exception {
        CuratorFramework client = client(proxy.address());
        long session = sessionId(client);
        LeaderLatch latch = keep(new LeaderLatch(client, base + "/latch"));
        latch.start();
        Check.that(latch.await(30, TimeUnit.SECONDS), "leads");
        AtomicInteger written = new AtomicInteger();
        String counter = base + "/counter";
        other.create().forPath(counter, "0".getBytes());
        for (int round = 0; round < 6; round++) {
            if (round % 2 == 0) proxy.cut();
            InterProcessMutex lock = new InterProcessMutex(client, base + "/lock");
            lock.acquire();
            client.setData().forPath(counter, Integer.toString(written.incrementAndGet()).getBytes());
            lock.release();
        }
        Check.text("6", other.getData().forPath(counter), "six writes through three cuts");
        Check.equal(session, sessionId(client), "one session all the time");
        Check.eventually(latch::hasLeadership, "leads again");
        Check.eventually(() -> other.getChildren().forPath(base + "/latch").size() == 1, "with one latch node");
        Check.eventually(() -> other.getChildren().forPath(base + "/lock").isEmpty(), "no lock node was left behind");
    }

    /** A session is entered only with its own password. */
    private void refusals() throws Exception {
        CuratorFramework owner = client();
        long session = sessionId(owner);
        byte[] wrong = owner.getZookeeperClient().getZooKeeper().getSessionPasswd().clone();
        wrong[3] ^= 1;
        for (Object[] attempt : new Object[][] {{session, wrong}, {session ^ 0x5555, wrong}, {0x1234567890abcdefL, new byte[16]}}) {
            BlockingQueue<KeeperState> states = new LinkedBlockingQueue<>();
            ZooKeeper intruder = new ZooKeeper(server, SESSION_MS, event -> states.add(event.getState()), (Long) attempt[0], (byte[]) attempt[1]);
            Check.equal(KeeperState.Expired, states.poll(30, TimeUnit.SECONDS), "a stranger is told that the session is over");
            intruder.close();
        }
        owner.create().withMode(CreateMode.EPHEMERAL).forPath(base + "/still");
        Check.equal(session, sessionId(owner), "the owner's session is unharmed");
    }

    /** A client that stays away longer than its timeout loses its session. */
    private void expiry(Proxy proxy, CuratorFramework other) throws Exception {
        BlockingQueue<KeeperState> states = new LinkedBlockingQueue<>();
        ZooKeeper client = new ZooKeeper(proxy.address(), 2000, event -> states.add(event.getState()));
        Check.equal(KeeperState.SyncConnected, states.poll(30, TimeUnit.SECONDS), "connects");
        String path = base + "/mortal";
        client.create(path, new byte[0], org.apache.zookeeper.ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        proxy.sever();
        long began = System.nanoTime();
        Check.eventually(() -> other.checkExists().forPath(path) == null, "its ephemeral vanishes in time");
        long tookMs = (System.nanoTime() - began) / 1_000_000;
        Check.that(tookMs >= client.getSessionTimeout() * 3 / 5, "not much before its timeout, took " + tookMs + " ms");
        proxy.mend();
        KeeperState state;
        do {
            state = states.poll(30, TimeUnit.SECONDS);
        } while (state == KeeperState.Disconnected);
        Check.equal(KeeperState.Expired, state, "it is told so when it comes back");
        Check.fails(KeeperException.SessionExpiredException.class, "and can do nothing more", () -> client.exists("/", false));
        client.close();
    }
}
