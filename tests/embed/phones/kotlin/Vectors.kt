import contracts.CONTRACTS
import kit.Contract
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder

/** Works through the requests of a folder; `tests/helpers/vectors.py` says how they read. */
fun main(arguments: Array<String>) {
    val folder = File(arguments[1])
    val contract = Contract(CONTRACTS.getValue(arguments[0]))
    val probabilities = File(folder, "probabilities.f32").readBytes().littleEndian().asFloatBuffer()
    val mask = FloatArray(probabilities.remaining()).also { probabilities.get(it) }
    for (line in File(folder, "requests.txt").readLines()) {
        val (name, height, width, bands, bits) = line.split(" ")
        val picture = Picture(
            File(folder, "$name.pixels").readBytes(), width.toInt(), height.toInt(), bands.toInt()
        )
        val tensor =
            if (bits == "16") contract.prepareDeep(picture) else contract.prepareAllWays(picture)
        File(folder, "$name.tensor").writeBytes(tensor.bytes())
        File(folder, "$name.mask").writeBytes(contract.restore(mask, picture.width, picture.height))
    }
}

class Picture(val samples: ByteArray, val width: Int, val height: Int, val bands: Int)

private fun ByteArray.littleEndian() = ByteBuffer.wrap(this).order(ByteOrder.LITTLE_ENDIAN)

private fun FloatArray.bytes(): ByteArray {
    val buffer = ByteBuffer.allocate(size * 4).order(ByteOrder.LITTLE_ENDIAN)
    forEach { buffer.putFloat(it) }
    return buffer.array()
}

private fun Contract.prepareDeep(picture: Picture): FloatArray {
    val shorts = picture.samples.littleEndian().asShortBuffer()
    val samples = ShortArray(shorts.remaining()).also { shorts.get(it) }
    return prepare(samples, picture.width, picture.height, picture.bands)
}

/** The tensor of the bytes as they come; with alpha, and as colours, it must be the same. */
private fun Contract.prepareAllWays(picture: Picture): FloatArray {
    val (width, height) = picture.width to picture.height
    val tensor = prepare(picture.samples, width, height, picture.bands)
    val grey = picture.bands == 1
    fun sample(pixel: Int, band: Int) =
        picture.samples[pixel * picture.bands + if (grey) 0 else band]
    val rgba = ByteArray(4 * width * height) { if (it % 4 == 3) 77 else sample(it / 4, it % 4) }
    check(tensor.contentEquals(prepare(rgba, width, height, 4))) { "RGBA gives another tensor" }
    val argb = IntArray(width * height) { pixel ->
        (0..2).fold(77) { colour, band -> (colour shl 8) or (sample(pixel, band).toInt() and 255) }
    }
    check(tensor.contentEquals(prepare(argb, width, height))) { "colours give another tensor" }
    return tensor
}
