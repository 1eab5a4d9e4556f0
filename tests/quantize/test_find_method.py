from __future__ import annotations

import pytest

from edgeseg.errors import UnknownNameError, UsageError
from edgeseg.lazy import BACKENDS
from edgeseg.quantize import (
    EMITTERS,
    METHODS,
    Calibrator,
    Emitter,
    Quantizer,
    find_emitter,
    find_method,
)


@pytest.mark.parametrize("name", METHODS.names())
def test_method_is_found_by_name(name: str) -> None:
    made = METHODS.find(name)()
    assert isinstance(made, Quantizer | Calibrator)
    assert made.name == name
    assert set(made.packages) <= set(BACKENDS)
    formats = [made.artifact_format] if isinstance(made, Quantizer) else EMITTERS.names()
    assert find_method(name, formats).settings() == made.settings()


@pytest.mark.parametrize("name", EMITTERS.names())
def test_emitter_is_found_by_its_format(name: str) -> None:
    emitter = find_emitter(["wav", name])
    assert isinstance(emitter, Emitter)
    assert emitter.artifact_format == name
    assert set(emitter.packages) <= set(BACKENDS)


@pytest.mark.parametrize(
    ("formats", "name"),
    [
        (["openvino-ir", "onnx"], "nncf"),
        (["onnx"], "min-max"),
        (["onnx", "openvino-ir"], "min-max"),
        (["tflite"], "ai-edge-quantizer"),
    ],
)
def test_preferred_format_chooses_the_method(formats: list[str], name: str) -> None:
    assert find_method(None, formats).name == name


def test_unknown_method_names_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"method 'ncf'\. Did you mean nncf\?"):
        find_method("ncf", ["openvino-ir"])


def test_unknown_option_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="option of method min-max 'percent'"):
        find_method("min-max", ["onnx"], {"percent": "99"})


def test_form_of_a_target_is_a_default_for_those_that_have_the_option() -> None:
    form = {"zero_points": "true"}
    shifted = find_method("mse", ["onnx"], {}, form)
    assert shifted.settings()["zero_points"] is True
    asked = find_method("mse", ["onnx"], {"zero_points": "false"}, form)
    assert asked.settings()["zero_points"] is False
    assert find_method("nncf", ["openvino-ir"], {}, form).name == "nncf"


@pytest.mark.parametrize(("name", "takes"), [("nncf", "openvino-ir"), ("min-max", "onnx.*")])
def test_method_for_another_format_says_what_to_leave_out(name: str, takes: str) -> None:
    with pytest.raises(UsageError, match=rf"{name} takes {takes}, not wav or mp3\. Leave"):
        find_method(name, ["wav", "mp3"])


def test_format_that_nobody_takes_says_what_to_build() -> None:
    with pytest.raises(UsageError, match=r"No quantisation method takes wav\. Build with fp32"):
        find_method(None, ["wav"])
    with pytest.raises(UsageError, match=r"No plan can be written into wav\. Build with fp32"):
        find_emitter(["wav"])
