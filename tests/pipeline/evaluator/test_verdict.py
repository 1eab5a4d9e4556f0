"""A precision that was asked for is built, and what its masks keep is told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support import needs

from edgeseg.bundle.bundle import open_bundle
from edgeseg.errors import ParityError
from edgeseg.pipeline.builder.context import BuildContext
from edgeseg.pipeline.builder.request import BuildRequest
from edgeseg.pipeline.evaluator.verdict import NamedPrecision
from edgeseg.progress import SILENT
from edgeseg.records import Artifact

pytestmark = needs("torch", "onnx", "onnxscript", "onnxruntime")


class Constant:
    """A backend that finds the same everywhere."""

    def __init__(self, value: float) -> None:
        self.value = value

    def run(self, image: Any) -> Any:
        return np.full((1, 1, *image.shape[2:]), self.value, np.float32)


def judged(folder: Path, weights: Path, backend: Any, precision: str = "int8") -> Any:
    request = BuildRequest(
        "egeunet", "onnxruntime", precision, folder, size=(64, 64), weights=weights
    )
    context = BuildContext(request, SILENT)
    made = SimpleNamespace(
        backend=backend, artifact=Artifact("onnxruntime", precision, "onnx", folder, ("m.onnx",))
    )
    named = NamedPrecision(context, folder / "judged", SILENT)
    assert (named.identity(precision) is None) == (precision == "fp32")
    return named.judge(made)  # type: ignore[arg-type]


def test_masks_that_break_a_limit_are_told_and_not_refused(
    tmp_path: Path, random_weights: Path, small_onnx: Path
) -> None:
    for value in (1.0, 0.0):  # all foreground, and none: it has collapsed on each image
        limits = judged(tmp_path, random_weights, Constant(value))
        assert limits.state == "broken"
        assert (limits.images, limits.labelled, limits.is_accepted) == (11, 11, False)
        states = {(one.metric, one.part): one.verdict for one in limits.verdicts}
        assert states["worst_flips", ""] == states["flips", ""] == "loses"
        assert "hd95_px" not in {metric for metric, _ in states}
    with pytest.raises(ParityError, match=r"NaN or infinity for .*another --precision"):
        judged(tmp_path, random_weights, Constant(float("nan")))


def test_full_precision_needs_no_verdict(tmp_path: Path, random_weights: Path) -> None:
    assert judged(tmp_path, random_weights, Constant(1.0), "fp32") is None


def test_a_bundle_of_int8_has_its_verdict(small_bundles: dict[str, Path]) -> None:
    manifests = {name: open_bundle(folder).manifest for name, folder in small_bundles.items()}
    assert manifests["fp32"].limits is None
    limits = manifests["int8"].limits
    assert limits is not None
    assert limits.state in ("holds", "broken", "open")
    assert {one.metric for one in limits.verdicts} == {
        "dice_pooled", "flips", "worst_flips", "worst_dice",
    }  # fmt: skip
