"""Images that are not independent of each other: slices of one volume, pictures of one patient.

Intervals resample clusters, not images: what is drawn is a volume with all of its slices (Field and
Welsh, Bootstrapping clustered data, Journal of the Royal Statistical Society B 69(3), 2007; there
the cluster bootstrap). Resampling slices would call intervals narrow that are wide.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

# A bootstrap of fewer draws the same few again, and its interval is too narrow.
LEAST_CLUSTERS = 8
IMAGES = "images"
PATIENTS, STUDIES, SERIES, VOLUMES, FILES = "patients", "studies", "series", "volumes", "files"
KINDS = (PATIENTS, STUDIES, SERIES, VOLUMES, FILES)
MIXED = "groups"
_SINGULAR = {STUDIES: "study", SERIES: "series"}


def counted(count: int, kind: str) -> str:
    """Such as "1 volume" or "3 volumes"."""
    return f"{count} {kind if count != 1 else _SINGULAR.get(kind, kind.removesuffix('s'))}"


def draws_of(image_count: int, clusters: Clusters | None) -> tuple[int, str]:
    """How many draws an interval over images consists of, and what is drawn."""
    return (image_count, IMAGES) if clusters is None else (clusters.count, clusters.kind)


def clusters_of_part(clusters: Clusters | None, images: Sequence[int]) -> Clusters | None:
    """`Clusters.only`, also of images that are independent."""
    return None if clusters is None else clusters.only(images)


@dataclass(frozen=True)
class Clusters:
    """Which images belong together.

    Attributes:
        of_images: Number of each image's cluster, from 0 in the order of the images: it says
            nothing of what the cluster is called.
        kind: What the clusters are: of `KINDS`, or `MIXED`.
    """

    of_images: tuple[int, ...]
    kind: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "of_images", tuple(self.of_images))
        if not self.of_images or {*self.of_images} != {*range(self.count)}:
            raise ValueError("Clusters are numbered from 0 on, and there is one at least.")

    @classmethod
    def of_keys(cls, keys: Sequence[Hashable], kind: str) -> Self | None:
        """Clusters of images with equal keys, which are forgotten; None where all keys differ."""
        numbers: dict[Hashable, int] = {}
        of_images = tuple(numbers.setdefault(key, len(numbers)) for key in keys)
        return None if len(numbers) == len(keys) else cls(of_images, kind)

    @property
    def count(self) -> int:
        return max(self.of_images) + 1

    def only(self, images: Sequence[int]) -> Clusters | None:
        """Those of some of the images, by their places; None where no two belong together."""
        return Clusters.of_keys([self.of_images[place] for place in images], self.kind)

    def weights(self, drawn: NDArray[np.int64]) -> NDArray[np.int64]:
        """How often each image was drawn, (resamples, images), of (resamples, clusters)."""
        return drawn[:, list(self.of_images)]

    @property
    def text(self) -> str:
        """For people: "24 slices of 3 volumes; intervals resample volumes, ..."."""
        images = counted(len(self.of_images), "slices" if self.kind == VOLUMES else IMAGES)
        told = f"{images} of {counted(self.count, self.kind)}; intervals resample {self.kind}"
        if self.count < LEAST_CLUSTERS:
            told += (
                f", of which {self.count} are too few: at least {LEAST_CLUSTERS} are needed, and "
                "these intervals are too narrow"
            ).replace("1 are", "1 is")
        return told

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "count": self.count,
            "of_images": list(self.of_images),
            "text": self.text,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any] | None) -> Self | None:
        """What `to_json` gave; None of none, as in older reports.

        Raises:
            ValueError, TypeError, KeyError: It is something else.
        """
        if record is None:
            return None
        numbers = record["of_images"]
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError("the number of a cluster is none")
        return cls(tuple(numbers), str(record["kind"])[:20])
