"""Keys that releases are signed with: elliptic curve keys on P-256 or P-384, in PEM."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bundle.signature import HASHES, MOST_KEY_BYTES, fingerprint_of
from ..errors import OutputInUseError, UsageError, reason_of
from ..lazy import require
from ..storage.atomic import write_bytes

PASSWORD = "EDGESEG_KEY_PASSWORD"
PUBLIC_ENDING = ".pub.pem"
NEW_KEY = "Name the key's file with --key, or make a pair with edgeseg release --new-key."


@dataclass(frozen=True)
class SigningKey:
    """A private key that was read and is fit to sign.

    Attributes:
        path: Its file.
        password: That opens the file; None where it is not encrypted.
        public_pem: The public key of the pair.
        fingerprint: SHA-256 of that, by which a signature names it.
    """

    path: Path
    password: bytes | None
    public_pem: bytes
    fingerprint: str


class PasswordNeededError(UsageError):
    """The key is encrypted, and no password was given."""


def read_signing_key(path: Path, password: str | None = None) -> SigningKey:
    """Read a private key.

    Args:
        password: None takes that of the environment, `EDGESEG_KEY_PASSWORD`, where it is set.

    Raises:
        UsageError: There is no such file, or it holds no private key on P-256 or P-384; it is
            encrypted and the password is missing or wrong.
        MissingBackendError: `cryptography` is not installed.
    """
    serialization = require(
        "cryptography.hazmat.primitives.serialization", purpose="Signing a release"
    )
    given = os.environ.get(PASSWORD) if password is None else password
    secret = given.encode() if given else None
    pem = read_key_file(path)
    if b"PRIVATE KEY" not in pem:
        kind = "a public key" if b"PUBLIC KEY" in pem else "no private key in PEM"
        raise UsageError(
            f"--key {path} is {kind}, and a signature is made with the private one. {NEW_KEY}"
        )
    if _is_encrypted(pem) and secret is None:
        raise PasswordNeededError(
            f"--key {path} is encrypted. Set its password in the environment as {PASSWORD}, or run "
            "the command on a terminal, where it asks."
        )
    # An unencrypted key is refused with a password, which its owner may have set for another.
    secret = secret if _is_encrypted(pem) else None
    try:
        key = serialization.load_pem_private_key(pem, secret)
    except Exception as error:  # what lies in a key makes OpenSSL fail in many ways
        wrong = "its password is wrong, or it is damaged" if secret else "it is damaged"
        raise UsageError(
            f"--key {path} cannot be read: {wrong} ({reason_of(error) or type(error).__name__}). "
            f"Check {PASSWORD} and the file, or name another key."
        ) from error
    return SigningKey(path, secret, *_public_half(key, path))


def is_exposed(path: Path) -> bool:
    """Whether other users of this machine can read a private key that is not encrypted."""
    is_open = os.name == "posix" and bool(path.stat().st_mode & 0o077)
    return is_open and not _is_encrypted(read_key_file(path))


def _is_encrypted(pem: bytes) -> bool:
    return b"ENCRYPTED" in pem


def _public_half(key: Any, path: Path) -> tuple[bytes, str]:
    """The public key in PEM, and its fingerprint.

    Raises:
        UsageError: The key is of another kind than releases are signed with.
    """
    curve = getattr(getattr(key, "curve", None), "name", type(key).__name__)
    if curve not in HASHES:
        raise UsageError(
            f"--key {path} is a key of the kind {curve}, and releases are signed with one on the "
            "curve P-256 or P-384. Make one with edgeseg release --new-key."
        )
    public = key.public_key()
    return _public_pem(public), fingerprint_of(public)


def _public_pem(public: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem: bytes = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def read_key_file(path: Path) -> bytes:
    """What a file of a key holds.

    Raises:
        UsageError: It is no file that can be read, or larger than any key.
    """
    if path.is_dir():
        raise UsageError(f"--key {path} is a folder. Name the file of the key in it.")
    if not path.is_file():  # reading a pipe would wait
        raise UsageError(f"There is no key at {path}. {NEW_KEY}")
    try:
        with path.open("rb") as file:
            content = file.read(MOST_KEY_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"--key {path} cannot be read ({error.strerror}). Check its rights."
        ) from error
    if len(content) > MOST_KEY_BYTES:
        raise UsageError(
            f"--key {path} is larger than {MOST_KEY_BYTES // 1024} KiB, and no key. {NEW_KEY}"
        )
    return content


def public_path(path: Path) -> Path:
    """Where the public key of a new pair goes: beside `path`, as NAME.pub.pem."""
    return path.with_name(path.name.removesuffix(".pem") + PUBLIC_ENDING)


def make_key_pair(path: Path, password: str | None = None) -> Path:
    """Write a new private key on P-256, which only its owner can read, and the public one.

    Args:
        path: Of the private key.
        password: That encrypts it; None takes `EDGESEG_KEY_PASSWORD`, where it is set.

    Returns:
        File of the public key.

    Raises:
        UsageError: `path` ends in .pub.pem, as public keys do.
        OutputInUseError: One of the two files is there already, or cannot be made.
        MissingBackendError: `cryptography` is not installed.
    """
    ec = require("cryptography.hazmat.primitives.asymmetric.ec", purpose="Making a key")
    from cryptography.hazmat.primitives import serialization

    if path.name.endswith(PUBLIC_ENDING):
        raise UsageError(
            f"{path.name} is the name of a public key, and --new-key takes that of a private one. "
            f"Name it {path.name.removesuffix(PUBLIC_ENDING)}.pem."
        )
    public = public_path(path)
    for place in (path, public):
        if place.exists() or place.is_symlink():
            raise OutputInUseError(
                f"{place} is there already, and a key is not replaced. Choose another --new-key."
            )
    given = os.environ.get(PASSWORD) if password is None else password
    encryption: Any = serialization.NoEncryption()
    if given:
        encryption = serialization.BestAvailableEncryption(given.encode())
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    try:
        # Created with its rights: at no moment can another user read it.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise OutputInUseError(
            f"{path} cannot be made ({error.strerror}). Choose another --new-key."
        ) from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(descriptor)
    write_bytes(public, _public_pem(key.public_key()))
    return public
