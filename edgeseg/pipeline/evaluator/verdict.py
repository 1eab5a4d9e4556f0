"""Whether masks keep the limits: those of what auto chose, and those of a named precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgeseg.bundle.manifest import LimitsRecord
from edgeseg.contract import OutputContract
from edgeseg.errors import ParityError
from edgeseg.metrics.scores import Labels
from edgeseg.progress import Progress
from edgeseg.targets import Backend
from edgeseg.tuning.constraints import Constraints, Evaluation, choose_constraints

from ..builder.builder import BuiltArtifact
from ..builder.context import BuildContext
from .validation import ValidationSet

JUDGED = 64  # images that judge a named precision; edgeseg bench --data judges on all


def limits_record(constraints: Constraints, evaluation: Evaluation, labelled: int) -> LimitsRecord:
    """What a manifest says of the limits.

    Args:
        labelled: How many of the images have a true mask.
    """
    state = constraints.state(evaluation)
    verdicts = [verdict.to_json() for verdict in constraints.judge(evaluation)]
    return LimitsRecord.model_validate(
        {
            "state": state,
            "images": evaluation.images,
            "labelled": labelled,
            "is_accepted": constraints.accept_uncertain,
            "verdicts": verdicts,
        }
    )


class NamedPrecision:
    """The verdict on an artefact that was asked for by its precision.

    It is built whatever the verdict says. One of full precision needs none: each of its
    probabilities was found within a tolerance of PyTorch's. HD95 is left to auto and to bench: what
    computes it loads for seconds.

    Args:
        folder: For prepared images.
    """

    def __init__(self, context: BuildContext, folder: Path, progress: Progress) -> None:
        self._context = context
        self._folder = folder
        self._progress = progress

    def _validation(self) -> ValidationSet:
        self._folder.mkdir(parents=True, exist_ok=True)
        return ValidationSet(self._context, self._folder, self._progress, JUDGED, is_quick=True)

    def identity(self, precision: str) -> dict[str, Any] | None:
        """What decides the verdict beside the artefact, as JSON; None where none is needed."""
        if precision in self._context.runtime.tolerances:
            return None
        return self._validation().identity()

    def judge(self, made: BuiltArtifact) -> LimitsRecord | None:
        """The verdict; None where none is needed.

        An artefact that finds nothing where the reference finds something was refused before on
        the check images; on others that breaks the limits, and is told as such.
        """
        context = self._context
        if context.runtime.is_exact(made.artifact):
            return None
        validation = self._validation()
        constraints = choose_constraints(
            {}, None, len(context.spec.outputs.classes), has_labels=validation.has_labels
        )
        with self._progress.stage("judge its masks", total=len(validation.dataset)) as stage:
            labels = _labels(made.backend, validation, context.spec.outputs, stage.advance)
            change = validation.compare(labels, may_collapse=True)
        evaluation = Evaluation(
            flips_per_10k=change.flips_per_10k,
            changes=change.changes,
            images=len(labels),
            findings=change.findings,
        )
        return limits_record(constraints, evaluation, len(validation.labelled))


def _labels(
    backend: Backend, validation: ValidationSet, outputs: OutputContract, tell: Any
) -> Labels:
    """Label maps of all images.

    Raises:
        ParityError: One is not a number.
    """
    images = np.load(validation.images, mmap_mode="r")
    labels = []
    for image, pair in zip(images, validation.dataset, strict=True):
        mask = np.asarray(backend.run(np.ascontiguousarray(image)), np.float32)
        if not np.isfinite(mask).all():
            raise ParityError(
                f"The artefact returns NaN or infinity for {pair.name}. Build with another "
                "--precision."
            )
        labels.append(outputs.labels(mask))
        tell()
    return np.stack(labels)
