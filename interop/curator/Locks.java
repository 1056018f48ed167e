import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMultiLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreMutex;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.locks.Revoker;
import org.apache.zookeeper.data.Stat;

/** Locks: exclusion, hand-over when the holder dies, fairness of readers and writers, all-or-none. */
final class Locks extends Section {
    @Override
    void run() throws Exception {
        mutex();
        mutexOfTheDead();
        revocation();
        semaphoreMutex();
        semaphore();
        readWrite();
        multi();
    }

    private void mutex() throws Exception {
        String path = base + "/mutex";
        int[] unguarded = {0};
        AtomicInteger inside = new AtomicInteger();
        AtomicInteger most = new AtomicInteger();
        List<Future<Void>> workers = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            CuratorFramework client = client();
            workers.add(async(() -> {
                InterProcessMutex lock = new InterProcessMutex(client, path);
                for (int round = 0; round < 15; round++) {
                    lock.acquire();
                    most.accumulateAndGet(inside.incrementAndGet(), Math::max);
                    unguarded[0]++;
                    inside.decrementAndGet();
                    lock.release();
                }
                return null;
            }));
        }
        for (Future<Void> worker : workers) get(worker);
        Check.equal(1, most.get(), "never two holders of a mutex");
        Check.equal(60, unguarded[0], "the guarded counter lost nothing");

        CuratorFramework client = client();
        CuratorFramework rival = client();
        InterProcessMutex lock = new InterProcessMutex(client, path);
        InterProcessMutex other = new InterProcessMutex(rival, path);
        lock.acquire();
        Check.that(lock.acquire(1, TimeUnit.SECONDS), "a mutex is re-entrant");
        Check.that(lock.isOwnedByCurrentThread(), "the holder knows");
        Check.equal(1, lock.getParticipantNodes().size(), "one participant");
        Check.that(!get(async(() -> other.acquire(100, TimeUnit.MILLISECONDS))), "a rival's wait ends at its time");
        Check.eventually(() -> lock.getParticipantNodes().size() == 1, "the rival that gave up left no node");
        lock.release();
        Check.that(lock.isAcquiredInThisProcess(), "released once of twice: still held");
        lock.release();
        Check.that(!lock.isAcquiredInThisProcess(), "released");
        Check.fails(IllegalMonitorStateException.class, "release without holding", lock::release);
        Stat parent = client.checkExists().forPath(path);
        Check.equal(0L, parent.getEphemeralOwner(), "a lock's parent is a container, which shows no owner");
        Check.equal(0, parent.getNumChildren(), "no lock node stays");
    }

    private void mutexOfTheDead() throws Exception {
        String path = base + "/mutex-dead";
        CuratorFramework doomed = client();
        CuratorFramework heir = client();
        new InterProcessMutex(doomed, path).acquire();
        InterProcessMutex waiting = new InterProcessMutex(heir, path);
        Future<Boolean> acquired = async(() -> waiting.acquire(30, TimeUnit.SECONDS));
        Check.eventually(() -> waiting.getParticipantNodes().size() == 2, "the heir queues");
        Check.that(!acquired.isDone(), "the heir waits");
        doomed.close();
        Check.that(get(acquired), "the lock passes on when its holder's session ends");
        Check.equal(1, waiting.getParticipantNodes().size(), "the dead holder's node is gone");
    }

    private void revocation() throws Exception {
        String path = base + "/revoke";
        CuratorFramework client = client();
        CountDownLatch asked = new CountDownLatch(1);
        InterProcessMutex lock = new InterProcessMutex(client, path);
        lock.makeRevocable(revoked -> asked.countDown());
        lock.acquire();
        Collection<String> nodes = lock.getParticipantNodes();
        Check.equal(1, nodes.size(), "one holder");
        Revoker.attemptRevoke(client(), nodes.iterator().next());
        Check.that(asked.await(30, TimeUnit.SECONDS), "the holder is asked to let go");
        lock.release();
    }

    private void semaphoreMutex() throws Exception {
        InterProcessSemaphoreMutex lock = new InterProcessSemaphoreMutex(client(), base + "/semaphore-mutex");
        lock.acquire();
        Check.that(!lock.acquire(50, TimeUnit.MILLISECONDS), "a semaphore mutex is not re-entrant");
        Check.that(lock.isAcquiredInThisProcess(), "held");
        lock.release();
        Check.that(lock.acquire(30, TimeUnit.SECONDS), "free again");
        lock.release();
    }

    private void semaphore() throws Exception {
        String path = base + "/semaphore";
        AtomicInteger inside = new AtomicInteger();
        AtomicInteger most = new AtomicInteger();
        List<Future<Void>> workers = new ArrayList<>();
        for (int i = 0; i < 6; i++) {
            CuratorFramework client = client();
            workers.add(async(() -> {
                InterProcessSemaphoreV2 semaphore = new InterProcessSemaphoreV2(client, path, 3);
                for (int round = 0; round < 5; round++) {
                    Lease lease = semaphore.acquire();
                    most.accumulateAndGet(inside.incrementAndGet(), Math::max);
                    Thread.sleep(2);
                    inside.decrementAndGet();
                    semaphore.returnLease(lease);
                }
                return null;
            }));
        }
        for (Future<Void> worker : workers) get(worker);
        Check.that(most.get() <= 3, "never more than three leases, saw " + most.get());

        CuratorFramework client = client();
        InterProcessSemaphoreV2 semaphore = new InterProcessSemaphoreV2(client, path, 3);
        semaphore.setNodeData("mine".getBytes());
        Collection<Lease> all = semaphore.acquire(3);
        Check.equal(3, all.size(), "all three at once");
        Check.equal(3, semaphore.getParticipantNodes().size(), "three lease nodes");
        Check.text("mine", all.iterator().next().getData(), "a lease carries its data");
        Check.equal(null, semaphore.acquire(50, TimeUnit.MILLISECONDS), "none left");
        CuratorFramework other = client();
        Future<Lease> fourth = async(() -> new InterProcessSemaphoreV2(other, path, 3).acquire(30, TimeUnit.SECONDS));
        semaphore.returnLease(all.iterator().next());
        Check.that(get(fourth) != null, "a returned lease goes to the one waiting");
        other.close();
        Check.eventually(() -> semaphore.getParticipantNodes().size() == 2, "a dead session's lease returns");
        semaphore.returnAll(all);
    }

    private void readWrite() throws Exception {
        String path = base + "/read-write";
        InterProcessReadWriteLock one = new InterProcessReadWriteLock(client(), path);
        InterProcessReadWriteLock two = new InterProcessReadWriteLock(client(), path);
        one.readLock().acquire();
        Check.that(two.readLock().acquire(30, TimeUnit.SECONDS), "readers share");
        Check.that(!get(async(() -> two.writeLock().acquire(100, TimeUnit.MILLISECONDS))), "a writer waits for readers");
        Check.that(!one.writeLock().acquire(100, TimeUnit.MILLISECONDS), "no upgrade from read to write");
        one.readLock().release();
        Future<Boolean> writer = async(() -> {
            boolean got = one.writeLock().acquire(30, TimeUnit.SECONDS);
            if (got) one.writeLock().release();
            return got;
        });
        Check.that(!writer.isDone(), "one reader is left, the writer waits");
        two.readLock().release();
        Check.that(get(writer), "the last reader lets the writer in");

        one.writeLock().acquire();
        Check.that(one.readLock().acquire(30, TimeUnit.SECONDS), "a writer may read");
        Check.that(!get(async(() -> two.readLock().acquire(100, TimeUnit.MILLISECONDS))), "others may not while it writes");
        one.writeLock().release();
        Check.that(get(async(() -> {
            boolean got = two.readLock().acquire(30, TimeUnit.SECONDS);
            if (got) two.readLock().release();
            return got;
        })), "a downgraded lock admits readers");
        one.readLock().release();
        Check.eventually(() -> one.writeLock().getParticipantNodes().isEmpty(), "nothing stays");
    }

    private void multi() throws Exception {
        List<String> paths = Arrays.asList(base + "/multi-a", base + "/multi-b", base + "/multi-c");
        CuratorFramework client = client();
        CuratorFramework rival = client();
        InterProcessMutex blocker = new InterProcessMutex(rival, paths.get(2));
        blocker.acquire();
        InterProcessLock all = new InterProcessMultiLock(client, paths);
        Check.that(!all.acquire(100, TimeUnit.MILLISECONDS), "one of three is held: none is taken");
        Check.that(!all.isAcquiredInThisProcess(), "not held");
        for (String path : paths.subList(0, 2)) {
            InterProcessMutex single = new InterProcessMutex(rival, path);
            Check.that(single.acquire(30, TimeUnit.SECONDS), path + " was let go");
            single.release();
        }
        blocker.release();
        Check.that(all.acquire(30, TimeUnit.SECONDS), "all three are taken");
        for (String path : paths) {
            Check.equal(1, client.getChildren().forPath(path).size(), path + " is held");
        }
        all.release();
        for (String path : paths) {
            Check.equal(0, client.getChildren().forPath(path).size(), path + " is free");
        }
    }
}
