"""Whether a signature finds every flipped bit of a release, and how long signing and checking take.

python -m edgeseg.pipeline.studies.tampering BUNDLE

The release is made with new keys in a temporary folder. Nothing of this process may open a
connection meanwhile: one that tries ends the study.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from edgeseg.dossier.keys import make_key_pair, read_signing_key
from edgeseg.dossier.signing import sign_folder
from edgeseg.errors import BundleError, EdgesegError
from edgeseg.storage.temporary import temporary_folder

from ..release import ReleaseRequest, release_bundle
from ..verify import verify_signature

FLIPS, SEED = 1000, 11
# What Python tells hooks before it reaches for a network.
CONNECTING = frozenset({"socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.bind"})


@dataclass(frozen=True)
class Tampering:
    """Attributes:
    files: How many are signed.
    size_bytes: Of all files.
    release_s: Making all of the release, without replaying the golden image.
    sign_s, verify_s: Signing, and checking the signature.
    flips, found: Bits that were flipped, one at a time, and those of them that were found.
    missed: File and bit of the others.
    """

    files: int
    size_bytes: int
    release_s: float
    sign_s: float
    verify_s: float
    flips: int
    found: int
    missed: tuple[tuple[str, int], ...]

    @property
    def text(self) -> str:
        lost = "".join(f"\n  missed: bit {bit} of {name}" for name, bit in self.missed)
        return (
            f"{self.files} files, {self.size_bytes / 2**20:.1f} MiB, without a connection: "
            f"released in {self.release_s:.2f} s, of which signing took {self.sign_s:.2f} s; "
            f"checked in {self.verify_s:.2f} s\n"
            f"{self.found:,} of {self.flips:,} flipped bits were found{lost}"
        )


def tamper(bundle: Path, flips: int = FLIPS, seed: int = SEED) -> Tampering:
    """Release a bundle, and flip bits of that: in each file one at least, else by chance.

    Args:
        flips: How many; as many as there are files, if that is more.
    """
    with temporary_folder("tampering") as folder:
        private = folder / "key.pem"
        public = make_key_pair(private, password="")
        request = ReleaseRequest(bundle, private, folder / "release", check=False)
        release_s = seconds_of(lambda: release_bundle(request))
        release = request.output
        key = read_signing_key(private, "")
        sign_s = seconds_of(lambda: sign_folder(release, key))
        verify_s = seconds_of(lambda: verify_signature(release, public))
        paths = sorted(path for path in release.rglob("*") if path.is_file())
        chosen = choose_bits(paths, flips, seed)
        missed = [(path, bit) for path, bit in chosen if not is_found(release, public, path, bit)]
        verify_signature(release, public)  # all is as it was
        return Tampering(
            files=len(paths) - 1,
            size_bytes=sum(path.stat().st_size for path in paths),
            release_s=release_s,
            sign_s=sign_s,
            verify_s=verify_s,
            flips=len(chosen),
            found=len(chosen) - len(missed),
            missed=tuple((path.relative_to(release).as_posix(), bit) for path, bit in missed),
        )


def seconds_of(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def choose_bits(paths: list[Path], flips: int, seed: int) -> list[tuple[Path, int]]:
    """Files with the number of a bit in each: each file once, then files by chance."""
    random = Random(seed)
    files = [*paths, *(random.choice(paths) for _ in range(flips - len(paths)))]
    return [(path, random.randrange(8 * path.stat().st_size)) for path in files]


def is_found(release: Path, public: Path, path: Path, bit: int) -> bool:
    """Flip a bit of a file, check the signature, and flip it back."""
    sound = path.read_bytes()
    content = bytearray(sound)
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    try:
        verify_signature(release, public)
    except BundleError:
        return True
    finally:
        path.write_bytes(sound)
    return False


def refuse_connections() -> None:
    """From now on, end what opens a connection. It cannot be taken back."""

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event in CONNECTING:
            raise RuntimeError(f"a connection was tried: {event} {arguments[1:]}")

    sys.addaudithook(refuse)


def main() -> None:
    """Print what was found."""
    parser = argparse.ArgumentParser(prog="python -m edgeseg.pipeline.studies.tampering")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--flips", type=int, default=FLIPS, help=f"bits ({FLIPS})")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the choice ({SEED})")
    given = parser.parse_args()
    refuse_connections()
    try:
        result = tamper(given.bundle, given.flips, given.seed)
    except EdgesegError as error:
        sys.exit(f"Error: {error}")
    print(result.text)
    sys.exit(1 if result.missed else 0)


if __name__ == "__main__":
    main()
