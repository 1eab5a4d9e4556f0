"""The tuning of an earlier build, taken in place of a search."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeseg.bundle.bundle import open_bundle
from edgeseg.bundle.manifest import TuningRecord
from edgeseg.bundle.older_manifests import upgraded_tuning
from edgeseg.errors import UsageError, reason_of
from edgeseg.storage.reading import read_json

from .context import BuildContext

TITLES = {"weights": "set of weights", "options": "set of runtime options", "shipped": "checkpoint"}
LIKENESS = {"cpu": "CPU", "cpu_flags": "instruction sets", "versions": "versions"}


def read_tuning_record(path: Path) -> TuningRecord:
    """The record of a bundle, or of a JSON file that holds one.

    Raises:
        BundleError: A folder that is no bundle.
        UsageError: There is none.
    """
    if path.is_dir():
        found = open_bundle(path).manifest.tuning
        if found is None:
            raise UsageError(
                f"The bundle {path} was not built with --precision auto, so it says nothing of "
                "tuning. Name one that was."
            )
        return found
    try:
        record = read_json(path)
        return TuningRecord.model_validate(upgraded_tuning(record))
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or reason_of(error)
        raise UsageError(
            f"{path} holds no tuning ({reason}). Name a bundle that was built with --precision "
            "auto, or a file with the 'tuning' of its manifest."
        ) from error


def require_same_build(context: BuildContext, tuning: TuningRecord, path: Path) -> None:
    """Refuse a tuning of another network, device or runtime.

    Raises:
        UsageError: Names what differs.
    """
    calibration = list(context.calibration.digests)
    ours = {**context.identity(), "calibration": calibration}
    for name, value in json.loads(json.dumps(ours)).items():
        if tuning.identity.get(name) != value:
            raise UsageError(
                f"The tuning in {path} is for another {TITLES.get(name, name)}. Build with the "
                "same --model, --weights, --target, --runtime, --option, --size, --data and "
                "--calibration-images, or search anew with --precision auto."
            )


def warn_unlike(tuning: TuningRecord, machine: Mapping[str, Any], where: str) -> str:
    """What a machine has otherwise than the one that a tuning was measured on; empty where
    nothing that is known of both differs.

    Args:
        where: Names the machine.
    """
    known = tuning.machine
    names = [name for name in LIKENESS if name in known and name in machine]
    differing = [
        f"{LIKENESS[name]} {_shown(known[name])} there and {_shown(machine[name])} on {where}"
        for name in names
        if known[name] != machine[name] and not _agrees(known[name], machine[name])
    ]
    if not differing:
        return ""
    measured = tuning.measured_on or "another machine"
    return (
        f"Warning: the tuning was measured on {measured}, which differs: {'; '.join(differing)}. "
        "What is fastest there need not be here; search anew with --precision auto without "
        "--tuning, and with --device for a device."
    )


def _agrees(known: Any, found: Any) -> bool:
    """Whether versions that both name are the same."""
    if not isinstance(known, Mapping) or not isinstance(found, Mapping):
        return False
    return all(known[name] == found[name] for name in known.keys() & found.keys())


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {version}" for name, version in value.items()) or "none"
    return ", ".join(value) or "none" if isinstance(value, list) else str(value)
