package @PACKAGE@

/**
 * A picture of plain colours.
 *
 * @property argb row by row, a colour as `android.graphics.Color` has it; alpha is ignored.
 */
class Picture(val argb: IntArray, val width: Int, val height: Int) {
    init {
        require(width in 1..LONGEST_SIDE && height in 1..LONGEST_SIDE) {
            "A picture has sides of 1 to $LONGEST_SIDE, not $width x $height. Make it smaller."
        }
        require(argb.size == width * height) {
            "${argb.size} colours are no picture of $width x $height. Give one for each pixel."
        }
    }

    /**
     * Turns the picture as a camera's frame must be turned: clockwise, such as by
     * `ImageProxy.imageInfo.rotationDegrees`.
     *
     * @throws IllegalArgumentException where [degrees] is no multiple of 90.
     */
    fun rotated(degrees: Int): Picture = when (degrees.mod(360)) {
        0 -> this
        90 -> upright(6)
        180 -> upright(3)
        270 -> upright(8)
        else -> throw IllegalArgumentException(
            "A picture turns by 0, 90, 180 or 270 degrees, not $degrees. Round to one of them."
        )
    }

    /** Turns and mirrors as the EXIF [orientation] says; others than 2..8 do nothing. */
    fun upright(orientation: Int): Picture {
        // Where the first pixel comes from, and how far the next one lies along x and along y.
        val right = width - 1
        val last = width * (height - 1)
        val (first, alongX, alongY) = when (orientation) {
            2 -> Triple(right, -1, width)
            3 -> Triple(last + right, -1, -width)
            4 -> Triple(last, 1, -width)
            5 -> Triple(0, width, 1)
            6 -> Triple(last, -width, 1)
            7 -> Triple(last + right, -width, -1)
            8 -> Triple(right, width, -1)
            else -> return this
        }
        val (newWidth, newHeight) = if (orientation < 5) width to height else height to width
        val turned = IntArray(argb.size)
        for (y in 0 until newHeight) {
            for (x in 0 until newWidth) {
                turned[y * newWidth + x] = argb[first + y * alongY + x * alongX]
            }
        }
        return Picture(turned, newWidth, newHeight)
    }

    companion object {
        const val LONGEST_SIDE = 8192
    }
}
