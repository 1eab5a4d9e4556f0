"""Makes the vectors that every language's preprocessing is tested with.

    python tests/vectors/make_vectors.py

images/NAME.*            pictures as they are found: turned, grey, with alpha, of 16 bits, large
contracts/NAME.json      contracts as kits carry them, of a small input
probabilities/NAME.f32   what a network of that contract might give, (C, h, w)
tensors/IMAGE.CONTRACT.f32   the input tensor, (C, h, w)
masks/IMAGE.CONTRACT.png     the mask at the picture's size, class indices
vectors.json             size and type of each picture as it is decoded

All numbers are float32, little endian. Each picture goes with each contract.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from edgeseg.bundle.contract_words import FLOAT_TENSOR, input_words, output_words
from edgeseg.contract import InputContract, MeanStd, MinMax, OutputContract
from edgeseg.data.images import read_image

FOLDER = Path(__file__).parent
SIZE = 24, 32
TWO = ("background", "lesion")
THREE = ("background", "left", "right")
CONTRACTS = {
    "stretched": (InputContract(*SIZE, 8, MinMax(0, 255)), OutputContract(TWO, 1)),
    "normed": (
        InputContract(*SIZE, 8, MeanStd((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))),
        OutputContract(THREE, 3),
    ),
    "grey": (
        InputContract(*SIZE, 8, MinMax(), channels=1, white=4095),
        OutputContract(TWO, 1, threshold=0.3),
    ),
}


def main() -> None:
    for name in ("images", "contracts", "probabilities", "tensors", "masks"):
        (FOLDER / name).mkdir(exist_ok=True)
    make_images(FOLDER / "images")
    probabilities = {name: make_probabilities(outputs) for name, (_, outputs) in CONTRACTS.items()}
    for name, (inputs, outputs) in CONTRACTS.items():
        (FOLDER / f"probabilities/{name}.f32").write_bytes(probabilities[name].tobytes())
        record = describe(inputs, outputs)
        (FOLDER / f"contracts/{name}.json").write_text(json.dumps(record, indent=2) + "\n")
    images = {}
    for path in sorted((FOLDER / "images").iterdir()):
        for name, (inputs, outputs) in CONTRACTS.items():
            pixels = read_image(path, inputs.channels)
            tensor = inputs.prepare(pixels).astype("<f4")
            (FOLDER / f"tensors/{path.stem}.{name}.f32").write_bytes(tensor.tobytes())
            mask = outputs.restore(probabilities[name][None], *pixels.shape[:2])
            Image.fromarray(mask).save(FOLDER / f"masks/{path.stem}.{name}.png", optimize=True)
        images[path.name] = {
            "height": pixels.shape[0],
            "width": pixels.shape[1],
            "dtype": str(pixels.dtype),
        }
    (FOLDER / "vectors.json").write_text(json.dumps({"images": images}, indent=2) + "\n")


def describe(inputs: InputContract, outputs: OutputContract) -> dict[str, object]:
    """A contract as kits carry it."""
    ends = {
        "input": (inputs.to_json(), inputs.channels, input_words(inputs, FLOAT_TENSOR)),
        "output": (outputs.to_json(), outputs.channels, output_words(outputs, SIZE, FLOAT_TENSOR)),
    }
    return {
        "schema_version": 1,
        **{
            end: {
                **record,
                "channels": channels,
                "height": SIZE[0],
                "width": SIZE[1],
                "tensor": {**FLOAT_TENSOR, "shape": [1, channels, *SIZE]},
                "words": list(words),
            }
            for end, (record, channels, words) in ends.items()
        },
    }


def make_probabilities(outputs: OutputContract) -> np.ndarray:
    """Smooth fields (C, h, w) with edges that no threshold falls on over a long way."""
    y, x = np.meshgrid(*(np.linspace(0, 1, side) for side in SIZE), indexing="ij")
    first = 1 / (1 + np.exp(25 * (np.hypot(y - 0.55, 1.2 * (x - 0.4)) - 0.3)))
    if outputs.channels == 1:
        return first[None].astype("<f4")
    second = 0.9 / (1 + np.exp(30 * (np.hypot(y - 0.3, x - 0.8) - 0.22)))
    fields = np.stack([np.full_like(first, 0.45), first, second])
    return (fields / fields.sum(0)).astype("<f4")


def scene(height: int, width: int, seed: int, noise: float = 12) -> np.ndarray:
    """A picture with gradients, a dark blob and noise, (H, W, 3) uint8."""
    random = np.random.default_rng(seed)
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    blob = np.exp(-(((y - 0.5) / 0.25) ** 2) - ((x - 0.45) / 0.2) ** 2)[..., None]
    skin = np.stack([200 + 30 * x, 150 + 40 * y, 120 + 50 * x * y], axis=-1)
    dark = np.array([70.0, 40.0, 35.0])
    picture = skin * (1 - blob) + dark * blob
    if noise:
        picture = picture + random.normal(0, noise, picture.shape)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def make_images(folder: Path) -> None:
    def save(name: str, picture: Image.Image, **options: object) -> None:
        picture.save(folder / name, **options)  # type: ignore[arg-type]

    def photo(height: int, width: int, seed: int, noise: float = 12) -> Image.Image:
        return Image.fromarray(scene(height, width, seed, noise))

    save("odd.png", photo(61, 97, 1))
    save("photo.jpg", photo(150, 200, 2), quality=92)
    for name, orientation in (("turned", 6), ("upside_down", 3), ("mirrored", 5)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        save(f"{name}.jpg", photo(40, 90, 3), quality=92, exif=exif)
    save("grey.png", photo(50, 40, 4).convert("L"))
    transparent = photo(47, 33, 5).convert("RGBA")
    transparent.putalpha(Image.fromarray(scene(47, 33, 6)[..., 0]))
    save("alpha.png", transparent)
    deep = scene(45, 31, 7)[..., 0].astype(np.uint16) * 19  # some lie above a white of 4095
    save("deep.png", Image.fromarray(deep))
    save("cmyk.jpg", photo(48, 64, 8).convert("CMYK"), quality=92)
    save("large.jpg", photo(3000, 4000, 9, noise=0), quality=60)
    save("column.png", photo(50, 1, 10))
    save("row.png", photo(1, 50, 11))
    save("pixel.png", photo(1, 1, 12))
    save("flat.png", Image.new("RGB", (20, 20), (90, 90, 90)))
    save("palette.png", photo(35, 52, 13).quantize(31))
    save("bits.png", photo(36, 44, 14).convert("1"))
    save("same_size.png", photo(*SIZE, 15))


if __name__ == "__main__":
    main()
