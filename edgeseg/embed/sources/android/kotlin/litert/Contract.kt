package @PACKAGE@

import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min

/** How resized pixels, 0..255, become what the network was trained on. */
sealed interface Normalization {
    /** Stretches each picture from its own extremes, over all its channels, to [low]..[high]. */
    class MinMax(val low: Double, val high: Double) : Normalization

    /** (pixel / 255 - mean) / std, by channel. */
    class MeanStd(val mean: FloatArray, val std: FloatArray) : Normalization
}

/**
 * What a network takes and gives, as numbers; `contract.json` says the same in words.
 *
 * @property channels of the input: 3 for red, green, blue, 1 for grey.
 * @property height rows of both tensors.
 * @property width columns of both tensors.
 * @property channelsLast whether the input tensor holds the channels of a pixel side by side
 *   (NHWC), not one plane for each channel (NCHW).
 * @property white value of white in pictures of 16 bits.
 * @property maskChannels of the output: 1 for the probability of the second class, else one for
 *   each class.
 * @property maskChannelsLast like [channelsLast], for the output tensor.
 * @property threshold least probability of the second class, where [maskChannels] is 1.
 * @property classes names of the labels 0, 1, ...
 */
class NetworkContract(
    val channels: Int,
    val height: Int,
    val width: Int,
    val channelsLast: Boolean,
    val normalization: Normalization,
    val white: Int,
    val maskChannels: Int,
    val maskChannelsLast: Boolean,
    val threshold: Float,
    val classes: List<String>,
)

/**
 * Prepares pictures for a network and brings its probabilities back to their size.
 *
 * This is what the network was trained with, in plain Kotlin. Do not replace the resize by
 * `Bitmap.createScaledBitmap`: it computes something else where a picture shrinks, and masks
 * change. Threads may share a contract.
 */
class Contract(private val network: NetworkContract) {
    private val rowsIn = LastTaps()
    private val columnsIn = LastTaps()
    private val rowsOut = LastTaps()
    private val columnsOut = LastTaps()

    /**
     * Makes the input tensor of a picture.
     *
     * @param argb colours row by row, as `Bitmap.getPixels` gives them; alpha is ignored.
     * @throws IllegalArgumentException where [argb] is smaller than [width] times [height].
     */
    fun prepare(argb: IntArray, width: Int, height: Int): FloatArray {
        requirePicture(argb.size, width, height, 1)
        return prepare(
            width,
            height,
            WHITE_OF_BYTES,
            { argb[it] shr 16 and 255 },
            { argb[it] shr 8 and 255 },
            { argb[it] and 255 },
        )
    }

    /**
     * Makes the input tensor of a picture in bytes.
     *
     * @param samples row by row, [bands] bytes a pixel: 1 for grey, 3 for red, green, blue, 4 where
     *   alpha comes after them, which is ignored.
     */
    fun prepare(samples: ByteArray, width: Int, height: Int, bands: Int): FloatArray {
        requirePicture(samples.size, width, height, bands)
        val green = if (bands == 1) 0 else 1
        return prepare(
            width,
            height,
            WHITE_OF_BYTES,
            { samples[it * bands].toInt() and 255 },
            { samples[it * bands + green].toInt() and 255 },
            { samples[it * bands + 2 * green].toInt() and 255 },
        )
    }

    /** Makes the input tensor of a picture of 16 bits a sample, else as of one in bytes. */
    fun prepare(samples: ShortArray, width: Int, height: Int, bands: Int): FloatArray {
        requirePicture(samples.size, width, height, bands)
        val green = if (bands == 1) 0 else 1
        return prepare(
            width,
            height,
            network.white,
            { samples[it * bands].toInt() and 65535 },
            { samples[it * bands + green].toInt() and 65535 },
            { samples[it * bands + 2 * green].toInt() and 65535 },
        )
    }

    /**
     * Makes the label map of a picture of any size from the output tensor.
     *
     * Probabilities, not labels, are resized, so that edges stay smooth. They need no sigmoid and
     * no softmax.
     *
     * @return the index of a class for each pixel, row by row.
     * @throws IllegalStateException where a probability is NaN or infinite.
     */
    fun restore(probabilities: FloatArray, width: Int, height: Int): ByteArray {
        val channels = network.maskChannels
        val expected = channels * network.height * network.width
        require(probabilities.size == expected) {
            "The network gives ${probabilities.size} values, not $expected. Take the model file " +
                "and this code from the same kit."
        }
        check(probabilities.all { it.isFinite() }) {
            "The network gives NaN or infinity for this picture. Show no mask, and report it."
        }
        val rows = rowsOut.of(network.height, height)
        val columns = columnsOut.of(network.width, width)
        val line = FloatArray(channels * network.width)
        val values = FloatArray(channels * width)
        val labels = ByteArray(width * height)
        for (row in 0 until height) {
            line.fill(0f)
            for (tap in rows.start[row] until rows.start[row + 1]) {
                addMaskRow(probabilities, rows.source(row, tap), rows.weights[tap], line)
            }
            for (channel in 0 until channels) {
                columns.resize(line, channel * network.width, values, channel * width)
            }
            labelRow(values, labels, row * width, width)
        }
        return labels
    }

    private inline fun prepare(
        width: Int,
        height: Int,
        white: Int,
        red: (Int) -> Int,
        green: (Int) -> Int,
        blue: (Int) -> Int,
    ): FloatArray {
        val rows = rowsIn.of(height, network.height)
        val columns = columnsIn.of(width, network.width)
        val channels = network.channels
        val line = FloatArray(channels * width) // a row of each channel
        val plane = network.height * network.width
        val planes = FloatArray(channels * plane)
        for (row in 0 until network.height) {
            line.fill(0f)
            for (tap in rows.start[row] until rows.start[row + 1]) {
                val weight = rows.weights[tap]
                val at = rows.source(row, tap) * width
                if (channels == 1) {
                    for (x in 0 until width) {
                        val grey = greyOf(red(at + x), green(at + x), blue(at + x))
                        line[x] += weight * min(grey, white)
                    }
                } else {
                    // A loop for each, since processors do several pixels of one at a time.
                    for (x in 0 until width) line[x] += weight * min(red(at + x), white)
                    val last = 2 * width
                    for (x in 0 until width) line[width + x] += weight * min(green(at + x), white)
                    for (x in 0 until width) line[last + x] += weight * min(blue(at + x), white)
                }
            }
            for (channel in 0 until channels) {
                columns.resize(line, channel * width, planes, channel * plane + row * network.width)
            }
        }
        if (white != WHITE_OF_BYTES) {
            val scale = white / 255f
            for (index in planes.indices) planes[index] /= scale
        }
        normalize(planes)
        return if (network.channelsLast) sideBySide(planes) else planes
    }

    private fun normalize(pixels: FloatArray) {
        when (val how = network.normalization) {
            is Normalization.MinMax -> {
                val least = pixels.min()
                val most = pixels.max()
                val low = how.low.toFloat()
                if (most <= least) return pixels.fill(low)
                val gain = ((how.high - how.low) / (most.toDouble() - least)).toFloat()
                for (index in pixels.indices) pixels[index] = (pixels[index] - least) * gain + low
            }
            is Normalization.MeanStd -> {
                val plane = network.height * network.width
                for (index in pixels.indices) {
                    val channel = index / plane
                    pixels[index] = (pixels[index] / 255f - how.mean[channel]) / how.std[channel]
                }
            }
        }
    }

    private fun sideBySide(planes: FloatArray): FloatArray {
        val channels = network.channels
        val plane = network.height * network.width
        return FloatArray(planes.size) { planes[it % channels * plane + it / channels] }
    }

    /** Adds a row of the output tensor to [line], which holds a row for each channel. */
    private fun addMaskRow(tensor: FloatArray, row: Int, weight: Float, line: FloatArray) {
        val width = network.width
        val isLast = network.maskChannelsLast
        val step = if (isLast) network.maskChannels else 1
        for (channel in 0 until network.maskChannels) {
            var place = row * width * step + channel * if (isLast) 1 else network.height * width
            for (x in channel * width until (channel + 1) * width) {
                line[x] += weight * tensor[place]
                place += step
            }
        }
    }

    /** Labels a row of [width] pixels, of which [values] holds a row for each channel. */
    private fun labelRow(values: FloatArray, labels: ByteArray, place: Int, width: Int) {
        if (network.maskChannels == 1) {
            for (x in 0 until width) {
                labels[place + x] = if (values[x] >= network.threshold) 1 else 0
            }
            return
        }
        for (channel in 1 until network.maskChannels) {
            for (x in 0 until width) {
                // The first row becomes the largest so far.
                if (values[channel * width + x] > values[x]) {
                    values[x] = values[channel * width + x]
                    labels[place + x] = channel.toByte()
                }
            }
        }
    }

    private fun requirePicture(size: Int, width: Int, height: Int, bands: Int) {
        require(bands == 1 || bands == 3 || bands == 4) {
            "A picture has 1, 3 or 4 samples a pixel, not $bands. Convert it first."
        }
        require(width > 0 && height > 0 && size.toLong() >= width.toLong() * height * bands) {
            "$size samples are no picture of $width x $height with $bands a pixel. Give all of " +
                "them, without gaps between rows."
        }
    }

    private companion object {
        const val WHITE_OF_BYTES = 255

        /** Brightness by ITU-R BT.601, rounded to a whole number. */
        fun greyOf(red: Int, green: Int, blue: Int): Int =
            (19595L * red + 38470L * green + 7471L * blue + 32768L shr 16).toInt()
    }
}

/**
 * The weighted means that make a line of [size] samples from one of [from].
 *
 * Sample i lies at i + 0.5. Its weights are a triangle, one source sample wide to either side where
 * the line grows, and as wide as the scale where it shrinks. They are those from `start[i]` to
 * `start[i + 1] - 1`, for the source samples from `first[i]` on.
 */
private class Taps(val from: Int, val size: Int) {
    val first = IntArray(size)
    val start = IntArray(size + 1)
    val weights: FloatArray

    init {
        val scale = from.toDouble() / size
        // A line that keeps its length is copied.
        val support = if (from == size) 0.5 else max(scale, 1.0)
        for (index in 0 until size) {
            val centre = (index + 0.5) * scale
            first[index] = max((centre - support + 0.5).toInt(), 0)
            val end = min((centre + support + 0.5).toInt(), from)
            start[index + 1] = start[index] + end - first[index]
        }
        weights = FloatArray(start[size])
        for (index in 0 until size) {
            val centre = (index + 0.5) * scale
            val count = start[index + 1] - start[index]
            val triangle = DoubleArray(count) {
                max(1.0 - abs(first[index] + it + 0.5 - centre) / support, 0.0)
            }
            val sum = triangle.sum()
            for (tap in 0 until count) weights[start[index] + tap] = (triangle[tap] / sum).toFloat()
        }
    }

    /** Makes the line that lies in [to] from [place] on of the one in [line] from [begin] on. */
    fun resize(line: FloatArray, begin: Int, to: FloatArray, place: Int) {
        for (index in 0 until size) {
            var sum = 0f
            var source = begin + first[index]
            for (tap in start[index] until start[index + 1]) sum += weights[tap] * line[source++]
            to[place + index] = sum
        }
    }

    /** The source sample of a weight of sample [index]. */
    fun source(index: Int, tap: Int): Int = first[index] + tap - start[index]
}

/** The taps of the size that was asked for last; pictures of a camera all have one size. */
private class LastTaps {
    @Volatile private var last: Taps? = null

    fun of(from: Int, size: Int): Taps =
        last?.takeIf { it.from == from && it.size == size } ?: Taps(from, size).also { last = it }
}
