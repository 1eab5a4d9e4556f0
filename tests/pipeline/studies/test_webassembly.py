"""The compiled network beside ONNX Runtime Web; here a stand-in has its place."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import INSTALL_SCRIPT, UNTESTED, needs

from edgeseg.bundle.bundle import open_bundle
from edgeseg.errors import BenchmarkError, UsageError
from edgeseg.pipeline.studies.webassembly import ENTRY, PEER, race_in_node

pytestmark = needs("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "ziglang")

STAND_IN = """
export const env = { wasm: {}, versions: { web: "0.1 (stand-in)" } };
export class Tensor {
  constructor(kind, data, shape) {
    if (kind !== "float32" || data.length !== shape.reduce((a, b) => a * b)) throw Error("tensor");
    this.shape = shape;
  }
}
export const InferenceSession = {
  async create(bytes, options) {
    if (options.executionProviders[0] !== "wasm" || bytes.length < 1000) throw Error("options");
    if (env.wasm.numThreads !== 1) throw Error("threads");
    return {
      inputNames: ["image"],
      outputNames: ["mask"],
      async run({ image }) {
        return { mask: { data: new Float32Array(image.shape[2] * image.shape[3]).fill(2) } };
      },
    };
  },
};
"""


@pytest.fixture
def peer(tmp_path: Path) -> Path:
    if shutil.which("node") is None:
        UNTESTED.add(f"WebAssembly beside another runtime (run {INSTALL_SCRIPT})")
        pytest.skip(f"not installed: node; run {INSTALL_SCRIPT}")
    entry = tmp_path / PEER / ENTRY
    entry.parent.mkdir(parents=True)
    entry.write_text(STAND_IN)
    return tmp_path / PEER


def test_all_forms_take_turns_and_are_compared(small_bundles: dict[str, Path], peer: Path) -> None:
    rows, version = race_in_node(open_bundle(small_bundles["fp32"]), peer, 4)
    assert version == "0.1 (stand-in)"
    assert [row.name for row in rows] == [PEER, "native wasm-relaxed", "native wasm"]
    assert (rows[0].speedup, rows[0].largest_difference, rows[0].flips) == (1.0, 0.0, 0)
    for row in rows[1:]:
        assert row.median_ms > 0
        # The stand-in says 2 everywhere, where probabilities are from 0 to 1.
        assert 1 < row.largest_difference <= 2
        assert 0 < row.flips <= 64 * 64


def test_a_package_that_is_not_there_is_told(
    small_bundles: dict[str, Path], peer: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"Install the package with npm install onnxruntime-web"):
        race_in_node(open_bundle(small_bundles["fp32"]), tmp_path / "nowhere", 1)


def test_what_node_complains_of_is_told(small_bundles: dict[str, Path], peer: Path) -> None:
    (peer / ENTRY).write_text(STAND_IN.replace('["image"]', "unknown"))
    with pytest.raises(BenchmarkError, match=r"node failed: .*unknown is not defined"):
        race_in_node(open_bundle(small_bundles["fp32"]), peer, 1)


def test_a_machine_without_node_is_told(
    small_bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="There is no node on the PATH"):
        race_in_node(open_bundle(small_bundles["fp32"]), tmp_path, 1)


def test_it_is_a_command(small_bundles: dict[str, Path], peer: Path) -> None:
    words = ["-m", "edgeseg.pipeline.studies.webassembly", str(small_bundles["fp32"])]
    words += ["--runtime", str(peer), "--rounds", "2"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "native wasm-relaxed" in done.stdout
    words[-3] = "nowhere"
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: There is no nowhere")
