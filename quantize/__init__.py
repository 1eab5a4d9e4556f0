"""Ways to quantise, by name."""

from __future__ import annotations

from .base import Calibrator, Emitter, Quantizer
from .methods import (
    DEFAULT_CALIBRATOR,
    EMITTERS,
    METHODS,
    quick_calibrators,
    usual_methods,
    whole_quantizers,
)
from .plan.quant_plan import QuantPlan
from .spec import QuantizableRuntime, QuantizationSpec, resolve_quantization

__all__ = [
    "DEFAULT_CALIBRATOR",
    "EMITTERS",
    "METHODS",
    "Calibrator",
    "Emitter",
    "QuantPlan",
    "QuantizableRuntime",
    "QuantizationSpec",
    "Quantizer",
    "quick_calibrators",
    "resolve_quantization",
    "usual_methods",
    "whole_quantizers",
]
