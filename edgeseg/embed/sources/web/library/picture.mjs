// Pixels of what a browser can decode, as the file holds them: upright, without a colour profile,
// and with alpha dropped, not blended.

export const MOST_PIXELS = 2 ** 26; // 67 million: the mask alone has a byte for each
const BAND_PIXELS = 2 ** 22; // read at once, so that a large picture is never held twice
const OPAQUE = 255;

/** A picture that cannot be taken. `code` is "picture" or "too-large". */
class PictureError extends Error {
  constructor(message, code) {
    super(message);
    this.code = code;
  }
}

/**
 * Decode a picture.
 *
 * @param {Blob | ImageBitmap | ImageData | import("./contract.mjs").Pixels} source
 * @returns {Promise<{width: number, height: number, bitmap?: ImageBitmap, pixels?: object}>}
 *   one of `bitmap` and `pixels` is there
 * @throws {PictureError} the browser cannot decode it, or it is too large
 */
export async function decode(source) {
  if (source.data) {
    requireSize(source.width, source.height);
    const channels = source.channels ?? 4; // ImageData
    return { width: source.width, height: source.height, pixels: { ...view(source), channels } };
  }
  let bitmap = source;
  if (source instanceof Blob) {
    const size = await sizeOf(source);
    if (size) requireSize(size.width, size.height); // before it takes memory
    bitmap = await decodeFile(source);
  }
  const { width, height } = bitmap;
  try {
    requireSize(width, height);
  } catch (error) {
    bitmap.close();
    throw error;
  }
  return { width, height, bitmap };
}

function view({ data, width, height }) {
  return { data, width, height };
}

async function decodeFile(file) {
  try {
    return await createImageBitmap(file, {
      imageOrientation: "from-image",
      premultiplyAlpha: "none",
      colorSpaceConversion: "none",
    });
  } catch {
    const name = file.name ? `“${file.name}”` : "This file";
    throw new PictureError(
      `${name} is no picture that this browser can decode. Choose a JPEG, PNG or WebP file.`,
      "picture",
    );
  }
}

function requireSize(width, height) {
  if (width * height <= MOST_PIXELS) return;
  const million = (pixels) => Math.round(pixels / 1e6);
  throw new PictureError(
    `This picture has ${width} × ${height} pixels, ${million(width * height)} million; at most ` +
      `${million(MOST_PIXELS)} million are taken. Make it smaller and choose it again.`,
    "too-large",
  );
}

/** Width and height in the head of a PNG or JPEG file; nothing where it is none. */
async function sizeOf(file) {
  const head = new DataView(await file.slice(0, 2 ** 18).arrayBuffer());
  const length = head.byteLength;
  if (length >= 24 && head.getUint32(0) === 0x89504e47) {
    return { width: head.getUint32(16), height: head.getUint32(20) };
  }
  if (length < 4 || head.getUint16(0) !== 0xffd8) return undefined;
  // JPEG is a list of segments; that which starts the frame holds the size.
  for (let place = 2; place + 9 <= length; place += 2 + head.getUint16(place + 2)) {
    const marker = head.getUint16(place);
    const isFrame = marker >= 0xffc0 && marker <= 0xffcf;
    if (isFrame && ![0xffc4, 0xffc8, 0xffcc].includes(marker)) {
      return { width: head.getUint16(place + 7), height: head.getUint16(place + 5) };
    }
    if (marker < 0xff01) return undefined;
  }
  return undefined;
}

/**
 * The input tensor of a decoded picture.
 *
 * @param {import("./contract.mjs").Contract} contract
 * @param {object} decoded what `decode` gave
 * @returns {Float32Array}
 */
export function prepare(contract, { width, height, bitmap, pixels }) {
  if (pixels) return contract.prepare(pixels);
  const shrinking = contract.begin(width, height, 4);
  readBands(bitmap, (data, rows) => shrinking.add(data, rows));
  return shrinking.finish();
}

/** Call `take(data, rows)` with RGBA of one band of rows after the other. */
function readBands(bitmap, take) {
  const { width, height } = bitmap;
  const rows = Math.min(height, Math.max(1, Math.floor(BAND_PIXELS / width)));
  const canvas = new OffscreenCanvas(width, rows);
  const options = { colorSpace: "srgb", willReadFrequently: true };
  const context = canvas.getContext("2d", options);
  context.globalCompositeOperation = "copy"; // replaces what the last band left
  for (let y = 0; y < height; y += rows) {
    const count = Math.min(rows, height - y);
    context.drawImage(bitmap, 0, y, width, count, 0, 0, width, count);
    const { data } = context.getImageData(0, 0, width, count);
    take(data, count);
  }
}
