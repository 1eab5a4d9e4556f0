"""What a metric states about itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..contract import IGNORED

ClassCounts = NDArray[np.int64]  # (..., classes, 3), background first; see `count_classes`

MAX_CHANGE = "--max-change"


@dataclass(frozen=True)
class ScoredImage:
    """One image's prediction beside its truth, at the network's size.

    Attributes:
        predicted, truth: Class indices, (H, W).
        class_count: Background included.
        probabilities: Of the foreground classes, (classes - 1, H, W); None where only label maps
            are known, as in a benchmark.
    """

    predicted: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    class_count: int
    probabilities: NDArray[np.floating[Any]] | None = None

    def without_ignored(self) -> ScoredImage:
        """The same with background, predicted and true, where the truth is not known."""
        unknown = self.truth == IGNORED
        if self.class_count > IGNORED or not unknown.any():
            return self
        predicted, truth = (np.where(unknown, 0, one) for one in (self.predicted, self.truth))
        probabilities = self.probabilities
        if probabilities is not None:
            probabilities = np.where(unknown, 0, probabilities)
        return replace(
            self,
            predicted=predicted.astype(np.uint8),
            truth=truth.astype(np.uint8),
            probabilities=probabilities,
        )

    @property
    def foreground(self) -> NDArray[np.floating[Any]]:
        """The probabilities.

        Raises:
            ValueError: Only label maps are known.
        """
        if self.probabilities is None:
            raise ValueError("This metric is computed from probabilities, and there are none.")
        return self.probabilities


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric. Its file states it, `edgeseg.metrics.table` names it, and all else follows.

    Exactly one of `from_counts` and `from_image` computes it. With several foreground classes a
    score is the mean over them, unless the definition says otherwise.

    Attributes:
        name: As on the command line and in JSON.
        title: As sentences and headings call it: "pooled Dice".
        definition: For people, in one line.
        source: Paper that defines it, or whose published code does.
        better: Whether a higher or a lower score is better.
        unit: Of the score: "px", or nothing for a share in 0..1.
        from_counts: From counts (..., classes, 3) to scores (...).
        from_image: From one image to its score. A set of images scores the mean over them.
        is_pooled: The counts of all images are added first; else a set of images scores the mean
            of each image's score.
        needs_probabilities: It cannot be computed from label maps, so `edgeseg bench` and auto,
            which know no more, leave it out.
        is_binary: It is defined for one foreground class only.
        packages: Import names that computing it needs beside numpy.
        bench: Where `edgeseg bench` shows it: in its JSON only ("record"), also in a sentence below
            the table ("line") or in columns of it ("column"); nothing leaves it out.
        allowed_change: How much of it `--precision auto` may lose unless told otherwise; None does
            not limit it.
        is_change_relative: Changes are shares of the reference's score, not differences.
        needs_many_images: One image may decide it, so that auto asks for it on the whole
            validation set only.
        option: Option of `edgeseg build` that sets the allowed change beside `--max-change`.
    """

    name: str
    title: str
    definition: str
    source: str
    better: Literal["higher", "lower"] = "higher"
    unit: Literal["", "px"] = ""
    from_counts: Callable[[ClassCounts], NDArray[np.float64]] | None = None
    from_image: Callable[[ScoredImage], float] | None = None
    is_pooled: bool = False
    needs_probabilities: bool = False
    is_binary: bool = False
    packages: tuple[str, ...] = ()
    bench: Literal["", "record", "line", "column"] = ""
    allowed_change: float | None = None
    is_change_relative: bool = False
    needs_many_images: bool = False
    option: str = ""

    def __post_init__(self) -> None:
        if (self.from_counts is None) == (self.from_image is None):
            raise ValueError(
                f"The metric {self.name} is computed in none or in two ways. State from_counts or "
                "from_image."
            )
        if self.is_pooled and self.from_counts is None:
            raise ValueError(
                f"The metric {self.name} pools counts and has no from_counts. State it, or leave "
                "is_pooled out."
            )
        if self.needs_probabilities and (self.bench or self.allowed_change is not None):
            raise ValueError(
                f"The metric {self.name} needs probabilities, which edgeseg bench and auto do not "
                "have. Leave bench and allowed_change out."
            )

    @property
    def limit_option(self) -> str:
        """The option that sets how much of it auto may lose."""
        return self.option or f"{MAX_CHANGE} {self.name}"

    def change(self, score: float, reference: float) -> float | None:
        """By how much a score differs from a reference's; None for a share of 0."""
        if not self.is_change_relative:
            return score - reference
        return score / reference - 1 if reference else None

    def loss(self, change: float) -> float:
        """How much a change loses; below 0 where the score became better."""
        return -change if self.better == "higher" else change

    def format_score(self, score: float, sign: str = "") -> str:
        """A score, or a difference of two, without its unit.

        Args:
            sign: "+" writes it also where it is not negative.
        """
        return f"{score:{sign}.2f}" if self.unit else f"{score:{sign}.4f}"

    def format_change(self, change: float, sign: str = "+") -> str:
        """A change or a loss with its unit.

        Args:
            sign: "+" writes it also where it is not negative.
        """
        if self.is_change_relative:
            return f"{change:{sign}.2%}"
        return f"{change:{sign}.2f} {self.unit}" if self.unit else f"{change:{sign}.4f}"

    def format_limit(self, limit: float) -> str:
        """An allowed change, as it was asked for."""
        if self.is_change_relative:
            return f"{100 * limit:g}%"
        return f"{limit:g} {self.unit}" if self.unit else f"{limit:g}"
