"""Networks that come as an ONNX file, with a TOML file that describes them.

The TOML file is that of `edgeseg.models.foreign.user`. `arguments` has no meaning here, and
`output` is the name or the index of an output of the graph.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import UsageError
from ...formats.onnx_files.contract_graph import contract_graph
from ...formats.onnx_files.costs import products_of_graph
from ..spec import ONNX_PLACE, ModelSpec
from .user import read_description

if TYPE_CHECKING:
    from onnx import ModelProto


def read_onnx_model(
    path: Path, spec_path: Path | None, size: tuple[int, int] | None = None
) -> ModelSpec:
    """Spec of a network in an ONNX file; parameters and products are counted in it.

    Args:
        path: The file.
        spec_path: TOML file as this module describes.
        size: (height, width) of the input; None takes that of the spec.

    Raises:
        UsageError: A file is missing or does not make sense, or is refused; see
            `edgeseg.formats.onnx_files.reading`.
    """
    if not path.is_file():
        raise UsageError(f"No ONNX file at {path}. Check --onnx.")
    if spec_path is None:
        raise UsageError(
            f"{path} does not say how pictures become its input and what its classes are. Give a "
            f"TOML file with --spec; edgeseg inspect {path} --write-spec {path.stem}.toml writes a "
            "first one."
        )
    spec = read_description(f"{ONNX_PLACE}:{path.stem}", spec_path)
    if spec.arguments:
        raise UsageError(f"{spec_path} has [arguments], and an ONNX file takes none. Leave it out.")
    spec = spec.of_graph(path)
    if size is not None:
        spec = spec.at_size(*size)
    graph, outputs = contract_graph(path, spec.inputs, spec.outputs, spec.returns, spec.output)
    spec = replace(spec, outputs=outputs)
    return spec.with_counts(parameters_of(graph), products_of_graph(graph))


def parameters_of(model: ModelProto) -> int:
    """Numbers in the float constants of a graph."""
    float_types = (1, 10, 11, 16)  # of TensorProto: float32, float16, double, bfloat16
    return sum(
        math.prod(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.data_type in float_types and tensor.dims
    )
