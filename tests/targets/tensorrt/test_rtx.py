"""Runtime `tensorrt-rtx`. Engines are built by the real TensorRT-RTX; the GPU is that of fakes/."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import needs

from edgeseg.errors import TargetError, UsageError
from edgeseg.models import find_model
from edgeseg.records import Artifact
from edgeseg.targets import find_runtime
from edgeseg.targets.runners.tensorrt_backend import ENGINE_FILE, RECORD_FILE
from edgeseg.targets.tensorrt.base import MODEL_FILE
from edgeseg.targets.tensorrt.rtx import COMPUTE_CAPABILITIES, RtxOptions, TensorRtRtxRuntime

pytestmark = needs("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "tensorrt_rtx")

RUNTIME = TensorRtRtxRuntime()
SPEC = find_model("egeunet").at_size(64, 64)
FALLBACK = "onnxruntime in place of TensorRT-RTX"


@pytest.fixture(scope="module")
def artifact(small_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return RUNTIME.compile(small_onnx, tmp_path_factory.mktemp("rtx"), "fp16")


@pytest.fixture
def image() -> NDArray[np.float32]:
    return np.random.default_rng(3).uniform(0, 255, SPEC.inputs.shape).astype(np.float32)


@pytest.fixture
def use_gpu(device: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Make this a machine with TensorRT-RTX of a version and a GPU of a compute capability."""

    def use(version: str, capability: str) -> None:
        import tensorrt

        device.setattr(tensorrt, "__name__", "tensorrt_rtx")
        device.setattr(tensorrt, "__version__", version)
        # What the stand-in takes for an engine is no real one's beginning.
        device.setattr(tensorrt, "MAGIC", b"")
        device.setitem(sys.modules, "tensorrt_rtx", tensorrt)
        device.setenv("FAKE_GPU", f"NVIDIA GeForce RTX, {capability}, 60")

    return use


def record_of(artifact: Artifact) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((artifact.folder / RECORD_FILE).read_text())
    return record


def load(artifact: Artifact) -> Any:
    return RUNTIME.load(artifact)


def test_artefact_is_engine_record_and_graph(artifact: Artifact) -> None:
    assert artifact.files == (ENGINE_FILE, RECORD_FILE, MODEL_FILE)
    record = record_of(artifact)
    assert record["package"] == "tensorrt_rtx"
    assert record["version"] == artifact.toolchain["tensorrt_rtx"]
    assert record["compute_capability"] == "8.9"
    assert record["precision"] == "fp16"
    assert record["kernels"]["convolutions"] == {"fp16": 83}
    engine = (artifact.folder / ENGINE_FILE).read_bytes()
    assert record["engine"]["sha256"] == hashlib.sha256(engine).hexdigest()


@pytest.mark.parametrize("capability", COMPUTE_CAPABILITIES)
def test_engine_is_built_for_every_listed_gpu(
    light_onnx: Path, tmp_path: Path, capability: str
) -> None:
    runtime = TensorRtRtxRuntime(RtxOptions(capability))
    made = runtime.compile(light_onnx, tmp_path / "new", "fp16")
    assert record_of(made)["compute_capability"] == capability


def test_listed_gpus_are_those_that_the_package_knows() -> None:
    import tensorrt_rtx

    names = tensorrt_rtx.ComputeCapability.__members__
    known = {f"{name[2:-1]}.{name[-1]}" for name in names if name.startswith("SM")}
    assert set(COMPUTE_CAPABILITIES) == known


@pytest.mark.parametrize("capability", ["8.7", "9", "sm86"])
def test_other_gpu_is_refused_with_those_that_are_not(capability: str) -> None:
    with pytest.raises(UsageError, match=rf"is {capability}, for which .*Give one of 7\.5, 8\.0, "):
        find_runtime("tensorrt-rtx", {"compute_capability": capability})


def test_int8_that_a_gpu_would_compute_in_float_is_refused(
    small_onnx: Path, image: NDArray[np.float32], tmp_path: Path
) -> None:
    import onnx_ir

    from edgeseg.quantize.plan.quant_plan import QuantPlan
    from edgeseg.quantize.qdq_onnx import activations_to_quantize, emit_qdq

    tensors = activations_to_quantize(onnx_ir.load(small_onnx).graph)
    emit_qdq(small_onnx, QuantPlan(dict.fromkeys(tensors, 10.0)), tmp_path / "int8.onnx")
    old, new = TensorRtRtxRuntime(RtxOptions("7.5")), TensorRtRtxRuntime(RtxOptions("8.9"))
    with pytest.raises(TargetError, match=r"capability 7\.5 .* in INT8\. Build with --prec"):
        old.compile(tmp_path / "int8.onnx", tmp_path / "old", "int8")
    made = new.compile(tmp_path / "int8.onnx", tmp_path / "new", "int8")
    assert record_of(made)["kernels"]["convolutions"]["int8"] == 64


# Where it runs


def test_machine_without_gpu_checks_the_graph(
    artifact: Artifact, image: NDArray[np.float32]
) -> None:
    if RUNTIME.fallback_runtime() == "":
        pytest.skip("TensorRT-RTX and a GPU are here")
    backend, name = RUNTIME.load_for_check(artifact)
    assert name == FALLBACK
    assert backend.run(image).shape == (1, 1, 64, 64)
    assert RUNTIME.diagnose().runs == ()


def test_gpu_runs_the_engine(
    use_gpu: Callable[[str, str], None], artifact: Artifact, image: NDArray[np.float32]
) -> None:
    use_gpu(artifact.toolchain["tensorrt_rtx"], "8.9")
    backend, name = RUNTIME.load_for_check(artifact)
    assert name == "tensorrt-rtx"
    assert np.array_equal(backend.run(image), (image[:, :1] > 127).astype(np.float32))


@pytest.mark.parametrize(
    ("version", "capability", "reason"),
    [
        ("1.7.1.116", "8.6", r"compute capability 8\.9, and here is 8\.6"),
        ("1.8.0.1", "8.9", r"the version 1\.7\.1\.116, and here is 1\.8\.0\.1"),
    ],
)
def test_engine_is_refused_elsewhere_and_its_graph_checked(
    use_gpu: Callable[[str, str], None],
    artifact: Artifact,
    image: NDArray[np.float32],
    version: str,
    capability: str,
    reason: str,
) -> None:
    record = artifact.folder / RECORD_FILE
    before = record.read_text()
    built_with = artifact.toolchain["tensorrt_rtx"]
    reason = reason.replace(r"1\.7\.1\.116", built_with)
    use_gpu(built_with if version == "1.7.1.116" else version, capability)
    with pytest.raises(TargetError, match=f"{reason}: engines run nowhere else"):
        load(artifact)
    backend, name = RUNTIME.load_for_check(artifact)
    assert name == f"{FALLBACK} for another GPU or version"
    assert backend.run(image).shape == (1, 1, 64, 64)
    assert record.read_text() == before


def test_engine_with_something_added_is_refused(
    use_gpu: Callable[[str, str], None], artifact: Artifact, tmp_path: Path
) -> None:
    use_gpu(artifact.toolchain["tensorrt_rtx"], "8.9")
    for name in artifact.files:
        (tmp_path / name).write_bytes((artifact.folder / name).read_bytes())
    engine = tmp_path / ENGINE_FILE
    engine.write_bytes(engine.read_bytes() + b"metadata")
    with pytest.raises(TargetError, match=r"model\.engine was changed after it was written"):
        RUNTIME.load(replace(artifact, folder=tmp_path))


# The bundle


def test_float_baseline_is_built_for_the_same_gpu(random_weights: Path, tmp_path: Path) -> None:
    from edgeseg.benchmarks.settings import BenchSettings
    from edgeseg.pipeline.build import BuildRequest, build_bundle
    from edgeseg.pipeline.measuring.local import baseline_participant
    from edgeseg.progress import SILENT

    request = BuildRequest(
        "egeunet",
        "rtx",
        "fp16",
        tmp_path / "new",
        weights=random_weights,
        size=(64, 64),
        options={"compute_capability": "8.6"},
    )
    bundle, _ = build_bundle(request)
    assert bundle.manifest.checked_by == FALLBACK
    baseline = baseline_participant(bundle, BenchSettings(), SILENT)
    record = json.loads((Path(baseline.key) / RECORD_FILE).read_text())
    assert (record["compute_capability"], record["precision"]) == ("8.6", "fp32")
