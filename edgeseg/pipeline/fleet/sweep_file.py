"""SWEEP.toml: reading it strictly, and writing a start.

models = ["egeunet", "ulite"]          # required; names, or "package.module:Class" with a [spec]
targets = ["intel", "onnxruntime"]     # required
precisions = ["fp32", "int8"]
sizes = ["256x256"]                    # left out: each network's own
threads = [1, 2]
devices = ["local", "pi5"]
runs = 100                             # counted inferences of each artefact, at least
split = ["val", "test"]                # of the data, to score on
images = 50                            # at most so many are measured on
calibration_images = 64

[runtimes]                             # by target; left out: the target's own
intel = ["openvino", "native"]

[weights]                              # by model; paths are relative to this file
egeunet = "runs/egeunet/best.safetensors"

[data]                                 # by model; left out: the sample
egeunet = "data/isic2018"

[spec]                                 # of networks of your own
"tiny_net:TinyNet" = "tiny.toml"

[options.native]                       # of a runtime, by target
isa = "here"

[device.pi5]                           # how a device is reached
address = "ssh://pi@pi5.local"
python = "python3"
timeout_s = 600

[[exclude]]                            # combinations that are left out
model = "ulite"
precision = "int8"
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgeseg.errors import UnknownNameError, UsageError, reason_of
from edgeseg.storage.reading import read_text_file
from edgeseg.targets.transports.address import parse_device

from ..builder.device_settings import DeviceSettings
from .plan import AXES, Size, SweepPlan, size_text

LISTS = ("models", "targets", "precisions", "sizes", "threads", "devices", "split")
NUMBERS = ("runs", "images", "calibration_images")
PATHS = ("weights", "data", "spec")
TABLES = (*PATHS, "runtimes", "options", "device")
KEYS = (*LISTS, *NUMBERS, *TABLES, "exclude")
REQUIRED = ("models", "targets")
FIELDS = {"split": "splits", "spec": "specs", "device": "addresses"}
DEVICE_KEYS = ("address", "python", "program", "timeout_s")
LARGEST_SIDE = 8192


def read_sweep_file(path: Path) -> SweepPlan:
    """The plan in a file.

    Raises:
        UsageError: It cannot be read, or an entry is unknown or makes no sense.
    """
    try:
        record = tomllib.loads(read_text_file(path))
    except OSError as error:
        raise UsageError(f"Cannot read {path} ({error.strerror}). Check the path.") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no TOML: {reason_of(error)}. Correct it.") from error
    for name in record:
        if name not in KEYS:
            raise UnknownNameError("entry", name, KEYS, f"The sweep {path}")
    for name in REQUIRED:
        if name not in record:
            raise UsageError(
                f'{path} lacks {name}. Add a list, such as {name} = ["..."]; docs/fleet.md shows '
                "a whole file."
            )
    try:
        given = {name: _READERS[name](name, value) for name, value in record.items()}
        for name in PATHS:
            given[name] = {
                model: _require_path(name, path.parent / text)
                for model, text in given.get(name, {}).items()
            }
        return SweepPlan(**{FIELDS.get(name, name): value for name, value in given.items()})
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _texts(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise ValueError(f'{name} is {value!r}, which is no list of names. Write ["..."].')
    return tuple(value)


def _sizes(name: str, value: Any) -> tuple[Size, ...]:
    return tuple(map(_size, _texts(name, value)))


def _size(text: str) -> Size:
    height, cross, width = text.lower().partition("x")
    sides = [int(side) for side in (height, width) if side.isascii() and side.isdigit()]
    if not cross or len(sides) != 2 or not all(0 < side <= LARGEST_SIDE for side in sides):
        raise ValueError(
            f"{text!r} is no size. Write height x width up to {LARGEST_SIDE}, such as 256x256."
        )
    return sides[0], sides[1]


def _counts(name: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{name} is {value!r}, which is no list of numbers. Write [1, 2].")
    return tuple(_count(name, one) for one in value)


def _count(name: str, value: Any) -> int:
    if type(value) is not int or value < 1:  # true would count as 1
        raise ValueError(f"{name} is {value!r}, which is no whole number above zero. Correct it.")
    return value


def _table(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {value!r}, which is no table. Write [{name}].")
    return value


def _path_words(name: str, value: Any) -> dict[str, str]:
    found = _table(name, value)
    for owner, text in found.items():
        if not isinstance(text, str) or not text:
            raise ValueError(f"{owner} of [{name}] is {text!r}, which is no path. Write a text.")
    return found


def _runtimes(name: str, value: Any) -> dict[str, tuple[str, ...]]:
    return {
        target: _texts(f"{target} of [{name}]", own) for target, own in _table(name, value).items()
    }


def _options(name: str, value: Any) -> dict[str, dict[str, str]]:
    return {
        target: {
            option: _word(own_value)
            for option, own_value in _table(f"{name}.{target}", own).items()
        }
        for target, own in _table(name, value).items()
    }


def _word(value: Any) -> str:
    """An option's value as a command line has it."""
    return value if isinstance(value, str) else json.dumps(value)


def _devices(name: str, value: Any) -> dict[str, DeviceSettings]:
    found = {}
    for device, own in _table(name, value).items():
        table = _table(f"{name}.{device}", own)
        for key in table:
            if key not in DEVICE_KEYS:
                raise UnknownNameError("entry", key, DEVICE_KEYS, f"The device {device}")
        address = table.get("address")
        if not isinstance(address, str):
            raise ValueError(
                f"The device {device} has no address. Write address = "
                f'"ssh://USER@HOST" below [device.{device}].'
            )
        for key, kind in (("python", str), ("program", str), ("timeout_s", (int, float))):
            if key in table and not isinstance(table[key], kind):
                raise ValueError(f"{key} of the device {device} is {table[key]!r}. Correct it.")
        parse_device(address)
        settings = {key: own for key, own in table.items() if key != "address"}
        found[device] = DeviceSettings(address, **settings)
    return found


def _exclusions(name: str, value: Any) -> tuple[dict[str, tuple[Any, ...]], ...]:
    if not isinstance(value, list) or not all(isinstance(table, dict) and table for table in value):
        raise ValueError("exclude is no list of tables. Write [[exclude]] and values below it.")
    found = []
    for table in value:
        for axis in table:
            if axis not in AXES:
                raise UnknownNameError("axis", axis, AXES, "An [[exclude]]")
        found.append(
            {axis: tuple(own) if isinstance(own, list) else (own,) for axis, own in table.items()}
        )
    return tuple(found)


def _require_path(name: str, path: Path) -> Path:
    if not path.exists():
        raise ValueError(f"[{name}] names {path}, which does not exist. Correct the path.")
    return path


_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(LISTS, _texts),
    **dict.fromkeys(NUMBERS, _count),
    **dict.fromkeys(PATHS, _path_words),
    "sizes": _sizes,
    "threads": _counts,
    "runtimes": _runtimes,
    "options": _options,
    "device": _devices,
    "exclude": _exclusions,
}


def sweep_file_text(plan: SweepPlan) -> str:
    """A plan as a file that `read_sweep_file` reads, with a word about each entry."""

    def listed(values: object) -> str:
        return json.dumps(list(values) if isinstance(values, tuple) else values)

    sizes = [size_text(size) for size in plan.sizes if size is not None]
    lines = [
        "# edgeseg sweep THIS_FILE -o DIR; --dry-run shows the cells.",
        f"models = {listed(plan.models)}",
        f"targets = {listed(plan.targets)}",
        f"precisions = {listed(plan.precisions)}",
        f"sizes = {listed(sizes)}"
        if sizes
        else '# sizes = ["256x256"]  # else each network\'s own',
        f"threads = {listed(plan.threads)}",
        f"devices = {listed(plan.devices)}",
        f"runs = {plan.runs}  # counted inferences of each artefact, at least",
        f"split = {listed(plan.splits)}  # of the data, to score on",
        f"images = {plan.images}" if plan.images else "# images = 50  # at most",
    ]
    for name, paths in (("weights", plan.weights), ("data", plan.data), ("spec", plan.specs)):
        lines += ["", f"[{name}]  # by model; paths are relative to this file, or absolute"]
        lines += [
            f"{json.dumps(model)} = {json.dumps(str(path.resolve()))}"
            for model, path in paths.items()
        ]
    lines += [
        "",
        "# [runtimes]",
        '# intel = ["openvino", "native"]',
        "",
        "# [device.pi5]  # then add it to devices",
        '# address = "ssh://pi@pi5.local"',
        "",
        "# [[exclude]]",
        '# model = "ulite"',
        '# precision = "int8"',
    ]
    return "\n".join(lines) + "\n"
