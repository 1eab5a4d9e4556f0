from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import needs
from tiny_graphs import save_conv_relu_conv

from edgeseg.errors import TargetError
from edgeseg.targets.onnx_file import open_reference, read_graph, read_typed_graph

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")


def inner_values(model: Any) -> list[Any]:
    return [value for node in list(model.graph)[:-1] for value in node.outputs]


def test_a_graph_is_read_as_it_is(tmp_path: Path) -> None:
    path = save_conv_relu_conv(tmp_path / "net.onnx", [[1]], [[1]])
    model = read_graph(path)
    assert [node.op_type for node in model.graph] == ["Conv", "Relu", "Conv"]
    assert all(value.type is None for value in inner_values(model))


def test_a_typed_graph_has_types_and_shapes_inside(tmp_path: Path) -> None:
    import onnx_ir

    path = save_conv_relu_conv(tmp_path / "net.onnx", [[1], [2]], [[1, 1]])
    values = inner_values(read_typed_graph(path))
    assert [value.dtype for value in values] == [onnx_ir.DataType.FLOAT] * 2
    assert [value.shape[1] for value in values] == [2, 2]


@pytest.mark.parametrize("read", [read_graph, read_typed_graph])
@pytest.mark.parametrize("content", [b"no graph", b""])
def test_another_file_is_refused(
    read: Callable[[Path], Any], content: bytes, tmp_path: Path
) -> None:
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(TargetError, match=r"net\.onnx is no valid ONNX graph: .*Export it again"):
        read(tmp_path / "net.onnx")


@pytest.mark.parametrize("as_written", [False, True])
def test_the_reference_computes_a_file_or_its_content(as_written: bool, tmp_path: Path) -> None:
    path = save_conv_relu_conv(tmp_path / "net.onnx", [[2]], [[3]])
    image = np.array([1, -1], np.float32).reshape(1, 1, 1, 2)
    for model in (path, path.read_bytes()):
        (result,) = open_reference(model, as_written=as_written).run(None, {"x": image})
        assert result.ravel().tolist() == [6, 0]
