// The golden image without a browser: node test/node_test.mjs

import { readFile } from "node:fs/promises";
import { Contract } from "../edgeseg/contract.mjs";
import { openNetwork } from "../edgeseg/network.mjs";
import { runGolden } from "./golden.mjs";

const read = async (name) => Uint8Array.from(await readFile(new URL(`../${name}`, import.meta.url)));
const readJson = async (name) => JSON.parse(new TextDecoder().decode(await read(name)));

const contract = new Contract(await readJson("edgeseg/model/contract.json"));
const { files } = await readJson("edgeseg/model/model.json");
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
