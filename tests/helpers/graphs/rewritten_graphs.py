"""Small ONNX graphs before and after a rewrite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAP = (1, 4, 8, 8)
Arrays = Mapping[str, NDArray[Any]]
Rewrite = Callable[[Any], int]


def draw(*shape: int, seed: int = 0, mean: float = 0.0) -> NDArray[np.float32]:
    """Normal numbers of deviation one."""
    return np.random.default_rng([seed, *shape]).normal(mean, 1, shape).astype(np.float32)


def graph(
    body: str,
    constants: Arrays | None = None,
    *,
    inputs: Mapping[str, Sequence[int | str]] | None = None,
    results: Sequence[str] = ("y",),
    opset: int = 20,
    kind: str = "float",
) -> Any:
    """An `onnx_ir.Model` with recorded shapes, as the exporter leaves it.

    Args:
        body: Operators in ONNX's own notation.
        constants: Arrays by the names that the operators read them by; others are left out.
        inputs: Shapes by name; one map `x` (1, 4, 8, 8) unless told.
        kind: Type of the inputs and results.
    """
    import onnx
    import onnx_ir

    taken = ", ".join(
        f"{kind}[{','.join(map(str, shape))}] {name}"
        for name, shape in (inputs or {"x": MAP}).items()
    )
    given = ", ".join(f"{kind}[] {name}" for name in results)
    opsets = f'"" : {opset}, "com.example" : 1'
    proto = onnx.parser.parse_model(
        f"<ir_version: 10, opset_import: [{opsets}]> net ({taken}) => ({given}) {{ {body} }}"
    )
    read = {name for node in proto.graph.node for name in node.input}
    for name, content in (constants or {}).items():
        if name not in read:
            continue
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(content), name))
    proto = onnx.shape_inference.infer_shapes(proto, strict_mode=True)
    if "com.example" not in body:
        onnx.checker.check_model(proto, full_check=True)
    return onnx_ir.from_proto(proto)


def run(model: Any, seed: int = 0, mean: float = 0.0) -> list[NDArray[Any]]:
    """Results of a graph for random maps, computed operator by operator: nothing is fused."""
    import onnx
    import onnx_ir
    import onnxruntime

    proto = onnx_ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    maps = {
        value.name: draw(*(int(size) for size in value.shape), seed=seed + index, mean=mean)
        for index, value in enumerate(model.graph.inputs)
    }
    results: list[NDArray[Any]] = session.run(None, maps)
    return results


def operators(model: Any) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


def rewritten(
    rewrite: Rewrite,
    model: Any,
    left: Mapping[str, int],
    *,
    count: int = 1,
    mean: float = 0.0,
    tolerance: float = 1e-5,
) -> Any:
    """Rewrite a graph; see that it computes the same, and that nothing more is found in it.

    Args:
        model: Changed in place.
        left: Operators of the rewritten graph, by kind.
        count: What the rewrite returns.
        mean: Of the random maps.
        tolerance: Largest difference, as a share of the largest result.

    Returns:
        The model.
    """
    from edgeseg.lower.graph import tidy

    names = [value.name for value in model.graph.outputs]
    before = run(model, mean=mean)
    assert rewrite(model) == count
    tidy(model)
    assert operators(model) == left
    assert [value.name for value in model.graph.outputs] == names
    for expected, found in zip(before, run(model, mean=mean), strict=True):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())
    assert rewrite(model) == 0
    return model


def left_alone(rewrite: Rewrite, model: Any) -> None:
    """See that a rewrite finds nothing, and leaves the graph as it is to the last byte."""
    import onnx_ir

    before = onnx_ir.to_proto(model).SerializeToString(deterministic=True)
    assert rewrite(model) == 0
    assert onnx_ir.to_proto(model).SerializeToString(deterministic=True) == before
