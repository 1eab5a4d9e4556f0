"""The shared vectors, as programs in any language are tested with them.

A program gets a folder and works through `requests.txt`, one picture a line:

    NAME HEIGHT WIDTH CHANNELS BITS

It reads NAME.pixels, (H, W, C) of 8 or 16 bits, little endian, and writes NAME.tensor, the input
tensor (C, h, w) in float32; it reads probabilities.f32, (C, h, w), and writes NAME.mask, the class
of each pixel of a mask of HEIGHT x WIDTH in 8 bits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from support import ROOT

from edgeseg.contract import InputContract, OutputContract
from edgeseg.data.images import read_image

FOLDER = ROOT / "tests" / "vectors"
CONTRACTS = ("stretched", "normed", "grey")
REQUESTS = "requests.txt"
TENSOR_TOLERANCE = 1e-5  # of a value's size, or of one
FLIPS_PER_10K = 1


@dataclass(frozen=True)
class Vector:
    """A picture and a contract, and what they give.

    Attributes:
        name: Of the picture.
        pixels: (H, W, C) as Python decodes the file.
        tensor: (C, h, w) float32.
        mask: (H, W) uint8.
    """

    name: str
    pixels: NDArray[Any]
    tensor: NDArray[np.float32]
    mask: NDArray[np.uint8]


def image_names() -> list[str]:
    record = json.loads((FOLDER / "vectors.json").read_text())
    return list(record["images"])


def contract_record(contract: str) -> dict[str, Any]:
    """As kits carry it."""
    record: dict[str, Any] = json.loads((FOLDER / "contracts" / f"{contract}.json").read_text())
    return record


def contracts_of(contract: str) -> tuple[InputContract, OutputContract]:
    record = contract_record(contract)
    inputs = {
        key: record["input"][key] for key in record["input"] if key not in ("tensor", "words")
    }
    if inputs["channels"] == 3:
        del inputs["channels"]
    left_out = ("tensor", "words", "height", "width")
    outputs = {key: value for key, value in record["output"].items() if key not in left_out}
    return InputContract.from_json(inputs), OutputContract.from_json(outputs)


def probabilities_of(contract: str) -> NDArray[np.float32]:
    """(C, h, w)"""
    inputs, outputs = contracts_of(contract)
    values = np.fromfile(FOLDER / "probabilities" / f"{contract}.f32", "<f4")
    return values.reshape(outputs.channels, inputs.height, inputs.width)


def vectors_of(contract: str) -> Iterator[Vector]:
    inputs, _ = contracts_of(contract)
    for file in image_names():
        name = Path(file).stem
        values = np.fromfile(FOLDER / "tensors" / f"{name}.{contract}.f32", "<f4")
        yield Vector(
            name,
            read_image(FOLDER / "images" / file, inputs.channels),
            values.reshape(inputs.shape[1:]),
            np.asarray(Image.open(FOLDER / "masks" / f"{name}.{contract}.png")),
        )


def write_requests(folder: Path, contract: str, *, most_bits: int = 16) -> list[Vector]:
    """Write what a program reads; those that it is asked for.

    Args:
        most_bits: 8 leaves out pictures of 16 bits, for programs that take none.
    """
    asked = [one for one in vectors_of(contract) if one.pixels.itemsize * 8 <= most_bits]
    lines = []
    for vector in asked:
        pixels = vector.pixels
        (folder / f"{vector.name}.pixels").write_bytes(np.ascontiguousarray(pixels).tobytes())
        sizes = " ".join(map(str, pixels.shape))
        lines.append(f"{vector.name} {sizes} {pixels.itemsize * 8}\n")
    (folder / "probabilities.f32").write_bytes(probabilities_of(contract).tobytes())
    (folder / REQUESTS).write_text("".join(lines))
    return asked


def check_answers(folder: Path, asked: list[Vector]) -> None:
    """Compare what a program has written with what Python gives."""
    for vector in asked:
        tensor = np.fromfile(folder / f"{vector.name}.tensor", "<f4")
        check_tensor(vector, tensor.reshape(vector.tensor.shape))
        mask = np.fromfile(folder / f"{vector.name}.mask", np.uint8)
        check_mask(vector, mask.reshape(vector.mask.shape))


def check_tensor(vector: Vector, tensor: NDArray[np.float32]) -> None:
    scale = max(1.0, float(np.abs(vector.tensor).max()))
    worst = float(np.abs(tensor - vector.tensor).max())
    assert worst <= TENSOR_TOLERANCE * scale, f"{vector.name} differs by {worst}"


def check_mask(vector: Vector, mask: NDArray[np.uint8]) -> None:
    flips = int((mask != vector.mask).sum())
    assert flips * 10_000 <= FLIPS_PER_10K * mask.size, f"{vector.name}: {flips} pixels flip"
