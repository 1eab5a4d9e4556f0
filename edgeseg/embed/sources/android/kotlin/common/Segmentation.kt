package @PACKAGE@

import android.graphics.Bitmap

/** Milliseconds of one picture. The steps are null where the network does all of them at once. */
data class Times(
    val prepareMs: Double?,
    val networkMs: Double?,
    val restoreMs: Double?,
    val totalMs: Double,
)

/**
 * The class of each pixel of a picture.
 *
 * @property labels an index into [classes] for each pixel, row by row, as an unsigned byte.
 * @property classes names, background first.
 */
class Segmentation(
    val labels: ByteArray,
    val width: Int,
    val height: Int,
    val classes: List<String>,
    val times: Times,
) {
    /** Pixels of each class, by its label. */
    val areas: IntArray = IntArray(classes.size).also { areas ->
        for (label in labels) areas[label.toInt() and 255]++
    }

    /** Share of the picture that a class covers, 0..1. */
    fun share(label: Int): Double = areas[label].toDouble() / labels.size

    /**
     * Makes a picture to lay over the photo, of the same size.
     *
     * @param colours one for each class, as `android.graphics.Color` has it.
     */
    fun overlay(colours: IntArray = coloursOf(classes.size)): Bitmap {
        require(colours.size >= classes.size) {
            "${colours.size} colours are too few. Give one for each of $classes."
        }
        val pixels = IntArray(labels.size) { colours[labels[it].toInt() and 255] }
        return Bitmap.createBitmap(pixels, width, height, Bitmap.Config.ARGB_8888)
    }

    companion object {
        // Half transparent; told apart by people who see few colours.
        private val PALETTE = intArrayOf(
            0x80E69F00.toInt(), 0x8056B4E9.toInt(), 0x80009E73.toInt(), 0x80CC79A7.toInt()
        )

        /** Colours of so many classes: background is transparent. */
        fun coloursOf(classes: Int): IntArray =
            IntArray(classes) { if (it == 0) 0 else PALETTE[(it - 1) % PALETTE.size] }
    }
}
