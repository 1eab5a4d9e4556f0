"""Runtime `native`: the network itself, compiled to machine code, without a runtime."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from edgeseg.embed.surface import SOURCES
from edgeseg.errors import UnknownNameError, UsageError
from edgeseg.records import ONNX_FORMAT, Artifact
from edgeseg.storage.temporary import temporary_folder

from ..base import Runtime, RuntimeOptions, Written
from ..onnxruntime import OnnxRuntime
from .compiler import COMPILERS, find_compiler
from .frontend.graph import import_graph
from .interface import PREFIX, header, implementation, network_key, weights_file
from .isa import InstructionSet, best_here, parse_sets, runs_here
from .passes import fuse
from .source import Source, write_source

# Which library is for which machine and takes which weights, and checksums of all other files.
CONTENTS = "network.json"
HEADER = f"{PREFIX}.h"  # unless another prefix is chosen
PREFIX_PATTERN = "[a-z][a-z0-9_]{0,31}"
# Opens what is for WebAssembly.
WEB_MODULE = SOURCES / "web" / "engines" / "native" / "network.js"
AUTO = "auto"
# What moves work to fewer pixels or makes larger arrays unnecessary.
FLOAT_REWRITES = (
    *("fold-constants", "softmax-by-sigmoid", "dense-stem"),
    *("concat-by-sum", "pointwise-before-resize"),
)


@dataclass(frozen=True)
class NativeOptions(RuntimeOptions):
    """What may be chosen for `native`.

    Attributes:
        isa: Instruction sets, joined by "+"; "here" is the best of this machine, "portable" all of
            Linux and Android on x86-64 and ARM64.
        compiler: "auto" for the first of zig, gcc and clang that is installed.
        static: Whether static libraries are written too.
        source: Whether the C is kept.
        prefix: Of all names in C, so that one program can link several networks.
    """

    isa: str = "portable"
    compiler: str = AUTO
    static: bool = False
    source: bool = False
    prefix: str = PREFIX

    def __post_init__(self) -> None:
        if not re.fullmatch(PREFIX_PATTERN, self.prefix):
            raise UsageError(
                f"The option prefix of native is {self.prefix!r}, which C cannot take as the start "
                "of names. Give a small letter, then small letters, digits and _, 32 at most."
            )
        parse_sets(self.isa)
        if self.compiler not in (AUTO, *COMPILERS):
            raise UnknownNameError("compiler of native", self.compiler, (AUTO, *COMPILERS))


@dataclass(frozen=True)
class _Variant:
    """The network for one instruction set."""

    isa: InstructionSet
    source: Source
    key: int
    weights: str  # name of the file

    def file(self, suffix: str) -> str:
        return f"network-{self.isa.name}{suffix}"


class NativeRuntime(Runtime):
    """Shared libraries for several instruction sets, their weights and a header.

    In INT8, dense convolutions add up products of bytes where a machine has an instruction for
    that; all else is computed in floats, and all of it on other machines.
    """

    name = "native"
    devices = ("intel", "android", "jetson", "web")
    title = "the network itself, compiled to C"
    artifact_format = "native"
    quantized_from = (ONNX_FORMAT,)
    # Floats between convolutions are at hand anyway: only what a convolution reads is rounded.
    plan_defaults: ClassVar[Mapping[str, str]] = {
        "zero_points": "true",
        "quantize_outputs": "false",
        "bias_correction": "false",
    }
    compiled_precisions = ("fp32",)
    quantized_precisions = ("int8",)
    build_packages = ("onnx", "onnx_ir", "onnxruntime")
    run_packages = ()
    build_tools = ("ziglang",)
    backend_module = "edgeseg.targets.runners.native_backend"
    profiler = "edgeseg.targets.profiling.native:profile_layers"
    rewrites: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "fp32": FLOAT_REWRITES,
        "int8": FLOAT_REWRITES,
    }
    options_class = NativeOptions

    @property
    def native_options(self) -> NativeOptions:
        assert isinstance(self.options, NativeOptions)
        return self.options

    def _sets(self, precision: str) -> tuple[InstructionSet, ...]:
        return parse_sets(self.native_options.isa, precision)

    def _write(self, onnx_path: Path, folder: Path, precision: str) -> Written:
        program, contracts = import_graph(onnx_path)
        fuse(program)
        variants = _variants(
            {isa: write_source(program, isa.machine) for isa in self._sets(precision)}
        )
        folder.mkdir(parents=True, exist_ok=True)
        prefix = self.native_options.prefix
        header_name = f"{prefix}.h"
        (folder / header_name).write_text(header(program, contracts, prefix), encoding="utf-8")
        weights = {one.weights: weights_file(one.source, one.key) for one in variants}
        for name, content in weights.items():
            (folder / name).write_bytes(content)

        def compile_variant(variant: _Variant) -> tuple[list[str], str]:
            own = implementation(variant.source, variant.key, contracts, prefix)
            text = variant.source.text + own
            return self._compile(variant, text, folder)

        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            made = list(pool.map(compile_variant, variants))
        libraries = [name for names, _ in made for name in names]
        others = (header_name, *weights, *libraries)
        contents = {
            "prefix": prefix,
            "libraries": [_describe(one) for one in variants],
            "crc32": {name: zlib.crc32((folder / name).read_bytes()) for name in others},
        }
        (folder / CONTENTS).write_text(json.dumps(contents, indent=1), encoding="utf-8")
        note = ", ".join(dict.fromkeys(note for _, note in made))
        return Written((CONTENTS, *others), note)

    def _compile(self, variant: _Variant, text: str, folder: Path) -> tuple[list[str], str]:
        """Names of the files of a variant, and who compiled them."""
        isa, options = variant.isa, self.native_options
        compiler = find_compiler(options.compiler, isa)
        names = []
        with temporary_folder("native") as work:
            source = Path(work) / "network.c"
            source.write_text(text, encoding="utf-8")
            made = compiler.compile(source, isa)
            if isa.suffix:
                names.append(variant.file(isa.suffix))
                # Linkers leave other files beside it.
                compiler.link(made, Path(work) / names[-1], isa)
                # What is loaded of an older one stays as it is: that file is not written to.
                (folder / names[-1]).unlink(missing_ok=True)
                shutil.move(Path(work) / names[-1], folder / names[-1])
            if options.static or not isa.suffix:
                names.append(variant.file(".a"))
                compiler.archive(made, folder / names[-1], isa)
        if options.source:
            names.append(variant.file(".c"))
            (folder / names[-1]).write_text(text, encoding="utf-8")
        return names, f"{compiler.name} {compiler.version}"

    def compile_plain(self, onnx_path: Path, folder: Path) -> Artifact:
        """The exported graph in ONNX Runtime: no other tool makes a library of a network."""
        return OnnxRuntime().compile_plain(onnx_path, folder)

    def runtime_settings(self, precision: str) -> dict[str, Any]:
        return {"isa": [isa.name for isa in self._sets(precision)]}

    def refusal(self, precision: str) -> str | None:
        sets = self._sets(precision)
        if any(map(runs_here, sets)):
            return None
        best = best_here(precision)
        if best is None:
            return f"it knows no instruction set of this machine ({platform.machine()})"
        names = "+".join(isa.name for isa in sets)
        return (
            f"it is compiled for {names}, which this machine has not, so that nothing would be "
            f"checked; add this machine's: --option isa={names}+{best.name}"
        )

    def notes(self) -> tuple[str, ...]:
        found = best_here()
        return (found.name if found else "no known instruction set",)


def _variants(sources: Mapping[InstructionSet, Source]) -> list[_Variant]:
    """Those with the same weights share a file of them; the best of an architecture come first."""
    groups: dict[bytes, list[InstructionSet]] = {}
    for isa, source in sources.items():
        groups.setdefault(source.weights.tobytes(), []).append(isa)
    made = []
    for number, group in enumerate(groups.values()):
        key = network_key([sources[isa] for isa in group])
        name = f"network-{group[0].name}.weights" if number else "network.weights"
        made += [_Variant(isa, sources[isa], key, name) for isa in group]
    # The runner takes the first that a machine can run.
    best_first = [*sources]
    return sorted(made, key=lambda one: best_first.index(one.isa))


def _describe(variant: _Variant) -> dict[str, Any]:
    """What the runner reads."""
    isa = variant.isa
    return {
        "isa": isa.name,
        "system": isa.system,
        "architecture": isa.architecture,
        "flags": list(isa.flags),
        "library": variant.file(isa.suffix or ".a"),
        "weights": variant.weights,
    }
