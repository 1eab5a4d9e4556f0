"""Checking a finished bundle."""

from __future__ import annotations

from pathlib import Path

from edgeseg.targets import find_runtime

from ..bundle.bundle import Bundle, open_bundle
from ..errors import BundleError, ParityError
from ..metrics.agreement import Agreement
from ..reference.reference import ReferenceImages


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
    image, mask = bundle.golden_pair()
    reference = ReferenceImages(("golden",), (bundle.inputs.prepare(image),), (mask,))
    runtime = find_runtime(bundle.manifest.runtime)
    backend, computed_by = runtime.load_for_check(bundle.artifact)
    advice = "Build it anew with the runtime that is installed here."
    try:
        agreement = reference.compare(backend.run, bundle.outputs, f"The artefact of {folder}")
    except ParityError as error:
        raise BundleError(f"{folder} does not give its golden mask here. {advice}") from error
    golden = bundle.manifest.golden
    holds = (
        agreement.flips_per_10k <= golden.max_flips_per_10k
        and agreement.max_abs_diff <= golden.max_abs_diff
    )
    if not holds:
        raise BundleError(
            f"{folder} does not give its golden mask here: {agreement}; allowed are "
            f"{golden.max_abs_diff:.0e} and {golden.max_flips_per_10k:g} flips. {advice}"
        )
    return bundle, agreement, computed_by
