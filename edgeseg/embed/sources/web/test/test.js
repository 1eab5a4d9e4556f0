// The golden image in this browser; also read by `edgeseg embed`, which opens index.html?report.

import { open } from "../edgeseg/edgeseg.js";
import { runGolden } from "./golden.js";

document.documentElement.dataset.started = "yes"; // start.js has nothing to tell then
const load = async (name) => {
  const answer = await fetch(new URL(`../golden/${name}`, import.meta.url));
  return answer.arrayBuffer();
};

function show(state, rows) {
  document.querySelector("#state").textContent = state;
  const list = document.querySelector("#results");
  for (const [name, value] of rows) {
    list.append(Object.assign(document.createElement("dt"), { textContent: name }));
    list.append(Object.assign(document.createElement("dd"), { textContent: value }));
  }
}

async function run() {
  const start = performance.now();
  const network = await open();
  const opened = performance.now() - start;
  const result = { ...(await runGolden(network, load)), backend: network.info.backend };
  show(result.passed ? "Passed: this device gives the golden mask." : "Failed: another mask.", [
    ["Pixels that flip, of 10,000", result.flips_per_10k.toFixed(2)],
    ["Largest difference of a probability", result.max_abs_diff.toExponential(1)],
    ["A run of the network", `${result.milliseconds.toFixed(1)} ms`],
    ["Opening", `${opened.toFixed(0)} ms`],
    ["Computed by", result.backend],
    ["Kit", network.info.identity],
  ]);
  network.close();
  return result;
}

const result = await run().catch((error) => {
  show(`Failed: ${error.message}`, []);
  return { error: error.message };
});
if (new URLSearchParams(location.search).has("report")) {
  await fetch("report", { method: "POST", body: JSON.stringify(result) });
}
