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
    for row in (tuning, *tuning["trials"], *tuning["final"]):
        row["candidate"] = _renamed(row["candidate"], CANDIDATE_KEYS_OF_SCHEMA_2)
    return tuning


def _runtime_of(target: str) -> str:
    return RUNTIMES_OF_SCHEMA_2.get(target, target)


def _renamed(record: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in dict(record).items()}
