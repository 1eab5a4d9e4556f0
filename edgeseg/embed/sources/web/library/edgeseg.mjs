// Masks of pictures, computed in this browser. All work happens in a worker.
//
//     import { open } from "./edgeseg/edgeseg.mjs";
//     const network = await open();
//     const { labels, width, height, areas } = await network.segment(file);

/** Why there is no mask. `code` is "picture", "too-large", "network" or "worker". */
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
 * @returns {Promise<Network>}
 * @throws {SegmentationError} a file is missing, or this browser cannot run the network
 */
export async function open(base = new URL("./", import.meta.url)) {
  const network = new Network(new Worker(new URL("worker.js", base)));
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
  #worker;
  #waiting = new Map();
  #count = 0;

  constructor(worker) {
    this.#worker = worker;
    worker.onmessage = ({ data }) => this.#answer(data);
    worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(`the worker failed: ${event.message || "worker.js could not be loaded"}`);
    };
  }

  /**
   * The mask of a picture, at the picture's own size. Calls are answered one after the other.
   *
   * @param {Blob | ImageBitmap | ImageData | HTMLVideoElement | HTMLCanvasElement |
   *   HTMLImageElement | import("./contract.mjs").Pixels} source an ImageBitmap is taken over: it
   *   is empty afterwards
   * @param {{probabilities?: boolean, picture?: boolean}} [wanted] what else to give
   * @returns {Promise<Mask>}
   * @throws {SegmentationError} the picture cannot be decoded or is too large, or the network fails
   */
  async segment(source, wanted = {}) {
    let given = source;
    const isElement = typeof Element !== "undefined" && source instanceof Element;
    if (isElement) given = await createImageBitmap(source, { colorSpaceConversion: "none" });
    const isBitmap = typeof ImageBitmap !== "undefined" && given instanceof ImageBitmap;
    return this.ask("segment", { source: given, wanted }, isBitmap ? [given] : []);
  }

  /** End the worker and give its memory back; what is under way fails. */
  close() {
    this.#worker.terminate();
    this.#fail("the network was closed");
  }

  /** Post a request to the worker. */
  ask(kind, content, transfer = []) {
    const id = ++this.#count;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, kind, ...content }, transfer);
    });
  }

  #answer({ id, result, error }) {
    const { resolve, reject } = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error) reject(new SegmentationError(error.message, error.code));
    else resolve(result);
  }

  #fail(message) {
    for (const { reject } of this.#waiting.values()) {
      reject(new SegmentationError(message, "worker"));
    }
    this.#waiting.clear();
  }
}
