package android.graphics;

import java.io.InputStream;

public class BitmapFactory {
    public static class Options {
        public boolean inPremultiplied = true;
        public boolean inJustDecodeBounds = false;
        public int outWidth = -1;
        public int outHeight = -1;
    }

    public static Bitmap decodeStream(InputStream stream, Rect padding, Options options) {
        return null;
    }
}
