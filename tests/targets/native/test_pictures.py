"""Pictures of any size, prepared and brought back in C, against `contract.py`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from native_graphs import Branches
from support import needs

from edgeseg.contract import InputContract, MeanStd, MinMax, OutputContract
from edgeseg.formats.onnx import CONTRACT, contract_text
from edgeseg.models import find_model
from edgeseg.records import Artifact
from edgeseg.targets import find_runtime

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")
RUNTIME = find_runtime("native", {"isa": "here"})
SIDES = [(64, 64), (48, 72), (1, 1), (97, 301), (640, 481), (64, 97), (1, 300), (1500, 2), (13, 7)]


def build(folder: Path, inputs: InputContract, outputs: OutputContract) -> Artifact:
    """A network of one convolution, whose probabilities vary over the picture."""
    import onnx

    graph = Branches((inputs.channels, inputs.height, inputs.width))
    value = graph.channels(outputs.channels)
    kind = "Sigmoid" if outputs.channels == 1 else "Softmax"
    settings: dict[str, Any] = {} if kind == "Sigmoid" else {"axis": 1}
    name = graph.node(kind, graph.node("Mul", value, graph.constant(0.7)), **settings)
    graph.results.append(name)
    model = onnx.load(graph.save(folder / "net.onnx"))
    model.metadata_props.add(key=CONTRACT, value=contract_text(inputs, outputs))
    onnx.save(model, folder / "net.onnx")
    return RUNTIME.compile(folder / "net.onnx", folder / "made", "fp32")


def picture(height: int, width: int, bands: int = 3) -> np.ndarray:
    size = (height // 9 + 1, width // 9 + 1, bands)
    coarse = np.random.default_rng(height).integers(0, 256, size)
    return np.kron(coarse, np.ones((9, 9, 1), int))[:height, :width].astype(np.uint8)


@pytest.mark.parametrize(
    ("normalization", "channels"),
    [
        (MinMax(0.0, 255.0), 1),
        (MinMax(-1.0, 1.0), 4),
        (MeanStd((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), 1),
        (MeanStd(), 3),
    ],
)
def test_labels_are_those_of_the_contract(
    normalization: MinMax | MeanStd, channels: int, tmp_path: Path
) -> None:
    inputs = InputContract(48, 72, 8, normalization)
    names = tuple(f"class{index}" for index in range(max(channels, 2)))
    outputs = OutputContract(names, channels, threshold=0.4 if channels == 1 else 0.5)
    backend: Any = RUNTIME.load(build(tmp_path, inputs, outputs))
    seen = set()
    for height, width in SIDES:
        given = picture(height, width)
        wanted = outputs.restore(backend.run(inputs.prepare(given)), height, width)
        labels = backend.run_picture(given)
        assert labels.shape == wanted.shape
        # A probability within rounding of the threshold may fall on the other side.
        assert (labels != wanted).mean() <= 1e-4, (height, width)
        seen |= set(np.unique(wanted).tolist())
    assert len(seen) > 1


@pytest.mark.parametrize("bands", [1, 2, 4])
@pytest.mark.parametrize("is_mean_std", [True, False])
def test_pictures_may_have_other_channels_than_three(
    bands: int, is_mean_std: bool, tmp_path: Path
) -> None:
    statistics = MeanStd((0.5, 0.4, 0.3, 0.2)[:bands], (0.25, 0.3, 0.2, 0.4)[:bands])
    normalization = statistics if is_mean_std else MinMax(-1.0, 1.0)
    inputs = InputContract(48, 72, 8, normalization, channels=bands)
    outputs = OutputContract(("rest", "lesion"), 1)
    backend: Any = RUNTIME.load(build(tmp_path, inputs, outputs))
    plural = "s" if bands > 1 else ""
    count = {1: "one", 2: "two", 4: "four"}[bands]
    header = (tmp_path / "made" / "edgeseg.h").read_text()
    assert f"has {count} byte{plural} a pixel" in header
    for height, width in SIDES:
        given = picture(height, width, bands)
        wanted = outputs.restore(backend.run(inputs.prepare(given)), height, width)
        assert (backend.run_picture(given) != wanted).mean() <= 1e-4, (height, width)
    with pytest.raises(RuntimeError, match=rf"a picture is \(H, W, {bands}\) of uint8"):
        backend.run_picture(np.zeros((8, 8, 3), np.uint8))


def test_a_shipped_network_takes_pictures(small_artifact: Callable[..., Artifact]) -> None:
    backend: Any = RUNTIME.load(small_artifact("native"))
    spec = find_model("egeunet").at_size(64, 64)
    given = picture(200, 150)
    wanted = spec.outputs.restore(backend.run(spec.inputs.prepare(given)), 200, 150)
    assert (backend.run_picture(given) != wanted).mean() <= 1e-4


def test_a_picture_that_is_none_is_refused(small_artifact: Callable[..., Artifact]) -> None:
    backend: Any = RUNTIME.load(small_artifact("native"))
    with pytest.raises(RuntimeError, match="a side of the image is below 1 or too long"):
        backend.run_picture(np.zeros((1, 8193, 3), np.uint8))
    with pytest.raises(RuntimeError, match=r"a picture is \(H, W, 3\) of uint8"):
        backend.run_picture(np.zeros((8, 8), np.uint8))


def test_a_graph_that_says_nothing_of_pictures_takes_none(tmp_path: Path) -> None:
    graph = Branches((3, 8, 8))
    graph.results.append(graph.node("Sigmoid", graph.channels(1)))
    artifact = RUNTIME.compile(graph.save(tmp_path / "net.onnx"), tmp_path / "made", "fp32")
    backend: Any = RUNTIME.load(artifact)
    with pytest.raises(RuntimeError, match="without saying how images are prepared"):
        backend.run_picture(np.zeros((8, 8, 3), np.uint8))


def test_nan_is_told_and_not_called_background(tmp_path: Path) -> None:
    graph = Branches((3, 8, 8))
    graph.results.append(graph.node("Log", graph.node("Neg", graph.node("Abs", graph.channels(1)))))
    path = graph.save(tmp_path / "net.onnx")
    import onnx

    model = onnx.load(path)
    inputs, outputs = InputContract(8, 8, 8, MeanStd()), OutputContract(("rest", "lesion"), 1)
    model.metadata_props.add(key=CONTRACT, value=contract_text(inputs, outputs))
    onnx.save(model, path)
    backend: Any = RUNTIME.load(RUNTIME.compile(path, tmp_path / "made", "fp32"))
    with pytest.raises(RuntimeError, match="gives NaN or infinity"):
        backend.run_picture(picture(9, 9))
