from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from support import needs

from edgeseg.errors import TargetError
from edgeseg.models import find_model
from edgeseg.records import Artifact
from edgeseg.targets.openvino.runtime import OpenVinoRuntime

pytestmark = needs("openvino", "torch", "onnx", "onnxscript", "onnxruntime")

RUNTIME = OpenVinoRuntime()
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
def compile_to(small_artifact: Callable[..., Artifact]) -> Callable[[str], Artifact]:
    return partial(small_artifact, RUNTIME.name)


def load(artifact: Artifact, threads: int = 1) -> Any:
    return RUNTIME.load(artifact, threads)


def property_of(backend: Any, name: str) -> Any:
    return backend._model.get_property(name)


def test_fp32_artifact_is_computed_in_fp32(compile_to: Callable[[str], Artifact]) -> None:
    import openvino

    backend = load(compile_to("fp32"))
    assert property_of(backend, "INFERENCE_PRECISION_HINT") == openvino.Type.f32


def test_bf16_artifact_is_computed_in_bf16(compile_to: Callable[[str], Artifact]) -> None:
    import openvino

    if RUNTIME.refusal("bf16") is not None:
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


@pytest.mark.parametrize(("precision", "kind"), [("fp32", "f32"), ("bf16", "f16")])
def test_weights_are_stored_as_the_precision_needs(
    compile_to: Callable[[str], Artifact], precision: str, kind: str
) -> None:
    import openvino

    artifact = compile_to(precision)
    model = openvino.Core().read_model(artifact.folder / artifact.files[0])
    kinds = {
        op.get_element_type().get_type_name()
        for op in model.get_ops()
        # Single numbers stay as they are.
        if op.get_type_name() == "Constant"
        and op.get_element_type().is_real()
        and len(op.get_data().ravel()) > 1
    }
    assert kinds == {kind}


@pytest.mark.parametrize(("value", "fits"), [(6e4, True), (7e4, False), (1e-9, False), (0, True)])
def test_constants_that_half_does_not_hold_are_kept_whole(value: float, fits: bool) -> None:
    import openvino
    from openvino import opset13 as ops

    from edgeseg.formats.openvino_ir import fits_half

    image = ops.parameter([1, 2, 4, 4], np.float32, name="image")
    factors = ops.constant(np.full((1, 2, 1, 1), value, np.float32))
    model = openvino.Model([ops.multiply(image, factors)], [image], "model")
    assert fits_half(model) == fits


def test_precisions_state_what_is_computed(compile_to: Callable[[str], Artifact]) -> None:
    assert compile_to("fp32").settings["inference_precision"] == "f32"
    assert compile_to("bf16").settings["inference_precision"] == "bf16"


def test_int8_leaves_the_rest_in_fp32() -> None:
    assert RUNTIME.runtime_settings("int8")["inference_precision"] == "f32"


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
    monkeypatch.setattr(OpenVinoRuntime, "_core", staticmethod(CoreWithoutBf16))
    with pytest.raises(
        TargetError,
        match=r"cannot run bf16 here: the CPU has no BF16 instructions.*Choose another --precision",
    ):
        RUNTIME.require_precision("bf16")
    RUNTIME.require_precision("fp32")
    RUNTIME.require_precision("int8")


def test_diagnosis_leaves_out_what_the_cpu_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenVinoRuntime, "_core", staticmethod(CoreWithoutBf16))
    diagnosis = RUNTIME.diagnose()
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


def test_the_float_part_of_int8_may_be_bf16_where_the_cpu_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runtime = OpenVinoRuntime()
    monkeypatch.setattr(OpenVinoRuntime, "refusal", lambda self, precision: None)
    assert runtime.runtime_variants("fp32") == {}
    (changes,) = runtime.runtime_variants("int8").values()
    assert changes == {"inference_precision": "bf16"}
    monkeypatch.setattr(OpenVinoRuntime, "refusal", lambda self, precision: "an old CPU")
    assert runtime.runtime_variants("int8") == {}


def test_arithmetic_in_fp16_is_offered_to_a_cpu_that_has_it(
    compile_to: Callable[[str], Artifact],
) -> None:
    import openvino

    assert RUNTIME.half_variants("fp32", ["avx512f", "amx_bf16"]) == {}
    assert RUNTIME.half_variants("bf16", ["asimdhp"]) == {}
    assert list(RUNTIME.half_variants("int8", ["asimdhp"])) == ["float part in fp16"]
    ((name, changed),) = RUNTIME.half_variants("fp32", ["asimd", "asimdhp"]).items()
    assert name == "arithmetic in fp16"
    artifact = compile_to("fp32")
    assert not RUNTIME.is_half(artifact.settings)
    half = replace(artifact, settings={**artifact.settings, **changed})
    assert RUNTIME.is_half(half.settings)
    # It loads here, too, whatever this CPU makes of it.
    assert property_of(load(half), "INFERENCE_PRECISION_HINT") in (
        openvino.Type.f16,
        openvino.Type.f32,
    )
