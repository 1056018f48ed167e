import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.retry.ExponentialBackoffRetry;
import org.apache.zookeeper.ZooKeeper;

/** One group of related assertions, under a path of its own, with clients that are closed at its end. */
abstract class Section {
    static final int SESSION_MS = 10_000;

    private final List<AutoCloseable> closeables = new ArrayList<>();
    private final ExecutorService threads = Executors.newCachedThreadPool(task -> {
        Thread thread = new Thread(task, "section");
        thread.setDaemon(true);
        return thread;
    });
    /** host:port of the server. */
    String server;
    /** Path under which this section works; no other does. */
    String base;

    abstract void run() throws Exception;

    final void start(String server, String base) throws Exception {
        this.server = server;
        this.base = base;
        try {
            run();
        } finally {
            threads.shutdownNow();
            for (int i = closeables.size() - 1; i >= 0; i--) {
                try {
                    closeables.get(i).close();
                } catch (Exception e) {
                    // Closed by the section itself, which is allowed.
                }
            }
        }
    }

    CuratorFramework client() throws Exception {
        return client(server);
    }

    CuratorFramework client(String address) throws Exception {
        return started(builder(address).build());
    }

    CuratorFrameworkFactory.Builder builder(String address) {
        return CuratorFrameworkFactory.builder()
                .connectString(address)
                .sessionTimeoutMs(SESSION_MS)
                .connectionTimeoutMs(SESSION_MS)
                .retryPolicy(new ExponentialBackoffRetry(50, 10, 1000));
    }

    CuratorFramework started(CuratorFramework client) throws Exception {
        client.start();
        keep(client);
        Check.that(client.blockUntilConnected(30, TimeUnit.SECONDS), "client connects");
        return client;
    }

    <T extends AutoCloseable> T keep(T closeable) {
        closeables.add(closeable);
        return closeable;
    }

    <T> Future<T> async(Callable<T> task) {
        return threads.submit(task);
    }

    static <T> T get(Future<T> future) throws Exception {
        return future.get(Check.PATIENCE_MS, TimeUnit.MILLISECONDS);
    }

    /** Ends the client's session as an expiry would: a second handle on it closes it. */
    static void expire(CuratorFramework client, String address) throws Exception {
        ZooKeeper own = client.getZookeeperClient().getZooKeeper();
        java.util.concurrent.CountDownLatch connected = new java.util.concurrent.CountDownLatch(1);
        ZooKeeper twin = new ZooKeeper(address, SESSION_MS, event -> {
            if (event.getState() == org.apache.zookeeper.Watcher.Event.KeeperState.SyncConnected) connected.countDown();
        }, own.getSessionId(), own.getSessionPasswd());
        Check.that(connected.await(30, TimeUnit.SECONDS), "a second handle attaches to the session");
        Check.equal(own.getSessionId(), twin.getSessionId(), "the second handle has the same session");
        twin.close();
    }

    static long sessionId(CuratorFramework client) throws Exception {
        return client.getZookeeperClient().getZooKeeper().getSessionId();
    }
}
