"""From a trained network to a bundle: the one place where the parts meet."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from ..bundle.bundle import Bundle, open_bundle, require_free_output
from ..bundle.manifest import TuningRecord
from ..errors import UsageError
from ..progress import SILENT, Progress
from ..storage import cache
from ..storage.atomic import writing_folder
from ..tuning.candidate import Candidate
from .builder.builder import Builder
from .builder.context import BuildContext
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
    context = BuildContext(request, progress)
    with tempfile.TemporaryDirectory(prefix="edgeseg-build-") as work:
        builder = Builder(context, Path(work))
        tuning = _find_placement(context, builder, progress)
        if tuning is None:
            candidate, kept = context.fixed_candidate(request.precision), None
        else:
            candidate, kept = Candidate.from_json(tuning.candidate), tuning.model_dump(mode="json")
        context.require_packages([candidate])
        builder.progress = progress
        folder, was_cached = cache.get_or_make(
            "bundles",
            {**context.record(candidate), "precision": request.precision, "tuning": kept},
            lambda folder: _build(context, builder, candidate, tuning, folder),
            enabled=request.use_cache,
        )
    if request.output.is_dir() and not any(request.output.iterdir()):
        request.output.rmdir()
    with writing_folder(request.output, replace=request.overwrite) as partial:
        shutil.copytree(folder / "bundle", partial, dirs_exist_ok=True)
    return open_bundle(request.output), was_cached


def _find_placement(
    context: BuildContext, builder: Builder, progress: Progress
) -> TuningRecord | None:
    """That of the bundle or file which the request names, or a new one; None unless "auto"."""
    from .auto import AUTO, place, read_tuning_record, require_same_build

    request = context.request
    _require_search(request, AUTO)
    if request.precision != AUTO:
        if request.tuning is not None:
            raise UsageError(
                f"--tuning takes the place of a search, and --precision {request.precision} "
                "makes none. Leave one of them out."
            )
        return None
    if request.tuning is None:
        return place(context, builder, progress)
    found = read_tuning_record(request.tuning)
    require_same_build(context, found, request.tuning)
    return found


def _require_search(request: BuildRequest, auto: str) -> None:
    """Refuse what says how to search where nothing is searched.

    Raises:
        UsageError: Names the option.
    """
    constraints = {
        "--max-dice-drop": request.max_dice_drop,
        "--max-hd95-growth": request.max_hd95_growth,
        "--min-agreement": request.min_agreement,
    }
    named = [name for name, value in constraints.items() if value is not None]
    if named and request.precision != auto:
        raise UsageError(
            f"{named[0]} limits what --precision auto may choose, and --precision "
            f"{request.precision} leaves no candidate. Leave one of them out; edgeseg bench tells "
            "what it costs."
        )
    if request.method is not None or request.method_options:
        named.append("--method")
    if named and request.tuning is not None:
        raise UsageError(
            f"{named[0]} decides a search, and --tuning takes the place of one. Leave one of "
            "them out."
        )


def _build(
    context: BuildContext,
    builder: Builder,
    candidate: Candidate,
    tuning: TuningRecord | None,
    folder: Path,
) -> None:
    """Fill `folder/bundle`."""
    from .builder.bundle_writer import write_bundle

    bundle = folder / "bundle"
    made = builder.make(candidate, bundle / "artifact")
    write_bundle(context, made, tuning, bundle)
