// The page: pictures come in by a file, a drop, a paste or the camera; masks come out.

import { Camera } from "./camera.js";
import { open } from "./edgeseg/edgeseg.js";
import { keepOffline, onNewKit, startKeeping } from "./offline.js";
import { pngOfMask } from "./png.js";
import { colorOf, View } from "./view.js";

const find = (name) => document.querySelector(`#${name}`);
const view = new View(find("picture"));
const whole = new Intl.NumberFormat("en");
const MOST_LISTED = 8; // classes that are listed whether they are in the picture or not
const LONG_NAME = 16; // letters: a longer name gets a line of its own
const state = { turn: 0, mask: undefined, name: "", frames: 0, firstMaskMs: undefined, faults: [] };

document.documentElement.dataset.started = "yes"; // start.js has nothing to tell then

tell();
find("backend").textContent = "Loading";

let network;
let camera;
const opening = start();

async function start() {
  const keeping = startKeeping();
  try {
    await keeping.catch(() => undefined); // the page works without
    network = await open();
  } catch (error) {
    find("backend").textContent = "Not loaded";
    const failure = new Error(`The network cannot be opened: ${error.message}`);
    tell(failure.message);
    throw failure;
  }
  const { backend, name, identity, precision } = network.info;
  find("backend").textContent = backend;
  document.querySelector("h1").textContent = name; // the page may be older than the network
  find("identity").textContent = identity;
  const isRounded = precision === "int8" && network.info.runtime === "native";
  find("precision").textContent = `· ${precision.toUpperCase()}${isRounded ? ", in floats" : ""}`;
  camera = new Camera(network);
  keeping
    .then(() => keepOffline([...loadedHere(), ...network.info.files]))
    .then((isKept) => (find("offline").hidden = !isKept))
    .catch(() => undefined);
  return network;
}

function loadedHere() {
  return performance.getEntriesByType("resource").map((entry) => entry.name);
}

/** Show a message, or take it away. */
function tell(text = "") {
  find("message").textContent = text;
  find("message").hidden = text === "";
  if (text) state.faults = [...state.faults.slice(-9), text];
}

/** Segment a picture; the last one that was given is shown. */
async function take(source, name) {
  camera?.stop();
  const turn = ++state.turn;
  tell();
  find("busy").hidden = false;
  try {
    await opening;
    const mask = await network.segment(source, { picture: true });
    const { picture } = mask;
    if (turn === state.turn) {
      show(picture, mask, name);
      speak(mask);
    }
    picture.close();
  } catch (error) {
    if (turn === state.turn) tell(error.message);
  } finally {
    if (turn === state.turn) find("busy").hidden = true;
  }
}

function show(picture, mask, name) {
  if (find("empty").contains(document.activeElement)) find("file").focus(); // that goes away
  find("empty").hidden = true;
  find("intro").hidden = true;
  find("picture").hidden = false;
  find("result").hidden = false;
  view.show(picture, mask);
  state.firstMaskMs ??= performance.now();
  state.mask = { ...mask, picture: undefined };
  state.name = name;
  find("photo").setAttribute("aria-label", `${name}, ${mask.width} by ${mask.height} pixels`);
  find("legend").replaceChildren(...listed(mask.areas).map(legendOf));
  for (const cell of find("times").querySelectorAll("[data-time]")) {
    cell.textContent = `${mask.times[cell.dataset.time].toFixed(1)} ms`;
  }
}

/** What the list shows: of many classes those that were found, the largest first. */
function listed(areas) {
  const all = areas.map((area, label) => ({ ...area, label })).slice(1);
  if (all.length <= MOST_LISTED) return all;
  return all.filter(({ pixels }) => pixels > 0).sort((a, b) => b.pixels - a.pixels);
}

function legendOf({ name, pixels, percent, label }) {
  const item = document.createElement("li");
  item.classList.toggle("long", name.length > LONG_NAME);
  const part = (kind, text) =>
    Object.assign(document.createElement("span"), { className: kind, textContent: text });
  const swatch = part("swatch", "");
  swatch.style.backgroundColor = colorOf(label);
  item.append(
    swatch,
    part("name", name),
    part("pixels", `${whole.format(pixels)} px`),
    part("percent", `${percent.toFixed(percent < 10 ? 2 : 1)} %`),
  );
  return item;
}

/** Say the result to who does not see it. */
function speak({ areas, times }) {
  const parts = listed(areas).map(({ name, pixels, percent }) =>
    pixels === 0
      ? `no ${name}`
      : `${name}: ${whole.format(pixels)} pixels, ${percent.toFixed(1)} percent`,
  );
  if (parts.length === 0) parts.push("Nothing was found");
  find("spoken").textContent = `${parts.join("; ")}. ${times.infer.toFixed(0)} milliseconds.`;
}

async function toggleCamera() {
  const button = find("camera");
  if (button.getAttribute("aria-pressed") === "true") {
    camera?.stop();
    return;
  }
  const turn = ++state.turn;
  tell();
  button.setAttribute("aria-pressed", "true");
  button.textContent = "Stop";
  const recent = [];
  state.frames = 0;
  try {
    await opening;
    await camera.run((frame, mask) => {
      show(frame, mask, "Camera");
      state.frames += 1;
      recent.push(performance.now());
      if (recent.length > 20) recent.shift();
      const rate = (1000 * (recent.length - 1)) / (recent.at(-1) - recent[0] || Infinity);
      find("live").textContent = `${rate.toFixed(0)} frames a second`;
      find("live").hidden = false;
    });
    if (state.mask && turn === state.turn) speak(state.mask);
  } catch (error) {
    tell(error.message);
  } finally {
    button.setAttribute("aria-pressed", "false");
    button.textContent = "Camera";
    find("live").hidden = true;
  }
}

/** The example is kept once it was used: without a network there may be none. */
async function offerExample() {
  const isThere = navigator.onLine || (await window.caches?.match("golden/image.bin"));
  find("example").hidden = !isThere;
}

/** The image that the kit was checked with. */
async function takeExample() {
  try {
    const answers = await Promise.all(
      ["golden.json", "image.bin"].map((name) => fetch(`golden/${name}`)),
    );
    if (!answers.every((answer) => answer.ok)) throw new Error("it is not there");
    const { width, height, channels } = (await answers[0].json()).image;
    const values = new Uint8Array(await answers[1].arrayBuffer());
    const image = new ImageData(width, height);
    const last = channels - 1;
    for (let i = 0, from = 0; i < image.data.length; i += 4, from += channels) {
      for (let c = 0; c < 3; c++) image.data[i + c] = values[from + Math.min(c, last)];
      image.data[i + 3] = 255;
    }
    await take(await createImageBitmap(image), "Example");
  } catch {
    tell("The example could not be loaded. Choose a picture instead.");
  }
}

async function save() {
  const { mask, name } = state;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await pngOfMask(mask, network.info.classes.length));
  link.download = `${name.replace(/\.[^.]*$/, "") || "picture"}-mask.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** What helps to find a fault: no picture and no mask is in it. */
function diagnose() {
  const { mask } = state;
  return {
    kit: network && { ...network.info, files: network.info.files.length },
    last: mask && {
      width: mask.width,
      height: mask.height,
      areas: mask.areas,
      times_ms: mask.times,
    },
    first_mask_ms: state.firstMaskMs,
    camera_frames: state.frames,
    offline: !find("offline").hidden,
    faults: state.faults,
    browser: navigator.userAgent,
    cores: navigator.hardwareConcurrency,
    memory_gb: navigator.deviceMemory,
    screen: [window.screen.width, window.screen.height, window.devicePixelRatio],
    secure: window.isSecureContext,
  };
}

async function copyDiagnostics() {
  const text = JSON.stringify(diagnose(), null, 2);
  const button = find("diagnostics");
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
    find("spoken").textContent = "Diagnostics copied.";
    setTimeout(() => (button.textContent = "Diagnostics"), 2000);
  } catch {
    find("report-text").value = text; // the clipboard needs https and leave: show it to be copied
    find("report").showModal();
    find("report-text").select();
  }
}

function pictureIn(transfer) {
  return [...(transfer?.files ?? [])][0];
}

function takeChosen() {
  const [file] = find("file").files;
  if (file) take(file, file.name);
  find("file").value = ""; // the same file can be chosen again
}

find("file").addEventListener("change", takeChosen);
find("camera").addEventListener("click", toggleCamera);
find("example").addEventListener("click", takeExample);
find("save").addEventListener("click", save);
find("diagnostics").addEventListener("click", copyDiagnostics);
find("opacity").addEventListener("input", ({ target }) => (view.opacity = target.value / 100));
find("outlined").addEventListener("change", ({ target }) => (view.outlined = target.checked));

document.addEventListener("visibilitychange", () => document.hidden && camera?.stop());
document.addEventListener("paste", ({ clipboardData }) => {
  const file = pictureIn(clipboardData);
  if (file) take(file, file.name);
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  find("stage").classList.add("over");
});
document.addEventListener("dragleave", () => find("stage").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  find("stage").classList.remove("over");
  const file = pictureIn(event.dataTransfer);
  if (file) take(file, file.name);
  else tell("What was dropped is no file. Drop a picture.");
});

onNewKit(() => {
  // Where a file of this kit was gone already, nothing is lost.
  if (find("backend").textContent === "Not loaded") location.reload();
  else tell("A newer version is here. Load the page anew to use it.");
});
offerExample();
for (const change of ["online", "offline"]) window.addEventListener(change, offerExample);
takeChosen(); // what was chosen before this code was there
opening.catch(() => undefined); // was told
