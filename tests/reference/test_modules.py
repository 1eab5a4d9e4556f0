"""Nodes that rewrites make belong to the module whose value they make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import needs

from edgeseg.reference.modules import NETWORK, module_of, modules_by_name

pytestmark = needs("torch", "onnx", "onnxscript", "onnxruntime")

NAMES = {"conv2d": "encoder.0", "cat_20": "bridge"}


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("conv2d", "encoder.0"),
        ("conv2d/WithoutBiases", "encoder.0"),
        ("cat_20_l1_out_l3", "bridge"),
        ("cat_2", None),
        ("reorder", None),
    ],
)
def test_names_that_were_derived_lead_back(name: str, module: str | None) -> None:
    assert module_of(name, NAMES) == module


def test_rewritten_nodes_keep_their_modules(tmp_path: Path) -> None:
    """A group norm becomes pooled sums and a product: all of it stays the norm's."""
    import torch
    from torch import nn

    from edgeseg.contract import InputContract, MinMax, OutputContract
    from edgeseg.lower.rewrites import lower_graph
    from edgeseg.reference.onnx_export import onnx_from_torch

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, padding=1)
            self.norm = nn.GroupNorm(4, 8)
            self.head = nn.Conv2d(8, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sigmoid(self.head(torch.relu(self.norm(self.stem(x)))))

    path = tmp_path / "net.onnx"
    outputs = OutputContract(("skin", "lesion"), 1)
    onnx_from_torch(Net().eval(), InputContract(16, 16, 8, MinMax()), outputs, path)
    lowered = tmp_path / "lowered.onnx"
    counts = lower_graph(path, ["group-norm-by-channel"], lowered)
    assert counts["group-norm-by-channel"] == 1
    modules = modules_by_name(path, ["group-norm-by-channel"])
    import onnx

    found = [(node.op_type, modules.get(node.output[0])) for node in onnx.load(lowered).graph.node]
    assert ("Conv", "stem") in found
    assert {module for _, module in found} == {"stem", "norm", "head", NETWORK}
    assert sum(module == "norm" for _, module in found) >= 3
    assert np.unique([module for kind, module in found if kind in ("Relu", "Sigmoid")]) == [NETWORK]
