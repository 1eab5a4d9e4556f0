package edgeseg.mynet2

import java.io.File

/** Writes a picture, the numbers 0..5 in two rows, as each EXIF orientation turns it. */
fun main(arguments: Array<String>) {
    val picture = Picture(IntArray(6) { it }, 3, 2)
    for (orientation in 0..9) {
        val turned = picture.upright(orientation)
        File(arguments[0], "$orientation.txt")
            .writeText("${turned.height} ${turned.width} ${turned.argb.joinToString(" ")}")
    }
    check(picture.rotated(0) === picture && picture.rotated(360) === picture)
    for ((degrees, orientation) in listOf(90 to 6, 180 to 3, 270 to 8, -90 to 8)) {
        check(picture.rotated(degrees).argb.contentEquals(picture.upright(orientation).argb))
    }
    check(advice { picture.rotated(45) }.contains("Round to one of them"))
    check(advice { Picture(IntArray(5), 3, 2) }.contains("Give one for each pixel"))
    check(advice { Picture(IntArray(0), 0, 2) }.contains("Make it smaller"))

    // Half transparent: multiplied by its alpha in memory.
    val memory = intArrayOf(0x80402010.toInt())
    val bitmap = android.graphics.Bitmap.ofMemory(memory, 1, 1, true)
    check(bitmap.toPicture().argb[0] == 0x80204080.toInt())
    val plain = android.graphics.Bitmap.ofMemory(memory, 1, 1, false)
    check(plain.toPicture().argb[0] == 0x80102040.toInt())
}

private fun advice(call: () -> Unit): String =
    runCatching(call).exceptionOrNull()?.message ?: error("nothing was thrown")
