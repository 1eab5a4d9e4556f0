// LiteRT.js on the processor: the path that was compared with Python.

import { loadChecked } from "./load.js";
import { loadAndCompile, loadLiteRt, Tensor } from "./runtime/litert.js";

/**
 * @param {URL} base folder of the library
 * @param {object} model what model/model.json holds
 * @returns {Promise<{backend: string, run: (tensor: Float32Array) => Promise<Float32Array>}>}
 */
export async function openEngine(base, model) {
  const wasm = new URL("runtime/wasm/", base);
  // In a worker its loader would look for the .wasm beside the worker's own file, and what it has
  // to say of itself would count as errors.
  self.Module = {
    locateFile: (name) => new URL(name, wasm).href,
    printErr: (line) => console.debug(line),
  };
  // Given a folder it would take the form with relaxed SIMD, which is not here: where both were
  // measured (Chromium 156 on x86-64), that took 2.5 times as long.
  await loadLiteRt(new URL("litert_wasm_compat_internal.js", wasm).href);
  const network = await loadAndCompile(await loadChecked(model, model.files.plain), {
    accelerator: "wasm",
    cpuOptions: { numThreads: 1 },
  });
  return {
    backend: "LiteRT.js, WebAssembly",
    // Every tensor is memory of WebAssembly, which nobody but delete() gives back.
    async run(values) {
      const image = new Tensor(values, model.input_shape);
      try {
        const outputs = await network.run([image]);
        try {
          return Float32Array.from(await outputs[0].data());
        } finally {
          outputs.forEach((output) => output.delete());
        }
      } finally {
        image.delete();
      }
    },
  };
}
