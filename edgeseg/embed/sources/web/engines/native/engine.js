// The network itself, compiled to WebAssembly: there is no runtime to load.

import { loadChecked } from "./load.js";
import { openNetwork } from "./network.js";

// The smallest module with an instruction of relaxed SIMD, i8x16.relaxed_swizzle.
const RELAXED_MODULE = Uint8Array.of(
  ...[0, 97, 115, 109, 1, 0, 0, 0], // the head of a module
  ...[1, 5, 1, 96, 0, 1, 123], // a type: a function that gives a vector
  ...[3, 2, 1, 0], // a function of that type
  ...[10, 15, 1, 13, 0, 65, 0, 253, 15, 65, 0, 253, 15, 253, 128, 2, 11], // its code
);

/**
 * @param {URL} _ folder of the library, which other engines need
 * @param {object} model what model/model.json holds
 * @returns {Promise<{backend: string, run: (tensor: Float32Array) => Float32Array}>}
 */
export async function openEngine(_, model) {
  const isRelaxed = Boolean(model.files.relaxed) && WebAssembly.validate(RELAXED_MODULE);
  const chosen = isRelaxed ? model.files.relaxed : model.files.plain;
  const [library, weights] = await Promise.all(
    [chosen.library, chosen.weights].map((name) => loadChecked(model, name)),
  );
  const network = await openNetwork(library, weights);
  return {
    backend: isRelaxed ? "WebAssembly, relaxed SIMD" : "WebAssembly, SIMD",
    run: (tensor) => network.run(tensor),
  };
}
