"""Reading the ONNX files that targets compile, and computing what they say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import TargetError, reason_of
from edgeseg.lazy import require

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

PURPOSE = "Reading an ONNX graph"
AT_ONCE = 32  # results of a graph that are held at the same time


def read_graph(onnx_path: Path) -> ir.Model:
    """The graph as it is written.

    Raises:
        TargetError: The file is no valid ONNX graph.
    """
    return _read(onnx_path, infer_shapes=False)


def read_typed_graph(onnx_path: Path) -> ir.Model:
    """The graph with the types of all values, and with their shapes where they are known.

    Raises:
        TargetError: The file is no valid ONNX graph.
    """
    return _read(onnx_path, infer_shapes=True)


def _read(onnx_path: Path, *, infer_shapes: bool) -> ir.Model:
    onnx_ir = require("onnx_ir", purpose=PURPOSE)
    onnx = require("onnx", purpose=PURPOSE)
    try:
        onnx.checker.check_model(onnx_path)
        if infer_shapes:
            proto = onnx.shape_inference.infer_shapes(onnx.load(onnx_path))
            model: ir.Model = onnx_ir.from_proto(proto)
        else:
            model = onnx_ir.load(onnx_path)
    except Exception as error:
        # Readers raise several kinds, protobuf's among them.
        raise TargetError(
            f"{onnx_path.name} is no valid ONNX graph: {reason_of(error)}. Export it again."
        ) from error
    return model


def open_reference(model: Path | bytes, *, as_written: bool = False) -> Any:
    """An ONNX Runtime session on one thread, to compare other runtimes with.

    Args:
        model: An ONNX file, or what would be in it.
        as_written: Fuse and fold nothing, so that each operator can be looked at.
    """
    onnxruntime = require("onnxruntime", purpose="Comparing with the ONNX graph")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = str(model) if isinstance(model, Path) else model
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def observe_values(
    model: onnx.ModelProto, names: Sequence[str], image: NDArray[np.float32]
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Results inside a graph, by name, computed as it is written: nothing is fused.

    Args:
        model: Is changed: the results become outputs.
        image: Prepared, (1, C, H, W).
    """
    helper = require("onnx.helper", purpose="Computing what is inside an ONNX graph")
    present = {output.name for output in model.graph.output}
    for name in names:
        if name not in present:
            model.graph.output.append(helper.make_empty_tensor_value_info(name))
    session = open_reference(model.SerializeToString(), as_written=True)
    feed = {model.graph.input[0].name: image}
    for first in range(0, len(names), AT_ONCE):
        part = names[first : first + AT_ONCE]
        yield from zip(part, session.run(part, feed), strict=True)
