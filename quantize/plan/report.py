"""Differences between two plans, as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .quant_plan import QuantPlan


@dataclass(frozen=True)
class Difference:
    """An entry that differs between two plans.

    Attributes:
        kind: "convolution", "range", "weights", "bias", or a field of the provenance.
        name: Name of the tensor; empty for the provenance.
        before, after: The entry of each plan, in a few words.
    """

    kind: str
    name: str
    before: str
    after: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare_plans(one: QuantPlan, other: QuantPlan) -> list[Difference]:
    """All differences, in the order of names within each kind."""
    return [
        *_compare("convolution", _precisions(one), _precisions(other)),
        *_compare("range", _ranges(one), _ranges(other)),
        *_compare_weights(one, other),
        *_compare_biases(one, other),
        *_compare_provenance(one, other),
    ]


def _compare(kind: str, one: Mapping[str, str], other: Mapping[str, str]) -> list[Difference]:
    names = sorted({*one, *other})
    pairs = ((name, one.get(name, "none"), other.get(name, "none")) for name in names)
    return [
        Difference(kind, name, before, after) for name, before, after in pairs if before != after
    ]


def _precisions(plan: QuantPlan) -> dict[str, str]:
    return {**dict.fromkeys(plan.weights, "int8"), **dict.fromkeys(plan.float_nodes, "float")}


def _ranges(plan: QuantPlan) -> dict[str, str]:
    zeros = {name: f", zero point {zero}" for name, zero in plan.zero_points.items()}
    return {name: f"{limit!r}{zeros.get(name, '')}" for name, limit in plan.ranges.items()}


def _compare_weights(one: QuantPlan, other: QuantPlan) -> list[Difference]:
    found = []
    for name in sorted({*one.weights, *other.weights}):
        grids = one.weights.get(name), other.weights.get(name)
        if grids[0] == grids[1]:
            continue
        words = ["none" if grid is None else f"shape {grid.values.shape}" for grid in grids]
        if grids[0] and grids[1] and grids[0].values.shape == grids[1].values.shape:
            differs = grids[0].values != grids[1].values
            ratio = grids[1].scales / grids[0].scales
            words = [
                f"{differs.size} quantized values",
                f"{np.count_nonzero(differs)} values differ, scales times "
                f"{ratio.min():.4g}..{ratio.max():.4g}",
            ]
        found.append(Difference("weights", name, *words))
    return found


def _compare_biases(one: QuantPlan, other: QuantPlan) -> list[Difference]:
    found = []
    for name in sorted({*one.biases, *other.biases}):
        biases = one.biases.get(name), other.biases.get(name)
        words = [
            "the graph's" if bias is None else f"mean magnitude {np.abs(bias).mean():.4g}"
            for bias in biases
        ]
        if biases[0] is not None and biases[1] is not None:
            if np.array_equal(biases[0], biases[1]):
                continue
            if biases[0].shape == biases[1].shape:
                words[1] += f", moved by up to {np.abs(biases[1] - biases[0]).max():.4g}"
        found.append(Difference("bias", name, *words))
    return found


def _compare_provenance(one: QuantPlan, other: QuantPlan) -> list[Difference]:
    before, after = one.provenance.to_json(), other.provenance.to_json()
    hashes = [{image["sha256"] for image in record.pop("images")} for record in (before, after)]
    found = [
        Difference(field, "", str(before[field]), str(after[field]))
        for field in before
        if before[field] != after[field]
    ]
    if hashes[0] != hashes[1]:
        shared = len(hashes[0] & hashes[1])
        words = (f"{len(images)} images, {shared} of them in both" for images in hashes)
        found.append(Difference("images", "", *words))
    return found
