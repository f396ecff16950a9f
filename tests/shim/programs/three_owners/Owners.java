/** The Java side: hot code that relies on faults. */
public class Owners {
    int field = 1;

    static int sum(Owners[] all) {
        int sum = 0;
        for (Owners one : all) sum += one.field;
        return sum;
    }

    static int deep(int depth) { return deep(depth + 1) + 1; }

    /** How many accesses through null became exceptions, of 400 (of 20,000 calls, so that the code is compiled); plus 1000 for a full stack. */
    static int faults() {
        Owners[] good = new Owners[16], bad = new Owners[16];
        for (int n = 0; n < 16; n++) good[n] = bad[n] = new Owners();
        bad[15] = null;
        int caught = 0;
        for (int n = 0; n < 20_000; n++) {
            try { sum(n % 50 == 49 ? bad : good); } catch (NullPointerException e) { caught++; }
        }
        try { deep(0); } catch (StackOverflowError e) { caught += 1000; }
        return caught;
    }
}
