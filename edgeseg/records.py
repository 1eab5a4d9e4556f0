"""Plain data that the parts of edgeseg hand each other. No torch, no backend."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

VERSION = "0.1.0"  # of edgeseg


def is_onnx_file(model: str) -> bool:
    """Whether the name of a model is that of an ONNX file."""
    return model.lower().endswith(".onnx")


def short_name(model: str) -> str:
    """Name of a model for folders: that of the class or of the ONNX file, in small letters, for a
    user's own, and that of the folder for one that lies in it."""
    if is_onnx_file(model):
        return Path(model).stem.lower()
    return model.rpartition(":")[2].rstrip("/").rpartition("/")[2].lower()


def sha256_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


ONNX_FORMAT = "onnx"  # of a graph that is not compiled for a runtime yet


@dataclass(frozen=True)
class Artifact:
    """A network on disk, compiled for a runtime or on its way there.

    Attributes:
        runtime: Name of the runtime that it is compiled for; empty for an ONNX graph.
        precision: "fp32", "fp16", "bf16" or "int8".
        format: What the files are, such as "openvino-ir". A quantiser or a runner takes one.
        folder: Where the files lie.
        files: Paths relative to `folder`, the one to load first.
        settings: What the runtime must apply when it loads the files.
        toolchain: Version of each package that had a hand in it.
        note: A few words about the artefact for people, or nothing.
    """

    runtime: str
    precision: str
    format: str
    folder: Path
    files: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    toolchain: dict[str, str] = field(default_factory=dict)
    note: str = ""

    @property
    def size_bytes(self) -> int:
        return sum((self.folder / name).stat().st_size for name in self.files)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "folder": str(self.folder)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any], folder: Path | None = None) -> Artifact:
        """Read what `to_json` gave.

        Args:
            folder: Where the files lie now; None takes the folder of the record.
        """
        place = Path(record["folder"]) if folder is None else folder
        return cls(**{**record, "folder": place, "files": tuple(record["files"])})

    def quantized(self, folder: Path, **versions: str) -> Artifact:
        """The INT8 form of the same files that lies in `folder`.

        Args:
            versions: Of the packages that made it, beside those before.
        """
        toolchain = {**self.toolchain, **versions}
        return replace(self, precision="int8", folder=folder, toolchain=toolchain, note="")


@dataclass(frozen=True)
class LayerTime:
    """How long one layer of a loaded artefact takes.

    Attributes:
        name: As the runtime has it.
        kind: Of operator, as the runtime has it.
        precision: That it computed in, such as "f32" or "i8"; empty where that is not told.
        milliseconds: Mean of the quickest fifth of the runs with counters, or that of all where the
            runtime tells no other, in the proportion of those to all.
        origins: Names of nodes or values of the ONNX graph that it computes, or names that a
            rewrite has made of such; empty for what the runtime added.
        reads: Names of the layers whose results it reads, where the runtime tells.
    """

    name: str
    kind: str
    precision: str
    milliseconds: float
    origins: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()


@dataclass(frozen=True)
class LayerProfile:
    """A loaded artefact, layer by layer, in the order of a run.

    Attributes:
        run_ms: Of a run without counters: mean of the quickest fifth, which a busy neighbour
            leaves alone.
        counted_ms: Of a run with counters, which cost time; so as well.
    """

    layers: tuple[LayerTime, ...]
    run_ms: float
    counted_ms: float


@dataclass(frozen=True)
class QuantizationRecord:
    """How an artefact was quantised, for the manifest.

    Attributes:
        method: Registered name of the quantiser.
        settings: Its settings, all of them.
        images: sha256 of each calibration image, in their order.
        layers: What is known of the result, such as how many operators became INT8.
    """

    method: str
    settings: dict[str, Any]
    images: tuple[str, ...]
    layers: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        record = asdict(self)
        record["images"] = [{"sha256": digest} for digest in self.images]
        return record


@dataclass(frozen=True)
class Diagnosis:
    """What a runtime can do on this machine.

    Attributes:
        runtime: Its name.
        builds: Precisions that it can make here.
        runs: Precisions that would run here.
        versions: Installed version of each package it uses; None when missing.
        missing: One (package, command that adds it) for each that is missing.
        notes: Other facts, such as the device's name.
    """

    runtime: str
    builds: tuple[str, ...]
    runs: tuple[str, ...]
    versions: dict[str, str | None]
    missing: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        record = asdict(self)
        record["missing"] = [{"package": name, "install": how} for name, how in self.missing]
        return record
