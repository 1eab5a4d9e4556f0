"""Checks the signature over a release: no file was changed, added or taken away since.

    python check_signature.py RELEASE_FOLDER PUBLIC_KEY.pem

The signature in model.sig is one of OpenSSF model signing 1.0: a Sigstore bundle with a DSSE
envelope around an in-toto statement that names every file with its SHA-256, signed by a key on the
curve P-256 or P-384. This one file checks it on every machine: a release carries a copy in runner/.
It therefore needs Python and the package `cryptography` only, and nothing of edgeseg. A copy that
came with what it checks proves nothing: take it once from a place that you trust.

Nothing of the folder is executed, and nothing but model.sig is parsed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

SIGNATURE_NAME = "model.sig"
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
# What the statement says of itself: every file but the signature, by its SHA-256, no links.
SERIALIZATION = {
    "method": "files",
    "allow_symlinks": False,
    "hash_type": "sha256",
    "ignore_paths": [SIGNATURE_NAME],
}
HASHES = {"secp256r1": "SHA256", "secp384r1": "SHA384"}  # by the curve of the key
MOST_SIGNATURE_BYTES = 16 * 2**20
MOST_KEY_BYTES = 64 * 2**10
MOST_ENTRIES = 100_000  # files and folders
CHUNK_BYTES = 2**20
NOT_SIGNED = "Do not use this folder: take the release again from who signed it."
OTHER_KEY = "Name the public key of who signed it with --key; if that is the one, do not use it."


def check_signature(folder: Path, public_key: bytes) -> dict[str, str]:
    """Check the signature over a folder and every file in it.

    Args:
        folder: Of the release.
        public_key: PEM, of an elliptic curve key on P-256 or P-384.

    Returns:
        SHA-256 of each file but the signature, in hexadecimal digits, by its path.

    Raises:
        ValueError: There is no signature, it is another key's or none of ours, or the folder holds
            other files than were signed. The message says what to do.
        ImportError: The package `cryptography` is missing.
    """
    key = read_public_key(public_key)
    content = _read_signature(folder)
    payload, signature, hint = _open_envelope(content, folder)
    if hint != fingerprint_of(key):
        raise ValueError(
            f"{folder / SIGNATURE_NAME} was made with another key, {str(hint)[:12]}..., and not "
            f"with {fingerprint_of(key)[:12]}... {OTHER_KEY}"
        )
    _require_signed(key, payload, signature, folder)
    signed = _files_of(payload, folder)
    _require_equal_files(folder, signed)
    return signed


def read_public_key(pem: bytes) -> Any:
    """The key in a PEM file.

    Raises:
        ValueError: It is no public key of an elliptic curve that signatures here have.
        ImportError: The package `cryptography` is missing.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    if b"PRIVATE KEY" in pem:
        raise ValueError(
            "The key is a private one. Keep that to yourself, and check with the public key of the "
            "pair, which begins with BEGIN PUBLIC KEY."
        )
    try:
        key = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(
            "The key is no public key in PEM, which begins with BEGIN PUBLIC KEY. Take the file "
            "that edgeseg release --new-key wrote, NAME.pub.pem."
        ) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in HASHES:
        raise ValueError(
            "The key is not on the curve P-256 or P-384, on which releases are signed. Name the "
            "public key of who signed it."
        )
    return key


def fingerprint_of(key: Any) -> str:
    """SHA-256 of a public key in PEM, by which a signature names it."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem: bytes = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def _read_signature(folder: Path) -> bytes:
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder. Name that of a release.")
    path = folder / SIGNATURE_NAME
    try:
        content = _read_file(path, MOST_SIGNATURE_BYTES)
    except FileNotFoundError as error:
        raise ValueError(
            f"{folder} is not signed: it has no {SIGNATURE_NAME}. Sign a bundle with edgeseg "
            "release, or take the release again from who signed it."
        ) from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}). {NOT_SIGNED}") from error
    if len(content) > MOST_SIGNATURE_BYTES:
        raise ValueError(
            f"{path} is larger than {MOST_SIGNATURE_BYTES // 2**20} MiB, and no signature. "
            f"{NOT_SIGNED}"
        )
    return content


def _read_file(path: Path, most: int) -> bytes:
    """At most one byte more than `most` of a regular file, which is no link."""
    with _open_file(path) as file:
        content: bytes = file.read(most + 1)
    return content


def _open_file(path: Path) -> Any:
    # Opening a pipe would wait, and a link would lead elsewhere.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "it is no regular file", str(path))
    return os.fdopen(descriptor, "rb")


def _open_envelope(content: bytes, folder: Path) -> tuple[bytes, bytes, str]:
    """Payload, signature and the fingerprint of the key, none of which is proved yet.

    The file must be, byte for byte, what these three give: a JSON reader takes spaces, further
    keys and Base64 with stray bits, which nobody has signed.
    """
    try:
        record = json.loads(content.decode("ascii"))
        envelope = record["dsseEnvelope"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        (signed,) = envelope["signatures"]
        signature = base64.b64decode(signed["sig"], validate=True)
        hint = record["verificationMaterial"]["publicKey"]["hint"]
        is_ours = envelope_text(payload, signature, hint).encode("ascii") == content
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{folder / SIGNATURE_NAME} is no signature of OpenSSF model signing, or was damaged "
            f"({type(error).__name__}). {NOT_SIGNED}"
        ) from error
    if not is_ours:
        raise ValueError(
            f"{folder / SIGNATURE_NAME} is not written as releases are signed: a part of it was "
            f"changed or added. {NOT_SIGNED}"
        )
    return payload, signature, hint


def envelope_text(payload: bytes, signature: bytes, hint: str) -> str:
    """The text of model.sig."""
    record = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode("ascii"),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode("ascii"), "keyid": ""}],
        },
    }
    return json.dumps(record, separators=(",", ":"))


def _require_signed(key: Any, payload: bytes, signature: bytes, folder: Path) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    # DSSE's encoding of what is signed: the type and the content, each with its length.
    signed = f"DSSEv1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(payload)} ".encode("ascii") + payload
    algorithm = getattr(hashes, HASHES[key.curve.name])()
    try:
        key.verify(signature, signed, ec.ECDSA(algorithm))
    except InvalidSignature as error:
        raise ValueError(
            f"The signature in {folder / SIGNATURE_NAME} does not hold: it, or the list of files "
            f"in it, was changed. {NOT_SIGNED}"
        ) from error


def _files_of(payload: bytes, folder: Path) -> dict[str, str]:
    """Digests by path that a statement, whose signature holds, names."""
    try:
        statement = json.loads(payload.decode("utf-8"))
        predicate = statement["predicate"]
        kinds = statement["_type"], statement["predicateType"], predicate["serialization"]
        resources = predicate["resources"]
        found = {one["name"]: one["digest"] for one in resources}
        is_sound = (
            kinds == (STATEMENT_TYPE, PREDICATE_TYPE, SERIALIZATION)
            and len(found) == len(resources)
            and all(one["algorithm"] == "sha256" for one in resources)
            and all(isinstance(part, str) for pair in found.items() for part in pair)
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        is_sound = False
    if not is_sound:
        raise ValueError(
            f"{folder / SIGNATURE_NAME} is signed, and does not list every file by its SHA-256 as "
            "edgeseg release does. Ask who signed it to make the release with edgeseg."
        )
    return found


def _require_equal_files(folder: Path, signed: dict[str, str]) -> None:
    found = _list_files(folder, signed)
    for name in sorted(signed):
        if name not in found:
            raise ValueError(f"{folder} lacks {name}, which was signed. {NOT_SIGNED}")
        path = folder / name
        try:
            digest = _digest_of(path)
        except OSError as error:
            raise ValueError(f"{path} cannot be read ({error.strerror}). {NOT_SIGNED}") from error
        if digest != signed[name]:
            raise ValueError(f"{path} was changed after it was signed. {NOT_SIGNED}")


def _list_files(folder: Path, signed: dict[str, str]) -> set[str]:
    """Paths of all files but the signature, each of which was signed."""
    parents = {parent.as_posix() for name in signed for parent in Path(name).parents}
    found: set[str] = set()
    waiting = [folder]
    entries = 0
    while waiting:
        for entry in os.scandir(waiting.pop()):
            entries += 1
            path = Path(entry.path)
            name = path.relative_to(folder).as_posix()
            if entry.is_symlink():
                raise ValueError(f"{path} is a link, and links are not signed. {NOT_SIGNED}")
            is_folder = entry.is_dir(follow_symlinks=False)
            is_known = name in parents if is_folder else name in signed or name == SIGNATURE_NAME
            if not is_known or entries > MOST_ENTRIES:
                raise ValueError(
                    f"{path} was not signed: it has come into the folder since. Remove it, or take "
                    "the release again from who signed it."
                )
            if is_folder:
                waiting.append(path)
            elif name != SIGNATURE_NAME:
                found.add(name)
    return found


def _digest_of(path: Path) -> str:
    digest = hashlib.sha256()
    with _open_file(path) as file:
        for chunk in iter(lambda: file.read(CHUNK_BYTES), b""):
            digest.update(chunk)
    return digest.hexdigest()


def main() -> int:
    if len(sys.argv) != 3:
        print("Usage: python check_signature.py RELEASE_FOLDER PUBLIC_KEY.pem", file=sys.stderr)
        return 2
    folder, key = map(Path, sys.argv[1:])
    try:
        with key.open("rb") as file:
            signed = check_signature(folder, file.read(MOST_KEY_BYTES))
    except (OSError, ValueError) as error:
        # Names of files may hold what moves a cursor.
        text = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in str(error))
        print(f"Error: {text}", file=sys.stderr)
        return 1
    except ImportError as error:
        print(f"Error: {error}. Install it: pip install cryptography", file=sys.stderr)
        return 1
    print(f"ok: {len(signed)} files are as they were signed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
