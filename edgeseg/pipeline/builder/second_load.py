"""Whether an artefact gives the same masks each time that it is loaded.

A kernel that reads memory which nobody wrote gives other masks in each process, and no check
within one process need see it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from edgeseg.benchmarks.workers.messages import PredictPrepared
from edgeseg.benchmarks.workers.protocol import Worker
from edgeseg.bundle.bundle import Bundle
from edgeseg.bundle.golden import check_golden
from edgeseg.contract import OutputContract
from edgeseg.errors import ParityError
from edgeseg.metrics.agreement import PER
from edgeseg.records import Artifact

from .runners import ArtifactRunner

Masks = Sequence[NDArray[np.float32]]

THREADS = 1
# Of a probability. One program computes the same from the same numbers, on one machine.
REPEATED = 1e-5
INPUTS_NAME, MASKS_NAME = "inputs.npy", "masks.npy"


def ask_worker(worker: Worker, inputs: Masks) -> Masks:
    """What a worker, which has loaded a network, gives for prepared images."""
    with TemporaryDirectory(prefix="edgeseg-second-") as name:
        images, result = Path(name) / INPUTS_NAME, Path(name) / MASKS_NAME
        np.save(images, np.stack(inputs))
        worker.predict_prepared(PredictPrepared(str(images), str(result)))
        return list(np.load(result))


def predict_in_new_process(artifact: Artifact, inputs: Masks, name: str) -> Masks:
    """Load an artefact in another process and run it on prepared images.

    Args:
        name: Of the artefact, for messages.

    Raises:
        BenchmarkError: The process ends, or does not load it.
    """
    with contextlib.ExitStack() as stack:
        worker = stack.enter_context(ArtifactRunner(artifact, THREADS).open_worker(name))
        worker.load()
        return ask_worker(worker, inputs)


def require_repeated(first: Masks, second: Masks, outputs: OutputContract, what: str) -> None:
    """Refuse an artefact that gave other masks when it was loaded again.

    Args:
        first, second: Probabilities (1, C, H, W) of the same images, in the same order.
        what: Names the artefact in the message.

    Raises:
        ParityError: A probability differs, or one of them is NaN.
    """
    one, other = np.stack(first), np.stack(second)
    if one.shape == other.shape and np.abs(one - other).max() <= REPEATED:
        return
    numbers = f"masks {one.shape} and then {other.shape}"
    if one.shape == other.shape:
        flips = [
            outputs.labels(mask) != outputs.labels(again)
            for mask, again in zip(first, second, strict=True)
        ]
        numbers = (
            f"probabilities of one image differ by up to {np.abs(one - other).max():.1e}, and "
            f"{np.mean(flips) * PER:.2f} of 10,000 pixels flip"
        )
    raise ParityError(
        f"{what} gives other masks each time that it is loaded: {numbers}. The runtime computes "
        "one of its operators unreliably, so nothing was written. Build with another --precision "
        "or --method, and report it as a bug, with the model."
    )


def require_sound_bundle(bundle: Bundle, inputs: Masks, masks: Masks) -> None:
    """Load a finished bundle in another process and replay what it gave while it was built.

    Args:
        inputs, masks: Prepared check images, the golden one first, and what the artefact gave.

    Raises:
        ParityError: It gives something else now, or not its golden mask.
        BenchmarkError: It does not load.
    """
    what = f"The {bundle.manifest.precision} artefact for {bundle.manifest.runtime}"
    again = predict_in_new_process(bundle.artifact, inputs, bundle.manifest.name)
    require_repeated(masks, again, bundle.outputs, what)
    image, expected = bundle.golden_pair()
    if not np.array_equal(bundle.inputs.prepare(image), inputs[0]):
        raise ParityError(
            f"{what} comes with a golden image that is not its first check image. Nothing was "
            "written. Report it as a bug, with the model."
        )
    check = check_golden(bundle.manifest.golden.model_dump(), bundle.outputs, expected, again[0])
    if not check.holds:
        raise ParityError(
            f"{what} does not give its golden mask in a new process: {check}. Nothing was "
            "written. Report it as a bug, with the model."
        )
