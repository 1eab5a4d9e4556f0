"""Calls a C compiler: zig, which pip installs, or one of the system."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgeseg.errors import TargetError
from edgeseg.lazy import install_command, installed_version, is_installed
from edgeseg.storage.cache import cache_root

from .isa import InstructionSet

COMPILERS = ("zig", "gcc", "clang")
LIMIT_S = 600
# Products are added to sums in one rounding; nothing else of what is written is changed.
# Loops stay loops: the library calls no function of C's.
OPTIONS = (
    *("-std=c11", "-O2", "-fPIC", "-shared", "-s", "-nostdlib", "-fvisibility=hidden"),
    *("-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fno-stack-protector"),
    *("-Wl,--build-id=none",),
)
GCC_OPTIONS = ("-Wno-psabi", "-fno-tree-loop-distribute-patterns")
CLANG_OPTIONS = ("-fno-builtin", "-fno-sanitize=undefined", "-Wno-unknown-warning-option")


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

    def compile(self, source: Path, library: Path, isa: InstructionSet) -> None:
        """Make a shared library of a C file.

        Raises:
            TargetError: The compiler failed; the message has its first complaint.
        """
        words = [*self.command, *OPTIONS, *self._options(isa), str(source), "-o", str(library)]
        environment = {**os.environ, "LC_ALL": "C"}
        if self.name == "zig":
            environment.setdefault("ZIG_GLOBAL_CACHE_DIR", str(cache_root() / "zig"))
        with tempfile.TemporaryDirectory(prefix="edgeseg-native-") as work:
            environment.setdefault("ZIG_LOCAL_CACHE_DIR", work)
            done = subprocess.run(
                words,
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

    def _options(self, isa: InstructionSet) -> tuple[str, ...]:
        if self.name == "zig":
            target = f"{isa.architecture}-linux-none"
            return ("-target", target, f"-mcpu={isa.zig}", *CLANG_OPTIONS)
        return (*isa.gcc, *(GCC_OPTIONS if self.name == "gcc" else CLANG_OPTIONS))


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
        if path is not None and one != "zig" and isa.architecture == os.uname().machine:
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
