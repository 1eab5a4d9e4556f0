package @PACKAGE@

import org.junit.Assert.assertEquals
import org.junit.Test
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs
import kotlin.math.max

/** Compares the contract with what Python computed; runs without a phone. */
class ContractTest {
    private val contract = Contract(NETWORK)

    @Test
    fun aPictureBecomesTheTensor() {
        val expected = floats("tensor.bin")
        val image = bytes("image.bin")
        val tensor = contract.prepare(image, @GOLDEN_WIDTH@, @GOLDEN_HEIGHT@, @CHANNELS@)
        val scale = max(1f, expected.maxOf { abs(it) })
        val worst = tensor.indices.maxOf { abs(tensor[it] - expected[it]) }
        assertEquals("largest difference", 0f, worst / scale, 1e-5f)
    }

    @Test
    fun probabilitiesBecomeTheLabels() {
        val labels = contract.restore(floats("probabilities.bin"), @GOLDEN_WIDTH@, @GOLDEN_HEIGHT@)
        val expected = bytes("labels.bin")
        val flips = labels.indices.count { labels[it] != expected[it] }
        assertEquals("flips in 10,000", 0.0, flips * 1e4 / labels.size, 1.0)
    }

    private fun bytes(name: String): ByteArray =
        checkNotNull(javaClass.getResourceAsStream("/$name")) { "$name is missing" }
            .use { it.readBytes() }

    private fun floats(name: String): FloatArray {
        val values = ByteBuffer.wrap(bytes(name)).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
        return FloatArray(values.remaining()).also { values.get(it) }
    }
}
