"""Calls a C compiler: zig, which pip installs, or one of the system."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgeseg.errors import TargetError
from edgeseg.lazy import install_command, installed_version, is_installed
from edgeseg.storage.cache import cache_root
from edgeseg.storage.temporary import temporary_folder

from .isa import InstructionSet

COMPILERS = ("zig", "gcc", "clang")
LIMIT_S = 600
# Products are added to sums in one rounding; nothing else of what is written is changed.
# Loops stay loops: the library calls no function of C's.
COMPILE = (
    *("-std=c11", "-O2", "-g0", "-fPIC", "-c", "-fvisibility=hidden", "-ffreestanding"),
    *("-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fno-stack-protector"),
)
GCC_OPTIONS = ("-Wno-psabi", "-fno-tree-loop-distribute-patterns")
CLANG_OPTIONS = (
    "-fno-builtin",
    "-fno-sanitize=undefined",
    "-Wno-unknown-warning-option",
)
LINK = {
    # Pages of 16 kB are what Android 15 asks of libraries.
    "linux": ("-shared", "-s", "-nostdlib", "-Wl,--build-id=none", "-Wl,-z,max-page-size=16384"),
    "macos": ("-shared", "-s", "-nostdlib"),
    "windows": ("-shared", "-s", "-nostdlib"),
    # The application asks for memory behind what the module has.
    "web": (
        "-s",
        "-nostdlib",
        "-Wl,--no-entry",
        "-Wl,--export-dynamic",
        "-Wl,--export=__heap_base",
    ),
}
NAMED = {"linux": ("-Wl,-soname,",), "macos": ("-Wl,-install_name,@rpath/",)}
MEMORY = Path(__file__).with_name("c") / "memory.c"
# What compilers would otherwise call: a probe of large frames, and atomics chosen at run time.
WITHOUT_CALLS = {"windows": ("-mno-stack-arg-probe",), "aarch64": ("-mno-outline-atomics",)}


@dataclass(frozen=True)
class Compiler:
    """A C compiler.

    Attributes:
        name: One of COMPILERS.
        command: Words that start it.
        version: As it says itself.
    """

    name: str
    command: tuple[str, ...]
    version: str

    def compile(self, source: Path, isa: InstructionSet) -> Path:
        """Make an object of a C file, beside it.

        Raises:
            TargetError: The compiler failed; the message has its first complaint.
        """
        made = source.with_suffix(".o")
        self._run([*COMPILE, *self._options(isa), str(source), "-o", str(made)], isa)
        return made

    def link(self, made: Path, library: Path, isa: InstructionSet) -> None:
        """Make a shared library of an object; it gets its name, by which programs look for it.

        Raises:
            TargetError: See `compile`.
        """
        memory = made.with_name(MEMORY.name)
        shutil.copyfile(MEMORY, memory)
        objects = map(str, (made, self.compile(memory, isa)))
        name = [f"{option}{library.name}" for option in NAMED.get(isa.system, ())]
        words = [*self._target(isa), *LINK[isa.system], *name, *objects, "-o", str(library)]
        self._run(words, isa)

    def archive(self, made: Path, library: Path, isa: InstructionSet) -> None:
        """Make a static library of an object.

        Raises:
            TargetError: See `compile`.
        """
        own = (*self.command[:-1], "ar") if self.name == "zig" else ("ar",)
        self._run(["rcsD", str(library), str(made)], isa, own)

    def _run(
        self, words: list[str], isa: InstructionSet, command: tuple[str, ...] | None = None
    ) -> None:
        with _environment(self.name) as environment:
            done = subprocess.run(
                [*(command or self.command), *words],
                env=environment,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=LIMIT_S,
                check=False,
            )
        if done.returncode != 0:
            lines = done.stderr.splitlines()
            errors = [line for line in lines if re.search(r"\berror\b", line)] or lines[-1:]
            reason = errors[0].strip() if errors else f"exit code {done.returncode}"
            raise TargetError(
                f"{self.name} {self.version} does not compile the network for {isa.name}: "
                f"{reason[:300]}. Name another compiler with --option compiler=NAME."
            )

    def _target(self, isa: InstructionSet) -> tuple[str, ...]:
        if self.name == "zig":
            return ("-target", isa.triple, *([f"-mcpu={isa.zig}"] if isa.zig else []))
        return isa.gcc

    def _options(self, isa: InstructionSet) -> tuple[str, ...]:
        own = GCC_OPTIONS if self.name == "gcc" else CLANG_OPTIONS
        names = isa.system, isa.architecture
        without = [option for name in names for option in WITHOUT_CALLS.get(name, ())]
        return (*self._target(isa), *own, *without)


@contextmanager
def _environment(name: str) -> Iterator[dict[str, str]]:
    """Of a compiler: its messages are in English, its caches in ours."""
    environment = {**os.environ, "LC_ALL": "C"}
    if name != "zig":
        yield environment
        return
    environment.setdefault("ZIG_GLOBAL_CACHE_DIR", str(cache_root() / "zig"))
    with temporary_folder("native") as work:
        environment.setdefault("ZIG_LOCAL_CACHE_DIR", str(work))
        yield environment


def find_compiler(name: str, isa: InstructionSet) -> Compiler:
    """The compiler of that name; "auto" takes the first that is there.

    Raises:
        TargetError: It is not installed, or does not compile for that instruction set.
    """
    names = COMPILERS if name == "auto" else (name,)
    for one in names:
        if one == "zig" and is_installed("ziglang"):
            version = installed_version("ziglang") or ""
            return Compiler("zig", (sys.executable, "-m", "ziglang", "cc"), version)
        path = shutil.which(one)
        is_here = isa.architecture == os.uname().machine and isa.system == "linux"
        if path is not None and one != "zig" and is_here:
            return Compiler(one, (path,), _version(path))
    wanted = " or ".join(names)
    raise TargetError(
        f"Compiling for {isa.name} needs {wanted}, which is not installed here. Install a compiler "
        f"with: {install_command('ziglang')}"
    )


def _version(path: str) -> str:
    done = subprocess.run(
        [path, "-dumpfullversion"], capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout.strip()
