"""Writing OpenVINO IR so that equal graphs give equal bytes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .lazy import require

AUTOMATIC_NAME = re.compile(r"(?P<kind>.+)_\d+")


def save_ir(model: Any, path: Path) -> None:
    """Save an `openvino.Model` as `path` and a .bin beside it, weights in full precision.

    OpenVINO numbers operators that have no name by a counter of the process; they are numbered
    here by their place in the graph, so that a build can be repeated.
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
    openvino.save_model(model, path, compress_to_fp16=False)


def _is_automatic(op: Any) -> bool:
    match = AUTOMATIC_NAME.fullmatch(op.get_friendly_name())
    # A folded constant keeps the name of the operator that it was.
    is_own = match is not None and match["kind"] == op.get_type_name()
    return is_own or (match is not None and op.get_type_name() == "Constant")
