"""A signature finds every flipped bit, and needs no network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support import needs

from edgeseg.pipeline.studies import tampering
from edgeseg.pipeline.studies.tampering import choose_bits, tamper

pytestmark = needs(
    "torch", "onnx", "onnxscript", "onnxruntime", "cryptography", "model_signing", "cyclonedx"
)


@pytest.mark.slow
def test_every_flipped_bit_is_found(small_bundles: dict[str, Path]) -> None:
    result = tamper(small_bundles["int8"])
    assert (result.found, result.flips, result.missed) == (1000, 1000, ())
    assert result.files > 20


def test_what_is_missed_is_told(
    small_bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check that does not read the card misses what was changed there, and nothing else."""
    check = tampering.verify_signature
    sound: list[bytes] = []

    def careless(folder: Path, key: Path) -> object:
        card = folder / "README.md"
        changed = card.read_bytes()
        sound.append(changed)
        card.write_bytes(sound[0])
        try:
            return check(folder, key)
        finally:
            card.write_bytes(changed)

    monkeypatch.setattr(tampering, "verify_signature", careless)
    result = tamper(small_bundles["fp32"], 1)
    assert [name for name, _ in result.missed] == ["README.md"]
    assert result.found == result.flips - 1
    assert f"{result.found} of {result.flips} flipped bits were found\n  missed: bit" in result.text


def test_each_file_is_changed_once_at_least(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_bytes(b"12")
    chosen = choose_bits(paths, 400, seed=1)
    assert [path for path, _ in chosen[:3]] == paths
    assert len(chosen) == 400
    assert {bit for _, bit in chosen} == set(range(16))


def test_the_command_opens_no_connection(small_bundles: dict[str, Path]) -> None:
    words = [sys.executable, "-m", tampering.__name__, small_bundles["fp32"], "--flips", "30"]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "without a connection: released in" in done.stdout
    assert "30 of 30 flipped bits were found" in done.stdout
    program = (
        "import socket; from edgeseg.pipeline.studies.tampering import refuse_connections\n"
        "refuse_connections(); socket.create_connection(('127.0.0.1', 9))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "a connection was tried: socket.getaddrinfo" in done.stderr
