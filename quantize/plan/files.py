"""Plans on disk: `plan.json`, which people can read and compare, and `plan.safetensors`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgeseg.errors import CalibrationError, UsageError
from edgeseg.storage.atomic import adding_files
from edgeseg.storage.reading import read_json

from .older_plans import upgrade_plan
from .quant_plan import Provenance, QuantPlan, WeightGrid

PLAN_NAME = "plan.json"
TENSORS_NAME = "plan.safetensors"
SCHEMA_VERSION = 2
OLDEST_VERSION = 1


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _TensorRecord(_Record):
    shape: tuple[int, ...]
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class _ImageRecord(_Record):
    """Older plans hold the name of the file as well, which is not read."""

    sha256: str

    @model_validator(mode="before")
    @classmethod
    def _without_name(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: part for key, part in value.items() if key != "name"}


class _ProvenanceRecord(_Record):
    method: str
    settings: dict[str, Any]
    graph_sha256: str
    images: tuple[_ImageRecord, ...]
    seed: int | None
    agreement: dict[str, float]


class _PlanRecord(_Record):
    schema_version: Literal[2]
    ranges: dict[str, float]
    zero_points: dict[str, int]
    float_nodes: tuple[str, ...]
    weights: dict[str, _TensorRecord]
    biases: dict[str, _TensorRecord]
    provenance: _ProvenanceRecord


def save_plan(plan: QuantPlan, folder: Path) -> None:
    """Write `plan.json` and `plan.safetensors` to a folder, and replace the files of older plans.

    The files appear together, so that a reader never finds half a plan.
    """
    from safetensors.numpy import save_file

    record = {"schema_version": SCHEMA_VERSION, **plan.to_json()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with adding_files(folder) as partial:
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        (partial / PLAN_NAME).write_text(text, encoding="utf-8")
        contents = {name: np.ascontiguousarray(array) for name, array in plan.tensors().items()}
        save_file(contents, partial / TENSORS_NAME)


def load_plan(folder: Path) -> QuantPlan:
    """Read a plan that `save_plan` has written, also that of an older edgeseg.

    Raises:
        UsageError: The folder holds no plan.
        CalibrationError: The plan is damaged, or a newer edgeseg wrote it.
    """
    path = folder / PLAN_NAME
    if not path.is_file():
        raise UsageError(
            f"{folder} holds no quantisation plan: it has no {PLAN_NAME}. Name the folder of a "
            "plan, or a bundle that was built in INT8 by a calibrator."
        )
    try:
        content = read_json(path)
        version = content.get("schema_version") if isinstance(content, dict) else None
        if not isinstance(version, int) or not OLDEST_VERSION <= version <= SCHEMA_VERSION:
            raise CalibrationError(
                f"{path} has schema version {version}; this edgeseg reads {OLDEST_VERSION} to "
                f"{SCHEMA_VERSION}. Calibrate anew, or install the edgeseg that wrote it."
            )
        tensors = _read_tensors(folder / TENSORS_NAME)
        if version < SCHEMA_VERSION:
            content, tensors = upgrade_plan(content, tensors)
        record = _PlanRecord.model_validate(content)
        plan = _plan_from(record, tensors)
    except (ValidationError, ValueError, KeyError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CalibrationError(
            f"{path} is not a complete plan: {reason}. Copy it again, or calibrate anew."
        ) from error
    if {"schema_version": SCHEMA_VERSION, **plan.to_json()} != record.model_dump(mode="json"):
        raise CalibrationError(
            f"{folder / TENSORS_NAME} does not belong to {PLAN_NAME}: their checksums differ. "
            "Copy both again, or calibrate anew."
        )
    return plan


def _read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path.name}: {error}") from error


def _plan_from(record: _PlanRecord, tensors: dict[str, NDArray[Any]]) -> QuantPlan:
    origin = record.provenance
    return QuantPlan(
        ranges=record.ranges,
        float_nodes=record.float_nodes,
        zero_points=record.zero_points,
        weights={
            name: WeightGrid(tensors[f"{name}.values"], tensors[f"{name}.scales"])
            for name in record.weights
        },
        biases={name: tensors[f"{name}.bias"] for name in record.biases},
        provenance=Provenance(
            method=origin.method,
            settings=origin.settings,
            graph_sha256=origin.graph_sha256,
            images=tuple(image.sha256 for image in origin.images),
            seed=origin.seed,
            agreement=origin.agreement,
        ),
    )
