"""Keys that sign releases: what is read, what is refused, and what a new pair looks like."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from signed_folder import make_keys, write_key
from support import needs

from edgeseg.bundle.signature import fingerprint_of, read_public_key
from edgeseg.dossier.keys import (
    PASSWORD,
    PasswordNeededError,
    is_exposed,
    make_key_pair,
    public_path,
    read_signing_key,
)
from edgeseg.errors import OutputInUseError, UsageError

pytestmark = needs("cryptography")


@pytest.fixture(autouse=True)
def no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD, raising=False)


def new_key(curve: str = "SECP256R1") -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(getattr(ec, curve)())


def test_a_new_pair_belongs_together_and_is_private(tmp_path: Path) -> None:
    private, public = make_keys(tmp_path)
    assert public == tmp_path / "key.pub.pem"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    key = read_signing_key(private)
    assert key.public_pem == public.read_bytes()
    assert key.fingerprint == fingerprint_of(read_public_key(public.read_bytes()))
    assert key.password is None


def test_the_name_of_the_public_key() -> None:
    assert public_path(Path("a/release.pem")) == Path("a/release.pub.pem")
    assert public_path(Path("release")) == Path("release.pub.pem")


def test_a_password_of_the_environment_encrypts_and_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSWORD, "secret")
    private = tmp_path / "key.pem"
    make_key_pair(private)
    assert b"ENCRYPTED PRIVATE KEY" in private.read_bytes()
    assert read_signing_key(private).password == b"secret"
    # A key without one is read as well: the variable may be meant for another.
    open_key = write_key(tmp_path / "open.pem", new_key())
    assert read_signing_key(open_key).password is None
    monkeypatch.delenv(PASSWORD)
    with pytest.raises(PasswordNeededError, match=f"in the environment as {PASSWORD}"):
        read_signing_key(private)
    with pytest.raises(UsageError, match=rf"its password is wrong.*Check {PASSWORD}"):
        read_signing_key(private, "other")
    assert read_signing_key(private, "secret").password == b"secret"


def test_no_key_is_replaced(tmp_path: Path) -> None:
    private, public = make_keys(tmp_path)
    content = private.read_bytes()
    with pytest.raises(OutputInUseError, match=r"key\.pem is there already.*another --new-key"):
        make_key_pair(private)
    private.rename(tmp_path / "kept.pem")
    with pytest.raises(OutputInUseError, match=r"key\.pub\.pem is there already"):
        make_key_pair(private)
    assert (tmp_path / "kept.pem").read_bytes() == content
    assert not private.exists()
    public.unlink()
    with pytest.raises(OutputInUseError, match=r"cannot be made.*Choose another --new-key"):
        make_key_pair(tmp_path / "gone" / "key.pem")


def test_files_that_are_no_private_key(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

    private, public = make_keys(tmp_path)
    damaged = tmp_path / "damaged.pem"
    damaged.write_bytes(private.read_bytes().replace(b"M", b"!", 1))
    large = tmp_path / "large.pem"
    large.write_bytes(bytes(70_000))
    (tmp_path / "text.pem").write_text("hello")
    rsa_key = rsa.generate_private_key(65537, 2048)
    kinds = "releases are signed with one on the curve P-256 or P-384"
    cases = {
        tmp_path / "gone.pem": r"There is no key at .*make a pair with edgeseg release --new-key",
        tmp_path: r"is a folder\. Name the file",
        public: r"is a public key, and a signature is made with the private one",
        tmp_path / "text.pem": r"is no private key in PEM",
        damaged: r"cannot be read: it is damaged",
        large: r"is larger than 64 KiB, and no key",
        write_key(tmp_path / "rsa.pem", rsa_key): kinds,
        write_key(tmp_path / "ed.pem", ed25519.Ed25519PrivateKey.generate()): kinds,
        write_key(tmp_path / "k1.pem", new_key("SECP256K1")): kinds,
        write_key(tmp_path / "p521.pem", new_key("SECP521R1")): kinds,
    }
    for path, words in cases.items():
        with pytest.raises(UsageError, match=words):
            read_signing_key(path)
    assert read_signing_key(write_key(tmp_path / "p384.pem", new_key("SECP384R1"))).fingerprint


def test_a_key_that_others_can_read_is_exposed(tmp_path: Path) -> None:
    private, _ = make_keys(tmp_path)
    assert not is_exposed(private)
    private.chmod(0o640)
    assert is_exposed(private)
    make_key_pair(tmp_path / "locked.pem", password="secret")
    (tmp_path / "locked.pem").chmod(0o644)
    assert not is_exposed(tmp_path / "locked.pem")


def test_a_private_key_gets_no_name_of_a_public_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"key\.pub\.pem is the name of a public key.*key\.pem"):
        make_key_pair(tmp_path / "key.pub.pem")
    assert not list(tmp_path.iterdir())
