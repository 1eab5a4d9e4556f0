"""The C++ program of a kit beside Python: masks of the whole sample, and how long it took to build.

python -m edgeseg.pipeline.studies.cpp_program BUNDLE...
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...bundle.bundle import Bundle, open_bundle
from ...data.folder import Pair, open_sample
from ...embed.cpp import build
from ...embed.embed import embed_bundle
from ...errors import BenchmarkError, EdgesegError, UsageError
from ...metrics.agreement import PER
from ...storage.temporary import temporary_folder
from ..predict import load_bundle, predict_image

RGB = 3
LIMIT_S = 120


@dataclass(frozen=True)
class ProgramResult:
    """Attributes:
    name: Of the bundle.
    build_s: Seconds that CMake and the compiler took.
    images, pixels: That were compared.
    flips: Pixels whose class differs from Python's.
    worst: Of an image, in 10,000 pixels.
    """

    name: str
    build_s: float
    images: int
    pixels: int
    flips: int
    worst: float

    def __str__(self) -> str:
        per = PER * self.flips / self.pixels
        return (
            f"{self.name}: built in {self.build_s:.1f} s; {self.flips} of {self.pixels:,} pixels "
            f"of {self.images} pictures flip, {per:.2f} of 10,000 (worst picture {self.worst:.1f})"
        )


def compare_program(bundle: Bundle, pairs: Iterable[Pair]) -> ProgramResult:
    """Embed a bundle in C++, build it, and compare its masks with Python's.

    Raises:
        UsageError: The network takes no RGB.
        BenchmarkError: The program fails on a picture.
        TargetError: The kit cannot be written or built.
    """
    if bundle.inputs.channels != RGB:
        raise UsageError(
            f"{bundle.folder} takes {bundle.inputs.channels} channels, and the sample is RGB. "
            "Name a bundle of a network of three channels."
        )
    backend = load_bundle(bundle)
    with temporary_folder("program") as name:
        folder = Path(name)
        kit = folder / "kit"
        embed_bundle(bundle.folder, "cpp", kit, check=False)
        started = time.monotonic()
        build(kit, folder / "build")
        build_s = time.monotonic() - started
        flips = []
        sizes = []
        for pair in pairs:
            image = pair.read_image()
            wanted = predict_image(bundle, backend, image, pair.name)
            given = _run(folder / "build" / "segment", kit / "model", image, folder)
            flips.append(int((given != wanted).sum()))
            sizes.append(wanted.size)
    shares = [PER * count / size for count, size in zip(flips, sizes, strict=True)]
    return ProgramResult(bundle.name, build_s, len(flips), sum(sizes), sum(flips), max(shares))


def _run(program: Path, model: Path, image: NDArray[np.generic], folder: Path) -> NDArray[np.uint8]:
    """The program's mask of a picture, (H, W)."""
    Image.fromarray(np.asarray(image, np.uint8)).save(folder / "picture.ppm")
    files = (str(folder / "picture.ppm"), str(folder / "mask.pgm"))
    words = [str(program), *files, str(model)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    if done.returncode != 0:
        raise BenchmarkError(f"The program fails: {done.stderr.strip()[:300]}. Build the kit anew.")
    # Its values are classes: readers of PGM would spread them over 0..255.
    size = image.shape[0] * image.shape[1]
    values = np.frombuffer((folder / "mask.pgm").read_bytes()[-size:], np.uint8)
    return values.reshape(image.shape[:2])


def main() -> None:
    """Print a line for each bundle."""
    parser = argparse.ArgumentParser(prog="python -m edgeseg.pipeline.studies.cpp_program")
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    parser.add_argument("--images", type=int, help="at most so many pictures (all)")
    given = parser.parse_args()
    try:
        for folder in given.bundles:
            pairs = open_sample().first(given.images)
            print(compare_program(open_bundle(folder), pairs), flush=True)
    except EdgesegError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
