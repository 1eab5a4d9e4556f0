"""What each rewrite and each pass of the compiler is worth: the network with and without it.

python -m edgeseg.targets.native.ablation BUNDLE/source/model.onnx
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeseg.lower.rewrites import lower_graph
from edgeseg.storage.temporary import temporary_folder

from .frontend.graph import import_graph
from .isa import InstructionSet
from .passes import PASSES, fuse
from .probe import Probe, run_command
from .runtime import FLOAT_REWRITES
from .source import write_source

ROUNDS = 100
STRIPS = "in_strips"
WHOLE = ""
MOST_DIFFERENCE = 1e-4  # of a probability


@dataclass(frozen=True)
class Part:
    """The network without one rewrite or pass.

    Attributes:
        name: Of what is left out; empty for the whole.
        places: In which it changes something.
        ratio: Of the times, to those of the whole: more than 1 is what it saves.
        library_bytes, memory_bytes: Of this network.
    """

    name: str
    places: int
    ratio: float
    library_bytes: int
    memory_bytes: int


def ablate(
    onnx_path: Path, isa: InstructionSet, compiler: str = "auto", rounds: int = ROUNDS
) -> list[Part]:
    """Leave out each part that changes something, and let the networks take turns.

    Returns:
        The whole first.

    Raises:
        TargetError: A network does not compile.
    """
    with temporary_folder("native") as name:
        wanted = list(_networks(onnx_path, Path(name)))
        with ThreadPoolExecutor(2) as pool:
            probes = list(pool.map(lambda one: _open(one, isa, compiler), wanted))
    times: list[list[float]] = [[] for _ in probes]
    for _ in range(rounds):
        for probe, took in zip(probes, times, strict=True):
            start = time.perf_counter()
            probe.run()
            took.append(time.perf_counter() - start)
    masks = [probe.mask for probe in probes]
    assert all(np.abs(mask - masks[0]).max() < MOST_DIFFERENCE for mask in masks)
    return [
        Part(
            one.left_out,
            one.places,
            statistics.median(np.divide(took, times[0])),
            probe.library_bytes,
            probe.memory_bytes,
        )
        for one, probe, took in zip(wanted, probes, times, strict=True)
    ]


@dataclass(frozen=True)
class _Network:
    path: Path
    left_out: str
    places: int


def _networks(onnx_path: Path, folder: Path) -> Iterator[_Network]:
    lowered = folder / "whole.onnx"
    counts = lower_graph(onnx_path, FLOAT_REWRITES, lowered)
    yield _Network(lowered, WHOLE, 0)
    for rewrite in FLOAT_REWRITES:
        if counts.get(rewrite):
            path = folder / f"{rewrite}.onnx"
            lower_graph(onnx_path, [one for one in FLOAT_REWRITES if one != rewrite], path)
            yield _Network(path, rewrite, counts[rewrite])
    program, _ = import_graph(lowered)
    for name, places in fuse(program).items():
        if places:
            yield _Network(lowered, name, places)
    yield _Network(lowered, STRIPS, 0)


def _open(network: _Network, isa: InstructionSet, compiler: str) -> Probe:
    program, contracts = import_graph(network.path)
    fuse(program, (network.left_out,))
    source = write_source(program, isa.machine, has_strips=network.left_out != STRIPS)
    return Probe(source, contracts, isa, compiler)


def describe(parts: list[Part]) -> list[str]:
    """Lines of a table."""
    titles = {one.__name__: (one.__doc__ or "").splitlines()[0] for one in PASSES}
    titles[STRIPS] = "Steps run on some rows at a time."
    lines = [f"{'time':>6} {'places':>7} {'library':>8} {'memory':>8}  without"]
    for part in parts:
        what = part.name or "(the whole network)"
        lines.append(
            f"{part.ratio:6.3f} {part.places or '':>7} {part.library_bytes / 1e3:5.0f} kB "
            f"{part.memory_bytes / 1e6:5.1f} MB  {what}"
            + (f": {titles[part.name]}" if part.name in titles else "")
        )
    return lines


def main() -> None:
    """Leave out one part after the other of an ONNX file's compilation for this machine."""
    run_command("ablation", main.__doc__ or "", lambda *given: describe(ablate(*given)))


if __name__ == "__main__":
    main()
