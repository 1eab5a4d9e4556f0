"""From a trained network to a bundle: the one place where the parts meet."""

from __future__ import annotations

import shutil
from pathlib import Path

from .. import cache
from ..atomic import writing_folder
from ..bundle import Bundle, open_bundle, require_free_output
from ..place.choice import Choice
from ..progress import SILENT, Progress
from .preparation import Preparation
from .request import BuildRequest, open_split
from .workshop import Workshop

__all__ = ["BuildRequest", "build_bundle", "open_split"]


def build_bundle(request: BuildRequest, progress: Progress = SILENT) -> tuple[Bundle, bool]:
    """Build a bundle, or copy it from the cache when the same was built before.

    Returns:
        The bundle, and whether it came from the cache.

    Raises:
        EdgesegError: Of any kind; nothing is left at `output` then.
    """
    require_free_output(request.output, overwrite=request.overwrite)
    preparation = Preparation(request, progress)
    choice = preparation.fixed_choice(request.precision)
    preparation.require_packages([choice])
    folder, was_cached = cache.get_or_make(
        "bundles",
        preparation.record(choice),
        lambda folder: _build(preparation, choice, folder, progress),
        enabled=request.use_cache,
    )
    if request.output.is_dir() and not any(request.output.iterdir()):
        request.output.rmdir()
    with writing_folder(request.output, replace=request.overwrite) as partial:
        shutil.copytree(folder / "bundle", partial, dirs_exist_ok=True)
    return open_bundle(request.output), was_cached


def _build(preparation: Preparation, choice: Choice, folder: Path, progress: Progress) -> None:
    """Fill `folder/bundle`."""
    from .bundle_writer import write_bundle

    between, bundle = folder / "between", folder / "bundle"
    made = Workshop(preparation, between, progress).make(choice, bundle / "artifact")
    shutil.rmtree(between, ignore_errors=True)
    write_bundle(preparation, made, bundle)
