from __future__ import annotations

import sys

import numpy as np
import pytest

from edgeseg.benchmarks.memory import peak_rss_bytes, reset_peak_rss, rss_bytes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux")

BLOCK_BYTES = 50_000_000
SLACK_BYTES = 5_000_000


def test_allocated_block_moves_the_peak_by_its_size() -> None:
    reset_peak_rss()
    before = peak_rss_bytes()
    block = np.ones(BLOCK_BYTES, np.uint8)
    del block
    assert abs(peak_rss_bytes() - before - BLOCK_BYTES) < SLACK_BYTES


def test_memory_that_is_held_is_resident() -> None:
    before = rss_bytes()
    block = np.ones(BLOCK_BYTES, np.uint8)
    held = rss_bytes() - before
    del block
    assert abs(held - BLOCK_BYTES) < SLACK_BYTES
    assert abs(rss_bytes() - before) < SLACK_BYTES


def test_reset_forgets_what_was_given_back() -> None:
    block = np.ones(BLOCK_BYTES, np.uint8)
    high = peak_rss_bytes()
    del block
    reset_peak_rss()
    assert peak_rss_bytes() < high - BLOCK_BYTES + SLACK_BYTES


def test_peak_is_never_below_what_is_resident() -> None:
    assert peak_rss_bytes() >= rss_bytes() - SLACK_BYTES > 0
