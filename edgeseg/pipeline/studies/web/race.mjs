// Networks in WebAssembly take turns, on one thread: node race.mjs REQUEST
// REQUEST is a JSON file: networks ({name, library, weights}), module, onnx, runtime, image, rounds.
// Prints JSON: milliseconds of each, and by how much a probability differs from the runtime's.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const WARM_UP = 5;
const request = JSON.parse(readFileSync(process.argv[2], "utf8"));
const bytes = readFileSync(request.image);
const image = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
const { openNetwork } = await import(pathToFileURL(request.module));
const ort = await import(pathToFileURL(request.runtime));
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";
const session = await ort.InferenceSession.create(readFileSync(request.onnx), {
  executionProviders: ["wasm"],
});
const participants = {
  "onnxruntime-web": async () => {
    const tensor = new ort.Tensor("float32", image, request.shape);
    const made = await session.run({ [session.inputNames[0]]: tensor });
    return made[session.outputNames[0]].data;
  },
};
for (const { name, library, weights } of request.networks) {
  const network = await openNetwork(readFileSync(library), readFileSync(weights));
  participants[name] = async () => network.run(image);
}
const times = {};
const masks = {};
for (const [name, run] of Object.entries(participants)) {
  for (let count = 0; count < WARM_UP; ++count) masks[name] = Float32Array.from(await run());
  times[name] = [];
}
for (let round = 0; round < request.rounds; ++round) {
  for (const [name, run] of Object.entries(participants)) {
    const start = performance.now();
    await run();
    times[name].push(performance.now() - start);
  }
}
const wanted = masks["onnxruntime-web"];
const differences = Object.fromEntries(
  Object.entries(masks).map(([name, mask]) => [
    name,
    mask.reduce((most, value, index) => Math.max(most, Math.abs(value - wanted[index])), 0),
  ]),
);
const flips = Object.fromEntries(
  Object.entries(masks).map(([name, mask]) => [
    name,
    mask.filter((value, index) => value >= 0.5 !== wanted[index] >= 0.5).length,
  ]),
);
console.log(JSON.stringify({ version: ort.env.versions.web, times, differences, flips }));
process.exit(0);
