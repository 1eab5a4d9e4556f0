package android.graphics;

import java.io.InputStream;

public class BitmapFactory {
    public static class Options {
        public boolean inPremultiplied = true;
    }

    public static Bitmap decodeStream(InputStream stream, Rect padding, Options options) {
        return null;
    }
}
