package android.net;

public class Uri {
    public final String path;

    public Uri(String path) {
        this.path = path;
    }
}
