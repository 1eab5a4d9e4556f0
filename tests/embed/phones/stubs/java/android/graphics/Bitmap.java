package android.graphics;

import java.nio.Buffer;
import java.nio.IntBuffer;

/** Pixels in memory as Android has them: red, green, blue, alpha. */
public final class Bitmap {
    public enum Config { ALPHA_8, RGB_565, ARGB_8888, HARDWARE }

    private final int[] rgba;
    private final int width;
    private final int height;
    private final boolean isPremultiplied;
    private final Config config;

    private Bitmap(int[] rgba, int width, int height, boolean isPremultiplied, Config config) {
        this.rgba = rgba;
        this.width = width;
        this.height = height;
        this.isPremultiplied = isPremultiplied;
        this.config = config;
    }

    public static Bitmap createBitmap(int[] colors, int width, int height, Config config) {
        int[] rgba = new int[width * height];
        for (int i = 0; i < rgba.length; i++) {
            int c = colors[i];
            rgba[i] = (c & 0xff00ff00) | (c >> 16 & 255) | ((c & 255) << 16);
        }
        return new Bitmap(rgba, width, height, false, config);
    }

    /** For tests: memory as it is. */
    public static Bitmap ofMemory(int[] rgba, int width, int height, boolean isPremultiplied) {
        return new Bitmap(rgba, width, height, isPremultiplied, Config.ARGB_8888);
    }

    public int getWidth() {
        return width;
    }

    public int getHeight() {
        return height;
    }

    public Config getConfig() {
        return config;
    }

    public boolean hasAlpha() {
        return true;
    }

    public boolean isPremultiplied() {
        return isPremultiplied;
    }

    public Bitmap copy(Config config, boolean isMutable) {
        return new Bitmap(rgba, width, height, isPremultiplied, config);
    }

    public void copyPixelsToBuffer(Buffer destination) {
        if (config == Config.HARDWARE) {
            throw new IllegalStateException("unable to copyPixelsToBuffer of a hardware bitmap");
        }
        ((IntBuffer) destination).put(rgba);
    }
}
