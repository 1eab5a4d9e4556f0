"""Quantisers by name."""

from __future__ import annotations

from collections.abc import Sequence

from edgeseg.errors import UsageError
from edgeseg.registry import Registry

from .base import Quantizer

__all__ = ["QUANTIZERS", "Quantizer", "find_quantizer"]

QUANTIZERS = Registry(
    "quantisation method",
    {
        "ai-edge-quantizer": "edgeseg.quantize.litert_ptq:LiteRtQuantizer",
        "nncf": "edgeseg.quantize.nncf_ptq:NncfQuantizer",
        "qdq": "edgeseg.quantize.qdq_ptq:QdqQuantizer",
    },
    "edgeseg.quantizers",
)


def find_quantizer(name: str | None, formats: Sequence[str]) -> Quantizer:
    """Make a quantiser for one of some formats.

    Args:
        name: Registered name; None takes the first that handles the first format for which
            there is one.
        formats: What may be quantised, the preferred one first.

    Raises:
        UnknownNameError: No such method.
        UsageError: It does not handle the format, or none does.
    """
    if name is not None:
        quantizer: Quantizer = QUANTIZERS.find(name)()
        if quantizer.artifact_format not in formats:
            raise UsageError(
                f"The quantisation method {name} takes {quantizer.artifact_format}, not "
                f"{' or '.join(formats)}. Leave --method out to get one that does."
            )
        return quantizer
    for wanted in formats:
        for candidate in QUANTIZERS.names():
            quantizer = QUANTIZERS.find(candidate)()
            if quantizer.artifact_format == wanted:
                return quantizer
    raise UsageError(f"No quantisation method takes {' or '.join(formats)}. Build with fp32.")
