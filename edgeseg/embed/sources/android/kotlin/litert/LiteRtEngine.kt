package @PACKAGE@

import android.content.Context
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import com.google.ai.edge.litert.LiteRtException
import java.io.IOException

/** Threads of a picture. More than the phone's fast cores make it slower. */
private const val THREADS = 1

internal fun openEngine(context: Context): Engine {
    // The processor, since a GPU computes with less precision: its masks were not compared.
    val options = CompiledModel.Options(Accelerator.CPU)
    options.cpuOptions = CompiledModel.CpuOptions(numThreads = THREADS)
    try {
        return LiteRtEngine(CompiledModel.create(context.assets, MODEL_ASSET, options))
    } catch (error: LiteRtException) {
        throw IOException("LiteRT does not load $MODEL_ASSET. Copy the module again.", error)
    }
}

/** Runs the network with LiteRT; the contract is [Contract]'s. */
private class LiteRtEngine(private val model: CompiledModel) : Engine {
    private val contract = Contract(NETWORK)
    private val inputs = model.createInputBuffers()
    private val outputs = model.createOutputBuffers()

    override fun segment(picture: Picture): Segmentation {
        val start = System.nanoTime()
        val tensor = contract.prepare(picture.argb, picture.width, picture.height)
        val prepared = millisecondsSince(start)
        inputs[0].writeFloat(tensor)
        model.run(inputs, outputs)
        val probabilities = outputs[0].readFloat()
        val computed = millisecondsSince(start)
        val labels = contract.restore(probabilities, picture.width, picture.height)
        val total = millisecondsSince(start)
        val times = Times(prepared, computed - prepared, total - computed, total)
        return Segmentation(labels, picture.width, picture.height, NETWORK.classes, times)
    }

    override fun close() {
        (inputs + outputs).forEach { it.close() }
        model.close()
    }
}
