"""What a place that embeds networks states and does, and what it is given."""

from __future__ import annotations

import abc
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..bundle.bundle import Bundle
from ..bundle.contract_words import input_words, output_words, tensor_form
from ..contract import WHITE
from ..errors import TargetError

SOURCES = Path(__file__).with_name("sources")
CONTRACT_FILE = "contract.json"
CONTRACT_VERSION = 1
LONGEST_NAME = 100
# What half a step of 8 bits in the golden image may do to its mask.
ROUNDED_LIMITS = 0.1, 25.0
ENDING_SIGNS = ("*/", '""' + '"', "'" * 3, "\\")


@dataclass(frozen=True)
class Parity:
    """Whether a kit gives the golden mask, where it was run.

    Attributes:
        where: What ran it, such as "node 20, wasm".
        flips_per_10k: Pixels per 10,000 whose label differs from the golden mask; None where it
            was not run here.
        max_abs_diff: Largest difference of a probability; None where that is not known.
        milliseconds: Median of a run of the network; None where that was not taken.
        reason: Why it was not run.
    """

    where: str
    flips_per_10k: float | None = None
    max_abs_diff: float | None = None
    milliseconds: float | None = None
    reason: str = ""

    @property
    def was_run(self) -> bool:
        return self.flips_per_10k is not None

    def __str__(self) -> str:
        if not self.was_run:
            return f"not run here ({self.reason})"
        return f"{self.flips_per_10k:.2f} of 10,000 pixels flip ({self.where})"

    def to_json(self) -> dict[str, Any]:
        if not self.was_run:
            return {"where": self.where, "status": "not run here", "reason": self.reason}
        return {
            "where": self.where,
            "status": "run",
            "flips_per_10k": self.flips_per_10k,
            "max_abs_diff": self.max_abs_diff,
            "milliseconds": self.milliseconds,
        }


@dataclass(frozen=True)
class Kit:
    """A bundle on its way into an application.

    Attributes:
        bundle: Whose files were checked.
        packages: Folder with npm packages that are there already; None fetches them where a
            surface needs them.
    """

    bundle: Bundle
    packages: Path | None = None

    @property
    def runtime(self) -> str:
        return self.bundle.manifest.runtime

    @cached_property
    def contract(self) -> dict[str, Any]:
        """Everything that other languages must know, as numbers and in words.

        `input` and `output` are the manifest's records; each has a `tensor` more, with the
        artefact's own `layout` ("NCHW" or "NHWC"), `dtype` and `shape`.
        """
        bundle, settings = self.bundle, self.bundle.manifest.artifact.settings
        inputs, outputs = bundle.inputs, bundle.outputs
        size = inputs.height, inputs.width
        forms = {end: tensor_form(settings, end) for end in ("input", "output")}
        tensors = {
            "input": {**forms["input"], "shape": _shape(forms["input"], inputs.channels, size)},
            "output": {**forms["output"], "shape": _shape(forms["output"], outputs.channels, size)},
        }
        return {
            "schema_version": CONTRACT_VERSION,
            "input": {
                **inputs.to_json(),
                "channels": inputs.channels,
                "tensor": tensors["input"],
                "words": list(input_words(inputs, forms["input"])),
            },
            "output": {
                **outputs.to_json(),
                "height": inputs.height,
                "width": inputs.width,
                "tensor": tensors["output"],
                "words": list(output_words(outputs, size, forms["output"])),
            },
        }

    @property
    def artifact_files(self) -> dict[str, Path]:
        """The artefact's files by their names, the one to load first."""
        return {
            PurePosixPath(name).name: self.bundle.folder / name
            for name in self.bundle.manifest.artifact.files
        }

    @cached_property
    def golden_image(self) -> NDArray[np.uint8]:
        """(H, W, C), 8 bits: an image of 16 bits is brought to these."""
        image, _ = self.bundle.golden_pair()
        if image.dtype == np.uint8:
            return image
        white = self.bundle.inputs.white or WHITE
        scaled = np.minimum(image.astype(np.float64), white) * (255 / white)
        return np.asarray(np.rint(scaled), np.uint8)

    @cached_property
    def golden_mask(self) -> NDArray[np.float32]:
        """Probabilities (1, C, h, w)."""
        return self.bundle.golden_pair()[1]

    @cached_property
    def golden_limits(self) -> tuple[float, float]:
        """Largest difference of a probability, and flips per 10,000 pixels, that a kit may show.

        They are the bundle's, but where its golden image has 16 bits and was rounded to 8.
        """
        golden = self.bundle.manifest.golden
        if self.bundle.golden_pair()[0].dtype == np.uint8:
            return golden.max_abs_diff, golden.max_flips_per_10k
        rounded_diff, rounded_flips = ROUNDED_LIMITS
        return max(golden.max_abs_diff, rounded_diff), max(golden.max_flips_per_10k, rounded_flips)

    def write_contract(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.contract, indent=2) + "\n", encoding="utf-8")

    def write_golden(self, folder: Path) -> None:
        """Write the golden pair as any language reads it.

        image.bin   (H, W, C) uint8
        mask.bin    probabilities (C, h, w), float32, little endian
        labels.bin  (H, W) uint8: the mask at the image's size
        golden.json sizes, and the limits of a difference
        """
        folder.mkdir(parents=True, exist_ok=True)
        image, mask = self.golden_image, self.golden_mask
        labels = self.bundle.outputs.restore(mask, image.shape[0], image.shape[1])
        (folder / "image.bin").write_bytes(np.ascontiguousarray(image).tobytes())
        (folder / "mask.bin").write_bytes(mask.astype("<f4").tobytes())
        (folder / "labels.bin").write_bytes(labels.tobytes())
        record = {
            "image": {
                "height": image.shape[0],
                "width": image.shape[1],
                "channels": image.shape[2],
            },
            "mask": dict(zip(("channels", "height", "width"), mask.shape[1:], strict=True)),
            "max_abs_diff": self.golden_limits[0],
            "max_flips_per_10k": self.golden_limits[1],
        }
        (folder / "golden.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _shape(form: Mapping[str, Any], channels: int, size: tuple[int, int]) -> list[int]:
    return [1, *size, channels] if form["layout"] == "NHWC" else [1, channels, *size]


class Surface(abc.ABC):
    """Where networks are embedded. Subclasses state the class variables and write the kit.

    Attributes:
        name: As registered, and as the option of the command line.
        title: One line for people.
        runtimes: What computes a bundle of that runtime there, in a few words.
        refusals: Runtimes that could be expected and are not there: the reason and what to do.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    runtimes: ClassVar[Mapping[str, str]]
    refusals: ClassVar[Mapping[str, str]] = {}

    def require(self, kit: Kit) -> None:
        """Refuse a bundle that cannot be embedded here.

        Raises:
            TargetError: It says why, and what to build in its place.
        """
        require_plain_names(kit)
        runtime = kit.runtime
        if runtime not in self.runtimes:
            possible = ", ".join(self.runtimes)
            reason = self.refusals.get(
                runtime, f"it runs {possible} only; build with one of them as --runtime."
            )
            raise TargetError(
                f"{kit.bundle.folder} is for {runtime}, which --{self.name} cannot embed: {reason}"
            )
        for end in ("input", "output"):
            dtype = kit.contract[end]["tensor"]["dtype"]
            if dtype != "float32":
                raise TargetError(
                    f"The {end} of {kit.bundle.folder} is {dtype}, and kits take float32. Build "
                    "the bundle with another --option."
                )

    @abc.abstractmethod
    def write(self, kit: Kit, folder: Path) -> None:
        """Write all files but embed.json into the empty `folder`.

        Raises:
            EdgesegError: What the kit needs is not there; the message says how to get it.
        """

    def check(self, kit: Kit, folder: Path) -> Parity:
        """Run the finished kit in `folder` on its golden pair, where that is possible here.

        Nothing is written into `folder`.
        """
        return Parity(self.title, reason="there is no device of that kind here")

    def next_step(self, folder: Path) -> str:
        """What to do with the kit: a command, or a sentence."""
        return f"Read {folder / 'README.md'}."


def require_plain_names(kit: Kit) -> None:
    """Refuse names that would end a comment or a literal of what is written.

    Raises:
        TargetError: It says which name.
    """
    manifest = kit.bundle.manifest
    names = (manifest.name, manifest.model.name, *kit.bundle.outputs.classes)
    for name in (*names, manifest.model.weights_licence or ""):
        is_long = len(name) > LONGEST_NAME
        if is_long or not name.isprintable() or any(sign in name for sign in ENDING_SIGNS):
            raise TargetError(
                f"{kit.bundle.folder} names something {name[:60]!a}, which cannot stand in source "
                f"code: a name has at most {LONGEST_NAME} printable signs, and none of "
                f"{' '.join(ENDING_SIGNS)}. Build it with plain names."
            )


def fill(text: str, values: Mapping[str, str]) -> str:
    """Put values in the place of names between @, such as @WIDTH@; those in values stay."""
    return re.sub("@([A-Z0-9_]+)@", lambda found: values.get(found[1], found[0]), text)


def copy_sources(folder: Path, to: Path, values: Mapping[str, str] | None = None) -> None:
    """Copy the files of a folder of `sources/`; texts get `values` as in `fill`."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        place = to / path.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        if values and path.suffix not in (".png", ".wasm"):
            place.write_text(fill(path.read_text(encoding="utf-8"), values), encoding="utf-8")
        else:
            shutil.copyfile(path, place)
