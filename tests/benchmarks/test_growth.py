from __future__ import annotations

from typing import Any

import pytest

from edgeseg.benchmarks.growth import size_growths, thread_gains


def row_of(name: str, side: int, ms: float | None, **others: Any) -> dict[str, Any]:
    return {
        "name": name,
        "model": "net",
        "target": "intel",
        "precision": "fp32",
        "is_baseline": False,
        "threads": 1,
        "input_size": [side, side],
        "latency_ms": None if ms is None else {"p50": ms},
        **others,
    }


def test_the_power_is_that_of_the_law() -> None:
    rows = [row_of(f"net {side}", side, 3e-4 * (side * side) ** 1.2) for side in (256, 64, 128)]
    (growth,) = size_growths(rows)
    assert growth.power == pytest.approx(1.2)
    assert [point[0] for point in growth.points] == [64, 128, 256]
    assert growth.text.startswith("net-intel-fp32: 64x64 ")
    assert growth.text.endswith("grows with the pixels to the power 1.20")


def test_one_size_and_others_rows_tell_no_growth() -> None:
    rows = [
        row_of("net", 64, 1.0),
        row_of("twice", 64, 1.1),
        row_of("plain", 128, 9.0, is_baseline=True),
        row_of("peer", 128, 9.0, toolkit="converted"),
        row_of("elsewhere", 128, None),
        row_of("int8", 128, 9.0, precision="int8"),
        row_of("threads", 128, 9.0, threads=2),
    ]
    assert size_growths(rows) == []


def test_threads_gain_over_the_same_artefact() -> None:
    swept = {"is_sweep": True, "threads": 4, "speedup": 3.0, "baseline": {"name": "net"}}
    rows = [row_of("net", 64, 8.0), row_of("net (4 threads)", 64, 2.0, **swept)]
    (gain,) = thread_gains(rows)
    assert (gain.threads, gain.fewer) == (4, 1)
    assert gain.efficiency == pytest.approx(0.75)
    assert gain.text == (
        "net (4 threads): 3.00 times as fast as on 1 thread, 75% of what the cores could give"
    )
    assert thread_gains(rows[:1]) == []
