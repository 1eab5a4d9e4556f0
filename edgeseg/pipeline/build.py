"""From a trained network to a bundle: the one place where the parts meet."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from ..bundle.bundle import Bundle, open_bundle, require_free_output
from ..errors import UsageError
from ..progress import SILENT, Progress
from ..storage import cache
from ..storage.atomic import writing_folder
from ..tuning.candidate import Choice
from ..tuning.record import PlacementRecord
from .builder.builder import Workshop
from .builder.context import Preparation
from .builder.request import BuildRequest, open_split

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
    with tempfile.TemporaryDirectory(prefix="edgeseg-build-") as work:
        workshop = Workshop(preparation, Path(work))
        placement = _find_placement(preparation, workshop, progress)
        if placement is None:
            choice, kept = preparation.fixed_choice(request.precision), None
        else:
            choice, kept = Choice.from_json(placement.choice), placement.model_dump(mode="json")
        preparation.require_packages([choice])
        workshop.progress = progress
        folder, was_cached = cache.get_or_make(
            "bundles",
            {**preparation.record(choice), "precision": request.precision, "placement": kept},
            lambda folder: _build(preparation, workshop, choice, placement, folder),
            enabled=request.use_cache,
        )
    if request.output.is_dir() and not any(request.output.iterdir()):
        request.output.rmdir()
    with writing_folder(request.output, replace=request.overwrite) as partial:
        shutil.copytree(folder / "bundle", partial, dirs_exist_ok=True)
    return open_bundle(request.output), was_cached


def _find_placement(
    preparation: Preparation, workshop: Workshop, progress: Progress
) -> PlacementRecord | None:
    """That of the bundle or file which the request names, or a new one; None unless "auto"."""
    from .auto import AUTO, place, read_placement, require_same_work

    request = preparation.request
    _require_search(request, AUTO)
    if request.precision != AUTO:
        if request.placement is not None:
            raise UsageError(
                f"--placement takes the place of a search, and --precision {request.precision} "
                "makes none. Leave one of them out."
            )
        return None
    if request.placement is None:
        return place(preparation, workshop, progress)
    found = read_placement(request.placement)
    require_same_work(preparation, found, request.placement)
    return found


def _require_search(request: BuildRequest, auto: str) -> None:
    """Refuse what says how to search where nothing is searched.

    Raises:
        UsageError: Names the option.
    """
    limits = {
        "--max-dice-drop": request.max_dice_drop,
        "--max-hd95-growth": request.max_hd95_growth,
        "--min-agreement": request.min_agreement,
    }
    named = [name for name, value in limits.items() if value is not None]
    if named and request.precision != auto:
        raise UsageError(
            f"{named[0]} limits what --precision auto may choose, and --precision "
            f"{request.precision} leaves no choice. Leave one of them out; edgeseg bench tells "
            "what it costs."
        )
    if request.method is not None or request.method_options:
        named.append("--method")
    if named and request.placement is not None:
        raise UsageError(
            f"{named[0]} decides a search, and --placement takes the place of one. Leave one of "
            "them out."
        )


def _build(
    preparation: Preparation,
    workshop: Workshop,
    choice: Choice,
    placement: PlacementRecord | None,
    folder: Path,
) -> None:
    """Fill `folder/bundle`."""
    from .builder.bundle_writer import write_bundle

    bundle = folder / "bundle"
    made = workshop.make(choice, bundle / "artifact")
    write_bundle(preparation, made, placement, bundle)
