package org.junit;

import org.junit.function.ThrowingRunnable;

public class Assert {
    public static void assertEquals(String message, double expected, double actual, double delta) {
        if (!(Math.abs(expected - actual) <= delta)) {
            throw new AssertionError(message + ": " + actual + ", not " + expected);
        }
    }

    public static void assertEquals(String message, float expected, float actual, float delta) {
        assertEquals(message, (double) expected, (double) actual, (double) delta);
    }

    public static void assertEquals(long expected, long actual) {
        if (expected != actual) {
            throw new AssertionError(actual + ", not " + expected);
        }
    }

    public static void assertEquals(Object expected, Object actual) {
        if (!expected.equals(actual)) {
            throw new AssertionError(actual + ", not " + expected);
        }
    }

    public static void assertTrue(boolean condition) {
        if (!condition) {
            throw new AssertionError();
        }
    }

    public static <T extends Throwable> T assertThrows(Class<T> expected, ThrowingRunnable code) {
        try {
            code.run();
        } catch (Throwable error) {
            if (expected.isInstance(error)) {
                return expected.cast(error);
            }
            throw new AssertionError(error);
        }
        throw new AssertionError("nothing was thrown");
    }
}
