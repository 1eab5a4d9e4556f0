package edgeseg.mynet2

import android.content.Context
import java.io.File

/**
 * Segments the pictures of a folder, whose names are NAME.HEIGHT.WIDTH, three bytes a pixel, and
 * writes NAME.labels; prints why where the network does not open.
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
        }
    }
}
