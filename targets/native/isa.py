"""Machines that networks are compiled for: instruction sets and systems."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass

from edgeseg.errors import UnknownNameError

from ..runners.native_backend import cpu_flags
from .kernels.writer import Machine


@dataclass(frozen=True)
class InstructionSet:
    """An instruction set, and the system where it is run.

    Attributes:
        name: As with --option isa=NAME.
        machine: What kernels are shaped for.
        architecture: As `platform.machine` names it.
        flags: Of /proc/cpuinfo, that a CPU needs.
        gcc: Options of GCC and Clang.
        zig: Name of the CPU for zig.
        system: "linux", which is Android too, or one that this runtime writes files for and never
            runs itself.
        target: Of zig, behind the architecture.
        suffix: Of a shared library; empty where only a static one can be linked.
    """

    name: str
    machine: Machine
    architecture: str
    flags: tuple[str, ...] = ()
    gcc: tuple[str, ...] = ()
    zig: str = ""
    system: str = "linux"
    target: str = "linux-none"
    suffix: str = ".so"

    @property
    def triple(self) -> str:
        """Of zig."""
        return f"{self.architecture}-{self.target}"


_V2 = ("sse4_2", "ssse3", "popcnt", "cx16")
_V3 = (*_V2, "avx2", "fma", "bmi1", "bmi2", "f16c", "movbe")
_V4 = (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
_WIDE, _MIDDLE, _NARROW = Machine(16, 32), Machine(8, 16), Machine(4, 16)
_ARM = Machine(4, 32)
_VNNI = (*_V4, "avx512_vnni")

# The best of an architecture first.
SETS = (
    InstructionSet(
        "x86-64-v4-vnni",
        Machine(16, 32, "unsigned"),
        "x86_64",
        _VNNI,
        ("-march=x86-64-v4", "-mavx512vnni", "-mprefer-vector-width=512"),
        "x86_64_v4+avx512vnni",
    ),
    InstructionSet(
        "x86-64-v4",
        _WIDE,
        "x86_64",
        _V4,
        ("-march=x86-64-v4", "-mprefer-vector-width=512"),
        "x86_64_v4",
    ),
    InstructionSet("x86-64-v3", _MIDDLE, "x86_64", _V3, ("-march=x86-64-v3",), "x86_64_v3"),
    InstructionSet("x86-64-v2", _NARROW, "x86_64", _V2, ("-march=x86-64-v2",), "x86_64_v2"),
    InstructionSet(
        "aarch64-dotprod",
        Machine(4, 32, "signed"),
        "aarch64",
        ("asimd", "asimddp"),
        zig="cortex_a76",
    ),
    InstructionSet("aarch64", _ARM, "aarch64", ("asimd",), zig="generic"),
    InstructionSet(
        "wasm-relaxed",
        _NARROW,
        "wasm32",
        zig="generic+simd128+relaxed_simd",
        system="web",
        target="freestanding",
        suffix=".wasm",
    ),
    InstructionSet(
        "wasm",
        _NARROW,
        "wasm32",
        zig="generic+simd128",
        system="web",
        target="freestanding",
        suffix=".wasm",
    ),
    # Without a version these would ask for the newest system that zig knows.
    InstructionSet(
        "macos",
        _ARM,
        "aarch64",
        zig="apple_m1",
        system="macos",
        target="macos.12.0",
        suffix=".dylib",
    ),
    InstructionSet(
        "ios", _ARM, "aarch64", zig="apple_a12", system="ios", target="ios.15.0", suffix=""
    ),
    InstructionSet(
        "windows",
        _MIDDLE,
        "x86_64",
        zig="x86_64_v3",
        system="windows",
        target="windows-gnu",
        suffix=".dll",
    ),
)
INSTRUCTION_SETS: Mapping[str, InstructionSet] = {one.name: one for one in SETS}
HERE = "here"
_X86 = ("x86-64-v4-vnni", "x86-64-v4", "x86-64-v3", "x86-64-v2")
GROUPS: Mapping[str, tuple[str, ...]] = {
    "portable": (*_X86, "aarch64-dotprod", "aarch64"),
    "x86-64": _X86,
    "arm64": ("aarch64-dotprod", "aarch64"),
}


def parse_sets(text: str, precision: str = "fp32") -> tuple[InstructionSet, ...]:
    """Sets of "NAME" or "NAME+NAME", where a name may be that of a group; each once.

    Groups have sets with products of bytes only where the precision has such products.

    Raises:
        UnknownNameError: There is no such set.
    """
    names: list[str] = []
    for name in text.split("+"):
        if name == HERE:
            found = best_here(precision)
            names += [found.name] if found else []
        elif name in GROUPS:
            names += [one for one in GROUPS[name] if _is_of_use(INSTRUCTION_SETS[one], precision)]
        elif name in INSTRUCTION_SETS:
            names.append(name)
        else:
            known = (HERE, *GROUPS, *INSTRUCTION_SETS)
            raise UnknownNameError("instruction set of native", name, known)
    return tuple(one for one in SETS if one.name in names)


def runs_here(isa: InstructionSet) -> bool:
    """Whether this machine computes with that set."""
    return (
        isa.system == platform.system().lower()
        and isa.architecture == platform.machine()
        and (cpu_flags() or frozenset()).issuperset(isa.flags)
    )


def best_here(precision: str = "fp32") -> InstructionSet | None:
    """The widest set that this machine has; None for machines that are not known."""
    return next((one for one in SETS if runs_here(one) and _is_of_use(one, precision)), None)


def _is_of_use(isa: InstructionSet, precision: str) -> bool:
    return precision == "int8" or not isa.machine.bytes
