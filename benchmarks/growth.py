"""How cost grows: with the pixels of the input, and with threads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class SizeGrowth:
    """One network, target and precision at several input sizes.

    Attributes:
        title: MODEL-TARGET-PRECISION.
        points: (height, width, median latency in milliseconds), by pixels.
        power: Latency grows with the pixels to this power, by least squares of the logarithms.
    """

    title: str
    points: tuple[tuple[int, int, float], ...]
    power: float

    @property
    def text(self) -> str:
        """For people."""
        sizes = ", ".join(f"{height}x{width} {ms:.2f} ms" for height, width, ms in self.points)
        power = f"{self.power:z.2f}"
        return f"{self.title}: {sizes}; latency grows with the pixels to the power {power}"


@dataclass(frozen=True)
class ThreadGain:
    """One artefact on more threads.

    Attributes:
        name: Of the row.
        threads, fewer: On how many it ran, and those it is compared with.
        speedup: Over the run on fewer.
    """

    name: str
    threads: int
    fewer: int
    speedup: float

    @property
    def efficiency(self) -> float:
        """Share of the speed-up that so many more threads could give at most."""
        return self.speedup * self.fewer / self.threads

    @property
    def text(self) -> str:
        """For people."""
        threads = "thread" if self.fewer == 1 else "threads"
        return (
            f"{self.name}: {self.speedup:.2f} times as fast as on {self.fewer} {threads}, "
            f"{self.efficiency:.0%} of what the cores could give"
        )


def size_growths(rows: Iterable[Mapping[str, Any]]) -> list[SizeGrowth]:
    """Of each network, target, precision and number of threads that was timed at several sizes."""
    groups: dict[tuple[Any, ...], list[tuple[int, int, float]]] = {}
    for row in rows:
        is_own = not (row["is_baseline"] or row.get("toolkit"))
        if not (is_own and row.get("latency_ms") and row.get("input_size")):
            continue
        height, width = row["input_size"]
        place = row.get("device") or "", row.get("threads", 1)
        group = (row["model"], row["target"], row["precision"], *place)
        groups.setdefault(group, []).append((height, width, row["latency_ms"]["p50"]))
    growths = []
    for (model, target, precision, *_), points in groups.items():
        by_pixels = tuple(sorted(points, key=lambda point: point[0] * point[1]))
        pixels = [math.log(height * width) for height, width, _ in by_pixels]
        if len(set(pixels)) < 2:
            continue
        power = float(np.polyfit(pixels, [math.log(point[2]) for point in by_pixels], 1)[0])
        growths.append(SizeGrowth(f"{model}-{target}-{precision}", by_pixels, power))
    return growths


def growth_texts(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Both, for people; nothing where one size and one number of threads were measured."""
    listed = list(rows)
    texts = [gain.text for gain in thread_gains(listed)]
    return texts + [growth.text for growth in size_growths(listed)]


def thread_gains(rows: Iterable[Mapping[str, Any]]) -> list[ThreadGain]:
    """Of each artefact that ran on more threads than its own baseline in the sweep."""
    listed = list(rows)
    threads = {row["name"]: row.get("threads", 1) for row in listed}
    return [
        ThreadGain(row["name"], row["threads"], threads[row["baseline"]["name"]], row["speedup"])
        for row in listed
        if row.get("is_sweep") and row.get("speedup") and row["baseline"]["name"] in threads
    ]
