from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support import needs

from edgeseg.bundle.bundle import open_bundle
from edgeseg.errors import (
    CalibrationError,
    OutputInUseError,
    ParityError,
    UnknownNameError,
    UsageError,
)
from edgeseg.pipeline.build import BuildRequest, build_bundle
from edgeseg.quantize.plan.files import load_plan
from edgeseg.records import sha256_of_file
from edgeseg.storage.atomic import PARTIAL

RunCli = Callable[..., "subprocess.CompletedProcess[str]"]
pytestmark = needs("torch", "onnx", "onnxscript", "onnxruntime", "openvino", "nncf")


def request_for(output: Path, **changes: object) -> BuildRequest:
    settings = {"model": "egeunet", "target": "intel", "precision": "fp32", "output": output}
    return BuildRequest(**{**settings, **changes})  # type: ignore[arg-type]


def test_a_bundle_names_and_hashes_all_that_is_in_it(built: dict[str, Path]) -> None:
    bundle = open_bundle(built["int8"])
    bundle.check_files()
    roles = {file.role for file in bundle.manifest.files}
    assert roles == {"artifact", "golden", "runner", "source"}
    quantization = bundle.manifest.quantization
    assert quantization is not None
    assert min(quantization.compared, key=quantization.compared.__getitem__) == "mse"
    assert quantization.method == "mse"
    assert len(quantization.images) == 63  # the sample's train list
    assert quantization.layers["int8_convolutions"] > 0
    assert bundle.manifest.toolchain["openvino"]


def test_the_float_artefact_computes_what_torch_computes(built: dict[str, Path]) -> None:
    checks = open_bundle(built["fp32"]).manifest.checks
    assert 0 <= checks["onnx"].max_abs_diff <= 1e-4
    assert 0 <= checks["artifact"].max_abs_diff <= 1e-3
    assert checks["artifact"].images == 8


def test_the_golden_limit_of_int8_is_measured(built: dict[str, Path]) -> None:
    manifest = open_bundle(built["int8"]).manifest
    measured = manifest.checks["artifact"].max_abs_diff
    assert manifest.golden.max_abs_diff == max(measured, 0.05)
    assert manifest.golden.max_abs_diff < 1


def test_an_equal_build_comes_from_the_cache_and_is_equal(
    built: dict[str, Path], tmp_path: Path
) -> None:
    bundle, was_cached = build_bundle(request_for(tmp_path / "again", precision="int8"))
    assert was_cached
    assert bundle.manifest == open_bundle(built["int8"]).manifest
    bundle.check_files()


@pytest.mark.parametrize(
    ("target", "file_format"), [("intel", "openvino-ir"), ("onnxruntime", "onnx")]
)
def test_a_graph_is_quantised_before_it_is_compiled(
    target: str, file_format: str, tmp_path: Path
) -> None:
    made = {}
    for precision, method in (("fp32", None), ("int8", "min-max")):
        settings = {"target": target, "size": (64, 64), "calibration_images": 8}
        request = request_for(tmp_path / precision, precision=precision, method=method, **settings)
        made[precision], _ = build_bundle(request)
    manifest = made["int8"].manifest
    made["int8"].check_files()
    assert (manifest.target, manifest.precision) == (target, "int8")
    assert manifest.artifact.format == file_format
    assert (manifest.options, manifest.checked_by) == ({}, manifest.runtime)
    quantization = manifest.quantization
    assert quantization is not None
    assert quantization.method == "min-max"
    assert len(quantization.images) == 8
    plan = load_plan(made["int8"].folder / "quantization")
    recorded = quantization.model_dump(mode="json", exclude={"compared"})
    assert plan.record(quantization.layers).to_json() == recorded
    assert quantization.compared == {}  # the method was named
    assert not (made["fp32"].folder / "quantization").exists()
    # All but the one that gives the logits, and 18 of gates that are the same for every image,
    # where no rewrite has computed these.
    in_float = quantization.layers["convolutions"] - quantization.layers["int8_convolutions"]
    assert in_float == (1 if "fold-constants" in manifest.lowering else 19)
    # A byte for each weight instead of four. The last file is the one that holds the weights.
    small_file, large_file = (
        made[precision].folder / made[precision].manifest.artifact.files[-1]
        for precision in ("int8", "fp32")
    )
    assert small_file.stat().st_size < large_file.stat().st_size
    check = manifest.checks["artifact"]
    assert 0 < check.mean_abs_diff < 0.05
    assert check.flips_per_10k < 500
    assert made["fp32"].manifest.checks["artifact"].max_abs_diff <= 1e-3


@pytest.mark.usefixtures("small_bundles")
def test_a_damaged_cache_is_built_anew(own_cache: Path, tmp_path: Path) -> None:
    first, _ = build_bundle(request_for(tmp_path / "one", size=(64, 64)))
    (cached,) = (own_cache / "bundles").glob("*/bundle/artifact/model.bin")
    cached.write_bytes(b"rubbish")
    second, was_cached = build_bundle(request_for(tmp_path / "two", size=(64, 64)))
    assert not was_cached
    second.check_files()
    assert second.manifest.files == first.manifest.files


def test_other_weights_give_another_bundle(random_weights: Path, tmp_path: Path) -> None:
    bundle, was_cached = build_bundle(
        request_for(tmp_path / "random", weights=random_weights, size=(64, 64))
    )
    assert not was_cached
    assert bundle.manifest.model.weights_sha256 == sha256_of_file(random_weights)
    # Only shipped weights have a licence that edgeseg knows.
    assert bundle.manifest.model.weights_licence is None


def test_an_output_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputInUseError, match="Choose another --output"):
        build_bundle(request_for(tmp_path / "mine", overwrite=True))
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_bundle_is_replaced_only_when_asked(built: dict[str, Path]) -> None:
    with pytest.raises(OutputInUseError, match="--overwrite"):
        build_bundle(request_for(built["fp32"]))
    bundle, _ = build_bundle(request_for(built["fp32"], overwrite=True))
    bundle.check_files()


@pytest.mark.parametrize(
    ("changes", "error", "advice"),
    [
        ({"model": "egunet"}, UnknownNameError, "Did you mean egeunet"),
        ({"target": "intle"}, UnknownNameError, "Did you mean intel"),
        ({"precision": "int4"}, UnknownNameError, "Available: bf16, fp32, int8"),
        ({"size": (100, 256)}, UsageError, "96x256 and 128x256"),
        (
            {"precision": "int8", "method": "magic"},
            UnknownNameError,
            "Available: ai-edge-quantizer",
        ),
        ({"method": "min-max"}, UsageError, "fp32 is none. Leave them out"),
        ({"method_options": {"bins": "9"}}, UsageError, "fp32 is none. Leave them out"),
        (
            {"precision": "int8", "calibration_images": 0},
            CalibrationError,
            "Raise --calibration-images",
        ),
    ],
)
def test_a_request_that_cannot_be_met_says_what_to_do(
    tmp_path: Path, changes: dict[str, object], error: type[Exception], advice: str
) -> None:
    with pytest.raises(error, match=advice):
        build_bundle(request_for(tmp_path / "out", **changes))
    assert not list(tmp_path.iterdir())


def test_a_graph_that_computes_something_else_fails_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeseg.reference import onnx_export

    export = onnx_export.onnx_from_torch

    def export_a_changed_network(network, *arguments):  # type: ignore[no-untyped-def]
        import copy

        changed = copy.deepcopy(network)
        changed.conv_out.bias.data += 0.05
        export(changed, *arguments)

    monkeypatch.setenv("EDGESEG_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(onnx_export, "onnx_from_torch", export_a_changed_network)
    with pytest.raises(ParityError, match=r"largest difference 1\.\d+e-02.*allowed is 1e-04"):
        build_bundle(request_for(tmp_path / "out", model="ulite", size=(64, 64)))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("small_bundles")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_build_leaves_nothing_behind_that_matters(
    own_cache: Path, tmp_path: Path, number: signal.Signals, run_cli: RunCli
) -> None:
    words = ["build", "-m", "egeunet", "-t", "intel", "-p", "fp32", "--size", "64x64"]
    command = [sys.executable, "-m", "edgeseg", *words, "-o", str(tmp_path / "out")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while not list(own_cache.glob(f"bundles/.*{PARTIAL}*")):
            assert process.poll() is None, "the build ended before it could be killed"
            time.sleep(0.01)
        process.send_signal(number)
    assert process.returncode != 0
    assert not (tmp_path / "out").exists()
    if number == signal.SIGTERM:
        assert not list(tmp_path.rglob(f"*{PARTIAL}*"))
    done = run_cli(*words, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    open_bundle(tmp_path / "out").check_files()
    assert not list(tmp_path.rglob(f"*{PARTIAL}*"))
