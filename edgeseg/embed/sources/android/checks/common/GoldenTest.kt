package @PACKAGE@

import androidx.test.ext.junit.runners.AndroidJUnit4
import androidx.test.platform.app.InstrumentationRegistry
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith

/** Segments the golden picture on a phone, and compares the mask with Python's. */
@RunWith(AndroidJUnit4::class)
class GoldenTest {
    private val instrumentation = InstrumentationRegistry.getInstrumentation()

    @Test
    fun theGoldenPictureGivesTheGoldenMask() {
        val expected = bytes("labels.bin")
        Segmenter.open(instrumentation.targetContext).use { segmenter ->
            val found = segmenter.segment(goldenPicture())
            val flips = found.labels.indices.count { found.labels[it] != expected[it] }
            assertEquals("flips in 10,000", 0.0, flips * 1e4 / expected.size, @MAX_FLIPS@)
            assertEquals(expected.size, found.areas.sum())
        }
    }

    @Test
    fun theOverlayHasTheSizeOfThePhoto() {
        Segmenter.open(instrumentation.targetContext).use { segmenter ->
            val picture = goldenPicture().rotated(90)
            val overlay = segmenter.segment(picture).overlay()
            assertEquals(picture.width, overlay.width)
            assertEquals(picture.height, overlay.height)
        }
    }

    @Test
    fun aClosedSegmenterSaysSo() {
        val segmenter = Segmenter.open(instrumentation.targetContext)
        segmenter.close()
        segmenter.close()
        val error = assertThrows(IllegalStateException::class.java) {
            segmenter.segment(goldenPicture())
        }
        assertTrue(error.message.orEmpty().contains("Open another one"))
    }

    private fun goldenPicture(): Picture {
        val samples = bytes("image.bin")
        val bands = @CHANNELS@
        val argb = IntArray(@GOLDEN_WIDTH@ * @GOLDEN_HEIGHT@) { pixel ->
            (0..2).fold(255) { colour, band ->
                val sample = samples[pixel * bands + band % bands].toInt() and 255
                (colour shl 8) or sample
            }
        }
        return Picture(argb, @GOLDEN_WIDTH@, @GOLDEN_HEIGHT@)
    }

    private fun bytes(name: String): ByteArray =
        instrumentation.context.assets.open(name).use { it.readBytes() }
}
