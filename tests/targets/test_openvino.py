from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import needs

from edgeseg.errors import TargetError
from edgeseg.models import find_model
from edgeseg.records import Artifact
from edgeseg.targets.openvino import WEIGHTS_FILE, OpenVinoTarget

pytestmark = needs("openvino", "torch", "onnx", "onnxscript", "onnxruntime")

TARGET = OpenVinoTarget()
SPEC = find_model("egeunet").at_size(64, 64)


class CoreWithoutBf16:
    """An `openvino.Core` on a CPU that has no BF16 instructions."""

    def get_property(self, device: str, name: str) -> Any:
        assert device == "CPU"
        return {
            "OPTIMIZATION_CAPABILITIES": ["FP32", "INT8", "BIN"],
            "FULL_DEVICE_NAME": "  Old CPU ",
        }[name]


@pytest.fixture(scope="module")
def compile_to(
    small_onnx: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Artifact]:
    made: dict[str, Artifact] = {}

    def compile_to(precision: str) -> Artifact:
        if precision not in made:
            folder = tmp_path_factory.mktemp(precision)
            made[precision] = TARGET.compile(small_onnx, folder, precision)
        return made[precision]

    return compile_to


def load(artifact: Artifact, threads: int = 1) -> Any:
    return TARGET.load(artifact.folder, artifact.files, artifact.runtime, threads)


def property_of(backend: Any, name: str) -> Any:
    return backend._model.get_property(name)


def test_fp32_artifact_is_computed_in_fp32(compile_to: Callable[[str], Artifact]) -> None:
    import openvino

    backend = load(compile_to("fp32"))
    assert property_of(backend, "INFERENCE_PRECISION_HINT") == openvino.Type.f32


def test_bf16_artifact_is_computed_in_bf16(compile_to: Callable[[str], Artifact]) -> None:
    import openvino

    if TARGET.refusal("bf16") is not None:
        pytest.skip("this CPU has no BF16")
    backend = load(compile_to("bf16"))
    assert property_of(backend, "INFERENCE_PRECISION_HINT") == openvino.Type.bf16
    image = np.random.default_rng(2).uniform(0, 255, SPEC.inputs.shape).astype(np.float32)
    difference = np.abs(backend.run(image) - load(compile_to("fp32")).run(image)).max()
    assert 1e-5 < difference < 0.2  # 8 bits of mantissa: seen, but not another network


@pytest.mark.parametrize("threads", [1, 2])
def test_backend_keeps_its_settings(compile_to: Callable[[str], Artifact], threads: int) -> None:
    backend = load(compile_to("fp32"), threads)
    assert property_of(backend, "INFERENCE_NUM_THREADS") == threads
    assert int(property_of(backend, "NUM_STREAMS")) == 1
    assert property_of(backend, "ENABLE_CPU_PINNING") is False


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_stored_weights_stay_fp32(compile_to: Callable[[str], Artifact], precision: str) -> None:
    import openvino

    artifact = compile_to(precision)
    model = openvino.Core().read_model(artifact.folder / artifact.files[0])
    kinds = {
        op.get_element_type()
        for op in model.get_ops()
        if op.get_type_name() == "Constant" and op.get_element_type().is_real()
    }
    assert kinds == {openvino.Type.f32}
    assert not any(op.get_type_name() == "Convert" for op in model.get_ops())


def test_precisions_differ_in_runtime_settings_only(
    compile_to: Callable[[str], Artifact],
) -> None:
    float_one, half_one = compile_to("fp32"), compile_to("bf16")
    weights = [(made.folder / WEIGHTS_FILE).read_bytes() for made in (float_one, half_one)]
    assert weights[0] == weights[1]
    assert float_one.runtime["inference_precision"] == "f32"
    assert half_one.runtime["inference_precision"] == "bf16"


def test_int8_leaves_the_rest_in_fp32() -> None:
    assert TARGET.runtime_settings("int8")["inference_precision"] == "f32"


def test_constant_arithmetic_is_folded(compile_to: Callable[[str], Artifact]) -> None:
    import openvino

    artifact = compile_to("fp32")
    model = openvino.Core().read_model(artifact.folder / artifact.files[0])
    constant = set()
    for op in model.get_ops():
        sources = [value.get_source_output().get_node() for value in op.inputs()]
        if sources and all(source.get_type_name() == "Constant" for source in sources):
            constant.add(op.get_type_name())
    # OpenVINO has no constant folding of convolutions; its CPU plugin runs them once, at loading.
    assert constant <= {"Convolution", "GroupConvolution"}


def test_bf16_is_refused_where_the_cpu_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenVinoTarget, "_core", staticmethod(CoreWithoutBf16))
    with pytest.raises(
        TargetError,
        match=r"cannot run bf16 here: the CPU has no BF16 instructions.*Choose another --precision",
    ):
        TARGET.require_precision("bf16")
    TARGET.require_precision("fp32")
    TARGET.require_precision("int8")


def test_diagnosis_leaves_out_what_the_cpu_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenVinoTarget, "_core", staticmethod(CoreWithoutBf16))
    diagnosis = TARGET.diagnose()
    assert diagnosis.runs == ("fp32", "int8")
    assert diagnosis.notes[1:] == ("Old CPU", "FP32, INT8, BIN")


def test_runner_refuses_bf16_on_a_cpu_without_it(
    compile_to: Callable[[str], Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    import openvino

    artifact = compile_to("bf16")
    monkeypatch.setattr(openvino, "Core", CoreWithoutBf16)
    with pytest.raises(TargetError, match="no BF16 instructions, for which the model was built"):
        load(artifact)
