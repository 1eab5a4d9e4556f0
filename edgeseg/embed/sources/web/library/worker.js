// Decodes, prepares, runs and restores, away from the page.
//
// A classic worker, as some runtimes load their code with importScripts; modules are imported
// dynamically.
"use strict";

const HERE = new URL("./", self.location.href);
const WARM_UP_RUNS = 3;
const SIGN_MS = 1000; // between two signs that this worker lives
let opened; // a promise of the network
let queue = Promise.resolve(); // one picture after the other

async function open() {
  const modules = ["contract", "engine", "picture", "load"].map((name) => import(`./${name}.js`));
  const [{ Contract }, { openEngine }, picture, { loadChecked, loadModel }] =
    await Promise.all(modules);
  const model = await loadModel();
  const [contract, engine] = await Promise.all([
    loadChecked(model, model.files.contract),
    openEngine(HERE, model),
  ]);
  const record = JSON.parse(new TextDecoder().decode(contract));
  return { contract: new Contract(record), engine, picture, model };
}

/** Let the browser compile what runs often, while nobody waits for a mask. */
async function warmUp() {
  const { contract, engine } = await opened;
  const { width, height } = contract.input;
  const blank = { data: new Uint8Array(4 * width * height), width, height, channels: 4 };
  for (let run = 0; run < WARM_UP_RUNS; run++) {
    const probabilities = await engine.run(contract.prepare(blank));
    contract.restore(probabilities, width, height);
  }
}

async function describe() {
  const { contract, engine, model } = await opened;
  const files = performance.getEntriesByType("resource").map((entry) => entry.name);
  return { ...model, classes: contract.output.classes, backend: engine.backend, files };
}

async function segment({ source, wanted }) {
  const { contract, engine, picture } = await opened;
  const times = {};
  const timed = async (name, step) => {
    const start = performance.now();
    const result = await step();
    times[name] = performance.now() - start;
    return result;
  };
  const decoded = await timed("decode", () => picture.decode(source));
  try {
    const { width, height } = decoded;
    const tensor = await timed("prepare", () => picture.prepare(contract, decoded));
    const probabilities = await timed("infer", () => engine.run(tensor));
    const labels = await timed("restore", () => contract.restore(probabilities, width, height));
    const areas = areasOf(labels, contract.output.classes);
    const result = { labels, width, height, areas, times };
    const transfer = [labels.buffer];
    if (wanted.probabilities) result.probabilities = contract.planes(probabilities).slice();
    if (wanted.picture && decoded.bitmap) {
      result.picture = decoded.bitmap;
      transfer.push(decoded.bitmap);
      decoded.bitmap = undefined;
    }
    return { result, transfer };
  } finally {
    decoded.bitmap?.close();
  }
}

function areasOf(labels, classes) {
  const counts = new Float64Array(256);
  for (let i = 0; i < labels.length; i++) counts[labels[i]]++;
  return classes.map((name, index) => ({
    name,
    pixels: counts[index],
    percent: (100 * counts[index]) / labels.length,
  }));
}

async function answer(request) {
  if (request.kind === "open") {
    opened ??= open();
    return { result: await describe(), transfer: [] };
  }
  return segment(request);
}

self.onmessage = ({ data }) => {
  queue = queue.then(async () => {
    const signs = setInterval(() => self.postMessage({}), SIGN_MS);
    try {
      const { result, transfer } = await answer(data);
      self.postMessage({ id: data.id, result }, transfer);
      if (data.kind === "open") await warmUp().catch(() => undefined); // a picture tells of faults
    } catch (error) {
      const code = typeof error.code === "string" ? error.code : "network"; // DOM's are numbers
      self.postMessage({ id: data.id, error: { message: error.message, code } });
    } finally {
      clearInterval(signs);
    }
  });
};
