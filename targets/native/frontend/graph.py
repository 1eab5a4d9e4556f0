"""The whole way from a file to a program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.contract import InputContract, OutputContract
from edgeseg.formats.onnx import constant_of, name_of, read_contracts
from edgeseg.lower.constants import fold_stored_constants

from ...onnx_file import read_typed_graph
from ..expressions import Floats
from ..ir import Program
from .images import IMAGE_RULES
from .importer import Importer, Rule
from .indices import INDEX_RULES
from .maps import MAP_RULES
from .moves import MOVE_RULES
from .norms import NORM_RULES
from .products import PRODUCT_RULES
from .reductions import REDUCTION_RULES
from .resizes import RESIZE_RULES

if TYPE_CHECKING:
    import onnx_ir as ir

RULES: dict[str, Rule] = {
    **IMAGE_RULES,
    **INDEX_RULES,
    **MAP_RULES,
    **MOVE_RULES,
    **NORM_RULES,
    **PRODUCT_RULES,
    **REDUCTION_RULES,
    **RESIZE_RULES,
}


def import_graph(
    onnx_path: Path,
) -> tuple[Program, tuple[InputContract, OutputContract] | None]:
    """The program of an ONNX file, nothing fused, and what the file says of pictures and masks.

    Raises:
        TargetError: The file is no valid graph, or has an operator that is not known.
    """
    model = read_typed_graph(onnx_path)
    scales = _weight_scales(model)  # folding makes floats of the weights
    fold_stored_constants(model)
    program = Importer(RULES, scales).program(model)
    contracts = read_contracts(model)
    is_meant = contracts is not None and program.image.channels == contracts[0].channels
    return program, contracts if is_meant else None


def _weight_scales(model: ir.Model) -> dict[str, Floats]:
    """Scales of the weights of quantised convolutions, by the name of their output."""
    scales = {}
    for node in model.graph:
        weight = node.inputs[1].producer() if node.op_type == "Conv" and node.inputs[1] else None
        if weight is not None and weight.op_type == "DequantizeLinear":
            scales[name_of(node.outputs[0])] = constant_of(weight.inputs[1]).astype(np.float32)
    return scales
