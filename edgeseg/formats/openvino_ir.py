"""Writing OpenVINO IR so that equal graphs give equal bytes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from ..lazy import require
from .float16 import is_too_large, vanishes

INDENTATION = re.compile(r">\s+<")
AUTOMATIC_NAME = re.compile(r"(?P<kind>.+)_\d+")


def save_ir(model: Any, path: Path, *, half: bool = False) -> None:
    """Save an `openvino.Model` as `path` and a .bin beside it.

    OpenVINO numbers operators that have no name by a counter of the process; they are numbered
    here by their place in the graph, so that a build can be repeated. The indentation of the XML,
    a fifth of its bytes, is left out.

    Args:
        half: Store weights in half precision; they are widened again when the file is loaded.
    """
    openvino = require("openvino", purpose="Writing OpenVINO IR")
    operators = model.get_ordered_ops()
    kept = {op.get_friendly_name() for op in operators if not _is_automatic(op)}
    for index, op in enumerate(operators):
        if _is_automatic(op):
            name = f"{op.get_type_name()}_{index}"
            while name in kept:
                name += "_"
            op.set_friendly_name(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(model, path, compress_to_fp16=half)
    path.write_text(INDENTATION.sub("><", path.read_text(encoding="utf-8")), encoding="utf-8")


def fits_half(model: Any) -> bool:
    """Whether half precision holds all float constants: no value too large, and none of which all
    would become 0."""
    for op in model.get_ordered_ops():
        if op.get_type_name() != "Constant" or not op.get_output_element_type(0).is_real():
            continue
        values = np.asarray(op.get_data(), np.float64)
        if is_too_large(values) or vanishes(values):
            return False
    return True


def _is_automatic(op: Any) -> bool:
    match = AUTOMATIC_NAME.fullmatch(op.get_friendly_name())
    # A folded constant keeps the name of the operator that it was.
    is_own = match is not None and match["kind"] == op.get_type_name()
    return is_own or (match is not None and op.get_type_name() == "Constant")
