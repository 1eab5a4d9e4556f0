"""A network compiled into this process, to look at how long it takes."""

from __future__ import annotations

import argparse
import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgeseg.errors import EdgesegError, UsageError
from edgeseg.storage.temporary import temporary_folder

from ..onnx_file import read_typed_graph
from ..runners.native_backend import aligned
from .compiler import find_compiler
from .interface import implementation, network_key, weights_file
from .isa import HERE, InstructionSet, parse_sets, runs_here
from .source import Source


class Probe:
    """A network on a drawn image.

    Args:
        contracts: See `import_graph`.
        added: C that is put behind the network.

    Attributes:
        library: Its functions.
        library_bytes: Size of its file.
        handle: Of the network.
        mask: What the last run made.

    Raises:
        TargetError: It does not compile.
    """

    def __init__(
        self, source: Source, contracts: Any, isa: InstructionSet, compiler: str, added: str = ""
    ) -> None:
        key = network_key([source])
        text = source.text + implementation(source, key, contracts) + added
        with temporary_folder("native") as name:
            folder = Path(name)
            (folder / "network.c").write_text(text, encoding="utf-8")
            tool = find_compiler(compiler, isa)
            made = tool.compile(folder / "network.c", isa)
            tool.link(made, folder / "network.so", isa)
            self.library_bytes = (folder / "network.so").stat().st_size
            self.library = ctypes.CDLL(str(folder / "network.so"))
        self.library.edgeseg_memory_bytes.restype = ctypes.c_size_t
        self.memory_bytes: int = self.library.edgeseg_memory_bytes(1)
        self._weights = aligned(np.frombuffer(weights_file(source, key), np.uint8))
        self._memory = aligned(np.zeros(self.memory_bytes, np.uint8))
        self._image = np.random.default_rng(0).normal(0, 1, source.image.shape).astype(np.float32)
        self.mask = np.empty(source.mask.shape, np.float32)
        self.handle = ctypes.c_void_p()
        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        code = self.library.edgeseg_create(
            pointer(self._memory.ctypes.data),
            size(self._memory.size),
            1,
            pointer(self._weights.ctypes.data),
            size(self._weights.size),
            ctypes.byref(self.handle),
        )
        assert code == 0, code
        self._places = pointer(self._image.ctypes.data), pointer(self.mask.ctypes.data)

    def run(self) -> None:
        """Compute the mask."""
        self.library.edgeseg_run(self.handle, *self._places)

    def put(self) -> None:
        """Copy the image in; only where the profile's C is behind the network."""
        self.library.edgeseg_put(self.handle, self._places[0])


def run_command(
    name: str, purpose: str, look: Callable[[Path, InstructionSet, str], list[str]]
) -> None:
    """The command `python -m edgeseg.targets.native.NAME`: print what is seen of an ONNX file.

    Args:
        purpose: For `--help`.
        look: Takes the file, an instruction set of this machine and a compiler's name.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m edgeseg.targets.native.{name}", description=purpose
    )
    parser.add_argument("graph", type=Path, help="ONNX file, such as a bundle's source/model.onnx")
    parser.add_argument("--isa", default=HERE, help="instruction set of this machine")
    parser.add_argument("--compiler", default="auto", help="zig, gcc or clang")
    given = parser.parse_args()
    try:
        print("\n".join(look(given.graph, _open_arguments(given), given.compiler)))
    except EdgesegError as error:
        parser.exit(1, f"Error: {error}\n")


def _open_arguments(given: argparse.Namespace) -> InstructionSet:
    """The instruction set to look at; the graph can be read.

    Raises:
        TargetError: The file is no ONNX graph.
        UsageError: There is no such file, or this machine lacks the instruction set.
    """
    if not given.graph.is_file():
        raise UsageError(f"There is no file {given.graph}. Name an ONNX file.")
    read_typed_graph(given.graph)
    (isa, *_) = parse_sets(given.isa)
    if not runs_here(isa):
        raise UsageError(f"This machine lacks {isa.name}: nothing is timed. Leave --isa out.")
    return isa
