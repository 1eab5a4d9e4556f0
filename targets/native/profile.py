"""Where the time of a compiled network goes, step by step, against the peak of the core.

python -m edgeseg.targets.native.profile BUNDLE/source/model.onnx
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from edgeseg.lower.rewrites import lower_graph
from edgeseg.storage.temporary import temporary_folder

from .frontend.graph import import_graph
from .interface import filled
from .ir import Convolution, MatrixProduct, Step, steps_of
from .isa import InstructionSet
from .passes import fuse
from .peak import measure_peak, peak_text, times_of
from .probe import Probe, run_command
from .runtime import FLOAT_REWRITES
from .source import write_source

RUNS = 40


@dataclass(frozen=True)
class StepProfile:
    """One step of a network.

    Attributes:
        title: Of the ONNX node that it began with.
        kind: Of step.
        products: Multiplications whose results are added up.
        seconds: Median of one run.
    """

    title: str
    kind: str
    products: int
    seconds: float


@dataclass(frozen=True)
class NetworkProfile:
    """All steps, and what the core could do.

    Attributes:
        peak: Products a second, of a loop that keeps everything in registers.
        seconds: Median of a run of the whole network.
    """

    isa: str
    peak: float
    seconds: float
    steps: tuple[StepProfile, ...]


def profile_graph(
    onnx_path: Path, isa: InstructionSet, compiler: str = "auto", runs: int = RUNS
) -> NetworkProfile:
    """Compile a graph and measure its steps, one after the other as in a run.

    Raises:
        TargetError: It does not compile.
    """
    program, contracts = import_graph(onnx_path)
    fuse(program)
    source = write_source(program, isa.machine)
    probe = Probe(source, contracts, isa, compiler, _measuring(isa, source.calls))
    seconds = statistics.median(times_of(probe.run, runs))
    library = probe.library
    times: list[list[float]] = [[] for _ in source.steps]
    for _ in range(runs):  # in the order of a run, so that each finds what it would find in cache
        probe.put()  # its place holds other values by now
        for index, took in enumerate(times):
            start = time.perf_counter()
            library.edgeseg_steps(probe.handle, index)
            took.append(time.perf_counter() - start)
    profiles = [
        StepProfile(
            step.title,
            "+".join(dict.fromkeys(type(one).__name__ for one in steps_of(step))),
            products_of(step),
            statistics.median(took),
        )
        for step, took in zip(source.steps, times, strict=True)
    ]
    return NetworkProfile(isa.name, measure_peak(library, isa), seconds, tuple(profiles))


def products_of(step: Step) -> int:
    """How many products a step adds up."""
    total = 0
    for one in steps_of(step):
        if isinstance(one, Convolution):
            places = int((one.weight != 0).any((0, 1)).sum())
            pixels = one.out.pixels * (4 if one.pooled else 1)
            total += pixels * places * one.weight.shape[0] * one.weight.shape[1]
        elif isinstance(one, MatrixProduct):
            total += one.out.pixels * one.out.channels * one.left.width
    return total


def _measuring(isa: InstructionSet, calls: tuple[str, ...]) -> str:
    cases = "\n".join(f"    case {index}: {call} break;" for index, call in enumerate(calls))
    return peak_text(isa) + filled("profile.c", {"CASES": cases})


def describe(profile: NetworkProfile) -> list[str]:
    """Lines of a table, the longest step first."""
    products = sum(step.products for step in profile.steps)
    peak = f"{profile.peak / 1e9:.1f} GMAC/s ({2 * profile.peak / 1e9:.0f} GFLOP/s)"
    lines = [
        f"{profile.isa}: {1e3 * profile.seconds:.2f} ms for {products / 1e6:.1f} million products; "
        f"the peak of this core, {peak}, would take {1e3 * products / profile.peak:.2f} ms",
        f"{'ms':>8} {'products':>10} {'of peak':>8}  step",
    ]
    for step in sorted(profile.steps, key=lambda step: -step.seconds):
        share = step.products / step.seconds / profile.peak
        lines.append(
            f"{1e3 * step.seconds:8.3f} {step.products / 1e6:8.2f} M {share:8.0%}  "
            f"{step.title} ({step.kind})"
        )
    return lines


def main() -> None:
    """Profile an ONNX file for this machine, rewritten as a build rewrites it."""
    run_command("profile", main.__doc__ or "", _lines)


def _lines(graph: Path, isa: InstructionSet, compiler: str) -> list[str]:
    with temporary_folder("native") as name:
        lowered = Path(name) / graph.name
        lower_graph(graph, FLOAT_REWRITES, lowered)
        return describe(profile_graph(lowered, isa, compiler))


if __name__ == "__main__":
    main()
