"""The signature over a folder: OpenSSF model signing with a key, without a network."""

from __future__ import annotations

from pathlib import Path

from ..bundle.signature import SIGNATURE_NAME, check_signature
from ..errors import EdgesegError, reason_of
from ..lazy import require
from .keys import SigningKey


def sign_folder(folder: Path, key: SigningKey) -> None:
    """Sign every file of a folder; the signature becomes model.sig in it.

    Args:
        folder: Its name becomes that of what is signed.

    Raises:
        EdgesegError: The signature cannot be made, or does not hold.
        MissingBackendError: `model-signing` is not installed.
    """
    hashing = require("model_signing.hashing", purpose="Signing a release")
    signing = require("model_signing.signing", purpose="Signing a release")
    place = folder / SIGNATURE_NAME
    # Files of git are left out unless that is switched off.
    how = hashing.Config().use_file_serialization(hashing_algorithm="sha256")
    how.set_ignored_paths(paths=[SIGNATURE_NAME], ignore_git_paths=False)
    signer = signing.Config().set_hashing_config(how)
    try:
        signer.use_elliptic_key_signer(private_key=key.path, password=key.password)
        signer.sign(folder, place)
        check_signature(folder, key.public_pem)
    except (ValueError, TypeError, OSError) as error:
        raise EdgesegError(
            f"{folder.name} cannot be signed with {key.path} ({reason_of(error)}). Run the command "
            "again; if that fails, install the version of model-signing that edgeseg names: "
            "pip install 'edgeseg[release]'"
        ) from error
