"""A candidate's label maps beside the FP32 reference's, image by image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .agreement import PER
from .bootstrap import judging_interval
from .clusters import Clusters, clusters_of_part, draws_of
from .counts import dice_from_counts
from .findings import Finding
from .quantities import FLIPS, WORST_DICE, WORST_FLIPS
from .scores import Labels, ReferenceScores, ScoreTable

SIZES = ("small", "medium", "large")  # parts of the images that are looked at by themselves


@dataclass(frozen=True)
class PairedSample:
    """Attributes:
    names: Of the images.
    flips: Pixels per 10,000 of each whose label is not the reference's.
    sizes: Foreground pixels of each: true ones, the reference's where there is no true mask.
    labelled: Places of the images that have a true mask.
    ours, theirs: Scores of the candidate and of the reference on those, in that order; None
        where there are none.
    clusters: Of all images; None where these are independent.
    """

    names: Sequence[str]
    flips: NDArray[np.float64]
    sizes: NDArray[np.int64]
    labelled: Sequence[int] = ()
    ours: ScoreTable | None = None
    theirs: ScoreTable | None = None
    clusters: Clusters | None = None

    def only(self, places: Sequence[int]) -> PairedSample:
        """The sample of some of the images, by their places."""
        rows = {place: row for row, place in enumerate(self.labelled)}
        labelled = [index for index, place in enumerate(places) if place in rows]
        wanted = [rows[place] for place in places if place in rows]
        return PairedSample(
            [self.names[place] for place in places],
            self.flips[list(places)],
            self.sizes[list(places)],
            labelled,
            None if self.ours is None or not wanted else self.ours.only(wanted),
            None if self.theirs is None or not wanted else self.theirs.only(wanted),
            clusters_of_part(self.clusters, places),
        )

    def findings(self) -> tuple[Finding, ...]:
        """What changed over all images, on the worst ones, and in each third by size."""
        found = [*self._of(range(len(self.names)), ""), *self._worst()]
        for part, places in thirds_of(self.sizes).items():
            found += self._of(places, part) if places else ()
        return tuple(found)

    def _of(self, places: Sequence[int], part: str) -> Iterator[Finding]:
        yield self._flips(places, part)
        if self.ours is None or self.theirs is None:
            return
        wanted = set(places)
        rows = [row for row, place in enumerate(self.labelled) if place in wanted]
        if not rows:
            return
        ours, theirs = self.ours.only(rows), self.theirs.only(rows)
        changes = ours.changes(theirs)
        for metric in ours.metrics.metrics:
            if metric.name in changes:
                change, interval = changes[metric.name], ours.change_interval(theirs, metric)
                count, unit = ours.independent
                yield Finding(metric.name, change, interval, count, part, unit=unit)

    def _flips(self, places: Sequence[int], part: str) -> Finding:
        flips = self.flips[list(places)]

        def statistic(weights: NDArray[np.int64]) -> NDArray[np.float64]:
            return np.asarray(weights @ flips / weights.sum(1))

        clusters = clusters_of_part(self.clusters, places)
        interval = judging_interval(len(flips), statistic, clusters)
        count, unit = draws_of(len(flips), clusters)
        return Finding(FLIPS, float(flips.mean()), interval, count, part, unit=unit)

    def _worst(self) -> Iterator[Finding]:
        worst = int(self.flips.argmax())
        drawn = draws_of(len(self.flips), self.clusters)
        yield _worst(WORST_FLIPS, float(self.flips[worst]), drawn, self.names[worst])
        if self.ours is None or self.theirs is None:
            return
        changes = _dice_of_images(self.ours) - _dice_of_images(self.theirs)
        row = int(changes.argmin())
        name = self.names[self.labelled[row]]
        yield _worst(WORST_DICE, float(changes[row]), self.ours.independent, name)


def thirds_of(sizes: NDArray[np.int64]) -> dict[str, list[int]]:
    """Places of the images with the smallest, middle and largest objects.

    Args:
        sizes: Foreground pixels of each image.
    """
    parts: Sequence[NDArray[np.int64]] = np.array_split(
        np.argsort(sizes, kind="stable"), len(SIZES)
    )
    return {name: part.tolist() for name, part in zip(SIZES, parts, strict=True)}


def pair_labels(
    names: Sequence[str],
    labels: Labels,
    expected: Labels,
    reference: ReferenceScores | None = None,
    labelled: Sequence[int] = (),
    clusters: Clusters | None = None,
) -> PairedSample:
    """Compare label maps with the reference's.

    Args:
        labels, expected: The candidate's and the reference's, (images, h, w).
        reference: Scores of the reference's on the images that have a true mask; None where none
            has.
        labelled: Their places.
        clusters: Of all images; the reference has those of its own.
    """
    flips = (labels != expected).mean((1, 2)) * PER
    sizes = (expected > 0).sum((1, 2))
    if reference is None:
        return PairedSample(names, flips, sizes, clusters=clusters)
    places = list(labelled)
    ours, theirs = reference.score(labels[places]), reference.table
    sizes[places] = (theirs.counts[:, 1:, 0] + theirs.counts[:, 1:, 2]).sum(-1)
    return PairedSample(names, flips, sizes, places, ours, theirs, clusters)


def _worst(name: str, change: float, drawn: tuple[int, str], image: str) -> Finding:
    count, unit = drawn
    return Finding(name, change, (change, change), count, image=image, unit=unit)


def _dice_of_images(table: ScoreTable) -> NDArray[np.float64]:
    """Mean over the foreground classes, (images,)."""
    return np.asarray(dice_from_counts(table.counts[:, 1:]).mean(-1))
