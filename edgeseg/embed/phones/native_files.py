"""What a bundle of the runtime native holds: libraries, their weights, a header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import TargetError
from ..native_contents import NativeVariant, native_contents
from ..surface import Kit


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
    libraries: tuple[NativeVariant, ...]

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
    return NativeFiles(prefix, header, contents.variants)
