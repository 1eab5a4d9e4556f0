"""What a bundle of the runtime native holds: libraries, their weights, a header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import TargetError
from ..native_contents import native_contents
from ..surface import Kit


@dataclass(frozen=True)
class NativeLibrary:
    """A network's library for one kind of machine.

    Attributes:
        isa: Its instruction set, as `edgeseg build --option isa=` names it.
        system: "linux", which is Android too, "ios", "macos", ...
        architecture: "aarch64", "x86_64", ...
        flags: What the processor needs, as /proc/cpuinfo names it.
        path: The shared or static library.
        weights: The file that it reads.
    """

    isa: str
    system: str
    architecture: str
    flags: tuple[str, ...]
    path: Path
    weights: Path


@dataclass(frozen=True)
class NativeFiles:
    """All of them.

    Attributes:
        prefix: Of the names in C.
        header: The file that declares them.
        libraries: The best of a machine first.
    """

    prefix: str
    header: Path
    libraries: tuple[NativeLibrary, ...]

    @property
    def values(self) -> Mapping[str, str]:
        """Values of texts in C, see `surface.fill`."""
        return {
            "PREFIX": self.prefix,
            "PREFIX_UPPER": self.prefix.upper(),
            "HEADER": self.header.name,
        }


def native_files(kit: Kit) -> NativeFiles:
    """Read which library is for which machine.

    Raises:
        BundleError: See `native_contents`.
        TargetError: The libraries are of an older version, and lack what kits call.
    """
    contents, files = native_contents(kit), kit.artifact_files
    prefix = contents.prefix
    header = files.get(f"{prefix}.h")
    if header is None or f"{prefix}_run_pixels(" not in header.read_text(encoding="utf-8"):
        raise TargetError(
            f"The libraries of {kit.bundle.folder} lack {prefix}_run_pixels, which kits call: an "
            "older EdgeSeg wrote them. Build the bundle again."
        )
    libraries = tuple(
        NativeLibrary(
            one.isa,
            one.system,
            one.architecture,
            one.flags,
            files[one.library],
            files[one.weights],
        )
        for one in contents.variants
    )
    return NativeFiles(prefix, header, libraries)
