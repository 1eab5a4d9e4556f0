"""The runtimes of a device, each with the artefact that was chosen for it, in one timed run."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgeseg.benchmarks.latency import block_size, interleave, paired_speedup, warm_up
from edgeseg.benchmarks.workers.protocol import Worker

from ...records import Artifact
from ...tuning.evaluator import Ratio
from ..builder.context import BuildContext
from ..builder.runners import ArtifactRunner
from .contest import FINAL_RUNS, THREADS
from .validation import TIMED

TIE = 1.01  # within 1 % the runtime that comes first, the device's own, is kept


def rank_runtimes(
    artifacts: Mapping[str, Artifact], context: BuildContext, folder: Path
) -> dict[str, Ratio]:
    """Let artefacts take turns on the same core, and put the fastest first.

    Args:
        artifacts: By the name of the runtime, the device's own first.
        context: Of one of them: it has the images.
        folder: For the prepared images.

    Returns:
        By runtime, the fastest first, how many times faster the fastest is than this one.
    """
    images = folder / "race_images.npy"
    pairs = context.check_pairs[:TIMED]
    inputs = context.spec.inputs
    np.save(images, np.stack([inputs.prepare(pair.read_image(inputs)) for pair in pairs]))
    blocks = dict(zip(artifacts, _take_turns(artifacts, images), strict=True))
    names = list(artifacts)
    winner = names[0]
    for name in names[1:]:
        speedup, _ = paired_speedup(blocks[name], blocks[winner])
        if speedup >= TIE:
            winner = name
    ratios = {}
    for name in names:
        speedup, (low, high) = paired_speedup(blocks[winner], blocks[name])
        ratios[name] = Ratio(speedup, low, high)
    others = sorted((name for name in names if name != winner), key=lambda n: ratios[n].speedup)
    return {name: ratios[name] for name in (winner, *others)}


def _take_turns(artifacts: Mapping[str, Artifact], images: Path) -> list[list[list[float]]]:
    """Latencies in milliseconds, by artefact and round."""
    with contextlib.ExitStack() as stack:
        time_blocks, sizes = [], []
        for name, artifact in artifacts.items():
            runner = ArtifactRunner(artifact, THREADS)
            worker = stack.enter_context(runner.open_worker(f"the artefact for {name}"))
            worker.load(str(images))
            worker.first()

            def time_block(count: int, worker: Worker = worker) -> Sequence[float]:
                return worker.time(count).latencies_ms

            median_ms = warm_up(time_block).median_ms
            time_blocks.append(time_block)
            sizes.append(block_size(median_ms, FINAL_RUNS))
        return interleave(time_blocks, sizes, FINAL_RUNS)
