"""Checking a finished bundle."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeseg.targets import find_runtime

from ..bundle.bundle import Bundle, open_bundle
from ..bundle.golden import check_golden
from ..bundle.signature import check_signature, fingerprint_of, read_public_key
from ..dossier.keys import read_key_file
from ..errors import BundleError, UsageError
from ..lazy import require_installed
from ..metrics.agreement import Agreement
from .predict import compute_mask

ADVICE = "Build it anew with the runtime that is installed here."


@dataclass(frozen=True)
class SignatureCheck:
    """A signature that holds.

    Attributes:
        files: How many files were signed.
        key: Fingerprint of the public key.
    """

    files: int
    key: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def verify_signature(folder: Path, key: Path) -> SignatureCheck:
    """Check the signature over a release. Nothing of the folder is executed.

    Args:
        key: File of the public key, PEM.

    Raises:
        UsageError: There is no such key, or it is none that signs releases.
        BundleError: The folder is not signed, or not with this key, or a file of it was changed,
            added or taken away.
        MissingBackendError: `cryptography` is not installed.
    """
    require_installed(["cryptography"], purpose="Checking a signature")
    pem = read_key_file(key)
    try:
        fingerprint = fingerprint_of(read_public_key(pem))
    except ValueError as error:
        raise UsageError(f"--key {key}: {error}") from error
    try:
        return SignatureCheck(len(check_signature(folder, pem)), fingerprint)
    except (ValueError, OSError) as error:
        raise BundleError(str(error)) from error


def verify_bundle(folder: Path, key: Path | None = None) -> tuple[Bundle, Agreement, str]:
    """Check a bundle's files and replay its golden pair through the installed runtime.

    The code in the bundle is not run: the same code, as part of the installed edgeseg, is.

    Args:
        key: File of a public key, with which the signature over all files is checked before
            anything else; None leaves that out.

    Returns:
        The bundle, the agreement, and what computed the masks: the bundle's runtime, or its
        fallback runtime on this machine.

    Raises:
        BundleError: A file is missing or changed, or the mask is further off than the manifest
            allows; see `verify_signature`, too.
    """
    if key is not None:
        verify_signature(folder, key)
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
