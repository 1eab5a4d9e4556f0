"""Which convolutions of a plan change the masks most, and how few of them must stay in float.

Each convolution is rounded alone, and the mean squared change of the masks is divided by the work
that it would cost in float. With all others in INT8 no rank can be had: what one rounding adds
others hide. Errors of single roundings add up, as roundings are nearly independent.

Source: the sensitivity of single layers after Wu et al. 2020, arXiv:2004.09602, section 5.2
("partial quantization"), who rank by accuracy. Accuracy is the same for most of a network's layers
on a few images; the squared change of the masks is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeseg.contract import OutputContract
from edgeseg.lazy import require
from edgeseg.progress import SILENT, Progress
from edgeseg.storage.temporary import temporary_folder

from .calibrators.activations import calibration_errors
from .plan.quant_plan import QuantPlan
from .qdq_onnx import QUANTIZED_NAME, emit_qdq

RANKING_IMAGES, MOST_IMAGES = 4, 16
# Flips among 10,000 pixels of calibration images, where roundings are simulated. Other images may
# flip nearly twice as many.
ENOUGH_FLIPS = 15.0
GROWTH = 1.25  # of the number of convolutions in float, from one try to the next


def convolutions_to_keep(
    onnx_path: Path,
    plan: QuantPlan,
    images: Iterable[NDArray[np.float32]],
    outputs: OutputContract,
    products: Mapping[str, float],
    progress: Progress = SILENT,
) -> tuple[str, ...]:
    """The convolutions that must stay in float for few flips, in order of their names.

    Args:
        onnx_path: The float graph of the plan, from an image to probabilities.
        images: Prepared, (1, 3, H, W) each; the first 16 count.
        outputs: How masks are made of probabilities.
        products: Multiplications of each convolution that can be INT8.

    Returns:
        Names, with those that the plan leaves in float already; as many as flip at most 15 of
        10,000 pixels when roundings are simulated, or all.

    Raises:
        CalibrationError: The plan is not for that graph, or ONNX Runtime does not run it.
    """
    chosen = list(islice(images, MOST_IMAGES))
    with temporary_folder("sensitivity") as folder:
        simulation = _Simulation(onnx_path, plan, chosen, outputs, Path(folder))
        if simulation.flips(()) <= ENOUGH_FLIPS:
            return plan.float_nodes
        open_names = [name for name in products if name not in plan.float_nodes]
        changes = {}
        with progress.stage("rank convolutions by what INT8 changes", len(open_names)) as stage:
            for name in open_names:
                others = [other for other in open_names if other != name]
                changes[name] = simulation.change(others)
                stage.advance()
        ranked = rank_by_change(changes, products)
        kept = ranked
        for count in _counts(len(ranked)):
            if simulation.flips(ranked[:count]) <= ENOUGH_FLIPS:
                kept = ranked[:count]
                break
    return tuple(sorted({*plan.float_nodes, *kept}))


def rank_by_change(changes: Mapping[str, float], products: Mapping[str, float]) -> list[str]:
    """Names, those first that change most for their work in float.

    Work is the number of products, and that of a mean convolution on top: each that stays in float
    costs conversions.
    """
    mean = sum(products[name] for name in changes) / max(len(changes), 1)
    return sorted(changes, key=lambda name: -changes[name] / (products[name] + mean + 1))


def _counts(most: int) -> Iterable[int]:
    """1, 2, 3 ... in steps that grow, up to and without `most`."""
    count = 1
    while count < most:
        yield count
        count = max(count + 1, int(count * GROWTH))


class _Simulation:
    """Masks of a plan with some convolutions in float, against those of the float graph."""

    def __init__(
        self,
        onnx_path: Path,
        plan: QuantPlan,
        images: Sequence[NDArray[np.float32]],
        outputs: OutputContract,
        folder: Path,
    ) -> None:
        self._graph, self._plan, self._images = onnx_path, plan, images
        self._labels = outputs.labels
        self._path = folder / QUANTIZED_NAME
        self._expected = _run(onnx_path, images)

    def change(self, in_float: Sequence[str]) -> float:
        """Mean squared change of the probabilities."""
        found = self._run(in_float, self._images[:RANKING_IMAGES])
        pairs = zip(found, self._expected, strict=False)
        return float(np.mean([np.square(one - other).mean() for one, other in pairs]))

    def flips(self, in_float: Sequence[str]) -> float:
        """Pixels among 10,000 that change their class."""
        pairs = zip(self._run(in_float, self._images), self._expected, strict=True)
        shares = [(self._labels(one) != self._labels(other)).mean() for one, other in pairs]
        return float(np.mean(shares)) * 1e4

    def _run(
        self, in_float: Sequence[str], images: Sequence[NDArray[np.float32]]
    ) -> list[NDArray[np.float32]]:
        emit_qdq(self._graph, self._plan.with_float(in_float), self._path)
        return _run(self._path, images)


def _run(path: Path, images: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """The first result of a graph for each image; its roundings are computed in float."""
    onnxruntime = require("onnxruntime", purpose="Calibration")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    # INT8 kernels of this machine may saturate; the plan is for any.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    with calibration_errors(path.name):
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        name = session.get_inputs()[0].name
        return [session.run(None, {name: image})[0] for image in images]
