// From a picture to the network's input tensor, and from its output back to a mask.
//
// This is contract.json as code: pure arithmetic on typed arrays, the same in a page, in a worker
// and in node. It never scales with a canvas, which computes something else than the network was
// trained with.

/**
 * Pixels of an upright picture, row by row without gaps, channels side by side.
 *
 * @typedef {object} Pixels
 * @property {Uint8Array | Uint8ClampedArray | Uint16Array} data width * height * channels values
 * @property {number} width
 * @property {number} height
 * @property {number} channels grey (1), RGB (3) or RGBA (4), each of which networks of 1 and of 3
 *   channels take; 2 and 4 are bands where the network was trained with so many
 */

const GREY_SHARES = [19595, 38470, 7471]; // of red, green and blue in 65536
const LINES_KEPT = 8; // sizes whose tables are kept, so that camera frames compute them once
const EIGHT_BITS = 255;
const SIXTEEN_BITS = 65535;

/**
 * How a line of `sizeIn` samples becomes one of `sizeOut`: each output is the weighted mean of
 * `count` neighbours from `first[i]` on, with the weights at `i * count`.
 *
 * The triangle filter is one source sample wide to either side when a line grows and
 * `sizeIn / sizeOut` samples when it shrinks.
 *
 * @param {number} sizeIn
 * @param {number} sizeOut
 * @returns {{first: Int32Array, weights: Float32Array, count: number}}
 */
export function filterTaps(sizeIn, sizeOut) {
  const scale = sizeIn / sizeOut;
  const support = Math.max(scale, 1);
  const rows = [];
  let count = 1;
  for (let index = 0; index < sizeOut; index++) {
    const centre = (index + 0.5) * scale;
    const start = Math.max(Math.floor(centre - support + 0.5), 0);
    const end = Math.min(Math.floor(centre + support + 0.5), sizeIn);
    const shares = [];
    for (let j = start; j < end; j++) {
      shares.push(Math.max(0, 1 - Math.abs(j + 0.5 - centre) / support));
    }
    while (shares.length > 1 && shares.at(-1) === 0) shares.pop();
    const isEmpty = shares.length > 1 && shares[0] === 0;
    rows.push(isEmpty ? { start: start + 1, shares: shares.slice(1) } : { start, shares });
    count = Math.max(count, rows.at(-1).shares.length);
  }
  // All outputs get the same number of neighbours, some with the weight 0: loops are then short
  // and regular. The window is moved where it would reach over the end.
  const first = new Int32Array(sizeOut);
  const weights = new Float32Array(sizeOut * count);
  rows.forEach(({ start, shares }, index) => {
    first[index] = Math.min(start, sizeIn - count);
    const sum = shares.reduce((total, share) => total + share, 0);
    const place = index * count + start - first[index];
    shares.forEach((share, i) => (weights[place + i] = share / sum));
  });
  return { first, weights, count };
}

/** Prepares pictures for one network and restores its masks. */
export class Contract {
  /** @param {object} record what contract.json holds */
  constructor(record) {
    this.input = record.input;
    this.output = record.output;
    this.lines = new Map();
  }

  /**
   * The input tensor of a picture.
   *
   * @param {Pixels} pixels
   * @returns {Float32Array} of contract.json's `input.tensor.shape`, in its layout
   * @throws {RangeError} the picture has other channels than the network takes
   */
  prepare(pixels) {
    const shrinking = this.begin(pixels.width, pixels.height, pixels.channels);
    shrinking.add(pixels.data, pixels.height);
    return shrinking.finish();
  }

  /**
   * Prepare a picture that comes in bands of rows, so that a large one is never held as a whole.
   *
   * @param {number} width
   * @param {number} height
   * @param {number} channels of the picture
   * @returns {Shrinking}
   */
  begin(width, height, channels) {
    const wanted = this.input.channels;
    const taken = { 1: [1, 3, 4], 3: [1, 3, 4] }[wanted] ?? [wanted];
    if (!taken.includes(channels)) {
      const text = `the picture has ${channels} channels and the network takes ${wanted}`;
      throw Object.assign(new RangeError(text), { code: "picture" });
    }
    return new Shrinking(this, width, height, channels);
  }

  /**
   * The class of each pixel of the picture.
   *
   * Probabilities are resized and then cut; labels that are resized would have coarse edges.
   *
   * @param {Float32Array} probabilities the network's output tensor
   * @param {number} width of the picture
   * @param {number} height of the picture
   * @returns {Uint8Array} height * width indices into contract.json's `output.classes`
   * @throws {Error} the network gave NaN or infinity
   */
  restore(probabilities, width, height) {
    const { channels, height: rows, width: columns, threshold } = this.output;
    const planes = this.planes(probabilities);
    const down = this.taps(rows, height);
    const across = this.taps(columns, width);
    const lines = Array.from({ length: channels }, () => new Float64Array(columns));
    const labels = new Uint8Array(width * height);
    for (let y = 0; y < height; y++) {
      const weights = down.weights.subarray(y * down.count, (y + 1) * down.count);
      lines.forEach((line, c) => mix(line, planes, (c * rows + down.first[y]) * columns, weights));
      const row = labels.subarray(y * width, (y + 1) * width);
      if (channels === 1) cutRow(row, lines[0], across, threshold);
      else largestOfRow(row, lines, across);
    }
    return labels;
  }

  /** The output tensor as one plane for each channel. */
  planes(probabilities) {
    for (let i = 0; i < probabilities.length; i++) {
      if (!Number.isFinite(probabilities[i])) {
        throw new Error("the network gives NaN or infinity for this picture");
      }
    }
    const { channels, tensor } = this.output;
    if (tensor.layout !== "NHWC" || channels === 1) return probabilities;
    const planes = new Float32Array(probabilities.length);
    const size = probabilities.length / channels;
    for (let c = 0; c < channels; c++) {
      for (let i = 0; i < size; i++) planes[c * size + i] = probabilities[i * channels + c];
    }
    return planes;
  }

  /** `filterTaps`, with the last tables kept. */
  taps(sizeIn, sizeOut) {
    const key = `${sizeIn} ${sizeOut}`;
    const found = this.lines.get(key) ?? filterTaps(sizeIn, sizeOut);
    this.lines.delete(key); // what is put in anew is the newest
    this.lines.set(key, found);
    if (this.lines.size > LINES_KEPT) this.lines.delete(this.lines.keys().next().value);
    return found;
  }
}

/** A picture on its way to the network's size: each row is resized and added to where it counts. */
class Shrinking {
  constructor(contract, width, height, channels) {
    const { input } = contract;
    this.input = input;
    this.source = { width, height, channels };
    this.across = contract.taps(width, input.width);
    this.down = contract.taps(height, input.height);
    this.y = 0; // rows that were added
    this.first = 0; // the first output row that may still need some
    this.convert = undefined; // of a row, where the picture has other channels than the network
    if (input.channels === 1 && channels >= 3) this.convert = greyRow;
    if (input.channels === 3 && channels === 1) this.convert = repeatRow;
    this.row = new Float64Array(input.width * input.channels);
    this.sums = new Float64Array(input.height * this.row.length);
    this.white = EIGHT_BITS;
  }

  /**
   * Add the next rows.
   *
   * @param {Uint8Array | Uint8ClampedArray | Uint16Array} data `count` whole rows
   * @param {number} count
   */
  add(data, count) {
    const { width, channels } = this.source;
    let pixels = data;
    if (data instanceof Uint16Array) {
      this.white = this.input.white ?? SIXTEEN_BITS;
      if (this.white < SIXTEEN_BITS) pixels = data.map((value) => Math.min(value, this.white));
    }
    const { convert } = this;
    const wanted = this.input.channels;
    const line = convert ? new pixels.constructor(width * wanted) : pixels;
    const step = convert ? wanted : channels;
    for (let i = 0; i < count; i++, this.y++) {
      const start = i * width * channels;
      convert?.(line, pixels, start, channels);
      shrinkRow(this.row, line, convert ? 0 : start, step, wanted, this.across);
      this.spread();
    }
  }

  /** Add the resized row to the output rows whose window holds it. */
  spread() {
    const { first, weights, count } = this.down;
    while (this.first < first.length && first[this.first] + count <= this.y) this.first++;
    for (let to = this.first; to < first.length && first[to] <= this.y; to++) {
      const weight = weights[to * count + this.y - first[to]];
      if (weight !== 0) addScaled(this.sums, to * this.row.length, this.row, weight);
    }
  }

  /**
   * @returns {Float32Array} the input tensor
   * @throws {RangeError} rows are missing
   */
  finish() {
    const { height } = this.source;
    if (this.y !== height) throw new RangeError(`${this.y} of ${height} rows were added`);
    const { sums, input } = this;
    if (this.white !== EIGHT_BITS) {
      for (let i = 0; i < sums.length; i++) sums[i] *= EIGHT_BITS / this.white;
    }
    const { gains, offsets } = lineOfValues(input, sums);
    const tensor = new Float32Array(sums.length);
    const { channels } = input;
    const isLast = input.tensor.layout === "NHWC";
    const size = sums.length / channels;
    const [pixel, plane] = isLast ? [channels, 1] : [1, size];
    for (let c = 0; c < channels; c++) {
      const gain = gains[c];
      const offset = offsets[c];
      for (let i = 0; i < size; i++) {
        tensor[i * pixel + c * plane] = sums[i * channels + c] * gain + offset;
      }
    }
    return tensor;
  }
}

/** Normalisation as value = pixel * gain + offset, for each channel. */
function lineOfValues(input, sums) {
  const how = input.normalization;
  if (how.kind === "mean_std") {
    return {
      gains: how.std.map((std) => 1 / (EIGHT_BITS * std)),
      offsets: how.std.map((std, c) => -how.mean[c] / std),
    };
  }
  // The extremes of this picture, over all its pixels and channels together.
  let least = Infinity;
  let most = -Infinity;
  for (let i = 0; i < sums.length; i++) {
    const value = Math.fround(sums[i]);
    if (value < least) least = value;
    if (value > most) most = value;
  }
  const gain = most > least ? (how.high - how.low) / (most - least) : 0;
  const offset = most > least ? how.low - least * gain : how.low;
  return {
    gains: Array(input.channels).fill(gain),
    offsets: Array(input.channels).fill(offset),
  };
}

function greyRow(to, from, start, channels) {
  const [red, green, blue] = GREY_SHARES;
  for (let x = 0, i = start; x < to.length; x++, i += channels) {
    // The sum may need more than 31 bits: >>> keeps it positive.
    to[x] = (red * from[i] + green * from[i + 1] + blue * from[i + 2] + 32768) >>> 16;
  }
}

function repeatRow(to, from, start) {
  for (let i = 0; i < to.length; i++) to[i] = from[start + Math.floor(i / 3)];
}

/** Resize a row. Three channels are written out: nearly all pictures have them. */
function shrinkRow(to, from, start, step, channels, { first, weights, count }) {
  if (channels !== 3) {
    for (let x = 0; x < first.length; x++) {
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        let place = start + first[x] * step + c;
        for (let i = x * count; i < (x + 1) * count; i++, place += step) {
          sum += weights[i] * from[place];
        }
        to[x * channels + c] = sum;
      }
    }
    return;
  }
  for (let x = 0; x < first.length; x++) {
    let red = 0;
    let green = 0;
    let blue = 0;
    let place = start + first[x] * step;
    for (let i = x * count; i < (x + 1) * count; i++, place += step) {
      const weight = weights[i];
      red += weight * from[place];
      green += weight * from[place + 1];
      blue += weight * from[place + 2];
    }
    to[3 * x] = red;
    to[3 * x + 1] = green;
    to[3 * x + 2] = blue;
  }
}

function addScaled(sums, start, row, weight) {
  for (let i = 0; i < row.length; i++) sums[start + i] += weight * row[i];
}

/** The weighted mean of neighbouring rows of a plane. */
function mix(line, planes, start, weights) {
  const columns = line.length;
  line.fill(0);
  for (let i = 0; i < weights.length; i++) {
    const weight = weights[i];
    const place = start + i * columns;
    if (weight === 0) continue;
    for (let x = 0; x < columns; x++) line[x] += weight * planes[place + x];
  }
}

function at(line, { first, weights, count }, x) {
  let sum = 0;
  for (let i = 0, place = first[x]; i < count; i++, place++) {
    sum += weights[x * count + i] * line[place];
  }
  return sum;
}

function cutRow(row, line, across, threshold) {
  for (let x = 0; x < row.length; x++) {
    row[x] = Math.fround(at(line, across, x)) >= threshold ? 1 : 0;
  }
}

function largestOfRow(row, lines, across) {
  for (let x = 0; x < row.length; x++) {
    let best = -Infinity;
    for (let c = 0; c < lines.length; c++) {
      const value = Math.fround(at(lines[c], across, x));
      if (value > best) {
        best = value;
        row[x] = c;
      }
    }
  }
}
