"""Products and bytes of a graph's modules, worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import needs

from edgeseg.formats.onnx import MODULE
from edgeseg.reference.costs import ModuleCost, cut, module_costs

pytestmark = needs("onnx", "onnx_ir")


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """A convolution 3 to 8 by 3x3 on 10x12, a Relu of the same module, a product with 120x5."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def node(kind: str, inputs: list[str], output: str, module: str, **facts: object) -> object:
        made = helper.make_node(kind, inputs, [output], name=output, **facts)
        if module:
            made.metadata_props.add(key=MODULE, value=module)
        return made

    nodes = [
        node("Conv", ["image", "weight", "bias"], "a", "stem.conv", pads=[1, 1, 1, 1]),
        node("Relu", ["a"], "b", "stem.act"),
        node("Reshape", ["b", "shape"], "c", ""),
        node("MatMul", ["c", "matrix"], "mask", "head"),
    ]
    values = {
        "weight": np.ones((8, 3, 3, 3), np.float32),
        "bias": np.ones(8, np.float32),
        "shape": np.array([1, 8, 120]),
        "matrix": np.ones((120, 5), np.float32),
    }
    made = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 10, 12])],
        [helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 8, 5])],
        [numpy_helper.from_array(array, name) for name, array in values.items()],
    )
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


def test_modules_cost_what_they_add_up_and_move(graph: Path) -> None:
    costs = module_costs(graph, 1)
    image, weights, maps = 3 * 120, 8 * 3 * 9 + 8, 8 * 120
    assert costs["stem"] == ModuleCost(maps * 27, 4 * (image + weights + maps))
    assert costs["(network)"] == ModuleCost(0, 4 * (maps + 3 + maps))
    assert costs["head"] == ModuleCost(8 * 5 * 120, 4 * (maps + 600 + 40))
    assert sum(cost.products for cost in costs.values()) == maps * 27 + 4800


def test_deeper_modules_move_what_lies_between_them_too(graph: Path) -> None:
    costs = module_costs(graph, 2)
    assert costs["stem.act"] == ModuleCost(0, 4 * 2 * 960)
    assert cut("a.b.c", 2) == "a.b"
