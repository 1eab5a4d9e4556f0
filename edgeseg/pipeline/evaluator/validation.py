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
from edgeseg.data.clusters import clusters_of
from edgeseg.data.folder import SAMPLE_CLASSES, FolderDataset, Pair
from edgeseg.data.medical.frames import sha256_of_picture
from edgeseg.errors import ParityError
from edgeseg.metrics.agreement import has_collapsed
from edgeseg.metrics.clusters import Clusters, clusters_of_part
from edgeseg.metrics.findings import Finding
from edgeseg.metrics.paired import pair_labels
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
NAMED = 12  # digits of its checksum tell an image: its name may be that of a patient
LABELS_NAME, IMAGES_NAME = "labels.npy", "images.npy"


@dataclass(frozen=True)
class AccuracyChange:
    """Attributes:
    flips_per_10k: Pixels per 10,000 whose label is not the FP32 reference's.
    changes: What changed of the reference's scores, by metric and in its terms
        (`edgeseg.metrics.metric.Metric.change`). Empty without labels; where only some of the
        images were asked for, metrics that one of them may decide are missing.
    findings: What limits judge.
    """

    flips_per_10k: float
    changes: dict[str, float]
    findings: tuple[Finding, ...] = ()


class ValidationSet:
    """Images of the val split, spread over it, the first few a sample of all.

    Args:
        most: At most so many of them.
        is_quick: Whether metrics that need many images, and packages that load for seconds, are
            left out.

    Attributes:
        dataset: What they are.
        labelled: Places of those that have a true mask; the others count for flips.
    """

    def __init__(
        self,
        context: BuildContext,
        folder: Path,
        progress: Progress,
        most: int = MANY,
        *,
        is_quick: bool = False,
    ) -> None:
        self._context = context
        self._folder = folder
        self._progress = progress
        val = open_split(context.request.data, "val", labelled=False, axis=context.spec.inputs.axis)
        self._references: dict[int, ReferenceScores] = {}
        self.dataset = FolderDataset(val.root, val.splits, spread(val.pairs, most))
        # The sample's masks say nothing about a network that looks for something else.
        is_apt = context.request.data is not None or self._outputs.classes == SAMPLE_CLASSES
        masks = [pair.mask_path for pair in self.dataset] if is_apt else []
        self.labelled = tuple(place for place, mask in enumerate(masks) if mask is not None)
        limited = limited_metrics(context.request.max_change, len(self._outputs.classes))
        self._metrics = [one for one in limited if not (is_quick and one.needs_many_images)]

    @property
    def has_labels(self) -> bool:
        """Whether any of the images has a true mask."""
        return bool(self.labelled)

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
        masks = [pair.mask_path for pair in self._labelled_pairs()]
        return {
            "images": list(self.digests),
            "labelled": list(self.labelled),
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
    def _clusters(self) -> Clusters | None:
        """Which of the images belong together, such as slices of one volume."""
        return clusters_of(self.dataset)

    def _labelled_pairs(self) -> tuple[Pair, ...]:
        return tuple(self.dataset.pairs[place] for place in self.labelled)

    @cached_property
    def truth(self) -> Labels:
        """True label maps of the images that have one."""
        pairs = self._labelled_pairs()
        labelled = FolderDataset(self.dataset.root, self.dataset.splits, pairs)
        return true_labels(labelled, self._context.spec.inputs, self._outputs)

    def compare(self, labels: Labels, *, may_collapse: bool = False) -> AccuracyChange:
        """Compare label maps of the first images, as many as are given.

        Args:
            may_collapse: Whether one may be empty where the FP32 reference finds something.

        Raises:
            ParityError: One is, and must not be.
        """
        count = len(labels)
        expected_labels = self.reference_labels[:count]
        names = [f"image {digest[:NAMED]}" for digest in self.digests[:count]]
        for name, own, expected in zip(names, labels, expected_labels, strict=True):
            if not may_collapse and has_collapsed(expected, own):
                raise ParityError(
                    f"It finds only background in {name}, where the FP32 reference finds "
                    f"{(expected > 0).mean():.0%} foreground: it has collapsed."
                )
        places = [place for place in self.labelled if place < count]
        reference = self._reference(count) if places else None
        clusters = clusters_of_part(self._clusters, range(count))
        sample = pair_labels(names, labels, expected_labels, reference, places, clusters)
        changes = {}
        if sample.ours is not None and sample.theirs is not None:
            changes = sample.ours.changes(sample.theirs)
        return AccuracyChange(float(sample.flips.mean()), changes, sample.findings())

    def _reference(self, count: int) -> ReferenceScores:
        """Scores of the FP32 reference on those of the first images that have a true mask."""
        if count not in self._references:
            is_whole = count == len(self.dataset)
            names = [
                metric.name for metric in self._metrics if is_whole or not metric.needs_many_images
            ]
            places = [place for place in self.labelled if place < count]
            self._references[count] = ReferenceScores(
                self.reference_labels[places],
                self.truth[: len(places)],
                len(self._outputs.classes),
                MetricSet(tuple(names)),
                clusters_of_part(self._clusters, places),
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
