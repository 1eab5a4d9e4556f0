package @PACKAGE@

import android.content.Context
import java.io.FileNotFoundException
import java.io.IOException

internal fun openEngine(context: Context): Engine {
    try {
        System.loadLibrary("edgeseg_@NAME@")
    } catch (error: UnsatisfiedLinkError) {
        throw IOException(
            "The app has no library for this phone. It must be one of @ABIS@.", error
        )
    }
    return NativeEngine { name -> readAsset(context, "$ASSETS/$name") }
}

private fun readAsset(context: Context, name: String): ByteArray {
    try {
        return context.assets.open(name).use { it.readBytes() }
    } catch (error: FileNotFoundException) {
        throw IOException("$name is not in the app. Build it again from the whole kit.", error)
    }
}

/**
 * Runs the network's own library, which prepares pictures and restores masks, too.
 *
 * @param read gives the bytes of an asset, by the name of its file.
 */
private class NativeEngine(read: (String) -> ByteArray) : Engine {
    private val handle = create(read(weightsFile()))

    override fun segment(picture: Picture): Segmentation {
        val start = System.nanoTime()
        val labels = ByteArray(picture.argb.size)
        compute(handle, picture.argb, picture.width, picture.height, labels)
        val times = Times(null, null, null, millisecondsSince(start))
        return Segmentation(labels, picture.width, picture.height, CLASSES, times)
    }

    override fun close() = destroy(handle)

    // These are in edgeseg_jni.c, and throw what `Segmenter` says.
    private external fun weightsFile(): String

    private external fun create(weights: ByteArray): Long

    private external fun compute(
        handle: Long, argb: IntArray, width: Int, height: Int, labels: ByteArray
    )

    private external fun destroy(handle: Long)
}
