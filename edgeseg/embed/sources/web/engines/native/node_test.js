// The golden image without a browser: node test/node_test.js

import { readFile } from "node:fs/promises";
import { Contract } from "../edgeseg/contract.js";
import { openNetwork } from "../edgeseg/network.js";
import { runGolden } from "./golden.js";

const read = async (name) => Uint8Array.from(await readFile(new URL(`../${name}`, import.meta.url)));
const readJson = async (name) => JSON.parse(new TextDecoder().decode(await read(name)));

const { files } = await readJson("edgeseg/model/model.json");
const contract = new Contract(await readJson(`edgeseg/model/${files.contract}`));
const [library, weights] = await Promise.all(
  [files.plain.library, files.plain.weights].map((name) => read(`edgeseg/model/${name}`)),
);
const network = await openNetwork(library, weights);
const segmenter = {
  segment(pixels) {
    const tensor = contract.prepare(pixels);
    const start = performance.now();
    const probabilities = network.run(tensor);
    const infer = performance.now() - start;
    const labels = contract.restore(probabilities, pixels.width, pixels.height);
    return { labels, probabilities, times: { infer } };
  },
};
const result = await runGolden(segmenter, async (name) => (await read(`golden/${name}`)).buffer);
const backend = `node ${process.version}, WebAssembly`;
console.log(JSON.stringify({ ...result, backend }));
process.exitCode = result.passed ? 0 : 1;
