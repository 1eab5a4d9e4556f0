// Runs a network on its golden image and compares with what the bundle's own check computed.

const RUNS = 20;

/**
 * @param {{segment: Function}} network what `open` gave
 * @param {(name: string) => Promise<ArrayBuffer>} load a file of the folder golden
 * @returns {Promise<{flips_per_10k: number, max_abs_diff: number, milliseconds: number,
 *   passed: boolean}>} the time is the median of a run of the network
 */
export async function runGolden(network, load) {
  const [record, image, mask, labels] = await Promise.all(
    ["golden.json", "image.bin", "mask.bin", "labels.bin"].map(load),
  );
  const { image: size, ...limits } = JSON.parse(new TextDecoder().decode(record));
  const pixels = { data: new Uint8Array(image), ...size };
  const made = await network.segment(pixels, { probabilities: true });
  const wanted = new Uint8Array(labels);
  let flips = 0;
  made.labels.forEach((label, i) => (flips += label === wanted[i] ? 0 : 1));
  const differs = largestDifference(made.probabilities, new Float32Array(mask));
  const times = [];
  for (let run = 0; run < RUNS; run++) times.push((await network.segment(pixels)).times.infer);
  times.sort((a, b) => a - b);
  const flipsPer10k = (10000 * flips) / wanted.length;
  return {
    flips_per_10k: flipsPer10k,
    max_abs_diff: differs,
    milliseconds: times[RUNS / 2],
    passed: flipsPer10k <= limits.max_flips_per_10k && differs <= limits.max_abs_diff,
  };
}

function largestDifference(made, wanted) {
  let largest = made.length === wanted.length ? 0 : Infinity;
  for (let i = 0; i < wanted.length; i++) {
    largest = Math.max(largest, Math.abs(made[i] - wanted[i]));
  }
  return largest;
}
