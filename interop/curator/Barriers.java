import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;

/** Barriers: nobody passes early, everybody passes in the end. */
final class Barriers extends Section {
    @Override
    void run() throws Exception {
        single();
        twofold();
    }

    private void single() throws Exception {
        String path = base + "/barrier";
        DistributedBarrier keeper = new DistributedBarrier(client(), path);
        keeper.setBarrier();
        List<Future<Boolean>> waiting = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            DistributedBarrier barrier = new DistributedBarrier(client(), path);
            Check.that(!barrier.waitOnBarrier(30, TimeUnit.MILLISECONDS), "the barrier stands");
            waiting.add(async(() -> barrier.waitOnBarrier(30, TimeUnit.SECONDS)));
        }
        for (Future<Boolean> one : waiting) Check.that(!one.isDone(), "nobody passes");
        keeper.removeBarrier();
        for (Future<Boolean> one : waiting) Check.that(get(one), "everybody passes");
        Check.that(keeper.waitOnBarrier(1, TimeUnit.SECONDS), "no barrier, no wait");
    }

    private void twofold() throws Exception {
        String path = base + "/double";
        int members = 5;
        AtomicInteger arrived = new AtomicInteger();
        AtomicInteger early = new AtomicInteger();
        AtomicInteger leaving = new AtomicInteger();
        List<Future<Void>> all = new ArrayList<>();
        for (int i = 0; i < members; i++) {
            CuratorFramework client = client();
            all.add(async(() -> {
                DistributedDoubleBarrier barrier = new DistributedDoubleBarrier(client, path, members);
                arrived.incrementAndGet();
                if (!barrier.enter(30, TimeUnit.SECONDS)) throw new AssertionError("never entered");
                if (arrived.get() < members) early.incrementAndGet();
                leaving.incrementAndGet();
                if (!barrier.leave(30, TimeUnit.SECONDS)) throw new AssertionError("never left");
                if (leaving.get() < members) early.incrementAndGet();
                return null;
            }));
        }
        for (Future<Void> one : all) get(one);
        Check.equal(members, arrived.get(), "all entered");
        Check.equal(members, leaving.get(), "all left");
        Check.equal(0, early.get(), "nobody passed before the last came");
        DistributedDoubleBarrier lonely = new DistributedDoubleBarrier(client(), base + "/lonely", 2);
        Check.that(!lonely.enter(50, TimeUnit.MILLISECONDS), "one of two does not enter");
    }
}
