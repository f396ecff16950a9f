import java.io.RandomAccessFile;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.util.concurrent.CountDownLatch;
import sun.misc.Signal;
import sun.misc.SignalHandler;

/** What a Java VM makes of signals, one part per run. Prints only what is the same in every run. */
public class Signals {
    int field = 1;
    Signals next;

    static int sum(Signals[] all) {
        int sum = 0;
        for (Signals one : all) sum += one.field;
        return sum;
    }

    /** Another shape, whose null comes from a chain of loads. */
    static int walk(Signals from, int steps) {
        int sum = 0;
        for (int n = 0; n < steps; n++) { sum += from.field; from = from.next; }
        return sum;
    }

    /** Compiled code reads fields without a check, and relies on the fault. */
    static void nulls() throws Exception {
        int rounds = 20_000;
        Signals[] good = new Signals[64], bad = new Signals[64];
        for (int n = 0; n < 64; n++) {
            good[n] = bad[n] = new Signals();
            if (n > 0) good[n - 1].next = good[n];
        }
        bad[63] = null;
        Thread[] threads = new Thread[3];
        int[] caught = new int[3];
        long[] sums = new long[3];
        for (int t = 0; t < 3; t++) {
            int me = t;
            threads[t] = new Thread(() -> {
                for (int n = 0; n < rounds; n++) {
                    try { sums[me] += sum(n % 50 == 49 ? bad : good); }
                    catch (NullPointerException e) { caught[me]++; }
                    try { sums[me] += walk(good[0], n % 50 == 24 ? 65 : 64); }
                    catch (NullPointerException e) { caught[me]++; }
                }
            });
            threads[t].start();
        }
        for (int t = 0; t < 3; t++) {
            threads[t].join();
            System.out.println("nulls: " + caught[t] + " caught, sum " + sums[t]);
        }
    }

    static int depth;
    static int deep() { depth++; return deep() + 1; }

    static void overflowOnce(String who) {
        depth = 0;
        try { deep(); } catch (StackOverflowError e) {
            System.out.println(who + ": overflow, " + (depth > 500 ? "deep" : "at " + depth));
        }
    }

    /** The guard pages of Java stacks, armed again after each recovery. */
    static void overflow() throws Exception {
        for (int n = 0; n < 5; n++) overflowOnce("main " + n);
        for (int n = 0; n < 3; n++) {
            int me = n;
            Thread thread = new Thread(null, () -> {
                overflowOnce("first " + me);
                overflowOnce("second " + me);
            }, "deep", 256 * 1024);
            thread.start();
            thread.join();
        }
    }

    /** A page behind the end of a file: SIGBUS, in interpreted, compiled and copying code. */
    static void truncated(String path) throws Exception {
        int size = 1 << 16;
        for (int n = 0; n < 3; n++) {
            try (RandomAccessFile file = new RandomAccessFile(path, "rw")) {
                file.setLength(size);
                MappedByteBuffer map = file.getChannel().map(FileChannel.MapMode.READ_WRITE, 0, size);
                map.put(size - 1, (byte) 7);
                System.out.println("last byte: " + map.get(size - 1));
                file.setLength(0);
                try {
                    System.out.println("read " + map.get(size - 1));
                } catch (InternalError e) { System.out.println("read: InternalError"); }
                try {
                    map.get(new byte[size]);
                    System.out.println("copied");
                } catch (InternalError e) { System.out.println("copy: InternalError"); }
            }
        }
    }

    static void handlers() throws Exception {
        for (String name : new String[] {"HUP", "INT", "TERM", "USR2", "WINCH", "CONT", "ALRM"}) {
            Signal signal = new Signal(name);
            CountDownLatch came = new CountDownLatch(3);
            SignalHandler mine = s -> {
                System.out.println("handled " + s.getName() + " " + s.getNumber());
                came.countDown();
            };
            SignalHandler old = Signal.handle(signal, mine);
            System.out.println(name + ": was " + (old == SignalHandler.SIG_DFL ? "default"
                : old == SignalHandler.SIG_IGN ? "ignored" : "a handler"));
            while (came.getCount() > 0) {
                long before = came.getCount();
                Signal.raise(signal);
                while (came.getCount() == before) Thread.onSpinWait();
            }
            SignalHandler back = Signal.handle(signal, old);
            System.out.println(name + ": mine " + (back == mine));
        }
        for (String name : new String[] {"SEGV", "ILL", "FPE", "QUIT", "USR1", "KILL", "STOP", "CHLD"}) {
            try {
                Signal.handle(new Signal(name), s -> { });
                System.out.println(name + ": accepted");
            } catch (IllegalArgumentException e) { System.out.println(e.getMessage()); }
        }
        Signal.handle(new Signal("PIPE"), SignalHandler.SIG_IGN);
        new ProcessBuilder("sh", "-c", "kill -PIPE " + ProcessHandle.current().pid()).start().waitFor();
        Process child = new ProcessBuilder("sh", "-c", "grep -E '^Sig(Ign|Blk|Cgt)' /proc/self/status; kill -TERM $$")
            .redirectErrorStream(true).start();
        System.out.print(new String(child.getInputStream().readAllBytes()));
        System.out.println("child: " + child.waitFor());
    }

    /** Signals from outside arrive on a handler; the test sends them. */
    static void receive() throws Exception {
        for (String name : new String[] {"HUP", "WINCH", "USR2"}) {
            Signal.handle(new Signal(name), s -> System.out.println("received " + s.getName()));
        }
        Signal.handle(new Signal("TERM"), s -> {
            System.out.println("received the last");
            Runtime.getRuntime().halt(7);
        });
        System.out.println("ready");
        Thread.sleep(3_600_000);
    }

    /** Threads that the dump shows, and a hook. */
    static void stay() throws Exception {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("the hook runs")));
        Thread waiting = new Thread(() -> {
            try { Thread.sleep(3_600_000); } catch (InterruptedException e) { }
        }, "a waiting thread");
        waiting.setDaemon(true);
        waiting.start();
        System.out.println("ready");
        nulls();
        System.out.println("the code is hot");
        Thread.sleep(3_600_000);
    }

    public static void main(String[] arguments) throws Exception {
        switch (arguments[0]) {
            case "nulls" -> nulls();
            case "overflow" -> overflow();
            case "truncated" -> truncated(arguments[1]);
            case "handlers" -> handlers();
            case "receive" -> receive();
            case "stay" -> stay();
            default -> throw new IllegalArgumentException(arguments[0]);
        }
        System.out.println("end");
    }
}
