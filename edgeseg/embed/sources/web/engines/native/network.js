// A compiled network in WebAssembly.

const PAGE = 65536;

/**
 * Opens a network.
 *
 * @param {BufferSource} library what `network-wasm.wasm` or `network-wasm-relaxed.wasm` holds
 * @param {ArrayBuffer | Uint8Array} weights what the file of weights holds that belongs to it
 * @returns {Promise<{imageShape: number[], maskShape: number[],
 *   run: (image: Float32Array) => Float32Array}>} shapes are (channels, height, width); `run` takes
 *   the prepared image and gives probabilities, which the next run overwrites
 * @throws {Error} the weights belong to another network, or are damaged; `run` throws a RangeError
 *   for an image of another size
 */
export async function openNetwork(library, weights) {
  const content = weights instanceof ArrayBuffer ? new Uint8Array(weights) : weights;
  if (!(content instanceof Uint8Array)) {
    throw new TypeError("the weights are neither an ArrayBuffer nor a Uint8Array");
  }
  const { instance } = await WebAssembly.instantiate(library, {});
  const network = instance.exports;
  // Names begin with the prefix that the network was built with.
  const known = "_error_text";
  const prefix = Object.keys(network).find((name) => name.endsWith(known)).slice(0, -known.length);
  let end = network.__heap_base.value;
  const reserve = (bytes) => {
    const place = Math.ceil(end / 64) * 64;
    end = place + bytes;
    const missing = end - network.memory.buffer.byteLength;
    if (missing > 0) network.memory.grow(Math.ceil(missing / PAGE));
    return place;
  };
  const check = (code) => {
    if (code === 0) return;
    const bytes = new Uint8Array(network.memory.buffer, network[`${prefix}_error_text`](code));
    throw new Error(new TextDecoder().decode(bytes.slice(0, bytes.indexOf(0))));
  };
  const sizes = reserve(24);
  network[`${prefix}_sizes`](sizes, sizes + 12);
  const shapes = new Int32Array(network.memory.buffer, sizes, 6);
  const imageShape = [...shapes.slice(0, 3)];
  const maskShape = [...shapes.slice(3)];
  const pixels = ([channels, height, width]) => channels * height * width;
  const places = { weights: reserve(content.length), handle: reserve(4) };
  places.memory = reserve(network[`${prefix}_memory_bytes`](1));
  places.image = reserve(4 * pixels(imageShape));
  places.mask = reserve(4 * pixels(maskShape));
  new Uint8Array(network.memory.buffer, places.weights, content.length).set(content);
  check(
    network[`${prefix}_create`](
      places.memory,
      network[`${prefix}_memory_bytes`](1),
      1,
      places.weights,
      content.length,
      places.handle,
    ),
  );
  const [handle] = new Int32Array(network.memory.buffer, places.handle, 1);
  const image = new Float32Array(network.memory.buffer, places.image, pixels(imageShape));
  const mask = new Float32Array(network.memory.buffer, places.mask, pixels(maskShape));
  return {
    imageShape,
    maskShape,
    run(given) {
      if (given?.length !== image.length) {
        throw new RangeError(
          `the image has ${given?.length} values, not ${image.length} (${imageShape.join(" x ")})`,
        );
      }
      image.set(given);
      check(network[`${prefix}_run`](handle, places.image, places.mask));
      return mask;
    },
  };
}
