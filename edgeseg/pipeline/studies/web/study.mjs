// Measures a kit from within its own site, and posts what it finds, a part at a time.

import { Camera } from "../camera.js";
import { open } from "../edgeseg/edgeseg.js";

const RUNS = 5; // of each photo
const WARM_UPS = 60;
const SETTLES_MS = 1500; // until the one who measures memory has read it
const REQUEST = await (await fetch("request.json")).json();

const post = (kind, content) =>
  fetch("report", { method: "POST", body: JSON.stringify({ kind, ...content }) });
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(found) {
  while (!found()) await pause(4);
}

async function load(name) {
  return (await fetch(name)).blob();
}

/** From opening the page to the first mask of a file, as a person would see it. */
async function openPage() {
  const [photo] = REQUEST.photos;
  const file = new File([await load(photo.file)], photo.file);
  const given = new DataTransfer();
  given.items.add(file);
  const frame = document.querySelector("#page");
  const find = (name) => frame.contentDocument?.querySelector(name);
  const start = performance.now();
  frame.src = "../index.html";
  await new Promise((resolve) => frame.addEventListener("load", resolve, { once: true }));
  find("#file").files = given.files;
  find("#file").dispatchEvent(new Event("change"));
  await until(() => find("#result") && !find("#result").hidden);
  const firstMaskMs = performance.now() - start;
  await until(() => !find("#offline").hidden);
  frame.remove();
  await post("opened", { first_mask_ms: firstMaskMs });
}

async function comparePhotos(network) {
  const flips = [];
  const times = [];
  for (const { file, labels } of REQUEST.photos) {
    const photo = await load(file);
    const wanted = new Uint8Array(await (await load(labels)).arrayBuffer());
    for (let run = 0; run < RUNS; run++) {
      const made = await network.segment(photo);
      times.push({ file, ...made.times });
      if (run > 0) continue;
      const differs = made.labels.length !== wanted.length;
      const count = made.labels.reduce((sum, label, i) => sum + (label === wanted[i] ? 0 : 1), 0);
      flips.push({ file, flips_per_10k: differs ? 10_000 : (10_000 * count) / wanted.length });
    }
  }
  await post("photos", { flips, times, backend: network.info.backend });
}

async function repeat(network) {
  const photo = await load(REQUEST.photos[0].file);
  const many = async (count) => {
    for (let run = 0; run < count; run++) await network.segment(photo);
    await post("memory", { inferences: count });
    await pause(SETTLES_MS);
  };
  await many(WARM_UPS);
  for (let block = 0; block < REQUEST.blocks; block++) await many(REQUEST.inferences);
}

async function film(network) {
  const camera = new Camera(network);
  const moments = [];
  const times = [];
  await camera.run((_, mask) => {
    moments.push(performance.now());
    times.push(mask.times);
    if (moments.length >= REQUEST.frames) camera.stop();
  });
  await post("camera", { frames: moments.length, ms: moments.at(-1) - moments[0], times });
}

try {
  await openPage();
  const network = await open();
  await comparePhotos(network);
  await repeat(network);
  await film(network);
  await post("end", {});
} catch (error) {
  await post("failed", { reason: error.message });
}
