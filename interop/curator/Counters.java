import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.atomic.AtomicValue;
import org.apache.curator.framework.recipes.atomic.CachedAtomicLong;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicInteger;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.atomic.PromotedToLock;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.recipes.shared.SharedCountListener;
import org.apache.curator.framework.recipes.shared.SharedCountReader;
import org.apache.curator.framework.recipes.shared.SharedValue;
import org.apache.curator.framework.recipes.shared.VersionedValue;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryNTimes;

/** Counters: compare-and-set by version loses no update, whoever else writes. */
final class Counters extends Section {
    @Override
    void run() throws Exception {
        sharedCount();
        sharedValue();
        atomicLong();
        promoted();
    }

    private void sharedCount() throws Exception {
        String path = base + "/shared-count";
        SharedCount one = keep(new SharedCount(client(), path, 7));
        SharedCount two = keep(new SharedCount(client(), path, 7));
        one.start();
        two.start();
        Check.equal(7, one.getCount(), "the seed value");
        AtomicInteger noticed = new AtomicInteger();
        two.addListener(new SharedCountListener() {
            @Override
            public void countHasChanged(SharedCountReader reader, int count) {
                noticed.set(count);
            }

            @Override
            public void stateChanged(CuratorFramework client, ConnectionState state) {}
        });
        VersionedValue<Integer> stale = two.getVersionedValue();
        one.setCount(10);
        Check.eventually(() -> two.getCount() == 10, "the other reader follows");
        Check.eventually(() -> noticed.get() == 10, "and its listener is told");
        Check.that(!two.trySetCount(stale, 11), "a stale version does not write");
        Check.that(two.trySetCount(two.getVersionedValue(), 11), "the current one does");
        Check.eventually(() -> one.getCount() == 11, "the first one follows");

        List<Future<Void>> writers = new ArrayList<>();
        for (SharedCount count : List.of(one, two)) {
            writers.add(async(() -> {
                for (int i = 0; i < 20; i++) {
                    VersionedValue<Integer> now;
                    do {
                        now = count.getVersionedValue();
                    } while (!count.trySetCount(now, now.getValue() + 1));
                }
                return null;
            }));
        }
        for (Future<Void> writer : writers) get(writer);
        Check.eventually(() -> one.getCount() == 51 && two.getCount() == 51, "forty increments, none lost");
    }

    private void sharedValue() throws Exception {
        SharedValue one = keep(new SharedValue(client(), base + "/shared-value", "a".getBytes()));
        SharedValue two = keep(new SharedValue(client(), base + "/shared-value", "b".getBytes()));
        one.start();
        two.start();
        Check.text("a", two.getValue(), "the first seed wins");
        two.setValue("c".getBytes());
        Check.eventually(() -> new String(one.getValue()).equals("c"), "the value travels");
    }

    private void atomicLong() throws Exception {
        String path = base + "/atomic";
        List<Future<Integer>> workers = new ArrayList<>();
        Set<Long> given = ConcurrentHashMap.newKeySet();
        for (int i = 0; i < 4; i++) {
            CuratorFramework client = client();
            workers.add(async(() -> {
                DistributedAtomicLong number = new DistributedAtomicLong(client, path, new RetryNTimes(1000, 1));
                int won = 0;
                for (int round = 0; round < 25; round++) {
                    AtomicValue<Long> result = number.increment();
                    if (!result.succeeded()) continue;
                    won++;
                    if (result.postValue() != result.preValue() + 1) throw new AssertionError("not an increment");
                    given.add(result.postValue());
                }
                return won;
            }));
        }
        int won = 0;
        for (Future<Integer> worker : workers) won += get(worker);
        DistributedAtomicLong number = new DistributedAtomicLong(client(), path, new RetryNTimes(1000, 1));
        Check.equal((long) won, number.get().postValue(), "the sum is the number of increments that succeeded");
        Check.equal(100, won, "with a thousand retries all succeed");
        Check.equal(won, given.size(), "no value was given out twice");

        Check.that(!number.initialize(5L), "it exists already");
        Check.that(number.compareAndSet(100L, 200L).succeeded(), "compare-and-set");
        Check.that(!number.compareAndSet(100L, 300L).succeeded(), "compare-and-set of a stale value");
        Check.equal(150L, number.subtract(50L).postValue(), "subtract");
        Check.equal(151L, number.add(1L).postValue(), "add");
        Check.equal(150L, number.decrement().postValue(), "decrement");
        Check.equal(9L, number.trySet(9L).postValue(), "set");
        number.forceSet(-3L);
        Check.equal(-3L, number.get().preValue(), "forced");
        DistributedAtomicLong fresh = new DistributedAtomicLong(client(), base + "/fresh", new RetryNTimes(1, 1));
        Check.that(fresh.initialize(5L), "a fresh one can be initialized");
        Check.equal(5L, fresh.get().postValue(), "and has that value");
        CachedAtomicLong cached = new CachedAtomicLong(fresh, 10);
        Set<Long> ids = new HashSet<>();
        for (int i = 0; i < 25; i++) ids.add(cached.next().postValue());
        Check.equal(25, ids.size(), "cached increments are distinct");
        Check.equal(35L, fresh.get().postValue(), "three blocks of ten were drawn");
    }

    private void promoted() throws Exception {
        String path = base + "/promoted";
        List<Future<Void>> workers = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            CuratorFramework client = client();
            workers.add(async(() -> {
                // No optimistic retries to speak of: contention goes through the lock.
                DistributedAtomicInteger number = new DistributedAtomicInteger(client, path, new RetryNTimes(0, 0),
                        PromotedToLock.builder().lockPath(path + "-lock").retryPolicy(new RetryNTimes(100, 1)).build());
                for (int round = 0; round < 10; round++) {
                    AtomicValue<Integer> result = number.increment();
                    if (!result.succeeded()) throw new AssertionError("increment under the lock failed");
                }
                return null;
            }));
        }
        for (Future<Void> worker : workers) get(worker);
        DistributedAtomicInteger number = new DistributedAtomicInteger(client(), path, new RetryNTimes(0, 0));
        Check.equal(30, number.get().postValue(), "thirty increments under lock, none lost");
    }
}
