"""Kits that carry a bundle into an application."""

from __future__ import annotations

from pathlib import Path

from ..bundle.bundle import open_bundle
from . import find_surface
from .surface import Kit
from .writer import WrittenKit, write_kit


def embed_bundle(
    folder: Path,
    surface: str,
    output: Path,
    *,
    packages: Path | None = None,
    overwrite: bool = False,
    check: bool = True,
) -> WrittenKit:
    """Write the kit of the bundle in `folder` for a surface.

    Args:
        surface: Name, as `edgeseg.embed.SURFACES` has it.
        packages: Folder node_modules with npm packages that are there already.

    Raises:
        BundleError: There is no bundle, or it is damaged.
        UnknownNameError: There is no such surface.
        OutputInUseError, TargetError: See `write_kit`.
    """
    found = find_surface(surface)
    return write_kit(
        Kit(open_bundle(folder), packages), found, output, overwrite=overwrite, check=check
    )
