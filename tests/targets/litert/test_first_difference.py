from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import needs

from edgeseg.targets.litert.first_difference import first_difference
from edgeseg.targets.litert.runtime import MODEL_FILE, LiteRtRuntime

pytestmark = needs("onnx2tf", "onnx", "onnx_ir", "onnxruntime", "ai_edge_litert")

TEXT = """
<ir_version: 10, opset_import: ["" : 20]>
net (float[1,3,4,8] image) => (float[1,1,4,8] mask)
<float[2,3,1,1] first = {1, 2, -1, 0.5, -2, 1}, float[2] shift = {0.5, -0.25},
 float[1,2,1,1] second = {1, -1}, float gain = {2}>
{
    twice = Mul(gain, gain)
    mixed = Conv(image, first, shift)
    bent = Tanh(mixed)
    grown = Mul(bent, twice)
    logits = Conv(grown, second)
    mask = Sigmoid(logits)
}
"""


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graph above as TFLite: the constant is folded, and additions of biases are fused."""
    import onnx

    folder = tmp_path_factory.mktemp("first")
    onnx.save(onnx.parser.parse_model(TEXT), folder / "net.onnx")
    LiteRtRuntime().compile(folder / "net.onnx", folder, "fp32")
    return folder / MODEL_FILE


@pytest.fixture
def image() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 1, (1, 3, 4, 8)).astype(np.float32)


@pytest.fixture
def difference_to(
    model_path: Path, image: NDArray[np.float32], tmp_path: Path
) -> Callable[..., str | None]:
    def difference_to(old: str = "", new: str = "", picture: Any = image) -> str | None:
        import onnx

        assert old in TEXT
        onnx.save(onnx.parser.parse_model(TEXT.replace(old, new)), tmp_path / "net.onnx")
        return first_difference(tmp_path / "net.onnx", model_path, picture)

    return difference_to


def test_nothing_differs_from_the_graph_that_was_converted(
    difference_to: Callable[..., str | None],
) -> None:
    assert difference_to() is None


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("Tanh(mixed)", "Atan(mixed)", "Atan 'bent'"),
        ("Sigmoid(logits)", "Softplus(logits)", "Softplus 'mask'"),
        (
            "shift = {0.5, -0.25}",
            "shift = {0.5, 0.25}",
            "Conv 'mixed' or Tanh 'bent', which may be merged with it",
        ),
    ],
)
def test_the_first_operator_that_differs_is_named(
    difference_to: Callable[..., str | None], old: str, new: str, named: str
) -> None:
    assert difference_to(old, new) == named


def test_operators_go_by_their_own_names(difference_to: Callable[..., str | None]) -> None:
    assert difference_to("bent = Tanh(mixed)", "[bend] bent = Atan(mixed)") == "Atan 'bend'"


@pytest.mark.parametrize(("old", "new"), [("{1, -1}", "{1, -2}"), ("gain = {2}", "gain = {3}")])
def test_merged_operators_are_named_together(
    difference_to: Callable[..., str | None], old: str, new: str
) -> None:
    # The multiplication is in the weights of the convolution: its result is not in the model.
    named = difference_to(old, new)
    assert named == "Mul 'grown' or Conv 'logits', which may be merged with it"


def test_flat_images_accuse_nobody(difference_to: Callable[..., str | None]) -> None:
    flat = np.zeros((1, 3, 4, 8), np.float32)
    assert difference_to(picture=flat) is None
