"""What this core can do at most: products and a copy, measured by loops of our own."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeseg.storage.temporary import temporary_folder

from .compiler import find_compiler
from .interface import filled
from .isa import InstructionSet
from .source import PRELUDE

COPIED_BYTES = 2**20  # as large as the maps of small networks, which caches hold
BYTES_OF_A_LANE = 4
EXPORT = '#define EXPORT __attribute__((visibility("default")))\n'


@dataclass(frozen=True)
class CorePeak:
    """Attributes:
    isa: Name of the instruction set that it was measured with.
    products: Products a second that are added to sums.
    bytes: Bytes a second that a copy of a megabyte reads, and as many that it writes.
    """

    isa: str
    products: float
    bytes: float
    byte_products: float | None = None


def measure_core(isa: InstructionSet, compiler: str = "auto") -> CorePeak:
    """Compile two loops and time them.

    Raises:
        TargetError: There is no compiler.
    """
    tool = find_compiler(compiler, isa)
    with temporary_folder("peak") as name:
        source = Path(name) / "peak.c"
        text = PRELUDE.read_text(encoding="utf-8") + EXPORT + peak_text(isa)
        source.write_text(text, encoding="utf-8")
        tool.link(tool.compile(source, isa), Path(name) / "peak.so", isa)
        library = ctypes.CDLL(str(Path(name) / "peak.so"))
    products = measure_peak(library, isa)
    floats = COPIED_BYTES // 4
    arrays = [np.full(floats, 0.5, np.float32) for _ in range(2)]
    places = [ctypes.c_void_p(array.ctypes.data) for array in arrays]
    took = min(times_of(lambda: library.edgeseg_copy(*places, floats), 50))
    byte_products = measure_peak(library, isa, of_bytes=True) if isa.machine.bytes else None
    return CorePeak(isa.name, products, COPIED_BYTES / took, byte_products)


def peak_text(isa: InstructionSet) -> str:
    """C of the loops, which follows the prelude."""
    names = [f"a{index}" for index in range(_chains(isa))]
    values = {
        "L": str(isa.machine.lanes),
        "DECLARE": " ".join(f"F{isa.machine.lanes} {name} = x + {name[1:]}.0f;" for name in names),
        "ADD": " ".join(f"{name} = {name} * x + y;" for name in names),
        "SUM": " + ".join(names),
    }
    text = filled("peak.c", values)
    if isa.machine.bytes:
        added = (f"{name} = dot{isa.machine.lanes}({name}, x, y);" for name in names)
        whole = (f"I{isa.machine.lanes} {name} = y + {name[1:]};" for name in names)
        text += filled(
            "byte_peak.c", {**values, "DECLARE": " ".join(whole), "ADD": " ".join(added)}
        )
    return text


def _chains(isa: InstructionSet) -> int:
    return 12 if isa.machine.registers == 16 else 24


def measure_peak(library: ctypes.CDLL, isa: InstructionSet, *, of_bytes: bool = False) -> float:
    """Products a second of the loop in a library that has it.

    Args:
        of_bytes: Of codes, four in a lane, instead of floats.
    """
    values = np.full(64, 0.25, np.float32)
    count = 100_000
    place = ctypes.c_void_p(values.ctypes.data)
    loop = library.edgeseg_byte_peak if of_bytes else library.edgeseg_peak
    took = min(times_of(lambda: loop(place, count), 20))
    return _chains(isa) * isa.machine.lanes * count / took * (BYTES_OF_A_LANE if of_bytes else 1)


def times_of(call: Callable[[], object], runs: int) -> list[float]:
    """Seconds of each of some runs, after one that does not count."""
    call()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times
