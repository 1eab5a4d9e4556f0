// Works through requests of the shared vectors: node run_vectors.mjs MODULE CONTRACT FOLDER
// See vectors.py for the files.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const [module, record, folder] = process.argv.slice(2);
const { Contract } = await import(module);
const contract = new Contract(JSON.parse(readFileSync(record, "utf8")));
const bytes = (name) => Uint8Array.from(readFileSync(join(folder, name)));
const write = (name, array) => writeFileSync(join(folder, name), new Uint8Array(array.buffer));

const probabilities = new Float32Array(bytes("probabilities.f32").buffer);
for (const line of readFileSync(join(folder, "requests.txt"), "utf8").trim().split("\n")) {
  const [name, ...sizes] = line.split(" ");
  const [height, width, channels, bits] = sizes.map(Number);
  const raw = bytes(`${name}.pixels`);
  const data = bits === 16 ? new Uint16Array(raw.buffer) : raw;
  write(`${name}.tensor`, contract.prepare({ data, width, height, channels }));
  write(`${name}.mask`, contract.restore(probabilities, width, height));
}
