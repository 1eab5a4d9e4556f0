"""Where the time of a compiled network goes, step by step, against the peak of the core.

python -m edgeseg.targets.native.profile BUNDLE/source/model.onnx
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from edgeseg.lower.rewrites import lower_graph
from edgeseg.storage.temporary import temporary_folder

from ..profiling.clock import take_turns, typical
from .frontend.graph import import_graph
from .interface import filled
from .ir import Convolution, MatrixProduct, Pack, Step, steps_of
from .isa import InstructionSet
from .passes import fuse
from .peak import measure_peak, peak_text
from .probe import Probe, run_command
from .runtime import FLOAT_REWRITES
from .source import write_source

RUNS = 40


@dataclass(frozen=True)
class StepProfile:
    """One step of a network.

    Attributes:
        title: Of the ONNX node that it began with.
        titles: Of the nodes that each of its parts began with, where some rows of several steps run
            at a time.
        kind: Of step.
        products: Multiplications whose results are added up.
        seconds: Mean of the quickest fifth of the runs.
        precision: "i8" where products of bytes are added up, or codes are made for such; else
            "f32".
    """

    title: str
    kind: str
    products: int
    seconds: float
    titles: tuple[str, ...]
    precision: str


@dataclass(frozen=True)
class NetworkProfile:
    """All steps, and what the core could do.

    Attributes:
        peak: Products a second, of a loop that keeps everything in registers.
        seconds: Of a run of the whole network; mean of the quickest fifth.
        steps: In the order of a run.
        counted_seconds: Of a run whose steps are called one by one; so as well.
    """

    isa: str
    peak: float
    seconds: float
    steps: tuple[StepProfile, ...]
    counted_seconds: float


def profile_graph(
    onnx_path: Path,
    isa: InstructionSet,
    compiler: str = "auto",
    runs: int = RUNS,
    *,
    has_strips: bool = True,
) -> NetworkProfile:
    """Compile a graph and measure its steps, one after the other as in a run.

    Args:
        has_strips: Run steps that read each other in strips of a few rows, as builds let them.

    Raises:
        TargetError: It does not compile.
    """
    program, contracts = import_graph(onnx_path)
    fuse(program)
    source = write_source(program, isa.machine, has_strips=has_strips)
    probe = Probe(source, contracts, isa, compiler, _measuring(isa, source.calls))
    library = probe.library
    times: list[float] = []

    def run_steps() -> None:
        times.clear()
        probe.put()  # its place holds other values by now
        # In the order of a run, so that each finds what it would find in the cache.
        for index in range(len(source.steps)):
            start = time.perf_counter()
            library.edgeseg_steps(probe.handle, index)
            times.append(time.perf_counter() - start)

    turns = take_turns(probe.run, run_steps, lambda: tuple(times), runs)
    profiles = [
        StepProfile(
            step.title,
            "+".join(dict.fromkeys(type(one).__name__ for one in steps_of(step))),
            products_of(step),
            typical(took, turns.quiet),
            tuple(one.title for one in steps_of(step)),
            precision_of(step),
        )
        for step, took in zip(source.steps, zip(*turns.told, strict=True), strict=True)
    ]
    peak = measure_peak(library, isa)
    run, counted = turns.run_ms / 1e3, turns.counted_ms / 1e3
    return NetworkProfile(isa.name, peak, run, tuple(profiles), counted)


def precision_of(step: Step) -> str:
    """See `StepProfile`."""
    codes = any(
        isinstance(one, Pack) or (isinstance(one, Convolution) and one.packed)
        for one in steps_of(step)
    )
    return "i8" if codes else "f32"


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
