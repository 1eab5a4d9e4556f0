"""A signature holds for the files that were signed, and for nothing else."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from signed_folder import FILES, make_keys, write_key, write_signed
from support import needs

from edgeseg.bundle import signature
from edgeseg.bundle.signature import (
    MOST_SIGNATURE_BYTES,
    SIGNATURE_NAME,
    check_signature,
    envelope_text,
    read_public_key,
)

pytestmark = needs("cryptography", "model_signing")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def folder(tmp_path: Path, keys: tuple[Path, Path]) -> Path:
    return write_signed(tmp_path / "release", keys[0])


def refusal(folder: Path, public: Path) -> str:
    with pytest.raises(ValueError, match=r"\.") as caught:
        check_signature(folder, public.read_bytes())
    return str(caught.value)


def test_a_signed_folder_holds(folder: Path, keys: tuple[Path, Path]) -> None:
    signed = check_signature(folder, keys[1].read_bytes())
    assert signed.keys() == FILES.keys()


def test_the_verifier_of_openssf_agrees(folder: Path, keys: tuple[Path, Path]) -> None:
    from model_signing import hashing, verifying

    how = hashing.Config().use_file_serialization()
    how.set_ignored_paths(paths=[SIGNATURE_NAME], ignore_git_paths=False)
    check = verifying.Config().use_elliptic_key_verifier(public_key=keys[1])
    check.set_hashing_config(how).verify(folder, folder / SIGNATURE_NAME)
    (folder / "README.md").write_bytes(b"# Lard\n")
    with pytest.raises(ValueError, match="Hash mismatch"):
        check.verify(folder, folder / SIGNATURE_NAME)


def test_every_bit_of_every_file_is_signed(folder: Path, keys: tuple[Path, Path]) -> None:
    """1,000 bits by chance, each file and the signature itself as often."""
    random, public = Random(7), keys[1].read_bytes()
    names = [*FILES, SIGNATURE_NAME]
    for place in range(1000):
        path = folder / names[place % len(names)]
        sound = path.read_bytes()
        bit = random.randrange(8 * len(sound))
        content = bytearray(sound)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"Do not use this folder|do not use it"):
            check_signature(folder, public)
        path.write_bytes(sound)
    check_signature(folder, public)


def test_each_bit_at_the_end_of_base64_is_noticed(folder: Path, keys: tuple[Path, Path]) -> None:
    """Those that a reader of Base64 leaves out."""
    path = folder / SIGNATURE_NAME
    sound = path.read_bytes()
    for place in [place for place, letter in enumerate(sound) if letter == ord("=")]:
        for bit in range(8):
            content = bytearray(sound)
            content[place - 1] ^= 1 << bit
            path.write_bytes(content)
            refusal(folder, keys[1])


def add_file(folder: Path) -> None:
    (folder / "runner" / "more.py").write_text("")


def add_hidden_file(folder: Path) -> None:
    (folder / ".gitattributes").write_text("")


def add_folder(folder: Path) -> None:
    (folder / "empty").mkdir()


def remove_file(folder: Path) -> None:
    (folder / "README.md").unlink()


def swap_files(folder: Path) -> None:
    first, second = folder / "README.md", folder / "runner" / "run.py"
    first.write_bytes(FILES["runner/run.py"])
    second.write_bytes(FILES["README.md"])


def make_link(folder: Path) -> None:
    path = folder / "README.md"
    path.rename(folder.parent / "elsewhere.md")
    path.symlink_to(folder.parent / "elsewhere.md")


def make_folder_a_link(folder: Path) -> None:
    (folder / "runner").rename(folder.parent / "elsewhere")
    (folder / "runner").symlink_to(folder.parent / "elsewhere")


def make_pipe(folder: Path) -> None:
    (folder / "README.md").unlink()
    os.mkfifo(folder / "README.md")


def remove_signature(folder: Path) -> None:
    (folder / SIGNATURE_NAME).unlink()


def link_signature(folder: Path) -> None:
    path = folder / SIGNATURE_NAME
    path.rename(folder.parent / "elsewhere.sig")
    path.symlink_to(folder.parent / "elsewhere.sig")


def pipe_signature(folder: Path) -> None:
    (folder / SIGNATURE_NAME).unlink()
    os.mkfifo(folder / SIGNATURE_NAME)


def swell_signature(folder: Path) -> None:
    with (folder / SIGNATURE_NAME).open("ab") as file:
        file.truncate(MOST_SIGNATURE_BYTES + 1)


def add_space(folder: Path) -> None:
    with (folder / SIGNATURE_NAME).open("ab") as file:
        file.write(b"\n")


def nest_signature(folder: Path) -> None:
    (folder / SIGNATURE_NAME).write_bytes(b"[" * 100_000)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (add_file, "more.py was not signed: it has come into the folder since. Remove it"),
        (add_hidden_file, ".gitattributes was not signed"),
        (add_folder, "empty was not signed"),
        (remove_file, "lacks README.md, which was signed. Do not use this folder"),
        (swap_files, "README.md was changed after it was signed. Do not use this folder"),
        (make_link, "README.md is a link, and links are not signed"),
        (make_folder_a_link, "runner is a link"),
        (make_pipe, "cannot be read (it is no regular file)"),
        (
            remove_signature,
            "is not signed: it has no model.sig. Sign a bundle with edgeseg release",
        ),
        (link_signature, "model.sig cannot be read"),
        (pipe_signature, "model.sig cannot be read (it is no regular file)"),
        (swell_signature, "is larger than 16 MiB, and no signature"),
        (add_space, "is not written as releases are signed"),
        (nest_signature, "is no signature of OpenSSF model signing, or was damaged"),
    ],
)
def test_what_was_changed_is_told(
    folder: Path, keys: tuple[Path, Path], change: Callable[[Path], object], words: str
) -> None:
    change(folder)
    assert words in refusal(folder, keys[1])


def test_another_key_is_told(folder: Path, tmp_path: Path) -> None:
    _, other = make_keys(tmp_path, "other")
    message = refusal(folder, other)
    assert "was made with another key" in message
    assert "Name the public key of who signed it with --key" in message


def test_a_signature_that_claims_a_key_is_not_believed(folder: Path, tmp_path: Path) -> None:
    """Whoever signs anew with another key may write anyone's fingerprint into the file."""
    own, other = make_keys(tmp_path, "own"), make_keys(tmp_path, "other")
    signed = write_signed(tmp_path / "forged", other[0])
    path = signed / SIGNATURE_NAME
    content, record = path.read_bytes(), json.loads(path.read_text())
    claimed = signature.fingerprint_of(read_public_key(own[1].read_bytes()))
    hint = record["verificationMaterial"]["publicKey"]["hint"]
    path.write_bytes(content.replace(hint.encode(), claimed.encode()))
    assert "does not hold" in refusal(signed, own[1])


def sign_statement(folder: Path, private: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Sign a statement that was changed, as the owner of the key could."""
    import base64

    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    path = folder / SIGNATURE_NAME
    record = json.loads(path.read_text())
    statement = json.loads(base64.b64decode(record["dsseEnvelope"]["payload"]))
    change(statement)
    payload = json.dumps(statement).encode()
    kind = signature.PAYLOAD_TYPE
    signed = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    key = serialization.load_pem_private_key(private.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    made = key.sign(signed, ec.ECDSA(hashes.SHA256()))
    hint = record["verificationMaterial"]["publicKey"]["hint"]
    path.write_text(envelope_text(payload, made, hint))


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one["predicate"]["serialization"].update(ignore_paths=["model.sig", "runner"]),
        lambda one: one["predicate"]["serialization"].update(allow_symlinks=True),
        lambda one: one["predicate"]["resources"][0].update(algorithm="md5"),
        lambda one: one["predicate"]["resources"].append(one["predicate"]["resources"][0]),
        lambda one: one.update(predicateType="https://example.org/other"),
        lambda one: one.pop("predicate"),
        lambda one: one["predicate"].update(resources=[{"name": 3}]),
    ],
)
def test_a_statement_that_leaves_files_out_is_refused(
    folder: Path, keys: tuple[Path, Path], change: Callable[[dict[str, Any]], object]
) -> None:
    sign_statement(folder, keys[0], lambda statement: None)
    check_signature(folder, keys[1].read_bytes())
    sign_statement(folder, keys[0], change)
    assert "Ask who signed it to make the release with edgeseg" in refusal(folder, keys[1])


def test_curves(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec

    from edgeseg.dossier.keys import read_signing_key

    private = write_key(tmp_path / "p384.pem", ec.generate_private_key(ec.SECP384R1()))
    folder = write_signed(tmp_path / "release", private)
    public = read_signing_key(private).public_pem
    assert check_signature(folder, public).keys() == FILES.keys()


def test_keys_that_are_none(folder: Path, keys: tuple[Path, Path]) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    def pem_of(key: Any) -> bytes:
        kind = serialization.PublicFormat.SubjectPublicKeyInfo
        pem: bytes = key.public_key().public_bytes(serialization.Encoding.PEM, kind)
        return pem

    cases = {
        keys[0].read_bytes(): "is a private one. Keep that to yourself",
        b"": "is no public key in PEM",
        b"\x00\xff" * 40: "is no public key in PEM",
        keys[1].read_bytes()[:80]: "is no public key in PEM",
        pem_of(ec.generate_private_key(ec.SECP256K1())): "is not on the curve P-256 or P-384",
        pem_of(ed25519.Ed25519PrivateKey.generate()): "is not on the curve P-256 or P-384",
    }
    for pem, words in cases.items():
        with pytest.raises(ValueError, match=words):
            check_signature(folder, pem)


def test_random_signatures_and_keys_are_refused(folder: Path, keys: tuple[Path, Path]) -> None:
    """Damaged in many ways: a refusal each, and never another error."""
    random, path = Random(3), folder / SIGNATURE_NAME
    sound, public = path.read_bytes(), keys[1].read_bytes()
    for _ in range(200):
        at, many = random.randrange(len(sound)), random.randrange(1, 40)
        path.write_bytes(sound[:at] + random.randbytes(many) + sound[at + random.randrange(90) :])
        with pytest.raises(ValueError, match=r"not use"):
            check_signature(folder, public)
        path.write_bytes(sound)
        at = random.randrange(27, len(public) - 27)
        with pytest.raises(ValueError, match=r"The key is|another key"):
            check_signature(folder, public[:at] + random.randbytes(many) + public[at + 1 :])


def test_no_network_is_asked(
    folder: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    (folder / SIGNATURE_NAME).unlink()
    write_signed(folder, keys[0])
    check_signature(folder, keys[1].read_bytes())


def test_the_file_works_alone(folder: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    """Copied to a device that has no edgeseg."""
    program = tmp_path / "alone" / "check_signature.py"
    program.parent.mkdir()
    shutil.copyfile(signature.__file__, program)

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        block = "import sys, runpy; sys.modules['edgeseg'] = None; sys.argv = sys.argv[1:]"
        words = [sys.executable, "-c", f"{block}; runpy.run_path(sys.argv[0], run_name='__main__')"]
        command = [*words, *map(str, (program, *arguments))]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    done = run(folder, keys[1])
    assert (done.returncode, done.stdout) == (0, "ok: 5 files are as they were signed\n")
    (folder / "README.md").write_text("# Another card\n")
    done = run(folder, keys[1])
    assert done.returncode == 1
    assert "README.md was changed after it was signed. Do not use" in done.stderr
    assert run(folder).returncode == 2
    done = run(folder, tmp_path / "no key")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
