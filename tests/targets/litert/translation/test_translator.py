from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import needs
from translated import as_network, check, export, translate

from edgeseg.errors import TargetError
from edgeseg.formats.onnx import MODULE

pytestmark = needs("tensorflow", "ai_edge_litert", "onnx", "onnx_ir", "onnxruntime", "torch")


def test_a_chain_of_convolutions_is_not_turned_round() -> None:
    from torch import nn

    layers = nn.Conv2d(3, 6, 3, 1, 1), nn.BatchNorm2d(6), nn.Hardswish(), nn.MaxPool2d(2)
    kinds = check(nn.Sequential(*layers, nn.Conv2d(6, 2, 3, 1, 1), nn.Softmax(1)))
    assert kinds["CONV_2D"] == 2
    assert not kinds.keys() & {"TRANSPOSE", "RESHAPE"}


def test_operands_of_fewer_axes_meet_the_right_ones() -> None:
    import torch

    rows, columns = torch.arange(12.0)[:, None], torch.arange(16.0)

    def function(x: Any) -> Any:
        across = x.mean((0, 1, 2)) * columns  # (16,)
        return torch.relu(x * torch.tensor([1.0, -2, 3])[:, None, None] + rows + across)

    check(function)


def test_an_operator_without_a_rule_is_named_with_the_users_module(tmp_path: Path) -> None:
    import onnx
    from torch.nn import functional as F

    network = as_network(lambda x: F.fold(F.unfold(x, 2, stride=2), (12, 16), 2, stride=2))
    path = export(network, tmp_path / "net.onnx")
    model = onnx.load(path)
    (node,) = [one for one in model.graph.node if one.op_type == "Col2Im"]
    node.metadata_props.add(key=MODULE, value="decoder.join")
    onnx.save(model, path)
    with pytest.raises(
        TargetError,
        match=r"EdgeSeg's own translation does not convert net\.onnx: Col2Im '[^']+' of module "
        r"'decoder\.join' is not among the operators that it knows\. Write that part of the model",
    ):
        translate(path, tmp_path)
