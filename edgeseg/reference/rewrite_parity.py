"""What each rewrite of a graph changes of its result: nothing but rounding, as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract import InputContract, OutputContract
from ..errors import UnknownNameError
from ..lazy import require
from ..lower.rewrites import find_rewrite, rewrite_names
from ..metrics.agreement import PER
from ..records import sha256_of_file
from ..storage.temporary import temporary_folder
from .reference import onnx_predictor

PACKAGES = ("onnx", "onnx_ir", "onnxruntime")


@dataclass(frozen=True)
class RewriteParity:
    """One rewrite, applied after those before it.

    Attributes:
        name: As registered.
        places: How many it changed.
        onnx_sha256: Of the graph after it.
        max_abs_diff, mean_abs_diff: Of a probability to the graph that was not rewritten, 0..1.
        flips_per_10k: Pixels of 10,000 whose label differs from that graph's.
    """

    name: str
    places: int
    onnx_sha256: str
    max_abs_diff: float
    mean_abs_diff: float
    flips_per_10k: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def measure_rewrites(
    onnx_path: Path,
    applied: Mapping[str, int],
    image: NDArray[np.float32],
    inputs: InputContract,
    outputs: OutputContract,
) -> list[RewriteParity]:
    """Apply rewrites one after another, and compare each graph with the first by ONNX Runtime.

    Args:
        onnx_path: The graph as it was exported.
        applied: How many places each rewrite changed when the bundle was built; those that changed
            none are left out.
        image: Prepared, (1, C, H, W).

    Returns:
        One for each rewrite that changes the graph, in the order of application.

    Raises:
        UnknownNameError: A rewrite is not installed here.
        MissingBackendError: ONNX Runtime or a package that reads graphs is missing.
    """
    ir = require("onnx_ir", purpose="Applying rewrites")
    names = [name for name, places in applied.items() if places]
    for name in names:
        if name not in rewrite_names():
            raise UnknownNameError("rewrite", name, rewrite_names())
    expected = onnx_predictor(onnx_path, outputs, inputs)(image)
    model = ir.load(onnx_path)
    found = []
    with temporary_folder("rewrites") as folder:
        for name in (one for one in rewrite_names() if one in names):
            places = find_rewrite(name)(model)
            path = folder / f"{name}.onnx"
            ir.save(model, path)
            got = onnx_predictor(path, outputs, inputs)(image)
            difference = np.abs(got - expected)
            found.append(
                RewriteParity(
                    name=name,
                    places=places,
                    onnx_sha256=sha256_of_file(path),
                    max_abs_diff=float(difference.max()),
                    mean_abs_diff=float(difference.mean()),
                    flips_per_10k=float((outputs.labels(got) != outputs.labels(expected)).mean())
                    * PER,
                )
            )
    return found
