import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.framework.recipes.cache.NodeCache;
import org.apache.curator.framework.recipes.cache.PathChildrenCache;
import org.apache.curator.framework.recipes.cache.TreeCache;

/** Caches: they start complete, follow every change, and catch up after a lost connection. */
@SuppressWarnings("deprecation") // The older caches are what most applications still use.
final class Caches extends Section {
    private CuratorFramework client;
    private CuratorFramework writer;

    @Override
    void run() throws Exception {
        client = client();
        writer = client();
        curatorCache();
        singleNode();
        catchUp();
        children();
        node();
        tree();
    }

    private void fill(String path, int count) throws Exception {
        writer.create().creatingParentsIfNeeded().forPath(path, "root".getBytes());
        for (int i = 0; i < count; i++) writer.create().inBackground().forPath(path + "/n" + i, ("v" + i).getBytes());
        Check.eventually(() -> writer.getChildren().forPath(path).size() == count, count + " nodes are written");
    }

    private void curatorCache() throws Exception {
        String path = base + "/curator";
        fill(path, 200);
        List<String> log = Collections.synchronizedList(new ArrayList<>());
        CountDownLatch initialized = new CountDownLatch(1);
        CuratorCache cache = keep(CuratorCache.build(client, path));
        cache.listenable().addListener(CuratorCacheListener.builder()
                .forInitialized(initialized::countDown)
                .forCreates(node -> log.add("create " + node.getPath()))
                .forChanges((old, now) -> log.add("change " + now.getPath() + " " + new String(now.getData())))
                .forDeletes(node -> log.add("delete " + node.getPath()))
                .build());
        cache.start();
        Check.that(initialized.await(30, TimeUnit.SECONDS), "the cache says when it is complete");
        Check.equal(201, cache.size(), "the root and its children");
        Check.text("v77", cache.get(path + "/n77").get().getData(), "with their data");
        Check.equal(201L, log.stream().filter(line -> line.startsWith("create ")).count(), "each told once");
        log.clear();
        writer.setData().forPath(path + "/n1", "new".getBytes());
        writer.create().forPath(path + "/n1/deep", "d".getBytes());
        writer.delete().forPath(path + "/n1/deep");
        writer.delete().forPath(path + "/n2");
        Check.eventually(() -> log.contains("delete " + path + "/n2"), "a deletion is told");
        Check.eventually(() -> log.contains("change " + path + "/n1 new"), "a change is told");
        Check.eventually(() -> cache.size() == 200, "one is gone");
        Check.that(!cache.get(path + "/n1/deep").isPresent(), "so is the one made and deleted");
        writer.delete().deletingChildrenIfNeeded().forPath(path);
        Check.eventually(() -> cache.size() == 0, "the cache empties with its tree");
    }

    private void singleNode() throws Exception {
        String path = base + "/single";
        writer.create().forPath(path, "1".getBytes());
        CuratorCache cache = keep(CuratorCache.build(client, path, CuratorCache.Options.SINGLE_NODE_CACHE));
        cache.start();
        Check.eventually(() -> cache.size() == 1, "one node");
        writer.create().forPath(path + "/child");
        writer.setData().forPath(path, "2".getBytes());
        Check.eventually(() -> new String(cache.get(path).get().getData()).equals("2"), "its data is followed");
        Check.equal(1, cache.size(), "its children are not");
    }

    private void catchUp() throws Exception {
        String path = base + "/catch-up";
        fill(path, 20);
        Proxy proxy = keep(new Proxy(server));
        CuratorFramework behind = client(proxy.address());
        CuratorCache cache = keep(CuratorCache.build(behind, path));
        cache.start();
        Check.eventually(() -> cache.size() == 21, "complete before the cut");
        long session = sessionId(behind);
        proxy.sever();
        writer.delete().forPath(path + "/n3");
        writer.setData().forPath(path + "/n4", "changed while away".getBytes());
        writer.create().forPath(path + "/n99", "made while away".getBytes());
        proxy.mend();
        Check.eventually(() -> !cache.get(path + "/n3").isPresent(), "a deletion while away is seen");
        Check.eventually(() -> new String(cache.get(path + "/n4").get().getData()).equals("changed while away"), "a change too");
        Check.eventually(() -> new String(cache.get(path + "/n99").get().getData()).equals("made while away"), "a creation too");
        Check.equal(21, cache.size(), "nothing more");
        Check.equal(session, sessionId(behind), "it is the same session");
        writer.setData().forPath(path + "/n5", "after".getBytes());
        Check.eventually(() -> new String(cache.get(path + "/n5").get().getData()).equals("after"), "the watch lives on");
    }

    private void children() throws Exception {
        String path = base + "/children";
        fill(path, 10);
        List<String> log = Collections.synchronizedList(new ArrayList<>());
        PathChildrenCache cache = keep(new PathChildrenCache(client, path, true));
        cache.getListenable().addListener((c, event) ->
                log.add(event.getType() + (event.getData() == null ? "" : " " + event.getData().getPath())));
        cache.start(PathChildrenCache.StartMode.POST_INITIALIZED_EVENT);
        Check.eventually(() -> log.contains("INITIALIZED"), "the cache is initialized");
        Check.equal(10, cache.getCurrentData().size(), "ten children");
        writer.create().forPath(path + "/new");
        Check.eventually(() -> log.contains("CHILD_ADDED " + path + "/new"), "an added child");
        writer.setData().forPath(path + "/new", "x".getBytes());
        Check.eventually(() -> log.contains("CHILD_UPDATED " + path + "/new"), "an updated child");
        writer.delete().forPath(path + "/new");
        Check.eventually(() -> log.contains("CHILD_REMOVED " + path + "/new"), "a removed child");
        Check.equal(10, cache.getCurrentData().size(), "ten again");
    }

    private void node() throws Exception {
        String path = base + "/node";
        NodeCache cache = keep(new NodeCache(client, path));
        cache.start(true);
        Check.equal(null, cache.getCurrentData(), "nothing there yet");
        writer.create().forPath(path, "a".getBytes());
        Check.eventually(() -> new String(cache.getCurrentData().getData()).equals("a"), "it appears");
        writer.setData().forPath(path, "b".getBytes());
        Check.eventually(() -> new String(cache.getCurrentData().getData()).equals("b"), "it changes");
        writer.delete().forPath(path);
        Check.eventually(() -> cache.getCurrentData() == null, "it goes");
        writer.create().forPath(path, "c".getBytes());
        Check.eventually(() -> new String(cache.getCurrentData().getData()).equals("c"), "it comes back");
    }

    private void tree() throws Exception {
        String path = base + "/tree";
        fill(path, 30);
        List<String> log = Collections.synchronizedList(new ArrayList<>());
        TreeCache cache = keep(TreeCache.newBuilder(client, path).setMaxDepth(2).build());
        cache.getListenable().addListener((c, event) ->
                log.add(event.getType() + (event.getData() == null ? "" : " " + event.getData().getPath())));
        cache.start();
        Check.eventually(() -> log.contains("INITIALIZED"), "the tree is initialized");
        Check.equal(30, cache.getCurrentChildren(path).size(), "thirty children");
        writer.create().creatingParentsIfNeeded().forPath(path + "/n0/x/y");
        Check.eventually(() -> log.contains("NODE_ADDED " + path + "/n0/x"), "a node two levels down");
        writer.setData().forPath(path + "/n0/x", "1".getBytes());
        Check.eventually(() -> log.contains("NODE_UPDATED " + path + "/n0/x"), "is followed");
        Check.that(!log.contains("NODE_ADDED " + path + "/n0/x/y"), "three levels down is too deep");
        writer.delete().deletingChildrenIfNeeded().forPath(path + "/n0");
        Check.eventually(() -> log.contains("NODE_REMOVED " + path + "/n0"), "removal");
    }
}
