"""Writes a kit whole, with a record of what is in it and where it was run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..bundle.bundle import Bundle, require_free_output
from ..bundle.manifest import MANIFEST_NAME
from ..errors import OutputInUseError, TargetError, reason_of
from ..records import VERSION, sha256_of_file
from ..storage.atomic import writing_folder
from .surface import Kit, Parity, Surface

RECORD_FILE = "embed.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class WrittenKit:
    """A kit on disk.

    Attributes:
        folder: Where it lies.
        surface: What it is for.
        files: How many.
        size_bytes: Of all of them.
        parity: Whether it gave the golden mask.
    """

    folder: Path
    surface: Surface
    files: int
    size_bytes: int
    parity: Parity

    def to_json(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "surface": self.surface.name,
            "files": self.files,
            "size_bytes": self.size_bytes,
            "parity": self.parity.to_json(),
            "next": self.surface.next_step(self.folder),
        }


def write_kit(
    kit: Kit, surface: Surface, output: Path, *, overwrite: bool = False, check: bool = True
) -> WrittenKit:
    """Write the kit of a bundle for a surface; the folder appears whole or not at all.

    Args:
        output: Folder to write.
        overwrite: Replace a kit that is there.
        check: Run the kit on its golden pair, where this machine can.

    Raises:
        BundleError: A file of the bundle is missing or was changed.
        OutputInUseError: `output` holds something else than a kit, or a kit without `overwrite`.
        TargetError: The surface does not take this bundle, or the kit gives another mask.
    """
    require_outside(kit.bundle, output)
    surface.require(kit)
    require_free_output(output, overwrite=overwrite, what="kit", mark=RECORD_FILE)
    kit.bundle.check_files()
    with writing_folder(output, replace=overwrite) as folder:
        try:
            surface.write(kit, folder)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise TargetError(
                f"{kit.bundle.folder} lacks what --{surface.name} needs, or was changed "
                f"({type(error).__name__}: {reason_of(error)}). Build the bundle anew."
            ) from error
        parity = (
            surface.check(kit, folder)
            if check
            else Parity(surface.title, reason="it was asked not to")
        )
        files = {
            path.relative_to(folder).as_posix(): sha256_of_file(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        size = sum((folder / name).stat().st_size for name in files)
        record = {
            "schema_version": SCHEMA_VERSION,
            "edgeseg_version": VERSION,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "surface": surface.name,
            "bundle": describe_bundle(kit.bundle),
            "parity": parity.to_json(),
            "files": files,
        }
        (folder / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return WrittenKit(output, surface, len(files) + 1, size, parity)


def require_outside(bundle: Bundle, output: Path) -> None:
    """Refuse a folder in the bundle, which would no longer be what was checked.

    Raises:
        OutputInUseError: It is there.
    """
    folder = bundle.folder.resolve()
    if folder in output.resolve().parents:
        raise OutputInUseError(
            f"{output} lies in the bundle {bundle.folder}, which must stay as it is. Choose "
            "another --output."
        )


def describe_bundle(bundle: Bundle) -> dict[str, Any]:
    """What a kit was made of, to be traced back."""
    manifest = bundle.manifest
    return {
        "name": manifest.name,
        "manifest_sha256": sha256_of_file(bundle.folder / MANIFEST_NAME),
        "model": manifest.model.name,
        "weights_sha256": manifest.model.weights_sha256,
        "weights_licence": manifest.model.weights_licence,
        "runtime": manifest.runtime,
        "precision": manifest.precision,
        "toolchain": manifest.toolchain,
    }
