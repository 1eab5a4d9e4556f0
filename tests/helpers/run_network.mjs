// Runs a compiled network in WebAssembly: node run_network.mjs WASM WEIGHTS IMAGE MASK [RUNS]
// IMAGE and MASK are raw floats. With RUNS, prints milliseconds of each run.
import { readFileSync, writeFileSync } from "node:fs";

const [wasm, weightsPath, imagePath, maskPath, runs] = process.argv.slice(2);
const { instance } = await WebAssembly.instantiate(readFileSync(wasm), {});
const network = instance.exports;
let end = network.__heap_base.value;
const reserve = (bytes) => {
  const place = Math.ceil(end / 64) * 64;
  end = place + bytes;
  const missing = end - network.memory.buffer.byteLength;
  if (missing > 0) network.memory.grow(Math.ceil(missing / 65536));
  return place;
};
const put = (content) => {
  const place = reserve(content.length);
  new Uint8Array(network.memory.buffer, place, content.length).set(content);
  return place;
};
const check = (code) => {
  if (code) throw new Error(`code ${code}`);
};
const weights = readFileSync(weightsPath);
const weightsPlace = put(weights);
const image = put(readFileSync(imagePath));
const sizes = reserve(24);
network.edgeseg_sizes(sizes, sizes + 12);
const [channels, height, width] = new Int32Array(network.memory.buffer, sizes + 12, 3);
const maskBytes = 4 * channels * height * width;
const mask = reserve(maskBytes);
const memory = reserve(network.edgeseg_memory_bytes(1));
const handle = reserve(4);
check(network.edgeseg_create(memory, network.edgeseg_memory_bytes(1), 1, weightsPlace, weights.length, handle));
const pointer = new Int32Array(network.memory.buffer, handle, 1)[0];
const times = [];
for (let run = 0; run < Number(runs ?? 1); ++run) {
  const start = performance.now();
  check(network.edgeseg_run(pointer, image, mask));
  times.push(performance.now() - start);
}
writeFileSync(maskPath, new Uint8Array(network.memory.buffer, mask, maskBytes));
if (runs) console.log(JSON.stringify(times));
