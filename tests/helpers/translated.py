"""Torch functions that are translated to TFLite without onnx2tf."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.formats.tflite import read_tflite
from edgeseg.targets.litert.conversion import FLOAT_FILE
from edgeseg.targets.litert.runtime import Attempt, convert_graph

if TYPE_CHECKING:
    import torch
    from torch import nn

SIZE = (1, 3, 12, 16)
TOLERANCE = 1e-5  # of the largest value


def export(network: nn.Module, path: Path, size: Sequence[int] = SIZE) -> Path:
    import torch

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.eval(),
            (torch.rand(*size),),
            dynamo=True,
            opset_version=20,
            input_names=["image"],
            output_names=["mask"],
            verbose=False,
        )
    assert program is not None
    program.save(str(path))
    return path


def translate(path: Path, folder: Path) -> Path:
    """Translate an ONNX file to TFLite; raises what `convert_graph` raises."""
    convert_graph(path, folder, Attempt(own=True), half=False)
    return folder / FLOAT_FILE


def run(path: Path, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a TFLite file makes of an image (1, C, H, W)."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=path.read_bytes())
    interpreter.allocate_tensors()
    (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(entry["index"], np.ascontiguousarray(image.transpose(0, 2, 3, 1)))
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(result["index"])).transpose(0, 3, 1, 2)


def as_network(function: Callable[[Any], Any]) -> nn.Module:
    from torch import nn

    class Network(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = function(image)
            return result

    return Network()


def check(network: nn.Module | Callable[[Any], Any], size: Sequence[int] = SIZE) -> Counter[str]:
    """Translate, compare with torch on noise of both signs, and count the operators by kind.

    Only operators that phones have are let pass.
    """
    import torch
    from torch import nn

    module = network if isinstance(network, nn.Module) else as_network(network)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = translate(export(module, folder / "net.onnx", size), folder)
        image = torch.randn(*size, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            wanted = module(image).float().numpy()
        got = run(made, image.numpy())
        operators = read_tflite(made).operators
    assert {operator.custom_name for operator in operators} == {""}
    assert got.shape == wanted.shape
    assert np.isfinite(wanted).all()
    assert wanted.std() > 0  # else equality would prove nothing
    np.testing.assert_allclose(got, wanted, rtol=0, atol=TOLERANCE * max(1, np.abs(wanted).max()))
    return Counter(operator.kind for operator in operators)
