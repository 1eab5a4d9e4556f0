"""Quantisers by name."""

from __future__ import annotations

from edgeseg.errors import UsageError
from edgeseg.registry import Registry

from .base import Quantizer

__all__ = ["QUANTIZERS", "Quantizer", "find_quantizer"]

QUANTIZERS = Registry(
    "quantisation method",
    {
        "nncf": "edgeseg.quantize.nncf_ptq:NncfQuantizer",
    },
    "edgeseg.quantizers",
)


def find_quantizer(name: str | None, artifact_format: str) -> Quantizer:
    """Make a quantiser for artefacts of a format.

    Args:
        name: Registered name; None takes the first that handles the format.

    Raises:
        UnknownNameError: No such method.
        UsageError: It does not handle the format, or none does.
    """
    if name is not None:
        quantizer: Quantizer = QUANTIZERS.find(name)()
        if quantizer.artifact_format != artifact_format:
            raise UsageError(
                f"The quantisation method {name} takes {quantizer.artifact_format}, not "
                f"{artifact_format}. Leave --method out to get one that does."
            )
        return quantizer
    for candidate in QUANTIZERS.names():
        quantizer = QUANTIZERS.find(candidate)()
        if quantizer.artifact_format == artifact_format:
            return quantizer
    raise UsageError(f"No quantisation method takes {artifact_format}. Build with fp32.")
