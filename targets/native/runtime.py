"""Runtime `native`: the network itself, compiled to machine code, without a runtime."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from edgeseg.errors import TargetError, UnknownNameError
from edgeseg.records import Artifact

from ..base import Runtime, RuntimeOptions, Written
from ..onnxruntime import OnnxRuntime
from .compiler import COMPILERS, find_compiler
from .frontend.graph import import_graph
from .interface import header, implementation, weights_file
from .isa import INSTRUCTION_SETS, InstructionSet, best_here, cpu_flags
from .passes import fuse
from .source import write_source

LIBRARY = "network.so"
WEIGHTS = "network.weights"
HEADER = "edgeseg.h"
HERE = "here"
AUTO = "auto"
# What moves work to fewer pixels or makes larger arrays unnecessary.
FLOAT_REWRITES = ("fold-constants", "concat-by-sum", "pointwise-before-resize")


@dataclass(frozen=True)
class NativeOptions(RuntimeOptions):
    """What may be chosen for `native`.

    Attributes:
        isa: Instruction set, "here" for the best of this machine.
        compiler: "auto" for the first of zig, gcc and clang that is installed.
    """

    isa: str = HERE
    compiler: str = AUTO

    def __post_init__(self) -> None:
        for name, value, known in (
            ("instruction set of native", self.isa, (HERE, *INSTRUCTION_SETS)),
            ("compiler of native", self.compiler, (AUTO, *COMPILERS)),
        ):
            if value not in known:
                raise UnknownNameError(name, value, known)


class NativeRuntime(Runtime):
    """FP32 as one shared library, its weights and a header."""

    name = "native"
    devices = ("intel",)
    title = "the network itself, compiled to C"
    artifact_format = "native"
    quantized_from = ()
    compiled_precisions = ("fp32",)
    quantized_precisions = ()
    build_packages = ("onnx", "onnx_ir", "onnxruntime")
    run_packages = ()
    backend_module = "edgeseg.targets.runners.native_backend"
    rewrites: ClassVar[Mapping[str, tuple[str, ...]]] = {"fp32": FLOAT_REWRITES}
    options_class = NativeOptions

    def instruction_set(self) -> InstructionSet:
        """What is compiled for.

        Raises:
            TargetError: This machine is not known, and no set was named.
        """
        assert isinstance(self.options, NativeOptions)
        if self.options.isa != HERE:
            return INSTRUCTION_SETS[self.options.isa]
        found = best_here()
        if found is None:
            known = ", ".join(INSTRUCTION_SETS)
            raise TargetError(
                f"Runtime native knows no instruction set of this machine ({platform.machine()}). "
                f"Name one with --option isa=NAME; there are {known}."
            )
        return found

    def _write(self, onnx_path: Path, folder: Path, precision: str) -> Written:
        assert isinstance(self.options, NativeOptions)
        isa = self.instruction_set()
        compiler = find_compiler(self.options.compiler, isa)
        program = import_graph(onnx_path)
        fuse(program)
        source = write_source(program, isa.machine)
        folder.mkdir(parents=True, exist_ok=True)
        text = folder / "network.c"
        text.write_text(source.text + implementation(program, source), encoding="utf-8")
        compiler.compile(text, folder / LIBRARY, isa)
        (folder / HEADER).write_text(header(program), encoding="utf-8")
        beside = [(folder / name).read_bytes() for name in (LIBRARY, HEADER)]
        (folder / WEIGHTS).write_bytes(weights_file(source, beside))
        text.unlink()
        return Written((LIBRARY, WEIGHTS, HEADER), f"{compiler.name} {compiler.version}")

    def compile_plain(self, onnx_path: Path, folder: Path) -> Artifact:
        """The exported graph in ONNX Runtime: no other tool makes a library of a network."""
        return OnnxRuntime().compile_plain(onnx_path, folder)

    def runtime_settings(self, precision: str) -> dict[str, Any]:
        isa = self.instruction_set()
        return {"isa": isa.name, "architecture": isa.architecture, "flags": list(isa.flags)}

    def refusal(self, precision: str) -> str | None:
        isa = self.instruction_set()
        if isa.architecture != platform.machine():
            return f"it was compiled for {isa.architecture} and this is {platform.machine()}"
        missing = sorted(set(isa.flags) - cpu_flags())
        return f"this CPU lacks {', '.join(missing)}" if missing else None

    def notes(self) -> tuple[str, ...]:
        found = best_here()
        return (found.name if found else "no known instruction set",)
