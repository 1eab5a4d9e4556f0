"""ONNX graphs of a few operators, whose results can be worked out by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

INPUT = "x"
RESULT = "y"


def node(kind: str, sources: Sequence[str], result: str, **attributes: Any) -> Any:
    """An operator, named after its result."""
    import onnx

    return onnx.helper.make_node(kind, sources, [result], name=f"make_{result}", **attributes)


def pointwise(weights: ArrayLike) -> NDArray[np.float32]:
    """Weights (O, I) as those of a 1x1 convolution."""
    return np.asarray(weights, np.float32)[:, :, None, None]


def save_graph(
    path: Path,
    nodes: Sequence[Any],
    constants: Mapping[str, ArrayLike],
    *,
    channels: int = 1,
    results: Sequence[str] = (RESULT,),
) -> Path:
    """Write a graph with the input `x` (1, channels, any height, any width)."""
    import onnx

    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes,
        "tiny",
        [onnx.helper.make_tensor_value_info(INPUT, kind, [1, channels, "height", "width"])],
        [onnx.helper.make_tensor_value_info(name, kind, [1, None, None, None]) for name in results],
        [
            onnx.numpy_helper.from_array(np.asarray(content, np.float32), name)
            for name, content in constants.items()
        ],
    )
    opsets = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def save_conv_relu_conv(path: Path, first: ArrayLike, second: ArrayLike) -> Path:
    """x -> convolution a -> relu r -> convolution y, 1x1 with weights (O, I)."""
    first, second = pointwise(first), pointwise(second)
    nodes = [
        node("Conv", [INPUT, "first"], "a"),
        node("Relu", ["a"], "r"),
        node("Conv", ["r", "second"], RESULT),
    ]
    return save_graph(path, nodes, {"first": first, "second": second}, channels=np.shape(first)[1])


def run_as_written(
    path: Path, image: NDArray[np.float32], names: Sequence[str] = (RESULT,)
) -> list[NDArray[Any]]:
    """Values of some tensors, computed operator by operator: nothing is fused."""
    import onnx
    import onnxruntime

    model = onnx.load(path)
    present = {output.name for output in model.graph.output}
    for name in names:
        if name not in present:
            model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    results: list[NDArray[Any]] = session.run(list(names), {INPUT: image})
    return results


def constants_of(path: Path) -> dict[str, NDArray[Any]]:
    import onnx

    stored = onnx.load(path).graph.initializer
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in stored}


def graph_of(path: Path) -> Any:
    import onnx_ir

    return onnx_ir.load(path).graph


def kinds_of(path: Path) -> Counter[str]:
    return Counter(operator.op_type for operator in graph_of(path))


def save_chain(path: Path, *between: str) -> Path:
    """x -> convolution c0 -> between[0] b0 -> convolution c1 -> ... -> convolution y."""
    nodes, source = [], INPUT
    for index, kind in enumerate(between):
        nodes.append(node("Conv", [source, "weight"], f"c{index}"))
        nodes.append(node(kind, [f"c{index}"], f"b{index}"))
        source = f"b{index}"
    nodes.append(node("Conv", [source, "weight"], RESULT))
    return save_graph(path, nodes, {"weight": pointwise([[2]])})
