"""Keys and signed folders for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeseg.dossier.keys import make_key_pair, public_path, read_signing_key
from edgeseg.dossier.signing import sign_folder

FILES = {
    "manifest.json": b'{"schema_version": 3}\n',
    "README.md": b"# Card\n",
    "runner/run.py": b"print('run')\n",
    "artifact/model.bin": bytes(range(256)) * 8,
    ".gitignore": b"*.log\n",
}


def make_keys(folder: Path, name: str = "key") -> tuple[Path, Path]:
    """A pair of keys without a password: private and public file."""
    private = folder / f"{name}.pem"
    make_key_pair(private, password="")
    return private, public_path(private)


def write_key(path: Path, key: Any, password: bytes | None = None) -> Path:
    """A private key of any kind as PEM."""
    from cryptography.hazmat.primitives import serialization

    encryption: Any = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    path.write_bytes(pem)
    return path


def write_signed(folder: Path, private: Path) -> Path:
    """Write a few files into a new folder and sign them."""
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    sign_folder(folder, read_signing_key(private))
    return folder
