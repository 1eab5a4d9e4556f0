// The picture and its mask on three canvases: the photo, the filled areas and their outline.

const MOST_VIEW_PIXELS = 2 ** 22; // larger pictures are shown smaller: no screen has more
const MOST_CLASSES = 256; // labels are bytes
const COLORS = [
  ...["#12b5a6", "#f2a900", "#8b6cff", "#ef4f8a", "#3d8bfd", "#7cb342", "#ff7043", "#26c6da"],
];
const GOLDEN_ANGLE = 137.5; // degrees: neighbouring hues of any number of classes lie apart

/** The colour of a class as #rrggbb; the background, class 0, has none. */
export function colorOf(label) {
  if (label <= COLORS.length) return COLORS[label - 1];
  const hue = (label * GOLDEN_ANGLE) % 360;
  const channel = (shift) => {
    const place = (shift + hue / 30) % 12;
    const value = 0.55 - 0.4 * Math.max(-1, Math.min(place - 3, 9 - place, 1));
    return Math.round(255 * value).toString(16).padStart(2, "0");
  };
  return `#${channel(0)}${channel(8)}${channel(4)}`;
}

/** A colour as the 32 bits that an ImageData holds, which are little endian everywhere. */
function bitsOf(color) {
  const [red, green, blue] = [1, 3, 5].map((place) => parseInt(color.slice(place, place + 2), 16));
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

const BITS = Uint32Array.from({ length: MOST_CLASSES }, (_, label) =>
  label === 0 ? 0 : bitsOf(colorOf(label)),
);

/** Shows masks on the canvases #photo, #fill and #outline. */
export class View {
  /** @param {HTMLElement} root that holds the canvases */
  constructor(root) {
    const find = (name) => root.querySelector(`#${name}`);
    this.canvases = { photo: find("photo"), fill: find("fill"), outline: find("outline") };
  }

  /**
   * Show a picture with its mask.
   *
   * @param {CanvasImageSource} picture
   * @param {import("./edgeseg/edgeseg.js").Mask} mask of that picture
   */
  show(picture, { labels, width, height }) {
    const scale = Math.min(1, Math.sqrt(MOST_VIEW_PIXELS / (width * height)));
    const size = [width, height].map((side) => Math.max(1, Math.round(side * scale)));
    for (const canvas of Object.values(this.canvases)) {
      if (canvas.width !== size[0]) canvas.width = size[0];
      if (canvas.height !== size[1]) canvas.height = size[1];
    }
    this.#context("photo").drawImage(picture, 0, 0, ...size);
    const shown = scale === 1 ? labels : nearest(labels, width, height, ...size);
    this.#put("fill", (bits) => fill(bits, shown));
    this.#put("outline", (bits) => outline(bits, shown, size, this.#thickness(size)));
  }

  /** @param {number} share 0 to 1, of the filled areas */
  set opacity(share) {
    this.canvases.fill.style.opacity = share;
  }

  /** @param {boolean} isShown */
  set outlined(isShown) {
    this.canvases.outline.hidden = !isShown;
  }

  #context(name) {
    return this.canvases[name].getContext("2d");
  }

  #put(name, paint) {
    const { width, height } = this.canvases[name];
    const image = new ImageData(width, height);
    paint(new Uint32Array(image.data.buffer));
    this.#context(name).putImageData(image, 0, 0);
  }

  /** Pixels of the canvas that make a line of two pixels on the screen. */
  #thickness([width, height]) {
    const box = this.canvases.photo.getBoundingClientRect();
    const scale = Math.max(width / (box.width || width), height / (box.height || height));
    return Math.max(1, Math.round(2 * scale));
  }
}

function nearest(labels, width, height, newWidth, newHeight) {
  const small = new Uint8Array(newWidth * newHeight);
  const columns = Int32Array.from({ length: newWidth }, (_, x) =>
    Math.floor(((x + 0.5) * width) / newWidth),
  );
  for (let y = 0; y < newHeight; y++) {
    const row = Math.floor(((y + 0.5) * height) / newHeight) * width;
    for (let x = 0; x < newWidth; x++) small[y * newWidth + x] = labels[row + columns[x]];
  }
  return small;
}

function fill(bits, labels) {
  for (let i = 0; i < bits.length; i++) bits[i] = BITS[labels[i]];
}

/** The pixels of an area that have another class at most `thickness` away, along rows or columns. */
function outline(bits, labels, [width, height], thickness) {
  for (let y = 0, i = 0; y < height; y++) {
    const up = Math.min(thickness, y) * width;
    const down = Math.min(thickness, height - 1 - y) * width;
    for (let x = 0; x < width; x++, i++) {
      const label = labels[i];
      if (label === 0) continue;
      const left = i - Math.min(thickness, x);
      const right = i + Math.min(thickness, width - 1 - x);
      const isInside =
        labels[left] === label &&
        labels[right] === label &&
        labels[i - up] === label &&
        labels[i + down] === label;
      if (!isInside) bits[i] = BITS[label];
    }
  }
}
