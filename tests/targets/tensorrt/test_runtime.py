"""Runtime `tensorrt`. Graphs are built by the real TensorRT-RTX; the device is that of fakes/."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import needs
from tiny_graphs import INPUT, save_conv_relu_conv

from edgeseg.errors import MissingBackendError, TargetError, UnknownNameError, UsageError
from edgeseg.models import find_model
from edgeseg.records import Artifact
from edgeseg.targets import find_runtime
from edgeseg.targets.tensorrt.base import MODEL_FILE
from edgeseg.targets.tensorrt.runtime import PLAN_FILE, JetsonOptions, TensorRtRuntime

pytestmark = needs("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "tensorrt_rtx")

RUNTIME = TensorRtRuntime()
SPEC = find_model("egeunet").at_size(64, 64)
FALLBACK = "onnxruntime in place of TensorRT"


@pytest.fixture(scope="module")
def image() -> NDArray[np.float32]:
    return np.random.default_rng(3).uniform(0, 255, SPEC.inputs.shape).astype(np.float32)


@pytest.fixture(scope="module")
def int8_onnx(
    small_onnx: Path, image: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    import onnx_ir

    from edgeseg.quantize.calibrators.activations import largest_magnitudes, observe_activations
    from edgeseg.quantize.plan.quant_plan import QuantPlan
    from edgeseg.quantize.qdq_onnx import activations_to_quantize, emit_qdq

    tensors = activations_to_quantize(onnx_ir.load(small_onnx).graph)
    observed = observe_activations(small_onnx, tensors, [image])
    path = tmp_path_factory.mktemp("int8") / "quantized.onnx"
    emit_qdq(small_onnx, QuantPlan(largest_magnitudes(observed)), path)
    return path


@pytest.fixture(scope="module")
def compile_to(
    small_onnx: Path, int8_onnx: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Artifact]:
    made: dict[str, Artifact] = {}

    def compile_to(precision: str) -> Artifact:
        if precision not in made:
            source = int8_onnx if precision == "int8" else small_onnx
            made[precision] = RUNTIME.compile(source, tmp_path_factory.mktemp(precision), precision)
        return made[precision]

    return compile_to


def plan_of(artifact: Artifact) -> dict[str, Any]:
    plan: dict[str, Any] = json.loads((artifact.folder / PLAN_FILE).read_text())
    return plan


def check(artifact: Artifact, image: NDArray[np.float32]) -> NDArray[np.float32]:
    backend, name = RUNTIME.load_for_check(artifact)
    assert name == FALLBACK
    return backend.run(image)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_artefact_is_graph_and_plan(compile_to: Callable[[str], Artifact], precision: str) -> None:
    artifact = compile_to(precision)
    assert artifact.files == (PLAN_FILE, MODEL_FILE)
    plan = plan_of(artifact)
    expected = {
        "precision": precision,
        "tensorrt": {"least": "10.3", "below": "12.0"},
        "strongly_typed": True,
        "workspace_mb": 512,
        "dla_core": -1,
        "input": {"name": "image", "shape": [1, 3, 64, 64]},
        "output": {"name": "mask", "shape": [1, 1, 64, 64]},
    }
    assert {key: plan[key] for key in expected} == expected
    assert plan["onnx"]["size_bytes"] == (artifact.folder / MODEL_FILE).stat().st_size
    assert plan["proof"]["compute_capability"] == "8.6"
    assert plan["proof"]["engine_bytes"] > 10_000  # built, and not shipped


def test_report_tells_what_is_not_int8(compile_to: Callable[[str], Artifact]) -> None:
    kernels = plan_of(compile_to("int8"))["kernels"]
    # All but 18 of constants and the last of the 83, whose rounding would decide pixels near the
    # threshold.
    assert kernels["convolutions"] == {"fp32": 19, "int8": 64}
    assert len(kernels["float_convolutions"]) == 19
    assert kernels["kernels"] > 83
    assert kernels["unfused"]["InstanceNormalization"] == 10
    assert "convolutions 19 fp32, 64 int8" in compile_to("int8").note


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_ends_of_the_graph_are_float(compile_to: Callable[[str], Artifact], precision: str) -> None:
    import onnx

    graph = onnx.load(compile_to(precision).folder / MODEL_FILE).graph
    for value in (*graph.input, *graph.output):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    kinds = {tensor.data_type for tensor in graph.initializer}
    assert (onnx.TensorProto.FLOAT16 in kinds) == (precision == "fp16")


def test_half_precision_moves_masks_little(
    compile_to: Callable[[str], Artifact], image: NDArray[np.float32]
) -> None:
    difference = np.abs(check(compile_to("fp16"), image) - check(compile_to("fp32"), image))
    assert 1e-6 < difference.max() < 0.02  # 11 bits: seen, but not another network
    assert difference.mean() < 2e-3


def test_half_precision_computes_its_convolutions_in_half(
    compile_to: Callable[[str], Artifact],
) -> None:
    assert plan_of(compile_to("fp16"))["kernels"]["convolutions"] == {"fp16": 83}
    assert plan_of(compile_to("fp32"))["kernels"]["convolutions"] == {"fp32": 83}


def test_int8_is_another_network_but_not_much(
    compile_to: Callable[[str], Artifact], image: NDArray[np.float32]
) -> None:
    difference = np.abs(check(compile_to("int8"), image) - check(compile_to("fp32"), image))
    assert 1e-4 < difference.mean() < 0.1


def test_graph_of_the_usual_quantiser_is_refused(tmp_path: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Images(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = [{INPUT: np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 1, 8, 8)}]

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return self.left.pop() if self.left else None

    path = save_conv_relu_conv(tmp_path / "tiny.onnx", [[1]], [[2]])
    usual = tmp_path / "usual.onnx"
    quantize_static(path, usual, Images(), quant_format=QuantFormat.QDQ)
    with pytest.raises(TargetError, match=r"zero point is -128, and TensorRT takes 0.*--method"):
        RUNTIME.compile(usual, tmp_path / "new", "int8")
    assert not (tmp_path / "new").exists()


def test_float_graph_is_no_int8_network(small_onnx: Path, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="no QuantizeLinear operators"):
        RUNTIME.compile(small_onnx, tmp_path / "new", "int8")


def test_unknown_precision_is_refused_before_the_work(small_onnx: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"'bf16'.*Available: fp16, fp32, int8"):
        RUNTIME.compile(small_onnx, tmp_path / "new", "bf16")


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workspace_mb": "8"}, r"workspace_mb is 8, too little.* at least 16"),
        ({"dla_core": "2"}, r"dla_core is 2\. Give 0 or 1, or -1 for none"),
        ({"dla_core": "first"}, r"dla_core of runtime tensorrt is 'first'.*as dla_core=-1"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find_runtime("tensorrt", options)


def test_options_reach_the_plan(small_onnx: Path, tmp_path: Path) -> None:
    runtime = TensorRtRuntime(JetsonOptions(workspace_mb=256, dla_core=1))
    plan = plan_of(runtime.compile(small_onnx, tmp_path / "new", "fp16"))
    assert (plan["workspace_mb"], plan["dla_core"]) == (256, 1)
    assert not plan["strongly_typed"]  # where TensorRT is older than 11
    baseline = plan_of(runtime.compile(small_onnx, tmp_path / "baseline", "fp32"))
    assert (baseline["dla_core"], baseline["strongly_typed"]) == (-1, True)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_dla_core_takes_fp16_only(precision: str) -> None:
    runtime = find_runtime("tensorrt", {"dla_core": "0"})
    runtime.require_precision("fp16")
    with pytest.raises(
        TargetError, match=rf"cannot run {precision} here: .*DLA core 0.*FP16 only.*--precision"
    ):
        runtime.require_precision(precision)


# Where it runs


def test_machine_without_tensorrt_says_where_it_comes_from(
    compile_to: Callable[[str], Artifact],
) -> None:
    artifact = compile_to("fp32")
    if RUNTIME.fallback_runtime() == "":
        pytest.skip("TensorRT and a GPU are here")
    with pytest.raises(MissingBackendError, match=r"'tensorrt'.*python3-libnvinfer.*JetPack"):
        RUNTIME.load(artifact)
    diagnosis = RUNTIME.diagnose()
    assert diagnosis.builds == ("fp32", "fp16")
    assert diagnosis.runs == ()
    assert f"checks by {FALLBACK}" in diagnosis.notes


@pytest.mark.usefixtures("device")
def test_device_computes_the_checks_itself(
    compile_to: Callable[[str], Artifact], image: NDArray[np.float32]
) -> None:
    artifact = compile_to("fp16")
    assert RUNTIME.fallback_runtime() == ""
    backend, name = RUNTIME.load_for_check(artifact)
    assert name == "tensorrt"
    # The one network that the stand-in for TensorRT knows.
    assert np.array_equal(backend.run(image), (image[:, :1] > 127).astype(np.float32))


@pytest.mark.usefixtures("device")
def test_diagnosis_names_the_device() -> None:
    diagnosis = RUNTIME.diagnose()
    assert diagnosis.runs == ("fp32", "fp16", "int8")
    assert diagnosis.notes[1:] == ("Orin with 8 multiprocessors", "compute capability 8.7")


def test_diagnosis_without_gpu_gives_the_reason(device: pytest.MonkeyPatch) -> None:
    device.setenv("FAKE_GPU", "")
    diagnosis = RUNTIME.diagnose()
    assert diagnosis.runs == ()
    assert any("no NVIDIA GPU can be used here" in note for note in diagnosis.notes)


def test_version_that_the_graph_is_not_for_is_refused(
    device: pytest.MonkeyPatch, compile_to: Callable[[str], Artifact]
) -> None:
    device.setenv("FAKE_TRT_VERSION", "8.6.1")
    artifact = compile_to("fp32")
    with pytest.raises(TargetError, match=r"from 10\.3 to below 12\.0, and here is 8\.6\.1"):
        RUNTIME.load(artifact)


# The bundle


def test_bundle_carries_the_kit(random_weights: Path, tmp_path: Path) -> None:
    from edgeseg.pipeline.build import BuildRequest, build_bundle
    from edgeseg.pipeline.verify import verify_bundle

    request = BuildRequest(
        "egeunet", "jetson", "fp16", tmp_path / "new", weights=random_weights, size=(64, 64)
    )
    bundle, _ = build_bundle(request)
    runner = {path.name for path in (bundle.folder / "runner").iterdir()}
    shared = {"contract.py", "backend.py", "golden.py", "identity.py", "run.py"}
    shared.add("device_bench.py")
    assert runner == {*shared, "kit.py"}
    assert bundle.manifest.options == {"workspace_mb": 512, "dla_core": -1}
    assert bundle.manifest.checked_by == FALLBACK
    assert bundle.manifest.artifact.files == (f"artifact/{PLAN_FILE}", f"artifact/{MODEL_FILE}")
    _, agreement, computed_by = verify_bundle(bundle.folder)
    assert computed_by == FALLBACK
    assert agreement.max_abs_diff < 1e-3
