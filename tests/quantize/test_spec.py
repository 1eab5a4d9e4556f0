from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from edgeseg.errors import UnknownNameError, UsageError
from edgeseg.lazy import BACKENDS
from edgeseg.quantize import (
    EMITTERS,
    METHODS,
    Calibrator,
    Emitter,
    Quantizer,
    resolve_quantization,
)


@dataclass(frozen=True)
class Formats:
    """What quantisation asks of a runtime."""

    quantized_from: tuple[str, ...]
    plan_defaults: Mapping[str, str] = field(default_factory=dict)


ONNX = Formats(("onnx",))


@pytest.mark.parametrize("name", METHODS.names())
def test_method_is_found_by_name(name: str) -> None:
    made = METHODS.find(name)()
    assert isinstance(made, Quantizer | Calibrator)
    assert made.name == name
    assert set(made.packages) <= set(BACKENDS)
    formats = (made.artifact_format,) if isinstance(made, Quantizer) else EMITTERS.names()
    spec = resolve_quantization(Formats(formats), name)
    assert spec.settings() == made.settings()
    assert spec.makes_plan == isinstance(made, Calibrator)


@pytest.mark.parametrize("name", EMITTERS.names())
def test_emitter_is_found_by_its_format(name: str) -> None:
    spec = resolve_quantization(Formats(("wav", name)), "mse")
    emitter = spec.emitter
    assert isinstance(emitter, Emitter)
    assert emitter.artifact_format == name
    assert set(emitter.packages) <= set(BACKENDS)
    assert set(spec.packages) == {*spec.method.packages, *emitter.packages}


@pytest.mark.parametrize(
    ("formats", "name"),
    [
        (("openvino-ir", "onnx"), "nncf"),
        (("onnx",), "mse"),
        (("onnx", "openvino-ir"), "mse"),
        (("tflite",), "ai-edge-quantizer"),
    ],
)
def test_preferred_format_chooses_the_method(formats: tuple[str, ...], name: str) -> None:
    assert resolve_quantization(Formats(formats)).name == name


def test_unknown_method_names_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"method 'ncf'\. Did you mean nncf\?"):
        resolve_quantization(Formats(("openvino-ir",)), "ncf")


def test_unknown_option_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="Method min-max has no option 'percent'"):
        resolve_quantization(ONNX, "min-max", {"percent": "99"})


def test_defaults_of_a_runtime_hold_for_methods_that_have_the_option() -> None:
    runtime = Formats(("openvino-ir", "onnx"), {"zero_points": "true"})
    shifted = resolve_quantization(runtime, "mse")
    assert shifted.settings()["zero_points"] is True
    asked = resolve_quantization(runtime, "mse", {"zero_points": "false"})
    assert asked.settings()["zero_points"] is False
    assert resolve_quantization(runtime, "nncf").name == "nncf"


@pytest.mark.parametrize("method", ["min-max", "percentile", "entropy", "mse", "distill"])
def test_options_of_earlier_plans_have_the_same_meaning(method: str) -> None:
    runtime = Formats(("onnx",), {"quantize_outputs": "false"})
    words = {"results": "true", "depthwise_results": "true"}
    settings = resolve_quantization(runtime, method, words).settings()
    assert settings["quantize_outputs"] is True
    assert settings["quantize_depthwise_outputs"] is True
    assert not words.keys() & settings.keys()


@pytest.mark.parametrize(("name", "takes"), [("nncf", "openvino-ir"), ("min-max", "onnx.*")])
def test_method_for_another_format_says_what_to_leave_out(name: str, takes: str) -> None:
    with pytest.raises(UsageError, match=rf"{name} takes {takes}, not wav or mp3\. Leave"):
        resolve_quantization(Formats(("wav", "mp3")), name)


def test_format_that_nobody_takes_says_what_to_build() -> None:
    with pytest.raises(UsageError, match=r"No quantisation method takes wav\. Build with fp32"):
        resolve_quantization(Formats(("wav",)))
