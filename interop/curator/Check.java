import java.util.concurrent.Callable;
import java.util.concurrent.atomic.AtomicInteger;

/** Assertions that are counted. The first one that does not hold ends its section, not the run. */
final class Check {
    /** How long {@link #eventually} waits: far above anything a loaded machine needs. */
    static final long PATIENCE_MS = 30_000;

    /** Assertions that held, over all sections and by the current one. A section asserts in one thread. */
    static final AtomicInteger held = new AtomicInteger();
    private static final ThreadLocal<Integer> ofSection = ThreadLocal.withInitial(() -> 0);

    private Check() {}

    interface Action {
        void run() throws Exception;
    }

    /** How many held since the last call in this thread. */
    static int sinceLast() {
        int count = ofSection.get();
        ofSection.set(0);
        return count;
    }

    private static void hold() {
        held.incrementAndGet();
        ofSection.set(ofSection.get() + 1);
    }

    static void that(boolean condition, String what) {
        if (!condition) throw new AssertionError("does not hold: " + what);
        hold();
    }

    static void equal(Object expected, Object actual, String what) {
        if (!java.util.Objects.equals(expected, actual)) {
            throw new AssertionError(what + ": expected " + expected + ", got " + actual);
        }
        hold();
    }

    static void text(String expected, byte[] actual, String what) {
        equal(expected, actual == null ? null : new String(actual), what);
    }

    /** Waits for a condition; an exception on the way counts as "not yet". */
    static void eventually(Callable<Boolean> condition, String what) throws Exception {
        long deadline = System.nanoTime() + PATIENCE_MS * 1_000_000;
        Exception last = null;
        while (System.nanoTime() - deadline < 0) {
            try {
                if (condition.call()) {
                    hold();
                    return;
                }
                last = null;
            } catch (InterruptedException e) {
                throw e;
            } catch (Exception e) {
                last = e;
            }
            Thread.sleep(5);
        }
        throw new AssertionError("never came true: " + what, last);
    }

    /** The action must throw exactly this kind of exception. */
    static void fails(Class<? extends Exception> kind, String what, Action action) throws Exception {
        try {
            action.run();
        } catch (Exception e) {
            if (!kind.isInstance(e)) throw new AssertionError(what + ": wanted " + kind.getSimpleName(), e);
            hold();
            return;
        }
        throw new AssertionError(what + ": succeeded, wanted " + kind.getSimpleName());
    }
}
