"""Names of quantisation methods and emitters, and which of them fit a format."""

from __future__ import annotations

from collections.abc import Sequence

from edgeseg.errors import UsageError
from edgeseg.registry import Registry

from .base import Quantizer

# Calibrators first, then vendor quantisers.
METHODS = Registry(
    "quantisation method",
    {
        "min-max": "edgeseg.quantize.calibrators.min_max:MinMaxCalibrator",
        "percentile": "edgeseg.quantize.calibrators.percentile:PercentileCalibrator",
        "entropy": "edgeseg.quantize.calibrators.entropy:EntropyCalibrator",
        "mse": "edgeseg.quantize.calibrators.mse:MseCalibrator",
        "distill": "edgeseg.quantize.distillation.calibrator:DistillCalibrator",
        "ai-edge-quantizer": "edgeseg.quantize.litert.ptq:LiteRtQuantizer",
        "integer": "edgeseg.quantize.litert.integer.quantizer:IntegerQuantizer",
        "integer-distill": "edgeseg.quantize.litert.integer.distilled:DistilledIntegerQuantizer",
        "nncf": "edgeseg.quantize.nncf_ptq:NncfQuantizer",
    },
    "edgeseg.quantizers",
)
DEFAULT_CALIBRATOR = "mse"
EMITTERS = Registry(
    "format of INT8 artefacts",
    {
        "onnx": "edgeseg.quantize.qdq_onnx:QdqEmitter",
        "tflite": "edgeseg.quantize.litert.emitter:LiteRtEmitter",
    },
    "edgeseg.emitters",
)


def takes_plans(formats: Sequence[str]) -> bool:
    """Whether a plan can be written into one of the formats."""
    return any(name in EMITTERS.names() for name in formats)


def default_method(formats: Sequence[str]) -> str:
    """The vendor quantiser of the first format that has one or takes plans; else a calibrator.

    Raises:
        UsageError: No method handles any of the formats.
    """
    for wanted in formats:
        for name in METHODS.names():
            method = METHODS.find(name)
            is_vendor = issubclass(method, Quantizer)
            if is_vendor and method.is_usual and method.artifact_format == wanted:
                return name
        if wanted in EMITTERS.names():
            return DEFAULT_CALIBRATOR
    raise UsageError(f"No quantisation method takes {' or '.join(formats)}. Build with fp32.")


def usual_methods(formats: Sequence[str]) -> dict[str, bool]:
    """Vendor quantisers of the formats and the default calibrator, with whether each makes a plan.

    They are what a search tries first.
    """
    usual = {}
    for name in METHODS.names():
        method = METHODS.find(name)
        is_vendor = issubclass(method, Quantizer)
        is_usual = (
            method.is_usual and method.artifact_format in formats
            if is_vendor
            else takes_plans(formats) and name == DEFAULT_CALIBRATOR
        )
        if is_usual:
            usual[name] = not is_vendor
    return usual


def whole_quantizers(formats: Sequence[str]) -> tuple[str, ...]:
    """Methods that quantise artefacts of the formats without a plan, those that no search tries
    too."""
    found = ((name, METHODS.find(name)) for name in METHODS.names())
    return tuple(
        name
        for name, method in found
        if issubclass(method, Quantizer) and method.artifact_format in formats
    )


def quick_calibrators(formats: Sequence[str]) -> tuple[str, ...]:
    """Calibrators that take about as long as the default one, without it."""
    from .calibrators.range_calibrator import RangeCalibrator

    if not takes_plans(formats):
        return ()
    return tuple(
        name
        for name in METHODS.names()
        if name != DEFAULT_CALIBRATOR and issubclass(METHODS.find(name), RangeCalibrator)
    )
