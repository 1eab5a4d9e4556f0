package edgeseg.sampleapp

import @PACKAGE@.Picture
import @PACKAGE@.Segmentation
import @PACKAGE@.Segmenter
import @PACKAGE@.readPicture
import android.app.Activity
import android.content.Intent
import android.graphics.Bitmap
import android.net.Uri
import android.os.Bundle
import android.widget.Button
import android.widget.FrameLayout
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.TextView
import java.util.concurrent.Executors

private const val CHOOSE = 1

/** One screen: choose a photo, and see the mask on it. */
class SampleActivity : Activity() {
    // The only thread that touches the segmenter.
    private val background = Executors.newSingleThreadExecutor()
    private var segmenter: Segmenter? = null

    private lateinit var photo: ImageView
    private lateinit var mask: ImageView
    private lateinit var report: TextView

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        photo = ImageView(this)
        mask = ImageView(this)
        report = TextView(this).apply { text = "This is not a medical device." }
        val choose = Button(this).apply {
            text = "Choose a photo"
            setOnClickListener { choosePhoto() }
        }
        val pictures = FrameLayout(this).apply {
            addView(photo)
            addView(mask) // of the photo's size, so that both are scaled alike
        }
        setContentView(
            LinearLayout(this).apply {
                orientation = LinearLayout.VERTICAL
                fitsSystemWindows = true
                addView(choose)
                addView(report)
                addView(pictures)
            }
        )
    }

    private fun choosePhoto() {
        val intent = Intent(Intent.ACTION_GET_CONTENT).setType("image/*")
        startActivityForResult(intent, CHOOSE)
    }

    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        super.onActivityResult(requestCode, resultCode, data)
        val uri = data?.data
        if (requestCode == CHOOSE && resultCode == RESULT_OK && uri != null) segment(uri)
    }

    private fun segment(uri: Uri) {
        report.text = "Working"
        background.execute {
            val result = runCatching {
                val open = segmenter ?: Segmenter.open(this).also { segmenter = it }
                val picture = contentResolver.readPicture(uri)
                picture to open.segment(picture)
            }
            runOnUiThread {
                result
                    .onSuccess { (picture, found) -> show(picture, found) }
                    .onFailure { report.text = it.message ?: it.toString() }
            }
        }
    }

    private fun show(picture: Picture, found: Segmentation) {
        val config = Bitmap.Config.ARGB_8888
        photo.setImageBitmap(
            Bitmap.createBitmap(picture.argb, picture.width, picture.height, config)
        )
        mask.setImageBitmap(found.overlay())
        val areas = found.classes.indices.drop(1).joinToString("\n") { label ->
            val percent = "%.1f".format(100 * found.share(label))
            "${found.classes[label]}: $percent %, ${found.areas[label]} pixels"
        }
        val milliseconds = "%.0f".format(found.times.totalMs)
        report.text = "$areas\n$milliseconds ms. This is not a medical device."
        mask.contentDescription = areas
    }

    override fun onDestroy() {
        background.execute { segmenter?.close() }
        background.shutdown()
        super.onDestroy()
    }
}
