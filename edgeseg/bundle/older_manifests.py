"""Manifests of older schemas, brought to today's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OLDER_VERSIONS = (2,)
# Schema 2 named the device only, each of which had one runtime.
RUNTIMES_OF_SCHEMA_2 = {
    "android": "litert",
    "intel": "openvino",
    "jetson": "tensorrt",
    "rtx": "tensorrt-rtx",
}
TUNING_KEYS_OF_SCHEMA_2 = {"choice": "candidate", "limits": "constraints", "objection": "violation"}
CANDIDATE_KEYS_OF_SCHEMA_2 = {"runtime": "variant"}


def upgraded(record: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest of today's schema; one that has it already comes back as it is.

    Raises:
        KeyError, TypeError, ValueError: It does not follow the schema that it names.
    """
    if record["schema_version"] != 2:
        return dict(record)
    artifact = dict(record["artifact"])
    artifact["settings"] = artifact.pop("runtime")
    target, precision = record["target"], record["precision"]
    upgraded = {
        **record,
        "schema_version": 3,
        "name": f"{record['model']['name']}-{target}-{precision}",
        "runtime": _runtime_of(target),
        "artifact": artifact,
    }
    placement = upgraded.pop("placement", None)
    upgraded["tuning"] = None if placement is None else upgraded_tuning(placement)
    return upgraded


def upgraded_tuning(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a tuning, which schema 2 called a placement.

    Raises:
        KeyError, TypeError, ValueError: It does not follow that schema.
    """
    if "choice" not in record:
        return dict(record)
    tuning = _renamed(record, TUNING_KEYS_OF_SCHEMA_2)
    identity = record["identity"]
    tuning["identity"] = {**identity, "runtime": _runtime_of(identity["target"])}
    for name in ("trials", "final"):
        tuning[name] = [_renamed(row, TUNING_KEYS_OF_SCHEMA_2) for row in record[name]]
    tuning["constraints"] = _constraints_of(record["limits"])
    for row in (tuning, *tuning["trials"]):
        row["changes"] = _changes_of(row)
    for row in (tuning, *tuning["trials"], *tuning["final"]):
        row["candidate"] = _renamed(row["candidate"], CANDIDATE_KEYS_OF_SCHEMA_2)
    return tuning


def _constraints_of(limits: Mapping[str, Any]) -> dict[str, Any]:
    """Schema 2 had a field for each metric."""
    fields = {"dice_pooled": "max_dice_drop", "hd95_px": "max_hd95_growth"}
    allowed = {metric: limits.get(name) for metric, name in fields.items()}
    return {
        "max_change": {metric: most for metric, most in allowed.items() if most is not None},
        "min_agreement": limits["min_agreement"],
    }


def _changes_of(row: dict[str, Any]) -> dict[str, float]:
    """Take what schema 2 had of each metric out of a row: the loss of Dice, the growth of HD95."""
    drop, growth = row.pop("dice_drop"), row.pop("hd95_growth", None)
    changes = {"dice_pooled": None if drop is None else 0.0 - drop, "hd95_px": growth}
    return {metric: change for metric, change in changes.items() if change is not None}


def _runtime_of(target: str) -> str:
    return RUNTIMES_OF_SCHEMA_2.get(target, target)


def _renamed(record: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in dict(record).items()}
