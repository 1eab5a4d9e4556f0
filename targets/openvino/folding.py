"""Computing what is constant in an OpenVINO model, INT8 weights left as they are."""

from __future__ import annotations

from typing import Any

from edgeseg.lazy import require

EIGHT_BITS = 8
# Key of OpenVINO's own note (DisableConstantFolding) that an operator is not to be folded.
KEPT = "DisableConstantFolding_0"


def fold_constants(model: Any) -> None:
    """Compute what no input reaches, in place.

    Readers leave shape arithmetic in the graph that is constant here; it would be half the bytes
    of the artefact and a third of its loading time. What comes from 8-bit constants stays: it is
    INT8 weights on their way to a convolution, and would be folded into float ones.

    Args:
        model: An `openvino.Model`.
    """
    passes = require("openvino.passes", purpose="Building for openvino")
    kept = _constant_from_eight_bits(model)
    for op in kept:
        op.get_rt_info()[KEPT] = ""
    folding = passes.Manager()
    folding.register_pass(passes.ConstantFolding())
    folding.run_passes(model)
    for op in kept:
        del op.get_rt_info()[KEPT]


def _constant_from_eight_bits(model: Any) -> list[Any]:
    """Operators that no input reaches and an 8-bit constant does."""
    constant: dict[str, bool] = {}  # names of constant results -> whether 8 bits are among them
    found = []
    for op in model.get_ordered_ops():
        name = op.get_friendly_name()
        if op.get_type_name() == "Constant":
            constant[name] = op.get_element_type().bitwidth == EIGHT_BITS
            continue
        sources = [item.get_source_output().get_node().get_friendly_name() for item in op.inputs()]
        if sources and all(source in constant for source in sources):
            constant[name] = any(constant[source] for source in sources)
            if constant[name]:
                found.append(op)
    return found
