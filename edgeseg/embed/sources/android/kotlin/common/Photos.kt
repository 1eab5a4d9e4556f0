package @PACKAGE@

import android.content.ContentResolver
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.ImageDecoder
import android.media.ExifInterface
import android.net.Uri
import android.os.Build
import androidx.annotation.RequiresApi
import java.io.IOException
import java.nio.IntBuffer

/**
 * The colours of a bitmap as they were decoded.
 *
 * `Bitmap.getPixels` would convert them to sRGB, which the network was not trained with.
 */
fun Bitmap.toPicture(): Picture {
    // Others, such as those that lie on the graphics chip, cannot be read.
    val wanted = Bitmap.Config.ARGB_8888
    val readable = if (config == wanted) this else copy(wanted, false)
    val pixels = IntArray(width * height)
    readable.copyPixelsToBuffer(IntBuffer.wrap(pixels))
    val isMultiplied = readable.isPremultiplied && readable.hasAlpha()
    for (index in pixels.indices) {
        val abgr = pixels[index] // bytes in memory: red, green, blue, alpha
        val alpha = abgr ushr 24
        var red = abgr and 255
        var green = abgr shr 8 and 255
        var blue = abgr shr 16 and 255
        if (isMultiplied && alpha in 1..254) {
            red = (red * 255 + alpha / 2) / alpha
            green = (green * 255 + alpha / 2) / alpha
            blue = (blue * 255 + alpha / 2) / alpha
        }
        pixels[index] = alpha shl 24 or (red shl 16) or (green shl 8) or blue
    }
    return Picture(pixels, width, height)
}

/**
 * Reads a photo, upright as its EXIF orientation says.
 *
 * @throws IOException where there is no picture that this phone can decode, or its sides are longer
 *   than [Picture.LONGEST_SIDE].
 */
@Throws(IOException::class)
fun ContentResolver.readPicture(uri: Uri): Picture =
    if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.P) decode(uri) else decodeOnOldPhones(uri)

@RequiresApi(Build.VERSION_CODES.P)
private fun ContentResolver.decode(uri: Uri): Picture =
    ImageDecoder.decodeBitmap(ImageDecoder.createSource(this, uri)) { decoder, info, _ ->
        requireSides(info.size.width, info.size.height) // before memory is taken for it
        decoder.allocator = ImageDecoder.ALLOCATOR_SOFTWARE
        decoder.isUnpremultipliedRequired = true // colours under transparent pixels count, too
    }.toPicture() // ImageDecoder has turned it already

private fun ContentResolver.decodeOnOldPhones(uri: Uri): Picture {
    val bounds = BitmapFactory.Options().apply { inJustDecodeBounds = true }
    open(uri).use { BitmapFactory.decodeStream(it, null, bounds) }
    requireSides(bounds.outWidth, bounds.outHeight)
    val options = BitmapFactory.Options().apply { inPremultiplied = false }
    val bitmap = open(uri).use { BitmapFactory.decodeStream(it, null, options) }
        ?: throw IOException("$uri is no picture that this phone can decode. Choose another file.")
    val orientation = open(uri).use { stream ->
        ExifInterface(stream).getAttributeInt(
            ExifInterface.TAG_ORIENTATION, ExifInterface.ORIENTATION_NORMAL
        )
    }
    return bitmap.toPicture().upright(orientation)
}

private fun requireSides(width: Int, height: Int) {
    if (maxOf(width, height) > Picture.LONGEST_SIDE) {
        throw IOException(
            "A picture has sides of up to ${Picture.LONGEST_SIDE}, not $width x $height. " +
                "Make it smaller."
        )
    }
}

private fun ContentResolver.open(uri: Uri) =
    openInputStream(uri) ?: throw IOException("$uri cannot be opened. Ask for it again.")
