from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import needs
from translated import export

from edgeseg.targets.litert.conversion import smooth_noise
from edgeseg.targets.litert.runtime import LiteRtRuntime

pytestmark = [
    pytest.mark.slow,
    needs("onnx2tf", "tensorflow", "ai_edge_litert", "onnx", "onnx_ir", "onnxruntime", "torch"),
]
SIZE = (64, 80)


@pytest.mark.parametrize("name", ["TokenNet", "BridgeNet"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_networks_of_tokens_parts_and_bridges_are_built(
    name: str, precision: str, tmp_path: Path
) -> None:
    import foreign_networks
    import torch
    from torch import nn

    torch.manual_seed(0)
    network = nn.Sequential(getattr(foreign_networks, name)(), nn.Sigmoid()).eval()
    path = export(network, tmp_path / "net.onnx", (1, 3, *SIZE))
    runtime = LiteRtRuntime()
    backend = runtime.load(runtime.compile(path, tmp_path / "made", precision))
    image = np.ascontiguousarray(smooth_noise(*SIZE, 7).transpose(2, 0, 1)[None])
    with torch.no_grad():
        wanted = network(torch.from_numpy(image)).numpy()
    difference = np.abs(backend.run(image) - wanted).max()
    assert difference < (1e-5 if precision == "fp32" else 1e-2)
