"""Bundles of a network that was just trained: the last step of distill and adapt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.errors import TargetError

if TYPE_CHECKING:
    from edgeseg.pipeline.sweep import Cell

from .console import make_progress, print_note, print_result
from .limit_options import describe_choice

BUNDLES = "bundles"


def require_targets(names: Sequence[str]) -> None:
    """Refuse an unknown target before hours of training.

    Raises:
        UnknownNameError: Not one of edgeseg's.
    """
    from edgeseg.targets.devices import find_device

    for name in names:
        find_device(name)


def build_after(
    model: str,
    weights: Path,
    targets: Sequence[str],
    precision: str,
    *,
    data: Path,
    spec: Path | None = None,
    size: tuple[int, int] | None = None,
    is_told: bool = True,
) -> list[Cell]:
    """Build for each target into `bundles/TARGET` beside the weights, and print what came.

    Images of `data` calibrate (train) and check (val). Older bundles there are replaced.

    Args:
        is_told: Whether anything is printed.

    Returns:
        What came of each target; see `require_all`.
    """
    from edgeseg.pipeline.builder.request import BuildRequest
    from edgeseg.pipeline.sweep import build_cells

    requests = [
        BuildRequest(
            model=model,
            target=target,
            precision=precision,
            output=weights.parent / BUNDLES / target,
            weights=weights,
            data=data,
            spec=spec,
            size=size,
            overwrite=True,
        )
        for target in targets
    ]
    cells = build_cells(requests, make_progress())
    for cell in cells:
        if cell.bundle is not None and is_told:
            check = cell.bundle.manifest.checks["artifact"]
            print_result(
                f"{cell.bundle.folder}: {cell.bundle.name}, artefact "
                f"{cell.bundle.artifact_bytes / 1e3:.0f} kB, {check.flips_per_10k:.1f} of 10,000 "
                "pixels flip"
            )
            for line in describe_choice(cell.bundle):
                print_note(line)
    return cells


def require_all(cells: Sequence[Cell], model: str, weights: Path) -> None:
    """Fail where a target refused.

    Raises:
        TargetError: Names the targets; the others are built.
    """
    refused = [cell for cell in cells if cell.bundle is None]
    if refused:
        reasons = "; ".join(f"{cell.request.target}: {cell.refusal}" for cell in refused)
        raise TargetError(
            f"{len(refused)} of {len(cells)} bundles were refused ({reasons}). The weights are in "
            f"{weights}; build the others with edgeseg build --model {model} --weights."
        )
