package edgeseg.mynet2

import android.content.Context
import java.io.File
import java.util.concurrent.atomic.AtomicInteger
import kotlin.concurrent.thread

/**
 * Segments the pictures of a folder, whose names are NAME.HEIGHT.WIDTH, three bytes a pixel, and
 * writes NAME.labels, from several threads, too; prints why where the network does not open.
 */
fun main(arguments: Array<String>) {
    val segmenter = try {
        Segmenter.open(Context())
    } catch (error: java.io.IOException) {
        return println(error.message)
    }
    segmenter.use {
        for (file in File(arguments[0]).listFiles { path -> !path.name.endsWith("labels") }!!) {
            val (name, height, width) = file.name.split(".")
            val bytes = file.readBytes()
            val argb = IntArray(bytes.size / 3) { pixel ->
                (0..2).fold(99) { colour, band ->
                    colour shl 8 or (bytes[3 * pixel + band].toInt() and 255)
                }
            }
            val found = segmenter.segment(Picture(argb, width.toInt(), height.toInt()))
            check(found.areas.sum() == argb.size && found.times.totalMs > 0)
            check(found.overlay().width == found.width)
            File(file.parent, "$name.labels").writeBytes(found.labels)
            checkThreads(segmenter, Picture(argb, width.toInt(), height.toInt()), found.labels)
        }
    }
}

/** Threads that share a segmenter all get that mask. */
private fun checkThreads(segmenter: Segmenter, picture: Picture, expected: ByteArray) {
    val right = AtomicInteger()
    val threads = List(4) {
        thread {
            repeat(5) {
                val labels = segmenter.segment(picture).labels
                if (labels.contentEquals(expected)) right.incrementAndGet()
            }
        }
    }
    threads.forEach { it.join() }
    check(right.get() == 20) { "only ${right.get()} of 20 masks are right" }
}
