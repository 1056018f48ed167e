import java.util.Arrays;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.api.CuratorWatcher;
import org.apache.curator.framework.recipes.watch.PersistentWatcher;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.Watcher.Event.EventType;

/** One-shot, persistent and recursive watches, and their removal. */
final class Watches extends Section {
    /** Collects events other than those of the connection. */
    private static final class Recorder implements CuratorWatcher {
        final BlockingQueue<WatchedEvent> events = new LinkedBlockingQueue<>();

        @Override
        public void process(WatchedEvent event) {
            if (event.getType() != EventType.None) events.add(event);
        }

        void expect(EventType type, String path, String what) throws Exception {
            WatchedEvent event = events.poll(30, TimeUnit.SECONDS);
            Check.that(event != null, what + ": an event arrives");
            Check.equal(type + " " + path, event.getType() + " " + event.getPath(), what);
        }

        /** Whatever was to come has come: a later change seen through another watch proves it. */
        void expectNone(String what) {
            Check.equal(null, events.peek(), what);
        }
    }

    private CuratorFramework client;
    private CuratorFramework other;

    @Override
    void run() throws Exception {
        client = client();
        other = client();
        client.create().forPath(base);
        oneShot();
        persistent();
        recursive();
        removal();
        persistentWatcher();
    }

    /** Returns when every event caused by earlier changes has been delivered to {@code client}. */
    private void barrier() throws Exception {
        Recorder mark = new Recorder();
        String path = base + "/barrier";
        Check.equal(null, client.checkExists().usingWatcher(mark).forPath(path), "the barrier is away");
        other.create().forPath(path);
        mark.expect(EventType.NodeCreated, path, "barrier");
        other.delete().forPath(path);
    }

    private void oneShot() throws Exception {
        String path = base + "/one";
        Recorder recorder = new Recorder();
        Check.equal(null, client.checkExists().usingWatcher(recorder).forPath(path), "not there yet");
        other.create().forPath(path, "0".getBytes());
        recorder.expect(EventType.NodeCreated, path, "exists watch");
        other.setData().forPath(path, "1".getBytes());
        barrier();
        recorder.expectNone("a watch fires once");

        client.getData().usingWatcher(recorder).forPath(path);
        other.setData().forPath(path, "2".getBytes());
        recorder.expect(EventType.NodeDataChanged, path, "data watch");
        client.getChildren().usingWatcher(recorder).forPath(path);
        other.setData().forPath(path, "3".getBytes());
        other.create().forPath(path + "/child");
        recorder.expect(EventType.NodeChildrenChanged, path, "child watch, untouched by data");
        client.getChildren().usingWatcher(recorder).forPath(path);
        Recorder onChild = new Recorder();
        client.getData().usingWatcher(onChild).forPath(path + "/child");
        other.delete().forPath(path + "/child");
        onChild.expect(EventType.NodeDeleted, path + "/child", "data watch of a deleted node");
        recorder.expect(EventType.NodeChildrenChanged, path, "child watch of its parent");
        client.getChildren().usingWatcher(recorder).forPath(path);
        other.delete().forPath(path);
        recorder.expect(EventType.NodeDeleted, path, "child watch of a deleted node");
        Check.fails(KeeperException.NoNodeException.class, "no data watch on a missing node",
                () -> client.getData().usingWatcher(recorder).forPath(path));
        barrier();
        recorder.expectNone("no event without a watch");

        // A transaction fires the watch of every node it touches.
        other.create().forPath(path);
        client.getData().usingWatcher(recorder).forPath(path);
        Recorder parent = new Recorder();
        client.getChildren().usingWatcher(parent).forPath(base);
        other.transaction().forOperations(other.transactionOp().setData().forPath(path, "x".getBytes()),
                other.transactionOp().create().forPath(base + "/in-multi"));
        recorder.expect(EventType.NodeDataChanged, path, "data changed by a transaction");
        parent.expect(EventType.NodeChildrenChanged, base, "child made by a transaction");
    }

    private void persistent() throws Exception {
        String path = base + "/persistent";
        Recorder recorder = new Recorder();
        client.watchers().add().withMode(AddWatchMode.PERSISTENT).usingWatcher(recorder).forPath(path);
        other.create().forPath(path, "0".getBytes());
        other.setData().forPath(path, "1".getBytes());
        other.create().forPath(path + "/child");
        other.setData().forPath(path + "/child", "not seen".getBytes());
        other.delete().forPath(path + "/child");
        other.delete().forPath(path);
        other.create().forPath(path);
        for (EventType type : List.of(EventType.NodeCreated, EventType.NodeDataChanged, EventType.NodeChildrenChanged,
                EventType.NodeChildrenChanged, EventType.NodeDeleted, EventType.NodeCreated)) {
            recorder.expect(type, path, "a persistent watch stays");
        }
        barrier();
        recorder.expectNone("a grandchild's data is not its business");
        client.watchers().remove(recorder).ofType(Watcher.WatcherType.Persistent).forPath(path);
        recorder.expect(EventType.PersistentWatchRemoved, path, "the watcher is told of its removal");
        other.setData().forPath(path, "2".getBytes());
        barrier();
        recorder.expectNone("a removed watch is silent");
    }

    private void recursive() throws Exception {
        String path = base + "/recursive";
        Recorder recorder = new Recorder();
        client.watchers().add().withMode(AddWatchMode.PERSISTENT_RECURSIVE).usingWatcher(recorder).forPath(path);
        other.create().forPath(path);
        other.create().creatingParentsIfNeeded().forPath(path + "/a/b/c");
        other.setData().forPath(path + "/a/b", "x".getBytes());
        other.delete().forPath(path + "/a/b/c");
        other.create().forPath(base + "/recursive-not");
        List<String> expected = Arrays.asList("NodeCreated ", "NodeCreated /a", "NodeCreated /a/b", "NodeCreated /a/b/c",
                "NodeDataChanged /a/b", "NodeDeleted /a/b/c");
        for (String line : expected) {
            String[] parts = line.split(" ", 2);
            recorder.expect(EventType.valueOf(parts[0]), path + parts[1], "a recursive watch sees the whole subtree");
        }
        barrier();
        recorder.expectNone("no child events, and no siblings that share a prefix");
        client.watchers().remove(recorder).ofType(Watcher.WatcherType.PersistentRecursive).forPath(path);
        recorder.expect(EventType.PersistentWatchRemoved, path, "the recursive watcher is told of its removal");
        other.setData().forPath(path + "/a", "silent".getBytes());
        barrier();
        recorder.expectNone("a removed recursive watch is silent");
    }

    private void removal() throws Exception {
        String path = base + "/removal";
        client.create().forPath(path);
        Recorder first = new Recorder();
        Recorder second = new Recorder();
        client.getData().usingWatcher(first).forPath(path);
        client.getData().usingWatcher(second).forPath(path);
        client.getChildren().usingWatcher(first).forPath(path);
        client.watchers().remove(first).ofType(Watcher.WatcherType.Data).forPath(path);
        first.expect(EventType.DataWatchRemoved, path, "one data watcher of two is removed");
        client.watchers().removeAll().ofType(Watcher.WatcherType.Children).forPath(path);
        first.expect(EventType.ChildWatchRemoved, path, "all child watchers are removed");
        other.create().forPath(path + "/child");
        other.setData().forPath(path, "x".getBytes());
        second.expect(EventType.NodeDataChanged, path, "the other data watcher stays");
        barrier();
        first.expectNone("the removed ones are silent");
        Check.fails(KeeperException.NoWatcherException.class, "remove what is not there",
                () -> client.watchers().remove(first).ofType(Watcher.WatcherType.Any).forPath(path));
        client.getData().usingWatcher(first).forPath(path);
        client.getChildren().usingWatcher(first).forPath(path);
        client.watchers().removeAll().ofType(Watcher.WatcherType.Any).forPath(path);
        List<EventType> gone = Arrays.asList(first.events.poll(30, TimeUnit.SECONDS).getType(),
                first.events.poll(30, TimeUnit.SECONDS).getType());
        Check.that(gone.containsAll(List.of(EventType.DataWatchRemoved, EventType.ChildWatchRemoved)), "any kind, got " + gone);
    }

    private void persistentWatcher() throws Exception {
        String path = base + "/recipe";
        Recorder recorder = new Recorder();
        try (PersistentWatcher watcher = new PersistentWatcher(client, path, true)) {
            java.util.concurrent.CountDownLatch ready = new java.util.concurrent.CountDownLatch(1);
            watcher.getResetListenable().addListener(ready::countDown);
            watcher.getListenable().addListener(event -> recorder.process(event));
            watcher.start();
            Check.that(ready.await(30, TimeUnit.SECONDS), "the recipe sets its watch");
            other.create().forPath(path);
            other.create().forPath(path + "/x");
            recorder.expect(EventType.NodeCreated, path, "the recipe's watch");
            recorder.expect(EventType.NodeCreated, path + "/x", "is recursive");
        }
    }
}
