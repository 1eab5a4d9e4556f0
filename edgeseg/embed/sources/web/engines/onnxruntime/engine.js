// ONNX Runtime Web on the processor.

import { loadChecked } from "./load.js";
import * as ort from "./runtime/ort.wasm.min.js";

/**
 * @param {URL} base folder of the library
 * @param {object} model what model/model.json holds
 * @returns {Promise<{backend: string, run: (tensor: Float32Array) => Promise<Float32Array>}>}
 */
export async function openEngine(base, model) {
  const place = (name) => new URL(`runtime/ort-wasm-simd-threaded.${name}`, base).href;
  ort.env.wasm.wasmPaths = { mjs: place("js"), wasm: place("wasm") };
  ort.env.wasm.numThreads = 1;
  const graph = await loadChecked(model, model.files.plain);
  const session = await ort.InferenceSession.create(graph, { executionProviders: ["wasm"] });
  const [input] = session.inputNames;
  const [output] = session.outputNames;
  return {
    backend: "ONNX Runtime Web, WebAssembly",
    async run(values) {
      const image = new ort.Tensor("float32", values, model.input_shape);
      const made = await session.run({ [input]: image });
      return made[output].data;
    },
  };
}
