"""Checking a finished bundle."""

from __future__ import annotations

from pathlib import Path

from edgeseg.targets import find_runtime

from ..bundle.bundle import Bundle, open_bundle
from ..bundle.golden import check_golden
from ..errors import BundleError
from ..metrics.agreement import Agreement
from .predict import compute_mask

ADVICE = "Build it anew with the runtime that is installed here."


def verify_bundle(folder: Path) -> tuple[Bundle, Agreement, str]:
    """Check a bundle's files and replay its golden pair through the installed runtime.

    The code in the bundle is not run: the same code, as part of the installed edgeseg, is.

    Returns:
        The bundle, the agreement, and what computed the masks: the bundle's runtime, or its
        fallback runtime on this machine.

    Raises:
        BundleError: A file is missing or changed, or the mask is further off than the manifest
            allows.
    """
    bundle = open_bundle(folder)
    bundle.check_files()
    image, expected = bundle.golden_pair()
    runtime = find_runtime(bundle.manifest.runtime)
    backend, computed_by = runtime.load_for_check(bundle.artifact)
    mask = compute_mask(bundle, backend, image)
    try:
        check = check_golden(bundle.manifest.golden.model_dump(), bundle.outputs, expected, mask)
    except ValueError as error:
        raise BundleError(f"{folder} does not give its golden mask here. {ADVICE}") from error
    if not check.holds:
        raise BundleError(f"{folder} does not give its golden mask here: {check}. {ADVICE}")
    difference = check.max_abs_diff, check.mean_abs_diff
    return bundle, Agreement(1, *difference, check.flips_per_10k, "golden"), computed_by
