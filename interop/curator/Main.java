import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Supplier;

/** Drives Curator against the server named by the first argument; further arguments choose sections. */
public final class Main {
    private Main() {}

    public static void main(String[] arguments) throws Exception {
        Map<String, Supplier<Section>> sections = new LinkedHashMap<>();
        // The longest first.
        sections.put("reattach", Reattach::new);
        sections.put("nodes", Nodes::new);
        sections.put("basics", Basics::new);
        sections.put("caches", Caches::new);
        sections.put("elections", Elections::new);
        sections.put("locks", Locks::new);
        sections.put("queues", Queues::new);
        sections.put("counters", Counters::new);
        sections.put("barriers", Barriers::new);
        sections.put("transactions", Transactions::new);
        sections.put("watches", Watches::new);
        sections.put("acls", Acls::new);
        List<String> wanted = Arrays.asList(arguments).subList(1, arguments.length);
        AtomicInteger failed = new AtomicInteger();
        List<Future<?>> running = new ArrayList<>();
        // Most of the time goes into waiting: for timeouts, reconnects, time to live.
        ExecutorService pool = Executors.newFixedThreadPool(3);
        sections.forEach((name, section) -> {
            if (wanted.isEmpty() || wanted.contains(name)) {
                running.add(pool.submit(() -> run(name, section.get(), arguments[0], failed)));
            }
        });
        for (Future<?> section : running) section.get();
        boolean good = failed.get() == 0 && !running.isEmpty() && Check.held.get() > 0;
        System.out.printf("curator: %d assertions, %s%n", Check.held.get(), good ? "ok" : "FAILED");
        // Curator's own threads must not keep the process alive.
        System.exit(good ? 0 : 1);
    }

    private static void run(String name, Section section, String server, AtomicInteger failed) {
        long began = System.nanoTime();
        Throwable fault = null;
        try {
            section.start(server, "/curator-" + name + "-" + Long.toHexString(began));
        } catch (Throwable e) {
            fault = e;
            failed.incrementAndGet();
        }
        System.out.printf("curator/%s: %d assertions, %s, %.1f s%n", name, Check.sinceLast(),
                fault == null ? "ok" : "FAILED", (System.nanoTime() - began) / 1e9);
        if (fault != null) fault.printStackTrace(System.out);
    }
}
