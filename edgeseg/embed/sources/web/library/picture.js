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
 * @param {Blob | ImageBitmap | ImageData | import("./contract.js").Pixels} source
 * @returns {Promise<{width: number, height: number, bitmap?: ImageBitmap, pixels?: object,
 *   bits?: number}>} one of `bitmap` and `pixels` is there; `bits` of a value, where it is known
 * @throws {PictureError} the browser cannot decode it, or it is too large
 */
export async function decode(source) {
  if (source?.data !== undefined) {
    const { width, height, pixels } = pixelsOf(source);
    requireSize(width, height);
    return { width, height, pixels };
  }
  if (!(source instanceof Blob || source instanceof ImageBitmap)) {
    throw new PictureError(
      "This is no picture: give a File, a canvas, a video, an image, an ImageData, an " +
        "ImageBitmap or {data, width, height, channels}.",
      "picture",
    );
  }
  let bitmap = source;
  let head;
  if (source instanceof Blob) {
    head = await headOf(source);
    if (head) requireSize(head.width, head.height); // before it takes memory
    bitmap = await decodeFile(source);
  }
  const { width, height } = bitmap;
  try {
    requireSize(width, height);
  } catch (error) {
    bitmap.close();
    throw error;
  }
  return { width, height, bitmap, bits: head?.bits };
}

/** Pixels, where they are all there: a mask of others would look like one. */
function pixelsOf(source) {
  const { data, width, height } = source;
  const channels = source instanceof ImageData ? 4 : source.channels;
  const isTaken = [Uint8Array, Uint8ClampedArray, Uint16Array].some((kind) => data instanceof kind);
  if (!isTaken) {
    const kind = data?.constructor?.name ?? typeof data;
    const text = `The pixels are ${kind}; give a Uint8Array, Uint8ClampedArray or Uint16Array.`;
    throw new PictureError(text, "picture");
  }
  for (const [name, value] of Object.entries({ width, height, channels })) {
    if (Number.isInteger(value) && value > 0) continue;
    const text = `The picture's ${name} is ${value}; give a whole number above 0.`;
    throw new PictureError(text, "picture");
  }
  if (data.length !== width * height * channels) {
    throw new PictureError(
      `The picture has ${data.length} values; ${width} × ${height} pixels of ${channels} ` +
        `channels are ${width * height * channels}. Give each row without a gap.`,
      "picture",
    );
  }
  return { width, height, pixels: { data, width, height, channels } };
}

async function decodeFile(file) {
  try {
    // Upright is the default; older browsers refuse to be asked for it by its name of today.
    return await createImageBitmap(file, {
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

/** Width, height and bits of a value in the head of a PNG or JPEG; nothing where it is none. */
async function headOf(file) {
  const head = new DataView(await file.slice(0, 2 ** 18).arrayBuffer());
  const length = head.byteLength;
  if (length >= 25 && head.getUint32(0) === 0x89504e47) {
    return { width: head.getUint32(16), height: head.getUint32(20), bits: head.getUint8(24) };
  }
  if (length < 4 || head.getUint16(0) !== 0xffd8) return undefined;
  // JPEG is a list of segments; that which starts the frame holds the size.
  for (let place = 2; place + 9 <= length; place += 2 + head.getUint16(place + 2)) {
    const marker = head.getUint16(place);
    const isFrame = marker >= 0xffc0 && marker <= 0xffcf;
    if (isFrame && ![0xffc4, 0xffc8, 0xffcc].includes(marker)) {
      const [height, width] = [5, 7].map((shift) => head.getUint16(place + shift));
      return { width, height, bits: head.getUint8(place + 4) };
    }
    if (marker < 0xff01) return undefined;
  }
  return undefined;
}

/**
 * The input tensor of a decoded picture.
 *
 * @param {import("./contract.js").Contract} contract
 * @param {object} decoded what `decode` gave
 * @returns {Promise<Float32Array>}
 * @throws {PictureError} the browser has dropped what the network needs
 */
export async function prepare(contract, { width, height, bitmap, pixels, bits }) {
  if (pixels) return contract.prepare(pixels);
  if (bits === 16 && contract.input.white) {
    throw new PictureError(
      "This picture has 16 bits a value, of which a browser keeps 8, and its white is not told. " +
        `Save it with 8 bits, with ${contract.input.white} as 255, and choose it again.`,
      "picture",
    );
  }
  const shrinking = contract.begin(width, height, 4);
  const rows = Math.min(height, Math.max(1, Math.floor(BAND_PIXELS / width)));
  const canvas = new OffscreenCanvas(width, rows);
  const context = canvas.getContext("2d", { colorSpace: "srgb", willReadFrequently: true });
  context.globalCompositeOperation = "copy"; // replaces what the last band left
  for (let y = 0; y < height; y += rows) {
    const count = Math.min(rows, height - y);
    context.drawImage(bitmap, 0, y, width, count, 0, 0, width, count);
    let { data } = context.getImageData(0, 0, width, count);
    if (!isOpaque(data)) data = (await readTransparent(bitmap, y, count)) ?? data;
    shrinking.add(data, count);
  }
  return shrinking.finish();
}

function isOpaque(data) {
  for (let i = 3; i < data.length; i += 4) if (data[i] !== OPAQUE) return false;
  return true;
}

/**
 * RGBA of some rows with the colours of transparent pixels, which a canvas multiplies by alpha and
 * so loses; WebGL hands over what was decoded. Nothing where the browser has no WebGL here.
 */
async function readTransparent(bitmap, y, count) {
  const { width } = bitmap;
  const gl = new OffscreenCanvas(1, 1).getContext("webgl");
  if (!gl || Math.max(width, count) > gl.getParameter(gl.MAX_TEXTURE_SIZE)) return undefined;
  const options = { premultiplyAlpha: "none", colorSpaceConversion: "none" };
  const band = await createImageBitmap(bitmap, 0, y, width, count, options);
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, band);
  band.close();
  gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
  const texture = gl.getParameter(gl.TEXTURE_BINDING_2D);
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
  const data = new Uint8Array(4 * width * count);
  gl.readPixels(0, 0, width, count, gl.RGBA, gl.UNSIGNED_BYTE, data);
  const isRead = gl.getError() === gl.NO_ERROR;
  gl.getExtension("WEBGL_lose_context")?.loseContext(); // gives its memory back at once
  return isRead ? data : undefined;
}
