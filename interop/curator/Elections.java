import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderLatchListener;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;
import org.apache.curator.framework.recipes.leader.Participant;

/** LeaderLatch and LeaderSelector: one leader at a time, and a successor when it goes. */
final class Elections extends Section {
    @Override
    void run() throws Exception {
        latch();
        latchAfterExpiry();
        selector();
    }

    private void latch() throws Exception {
        String path = base + "/latch";
        List<CuratorFramework> clients = new ArrayList<>();
        List<LeaderLatch> latches = new ArrayList<>();
        AtomicInteger gained = new AtomicInteger();
        for (int i = 0; i < 4; i++) {
            clients.add(client());
            LeaderLatch latch = keep(new LeaderLatch(clients.get(i), path, "candidate-" + i));
            latch.addListener(new LeaderLatchListener() {
                @Override
                public void isLeader() {
                    gained.incrementAndGet();
                }

                @Override
                public void notLeader() {}
            });
            latch.start();
            latches.add(latch);
        }
        Check.eventually(() -> leaders(latches) == 1, "exactly one of four leads");
        Check.eventually(() -> latches.get(0).getParticipants().size() == 4, "four participants are seen");
        for (int round = 1; round <= 3; round++) {
            LeaderLatch leader = null;
            for (LeaderLatch latch : latches) if (latch.hasLeadership()) leader = latch;
            Check.that(leader != null, "round " + round + " has a leader");
            for (LeaderLatch latch : latches) {
                Participant seen = latch.getLeader();
                Check.equal(leader.getId(), seen.getId(), "all agree on who leads");
                Check.that(seen.isLeader(), "the participant is marked as leader");
            }
            int index = latches.indexOf(leader);
            latches.remove(index);
            CuratorFramework owner = clients.remove(index);
            // Once by closing the latch, then by ending the whole session.
            if (round == 1) leader.close();
            else owner.close();
            Check.eventually(() -> leaders(latches) == 1, "a successor leads after round " + round);
            Check.eventually(() -> latches.get(0).getParticipants().size() == latches.size(), "the leaver is gone");
        }
        Check.that(latches.get(0).await(30, TimeUnit.SECONDS), "await returns for the leader");
        Check.eventually(() -> gained.get() == 4, "each of the four gained leadership once");
        latches.get(0).close();
        Check.eventually(() -> clients.get(0).getChildren().forPath(path).isEmpty(), "no latch node stays");
    }

    private void latchAfterExpiry() throws Exception {
        String path = base + "/latch-expiry";
        CuratorFramework first = client();
        CuratorFramework second = client();
        LeaderLatch leader = keep(new LeaderLatch(first, path, "first"));
        leader.start();
        Check.that(leader.await(30, TimeUnit.SECONDS), "the only candidate leads");
        LeaderLatch other = keep(new LeaderLatch(second, path, "second"));
        other.start();
        Check.eventually(() -> other.getParticipants().size() == 2, "the second candidate stands behind");
        CountDownLatch lost = new CountDownLatch(1);
        leader.addListener(new LeaderLatchListener() {
            @Override
            public void isLeader() {}

            @Override
            public void notLeader() {
                lost.countDown();
            }
        });
        expire(first, server);
        Check.that(lost.await(30, TimeUnit.SECONDS), "the expired leader is told");
        Check.that(other.await(30, TimeUnit.SECONDS), "the second leads after the expiry");
        Check.eventually(() -> other.getParticipants().size() == 2, "the expired one stands again");
        Check.that(!leader.hasLeadership(), "not two leaders");
    }

    private static int leaders(List<LeaderLatch> latches) {
        int count = 0;
        for (LeaderLatch latch : latches) if (latch.hasLeadership()) count++;
        return count;
    }

    private void selector() throws Exception {
        String path = base + "/selector";
        AtomicInteger inside = new AtomicInteger();
        AtomicInteger most = new AtomicInteger();
        AtomicInteger terms = new AtomicInteger();
        Set<String> led = ConcurrentHashMap.newKeySet();
        List<LeaderSelector> selectors = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            String name = "selector-" + i;
            LeaderSelector selector = new LeaderSelector(client(), path, new LeaderSelectorListenerAdapter() {
                @Override
                public void takeLeadership(CuratorFramework client) throws Exception {
                    most.accumulateAndGet(inside.incrementAndGet(), Math::max);
                    try {
                        led.add(name);
                        terms.incrementAndGet();
                        Thread.sleep(5);
                    } finally {
                        inside.decrementAndGet();
                    }
                }
            });
            selector.setId(name);
            selector.autoRequeue();
            selector.start();
            selectors.add(keep(selector));
        }
        Check.eventually(() -> terms.get() >= 9, "leadership goes round");
        Check.eventually(() -> led.size() == 3, "each of three led");
        Check.eventually(() -> selectors.get(0).getParticipants().size() == 3, "three participants");
        Check.eventually(() -> selectors.get(0).getLeader().getId().startsWith("selector-"), "the leader has a name");
        for (LeaderSelector selector : selectors) selector.close();
        Check.equal(1, most.get(), "never two leaders at once");

        CountDownLatch taken = new CountDownLatch(1);
        CountDownLatch interrupted = new CountDownLatch(1);
        LeaderSelector patient = keep(new LeaderSelector(client(), base + "/interrupt", new LeaderSelectorListenerAdapter() {
            @Override
            public void takeLeadership(CuratorFramework client) throws Exception {
                taken.countDown();
                try {
                    new CountDownLatch(1).await();
                } catch (InterruptedException e) {
                    interrupted.countDown();
                    throw e;
                }
            }
        }));
        patient.start();
        Check.that(taken.await(30, TimeUnit.SECONDS), "leadership is taken");
        Check.eventually(patient::hasLeadership, "and known");
        patient.interruptLeadership();
        Check.that(interrupted.await(30, TimeUnit.SECONDS), "leadership can be interrupted");
        Check.eventually(() -> !patient.hasLeadership(), "and is over then");
    }
}
