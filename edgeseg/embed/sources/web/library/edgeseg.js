// Masks of pictures, computed in this browser. All work happens in a worker.
//
//     import { open } from "./edgeseg/edgeseg.js";
//     const network = await open();
//     const { labels, width, height, areas } = await network.segment(file);

const PATIENCE_MS = 30_000; // a worker that lives gives a sign each second, between two steps
const LATE_MS = 1000; // an alarm that comes so late says nothing of the worker

/**
 * Why there is no mask: the only error that this module gives.
 *
 * `code` is "picture" (what was given is none, or cannot be decoded), "too-large", "network" (a
 * file is missing or damaged, or this browser cannot run it), "worker" (it has ended or does not
 * answer; the next call starts another), or "closed".
 */
export class SegmentationError extends Error {
  constructor(message, code) {
    super(message);
    this.name = "SegmentationError";
    this.code = code;
  }
}

/**
 * @typedef {object} Mask
 * @property {Uint8Array} labels height * width indices into `classes`, row by row
 * @property {number} width of the upright picture
 * @property {number} height of the upright picture
 * @property {{name: string, pixels: number, percent: number}[]} areas one for each class
 * @property {{decode: number, prepare: number, infer: number, restore: number}} times in ms
 * @property {Float32Array} [probabilities] at the network's size, one plane for each channel, where
 *   they were asked for
 * @property {ImageBitmap} [picture] the decoded picture, where it was asked for; close it
 */

/**
 * Load the network.
 *
 * @param {string | URL} [base] folder of this file, where it lies on another path of the site
 * @param {{patience?: number}} [options] milliseconds without a sign of the worker, 30,000 unless
 *   told, after which it counts as dead
 * @returns {Promise<Network>}
 * @throws {SegmentationError} a file is missing, or this browser cannot run the network
 */
export async function open(base = new URL("./", import.meta.url), { patience = PATIENCE_MS } = {}) {
  const network = new Network(new URL("worker.js", base), patience);
  try {
    network.info = await network.ask("open", {});
  } catch (error) {
    network.close();
    throw error;
  }
  return network;
}

/** A network that was opened. `info` says what it is and what computes it. */
class Network {
  #address;
  #patience;
  #worker; // none after a failure: the next request starts one
  #waiting = new Map();
  #count = 0;
  #isClosed = false;
  #alarm;

  constructor(address, patience) {
    this.#address = address;
    this.#patience = patience;
  }

  /**
   * The mask of a picture, at the picture's own size. Calls are answered one after the other.
   *
   * @param {Blob | ImageBitmap | ImageData | HTMLVideoElement | HTMLCanvasElement |
   *   HTMLImageElement | import("./contract.js").Pixels} source an ImageBitmap is taken over: it
   *   is empty afterwards
   * @param {{probabilities?: boolean, picture?: boolean}} [wanted] what else to give
   * @returns {Promise<Mask>}
   * @throws {SegmentationError}
   */
  async segment(source, wanted = {}) {
    let given = source;
    if (typeof Element !== "undefined" && source instanceof Element) {
      try {
        given = await createImageBitmap(source, { colorSpaceConversion: "none" });
      } catch (error) {
        const text = `no picture can be read of this element: ${error.message}`;
        throw new SegmentationError(text, "picture");
      }
    }
    const isBitmap = typeof ImageBitmap !== "undefined" && given instanceof ImageBitmap;
    return this.ask("segment", { source: given, wanted }, isBitmap ? [given] : []);
  }

  /** End the worker and give its memory back; what is under way fails, and so does what follows. */
  close() {
    this.#isClosed = true;
    this.#fail("the network was closed", "closed");
  }

  /** Post a request to the worker. */
  async ask(kind, content, transfer = []) {
    if (this.#isClosed) throw new SegmentationError("the network was closed", "closed");
    if (!this.#worker) this.#start(kind);
    return this.#post({ kind, ...content }, transfer);
  }

  #start(kind) {
    const worker = new Worker(this.#address);
    this.#worker = worker;
    worker.onmessage = ({ data }) => this.#answer(data);
    worker.onmessageerror = () => this.#fail("the worker's answer cannot be read");
    worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(`the worker failed: ${event.message || "worker.js could not be loaded"}`);
    };
    // Should that fail, the request that follows says why.
    if (kind !== "open") this.#post({ kind: "open" }).catch(() => undefined);
  }

  #post(request, transfer = []) {
    const id = ++this.#count;
    return new Promise((resolve, reject) => {
      try {
        this.#worker.postMessage({ id, ...request }, transfer);
      } catch (error) {
        const text = `this is no picture, or an ImageBitmap that is used up: ${error.message}`;
        reject(new SegmentationError(text, "picture"));
        return;
      }
      this.#waiting.set(id, { resolve, reject });
      this.#watch();
    });
  }

  /** Wait for a sign of the worker: one that has ended says nothing of it. */
  #watch() {
    clearTimeout(this.#alarm);
    if (this.#waiting.size === 0) return;
    const due = Date.now() + this.#patience;
    this.#alarm = setTimeout(() => {
      if (Date.now() - due > LATE_MS) {
        this.#watch(); // this page slept, and so maybe did the worker
        return;
      }
      const seconds = Math.round(this.#patience / 1000);
      this.#fail(
        `the network gave no answer for ${seconds} s, maybe for want of memory. Try again, or ` +
          "with a smaller picture: it is started anew.",
      );
    }, this.#patience);
  }

  #answer({ id, result, error }) {
    const request = this.#waiting.get(id); // none for a mere sign of life
    this.#waiting.delete(id);
    this.#watch();
    if (error) request?.reject(new SegmentationError(error.message, error.code));
    else request?.resolve(result);
  }

  #fail(message, code = "worker") {
    this.#worker?.terminate();
    this.#worker = undefined;
    const requests = [...this.#waiting.values()];
    this.#waiting.clear();
    this.#watch();
    for (const { reject } of requests) reject(new SegmentationError(message, code));
  }
}
