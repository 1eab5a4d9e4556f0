// Runs a compiled network in WebAssembly: node run_network.mjs MODULE WASM WEIGHTS IMAGE MASK
// IMAGE and MASK are raw floats.
import { readFileSync, writeFileSync } from "node:fs";

const [module, wasm, weights, image, mask] = process.argv.slice(2);
const { openNetwork } = await import(module);
const network = await openNetwork(readFileSync(wasm), readFileSync(weights));
const { buffer, byteOffset, length } = readFileSync(image);
const made = network.run(new Float32Array(buffer.slice(byteOffset, byteOffset + length)));
writeFileSync(mask, new Uint8Array(made.buffer, made.byteOffset, made.byteLength));
