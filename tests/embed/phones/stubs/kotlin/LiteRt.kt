// What the kit calls of LiteRT 2.3. A run checks the input tensor against the file of the property
// "tensor", and gives the probabilities of the file of the property "probabilities".
package com.google.ai.edge.litert

import android.content.res.AssetManager
import java.io.File
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs

enum class Accelerator { CPU, GPU, NPU }

class LiteRtException(message: String) : Exception(message)

abstract class JniHandle : AutoCloseable {
    private var isOpen = true

    protected fun assertNotDestroyed() = check(isOpen) { "it is destroyed" }

    override fun close() {
        assertNotDestroyed()
        isOpen = false
    }
}

class TensorBuffer internal constructor(internal var values: FloatArray) : JniHandle() {
    fun writeFloat(data: FloatArray) {
        assertNotDestroyed()
        values = data.copyOf()
    }

    fun readFloat(): FloatArray {
        assertNotDestroyed()
        return values.copyOf()
    }
}

class Environment

class CompiledModel private constructor() : JniHandle() {
    data class CpuOptions(
        val numThreads: Int? = null,
        val xnnPackFlags: Int? = null,
        val xnnPackWeightCachePath: String? = null,
    )

    class Options(internal vararg val accelerators: Accelerator) {
        var cpuOptions: CpuOptions? = null
    }

    @Throws(LiteRtException::class)
    @JvmOverloads
    fun createInputBuffers(signatureIndex: Int = 0): List<TensorBuffer> =
        List(1 + signatureIndex) { TensorBuffer(FloatArray(0)) }

    @Throws(LiteRtException::class)
    @JvmOverloads
    fun createOutputBuffers(signatureIndex: Int = 0): List<TensorBuffer> =
        List(1 + signatureIndex) { TensorBuffer(FloatArray(0)) }

    @Throws(LiteRtException::class)
    @JvmOverloads
    fun run(inputs: List<TensorBuffer>, outputs: List<TensorBuffer>, signatureIndex: Int = 0) {
        assertNotDestroyed()
        val expected = floats("tensor")
        val given = inputs[signatureIndex].values
        if (given.size != expected.size) throw LiteRtException("${given.size} values are given")
        val worst = given.indices.maxOf { abs(given[it] - expected[it]) }
        if (System.getProperty("exact") != null && worst > 1e-2) {
            throw LiteRtException("the tensor is off by $worst")
        }
        outputs[signatureIndex].values = floats("probabilities")
    }

    private fun floats(property: String): FloatArray {
        val bytes = File(System.getProperty(property)).readBytes()
        val values = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
        return FloatArray(values.remaining()).also { values.get(it) }
    }

    companion object {
        @Throws(LiteRtException::class)
        @JvmOverloads
        @JvmStatic
        fun create(
            assetManager: AssetManager,
            assetName: String,
            options: Options = Options(Accelerator.CPU),
            optionalEnv: Environment? = null,
        ): CompiledModel {
            check(options.accelerators.toList() == listOf(Accelerator.CPU) && optionalEnv == null)
            try {
                assetManager.open(assetName).close()
            } catch (error: IOException) {
                throw LiteRtException("there is no $assetName")
            }
            return CompiledModel()
        }
    }
}
