"""The images that candidates are scored on, with the predictions of the FP32 reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgeseg.benchmarks.accuracy import true_labels
from edgeseg.contract import OutputContract
from edgeseg.data.folder import SAMPLE_CLASSES, FolderDataset
from edgeseg.data.medical.frames import sha256_of_picture
from edgeseg.errors import DataError, ParityError
from edgeseg.metrics.agreement import PER, has_collapsed
from edgeseg.metrics.scores import Labels, MetricSet, ReferenceScores
from edgeseg.progress import Progress
from edgeseg.records import sha256_of_file
from edgeseg.reference.reference import onnx_predictor
from edgeseg.storage import cache
from edgeseg.tuning.constraints import limited_metrics

from ..builder.context import BuildContext
from ..builder.request import open_split

FEW = 24  # reject a candidate
MANY = 256  # decide about the last ones: HD95 needs many, one outlier among few decides it
TIMED = 4
LABELS_NAME, IMAGES_NAME = "labels.npy", "images.npy"


@dataclass(frozen=True)
class AccuracyChange:
    """Attributes:
    flips_per_10k: Pixels per 10,000 whose label is not the FP32 reference's.
    changes: What changed of the reference's scores, by metric and in its terms
        (`edgeseg.metrics.metric.Metric.change`). Empty without labels; where only some of the
        images were asked for, metrics that one of them may decide are missing.
    """

    flips_per_10k: float
    changes: dict[str, float]


class ValidationSet:
    """Images of the val split, spread over it, the first few a sample of all.

    Attributes:
        dataset: What they are.
    """

    def __init__(self, context: BuildContext, folder: Path, progress: Progress) -> None:
        self._context = context
        self._folder = folder
        self._progress = progress
        val = open_split(context.request.data, "val", labelled=False, axis=context.spec.inputs.axis)
        self._references: dict[int, ReferenceScores] = {}
        self.dataset = FolderDataset(val.root, val.splits, spread(val.pairs, MANY))
        # The sample's masks say nothing about a network that looks for something else.
        is_apt = context.request.data is not None or self._outputs.classes == SAMPLE_CLASSES
        self.has_labels = is_apt and self._count_masks() > 0
        self._metrics = limited_metrics(context.request.max_change, len(self._outputs.classes))

    def _count_masks(self) -> int:
        """How many of the images have a mask.

        Raises:
            DataError: Some, but not all.
        """
        without = [pair for pair in self.dataset if pair.mask_path is None]
        count = len(self.dataset) - len(without)
        if without and count:
            raise DataError(
                f"{count} val images have a mask and {len(without)} have none, "
                f"{without[0].image_path.name} the first. Add the masks to {self.dataset.root}, or "
                "take these images out of val.txt."
            )
        return count

    @property
    def _outputs(self) -> OutputContract:
        return self._context.spec.outputs

    @property
    def screening_count(self) -> int:
        return min(FEW, len(self.dataset))

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """Of the image files."""
        return tuple(sha256_of_picture(pair.image_path) for pair in self.dataset)

    def identity(self) -> dict[str, Any]:
        """Which images, and whether with labels, as JSON."""
        masks = [pair.mask_path for pair in self.dataset] if self.has_labels else []
        return {
            "images": list(self.digests),
            "masks": [sha256_of_picture(path) for path in masks if path is not None],
            "metrics": [metric.name for metric in self._metrics],
        }

    @cached_property
    def images(self) -> Path:
        """Prepared ones, (N, 1, 3, H, W) float32, in a file."""
        inputs = self._context.spec.inputs
        path = self._folder / IMAGES_NAME
        shape = (len(self.dataset), *inputs.shape)
        open_memmap: Any = np.lib.format.open_memmap
        prepared = open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        for index, pair in enumerate(self.dataset):
            prepared[index] = inputs.prepare(pair.read_image(inputs))
        prepared.flush()
        return path

    @cached_property
    def timed_images(self) -> Path:
        """The first of them, in a file that is small enough to be read whole."""
        path = self._folder / f"timed_{IMAGES_NAME}"
        np.save(path, np.load(self.images, mmap_mode="r")[:TIMED])
        return path

    @cached_property
    def reference_labels(self) -> Labels:
        """Predictions of the FP32 reference, by ONNX Runtime: its graph was compared with torch."""
        context = self._context
        onnx_path = context.exported.path
        record = {
            "onnx": sha256_of_file(onnx_path),
            "images": list(self.digests),
            "inputs": context.spec.inputs.to_json(),
            "outputs": context.spec.outputs.to_json(),
        }

        def make(folder: Path) -> None:
            predict = onnx_predictor(onnx_path, self._outputs, context.spec.inputs)
            images = np.load(self.images, mmap_mode="r")
            title = "masks of the FP32 reference"
            with self._progress.stage(title, total=len(images)) as stage:
                labels = []
                for image in images:
                    labels.append(self._outputs.labels(predict(np.ascontiguousarray(image))))
                    stage.advance()
            np.save(folder / LABELS_NAME, np.stack(labels))

        folder, _ = cache.get_or_make("float-labels", record, make)
        labels: Labels = np.load(folder / LABELS_NAME)
        return labels

    @cached_property
    def truth(self) -> Labels:
        return true_labels(self.dataset, self._context.spec.inputs, self._outputs)

    def compare(self, labels: Labels) -> AccuracyChange:
        """Compare label maps of the first images, as many as are given.

        Raises:
            ParityError: One is empty where the FP32 reference finds something.
        """
        expected_labels = self.reference_labels[: len(labels)]
        for pair, own, expected in zip(self.dataset, labels, expected_labels, strict=False):
            if has_collapsed(expected, own):
                raise ParityError(
                    f"It finds only background in {pair.name}, where the FP32 reference finds "
                    f"{(expected > 0).mean():.0%} foreground: it has collapsed."
                )
        flips = float((labels != expected_labels).mean()) * PER
        if not self.has_labels:
            return AccuracyChange(flips, {})
        reference = self._reference(len(labels))
        return AccuracyChange(flips, reference.score(labels).changes(reference.table))

    def _reference(self, count: int) -> ReferenceScores:
        """Scores of the FP32 reference on the first images."""
        if count not in self._references:
            is_whole = count == len(self.dataset)
            names = [
                metric.name for metric in self._metrics if is_whole or not metric.needs_many_images
            ]
            self._references[count] = ReferenceScores(
                self.reference_labels[:count],
                self.truth[:count],
                len(self._outputs.classes),
                MetricSet(tuple(names)),
            )
        return self._references[count]


def spread(items: Sequence[Any], most: int) -> tuple[Any, ...]:
    """At most `most` of the items, evenly spread, in an order whose beginnings are spread, too."""
    count = min(len(items), most)
    chosen = [items[index * len(items) // count] for index in range(count)]
    # Where a multiple of the golden ratio falls within 1 says nothing of the multiples beside it.
    golden = (5**0.5 - 1) / 2
    order = sorted(range(count), key=lambda index: index * golden % 1)
    return tuple(chosen[index] for index in order)
