"""Figures that no measurement gives: a signature under them would make a wrong number official."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from edgeseg.errors import UsageError
from edgeseg.metrics.agreement import PER
from edgeseg.metrics.table import METRICS, find_metric

TAKE = "Take the file that edgeseg bench --json-file has written, unchanged, or measure again."
AT_LEAST_ZERO, ABOVE_ZERO = (0.0, math.inf), (5e-324, math.inf)
ANY = (-math.inf, math.inf)
ROUNDING = 1e-6  # of figures as they are written
SHARE, CHANGE_OF_SHARE = (0.0, 1.0), (-1.0, 1.0)
# Smallest and largest value of a row's figures; what a row lacks or holds as None is left out.
BOUNDS = {
    "flips_per_10k": (0.0, float(PER)),
    "fps": ABOVE_ZERO,
    "speedup": ABOVE_ZERO,
    "peak_rss_mb": AT_LEAST_ZERO,
    "load_ms": AT_LEAST_ZERO,
    "first_ms": AT_LEAST_ZERO,
    "waited_share": AT_LEAST_ZERO,
}
SERIES = ("speedup_ci95", "round_medians_ms", "latency_percentiles_ms")
MOST_WHOLE = 2**53  # a float holds no larger number exactly
WHOLE = ("threads", "runs", "batch", "artifact_bytes")  # at least 1
Bounds = tuple[float, float]


def require_possible(rows: Iterable[Mapping[str, Any]], images: object) -> None:
    """Refuse rows of a report with figures that cannot be.

    Args:
        images: How many images the report says it has.

    Raises:
        UsageError: A share lies outside 0..1, a time is negative, a figure is no number, or the
            ends of an interval are the wrong way round or far from its figure.
        LookupError, TypeError, ValueError, AttributeError: A row has another form.
    """
    if not _is_whole(images):
        raise UsageError(f"The measurement says that it has {images!r:.80} images. {TAKE}")
    for row in rows:
        for what, value, bounds in _figures(row):
            if not _is_within(value, bounds):
                raise _impossible(row, what, value, f"it lies in {_range(bounds)}")
        for name in WHOLE:
            if row.get(name) is not None and not _is_whole(row[name]):
                raise _impossible(row, name, row[name], "it is a whole number from 1 on")
        for key, of, value, (low, high) in _intervals(row):
            if low > high:
                raise _impossible(row, f"{key}_ci95{of}", [low, high], "its lower end comes first")
            if value is None:
                continue
            # A bootstrap interval may leave its own figure out, by less than its width.
            slack = high - low + ROUNDING * max(1.0, abs(value))
            if not low - slack <= value <= high + slack:
                raise _impossible(row, f"{key}{of}", value, f"its interval is {low:g}..{high:g}")


def _impossible(row: Mapping[str, Any], what: str, value: object, why: str) -> UsageError:
    return UsageError(
        f"The measurement of {row.get('name')!s:.80} cannot be: {what} is {value!r:.80}, and "
        f"{why}. {TAKE}"
    )


def _figures(row: Mapping[str, Any]) -> Iterator[tuple[str, object, Bounds]]:
    """Each figure of a row with its bounds, the ends of intervals among them."""
    for key, bounds_of in METRICS_OF_ROW.items():
        for name, value in (row.get(key) or {}).items():
            figures = (value,) if value is None or not key.endswith("_ci95") else value
            for figure in figures:
                if figure is not None:
                    yield f"{key} of {name}", figure, bounds_of(name)
    for name, bounds in BOUNDS.items():
        if row.get(name) is not None:
            yield name, row[name], bounds
    for name, value in (row.get("latency_ms") or {}).items():
        if value is not None:
            yield f"latency_ms {name}", value, ABOVE_ZERO
    for name, value in (row.get("phases_ms") or {}).items():
        yield f"phases_ms {name}", value, AT_LEAST_ZERO
    sustained = row.get("sustained") or {}
    for value in (sustained.get("seconds"), *(sustained.get("medians_ms") or ())):
        if value is not None:
            yield "sustained", value, ABOVE_ZERO
    for name in SERIES:
        for value in row.get(name) or ():
            yield name, value, ABOVE_ZERO
    if row.get("baseline"):
        yield "baseline latency_ms_p50", row["baseline"].get("latency_ms_p50"), ABOVE_ZERO
    yield from _figures_of_images(row.get("per_image") or {})


def _figures_of_images(sample: Mapping[str, Any]) -> Iterator[tuple[str, object, Bounds]]:
    for value in sample.get("flips_per_10k") or ():
        yield "per_image flips_per_10k", value, (0.0, float(PER))
    for name, values in (sample.get("values") or {}).items():
        for value in values:
            yield f"per_image {name}", value, _of_score(name)


def _intervals(
    row: Mapping[str, Any],
) -> Iterator[tuple[str, str, float | None, Sequence[float]]]:
    """Each interval behind the key of its figure, what that is of, and the figure, if any."""
    for key in METRICS_OF_ROW:
        figures = row.get(key) or {}
        for name, interval in (row.get(f"{key}_ci95") or {}).items():
            if interval is not None:
                yield key, f" of {name}", figures.get(name), interval
    if row.get("speedup_ci95"):
        yield "speedup", "", row.get("speedup"), row["speedup_ci95"]


def _is_share(name: str) -> bool:
    return name in METRICS.names() and not find_metric(name).unit


def _of_score(name: str) -> Bounds:
    if _is_share(name):
        return SHARE
    return AT_LEAST_ZERO if name in METRICS.names() else ANY


def _of_difference(name: str) -> Bounds:
    return CHANGE_OF_SHARE if _is_share(name) else ANY


def _of_relative_change(_: str) -> Bounds:
    return -1.0, math.inf


METRICS_OF_ROW: dict[str, Callable[[str], Bounds]] = {
    "accuracy": _of_score,
    "accuracy_ci95": _of_score,
    "delta": _of_difference,
    "delta_ci95": _of_difference,
    "relative_change": _of_relative_change,
    "relative_change_ci95": _of_relative_change,
}


def _is_within(value: object, bounds: Bounds) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    if isinstance(value, int) and abs(value) > MOST_WHOLE:
        return False
    return math.isfinite(value) and bounds[0] <= value <= bounds[1]


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _range(bounds: Bounds) -> str:
    low, high = bounds
    if math.isinf(low):
        return "the finite numbers"
    if bounds == ABOVE_ZERO:
        return "the numbers above 0"
    return f"the numbers from {low:g} on" if math.isinf(high) else f"{low:g}..{high:g}"
