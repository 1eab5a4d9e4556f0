"""Ways to quantise by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

from edgeseg.errors import UsageError
from edgeseg.registry import Registry

from .base import Calibrator, Emitter, Method, Quantizer
from .plan.quant_plan import QuantPlan

__all__ = [
    "EMITTERS",
    "METHODS",
    "Calibrator",
    "Emitter",
    "QuantPlan",
    "Quantizer",
    "find_emitter",
    "find_method",
]

# Calibrators first, then tools of their own formats.
METHODS = Registry(
    "quantisation method",
    {
        "min-max": "edgeseg.quantize.calibrators.min_max:MinMaxCalibrator",
        "percentile": "edgeseg.quantize.calibrators.percentile:PercentileCalibrator",
        "entropy": "edgeseg.quantize.calibrators.entropy:EntropyCalibrator",
        "mse": "edgeseg.quantize.calibrators.mse:MseCalibrator",
        "distill": "edgeseg.quantize.distillation.calibrator:DistillCalibrator",
        "ai-edge-quantizer": "edgeseg.quantize.litert.ptq:LiteRtQuantizer",
        "nncf": "edgeseg.quantize.nncf_ptq:NncfQuantizer",
    },
    "edgeseg.quantizers",
)
DEFAULT_CALIBRATOR = "min-max"
EMITTERS = Registry(
    "format of INT8 artefacts",
    {
        "onnx": "edgeseg.quantize.qdq_onnx:QdqEmitter",
        "tflite": "edgeseg.quantize.litert.emitter:LiteRtEmitter",
    },
    "edgeseg.emitters",
)


def find_method(
    name: str | None,
    formats: Sequence[str],
    options: Mapping[str, str] | None = None,
    plan_form: Mapping[str, str] | None = None,
) -> Quantizer | Calibrator:
    """Make the quantiser or calibrator of that name.

    Args:
        name: Registered name; None takes the tool for the preferred format, and a calibrator
            where there is none.
        formats: What may be quantised, the preferred one first.
        options: Of the method, as words of a command line; the defaults for the rest.
        plan_form: Defaults of a target for the options of calibrators, where they have them.

    Raises:
        UnknownNameError: No such method, or it has no such option.
        UsageError: It does not handle the formats, or no method does.
    """
    if name is None:
        name = _default_method(formats)
    method_class: type[Method] = METHODS.find(name)
    known = {field.name for field in fields(method_class.options_class)}
    words = {key: word for key, word in (plan_form or {}).items() if key in known}
    words.update(options or {})
    method = method_class(method_class.options_class.parse(f"method {name}", words))
    if isinstance(method, Quantizer):
        if method.artifact_format in formats:
            return method
        takes = method.artifact_format
    else:
        assert isinstance(method, Calibrator)
        if any(wanted in EMITTERS.names() for wanted in formats):
            return method
        takes = " or ".join(EMITTERS.names())
    raise UsageError(
        f"The quantisation method {name} takes {takes}, not {' or '.join(formats)}. Leave --method "
        "out to get one that does."
    )


def find_emitter(formats: Sequence[str]) -> Emitter:
    """Make the emitter for the first of some formats that has one.

    Raises:
        UsageError: None has.
    """
    for wanted in formats:
        if wanted in EMITTERS.names():
            emitter: Emitter = EMITTERS.find(wanted)()
            return emitter
    raise UsageError(f"No plan can be written into {' or '.join(formats)}. Build with fp32.")


def _default_method(formats: Sequence[str]) -> str:
    for wanted in formats:
        for name in METHODS.names():
            method = METHODS.find(name)
            if issubclass(method, Quantizer) and method.artifact_format == wanted:
                return name
        if wanted in EMITTERS.names():
            return DEFAULT_CALIBRATOR
    raise UsageError(f"No quantisation method takes {' or '.join(formats)}. Build with fp32.")
