package @PACKAGE@

import android.content.Context
import android.graphics.Bitmap
import java.io.IOException

/**
 * Segments pictures with the network @MODEL@. It is not a medical device.
 *
 * Opening takes a while and memory: keep one, and close it at the end. Threads may share it; they
 * take turns. Call it from a background thread, since a picture takes several frames of the screen.
 */
class Segmenter private constructor(private val engine: Engine) : AutoCloseable {
    private var isClosed = false

    /**
     * Finds the class of each pixel of a bitmap.
     *
     * @param rotationDegrees by which it must be turned clockwise to be upright, such as
     *   `ImageProxy.imageInfo.rotationDegrees` of a camera's frame; the mask is upright.
     */
    fun segment(bitmap: Bitmap, rotationDegrees: Int = 0): Segmentation =
        segment(bitmap.toPicture().rotated(rotationDegrees))

    /**
     * Finds the class of each pixel of a picture.
     *
     * @throws IllegalStateException where this segmenter is closed, or the network gives NaN.
     */
    @Synchronized
    fun segment(picture: Picture): Segmentation {
        check(!isClosed) { "This segmenter is closed. Open another one." }
        return engine.segment(picture)
    }

    /** Frees the network. Closing again does nothing. */
    @Synchronized
    override fun close() {
        if (!isClosed) engine.close()
        isClosed = true
    }

    companion object {
        /**
         * Loads the network from the app's assets.
         *
         * @throws IOException where a file is missing, damaged or not for this phone.
         */
        @JvmStatic
        @Throws(IOException::class)
        fun open(context: Context): Segmenter = Segmenter(openEngine(context))
    }
}

/** What computes the network. One thread at a time. */
internal interface Engine : AutoCloseable {
    fun segment(picture: Picture): Segmentation
}

/** Milliseconds since [start], which `System.nanoTime` gave. */
internal fun millisecondsSince(start: Long): Double = (System.nanoTime() - start) / 1e6
