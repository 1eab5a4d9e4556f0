from __future__ import annotations

import mmap
import sys

import pytest

from edgeseg.benchmarks.workers.memory import peak_rss_bytes, reset_peak_rss, rss_bytes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux")

BLOCK_BYTES = 50_000_000
SLACK_BYTES = 5_000_000


def take_block() -> mmap.mmap:
    """Fresh pages from the system; an allocator may reuse what the process gave back before."""
    block = mmap.mmap(-1, BLOCK_BYTES)
    for start in range(0, BLOCK_BYTES, mmap.PAGESIZE):
        block[start] = 1
    return block


def test_allocated_block_moves_the_peak_by_its_size() -> None:
    reset_peak_rss()
    before = peak_rss_bytes()
    block = take_block()
    block.close()
    assert abs(peak_rss_bytes() - before - BLOCK_BYTES) < SLACK_BYTES


def test_memory_that_is_held_is_resident() -> None:
    before = rss_bytes()
    block = take_block()
    held = rss_bytes() - before
    block.close()
    assert abs(held - BLOCK_BYTES) < SLACK_BYTES
    assert abs(rss_bytes() - before) < SLACK_BYTES


def test_reset_forgets_what_was_given_back() -> None:
    block = take_block()
    high = peak_rss_bytes()
    block.close()
    reset_peak_rss()
    assert peak_rss_bytes() < high - BLOCK_BYTES + SLACK_BYTES


def test_peak_is_never_below_what_is_resident() -> None:
    assert peak_rss_bytes() >= rss_bytes() - SLACK_BYTES > 0
