"""Which figures of a measurement no measurement gives."""

from __future__ import annotations

from typing import Any

import pytest

from edgeseg.benchmarks.checks.figures import require_possible
from edgeseg.errors import UsageError

ROW: dict[str, Any] = {
    "name": "net-intel-int8",
    "accuracy": {"dice_pooled": 0.9, "hd95_px": 4.5, "of another package": -7.0},
    "accuracy_ci95": {"dice_pooled": [0.88, 0.92], "hd95_px": [3.0, 6.0]},
    "delta": {"dice_pooled": -0.01},
    "delta_ci95": {"dice_pooled": [-0.02, 0.0], "hd95_px": None},
    "relative_change": {"hd95_px": 0.02},
    "relative_change_ci95": {"hd95_px": [-0.5, 1.5]},
    "flips_per_10k": 12.0,
    "latency_ms": {"p50": 2.0, "p90": None, "mean": 2.1},
    "fps": 480.0,
    "speedup": 1.5,
    "speedup_ci95": [1.4, 1.6],
    "peak_rss_mb": 0.0,
    "threads": 1,
    "runs": 40,
    "artifact_bytes": 1000,
}


def test_what_a_benchmark_writes_is_possible() -> None:
    require_possible([ROW, {"name": "masks only", "accuracy": None, "latency_ms": None}], 17)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"accuracy": {"dice_pooled": 1.7}},
            r"accuracy of dice_pooled is 1\.7, and it lies in 0\.\.1",
        ),
        ({"accuracy": {"dice_pooled": float("nan")}}, r"accuracy of dice_pooled is nan"),
        ({"accuracy": {"dice_pooled": "good"}}, r"accuracy of dice_pooled is 'good'"),
        ({"accuracy": {"dice_pooled": True}}, r"accuracy of dice_pooled is True"),
        (
            {"accuracy": {"hd95_px": -1.0}},
            r"hd95_px is -1\.0, and it lies in the numbers from 0 on",
        ),
        ({"accuracy": {"new": float("inf")}}, r"new is inf, and it lies in the finite numbers"),
        ({"accuracy_ci95": {"dice_pooled": [0.9, 1.1]}}, r"accuracy_ci95 of dice_pooled is 1\.1"),
        (
            {"accuracy_ci95": {"dice_pooled": [0.9, 0.8]}},
            r"is \[0\.9, 0\.8\], and its lower end comes",
        ),
        (
            {"delta": {"dice_pooled": -1.5}},
            r"delta of dice_pooled is -1\.5, and it lies in -1\.\.1",
        ),
        ({"relative_change": {"hd95_px": -2.0}}, r"relative_change of hd95_px is -2\.0"),
        ({"flips_per_10k": 10001.0}, r"flips_per_10k is 10001\.0, and it lies in 0\.\.10000"),
        (
            {"latency_ms": {"p50": -2.0}},
            r"latency_ms p50 is -2\.0, and it lies in the numbers above 0",
        ),
        ({"latency_ms": {"p50": 0.0}}, r"latency_ms p50 is 0\.0"),
        ({"speedup": 0}, r"speedup is 0, and"),
        ({"speedup_ci95": [1.6, 1.4]}, r"speedup_ci95 is \[1\.6, 1\.4\], and its lower end"),
        ({"speedup": 1000.0}, r"speedup is 1000\.0, and its interval is 1\.4\.\.1\.6"),
        (
            {"delta": {"dice_pooled": -0.2}, "delta_ci95": {"dice_pooled": [0.0, 0.0]}},
            r"delta of dice_pooled is -0\.2, and its interval is 0\.\.0",
        ),
        ({"latency_ms": {"p50": 10**400}}, r"latency_ms p50 is 10{70,}"),
        ({"runs": 2.5}, r"runs is 2\.5, and it is a whole number from 1 on"),
        ({"threads": 0}, r"threads is 0, and it is a whole number"),
    ],
)
def test_what_cannot_be_names_the_row_and_the_figure(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        require_possible([ROW | changes], 17)
    assert str(caught.value).startswith("The measurement of net-intel-int8 cannot be: ")
    assert "edgeseg bench --json-file has written, unchanged, or measure again" in str(caught.value)


def test_a_bootstrap_interval_may_just_miss_its_figure() -> None:
    require_possible([ROW | {"speedup": 1.61}], 17)


@pytest.mark.parametrize("images", [None, 0, -3, 1.5, True, "many"])
def test_images_are_counted(images: object) -> None:
    with pytest.raises(UsageError, match=r"says that it has .* images\. Take the file"):
        require_possible([ROW], images)
