"""Instruction sets that networks are compiled for."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .kernels.writer import Machine


@dataclass(frozen=True)
class InstructionSet:
    """An instruction set.

    Attributes:
        name: As with --option isa=NAME.
        machine: What kernels are shaped for.
        architecture: As `platform.machine` names it.
        flags: Of /proc/cpuinfo, that a CPU needs.
        gcc: Options of GCC and Clang.
        zig: Name of the CPU for zig.
    """

    name: str
    machine: Machine
    architecture: str
    flags: tuple[str, ...]
    gcc: tuple[str, ...]
    zig: str


_V2 = ("sse4_2", "ssse3", "popcnt", "cx16")
_V3 = (*_V2, "avx2", "fma", "bmi1", "bmi2", "f16c", "movbe")
_V4 = (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")

# The best of an architecture first.
SETS = (
    InstructionSet(
        "x86-64-v4",
        Machine(16, 32),
        "x86_64",
        _V4,
        ("-march=x86-64-v4", "-mprefer-vector-width=512"),
        "x86_64_v4",
    ),
    InstructionSet("x86-64-v3", Machine(8, 16), "x86_64", _V3, ("-march=x86-64-v3",), "x86_64_v3"),
    InstructionSet("x86-64-v2", Machine(4, 16), "x86_64", _V2, ("-march=x86-64-v2",), "x86_64_v2"),
    InstructionSet("aarch64", Machine(4, 32), "aarch64", ("asimd",), (), "generic"),
)
INSTRUCTION_SETS: Mapping[str, InstructionSet] = {one.name: one for one in SETS}
CPU_INFO = Path("/proc/cpuinfo")


def cpu_flags() -> frozenset[str]:
    """What the kernel says that this machine's CPU can do."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        name, _, values = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(values.split())
    return frozenset()


def best_here() -> InstructionSet | None:
    """The widest set that this machine has; None for machines that are not known."""
    flags = cpu_flags()
    return next(
        (
            one
            for one in SETS
            if one.architecture == platform.machine() and flags.issuperset(one.flags)
        ),
        None,
    )
