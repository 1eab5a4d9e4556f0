package android.content.res;

import java.io.File;
import java.io.FileInputStream;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;

/** Reads from the folders of the property "assets". */
public final class AssetManager implements AutoCloseable {
    public InputStream open(String name) throws IOException {
        for (String folder : System.getProperty("assets", "").split(File.pathSeparator)) {
            File file = new File(folder, name);
            if (file.isFile()) {
                return new FileInputStream(file);
            }
        }
        throw new FileNotFoundException(name);
    }

    @Override
    public void close() {}
}
