"""Trained bundles of MONAI as networks: configs/inference.json and models/model.pt in a folder.

A bundle's configuration is a program: MONAI evaluates what begins with "$" and calls whatever
"_target_" names. Nothing of that is done here. The network's class is one of MONAI's own networks,
its arguments are plain values, and a bundle that needs more is refused with the way out.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...contract import COLORS, InputContract, MeanStd, MinMax, OutputContract
from ...errors import UsageError, reason_of
from ...lazy import require
from ...storage.reading import parse_json, read_text_file
from ..construction import NONE, PLACE
from ..spec import TURNED_PATH, ModelSpec, ShippedWeights, are_names

CONFIGS, WEIGHTS, METADATA = "configs", "models", "metadata.json"
NAMES = ("inference.json", "inference.yaml", "inference.yml")
NETWORKS = "monai.networks.nets"
KEYS = ("network_def", "network", "net")  # under which configurations keep the network
DEEPEST = 32  # references that lead to each other
RANGES = {(0.0, 1.0): 1.0, (0.0, 255.0): 1 / 255}  # of an image's values: standard deviation
STRETCH = ("ScaleIntensity", "ScaleIntensityd", "ScaleIntensityD", "ScaleIntensityDict")
BY_RANGE = tuple(name.replace("Intensity", "IntensityRange") for name in STRETCH)
LOADERS = ("LoadImage", "LoadImaged", "LoadImageD", "LoadImageDict")
SHAPING = re.compile(r"Crop|Pad|Flip|Rotat|Transpose|Spacing|Orientation|Zoom|Affine|Grid|Lambda")
INTENSITY = re.compile(r"Intensity|Normaliz|Standard|Histogram")  # transforms that change values
OTHER_KEYS = frozenset({"_target_", "_desc_", "_disabled_", "_requires_", "_mode_"})


def is_monai_bundle(name: str) -> bool:
    """Whether a name is that of a folder with a configuration of MONAI."""
    return any((Path(name) / CONFIGS / file).is_file() for file in NAMES)


def read_monai_bundle(folder: Path, spec_path: Path | None = None) -> ModelSpec:
    """Spec of the network in a bundle of MONAI; parameters and MACs are counted on it.

    Args:
        folder: Of the bundle.
        spec_path: Must be None: the bundle describes itself.

    Raises:
        UsageError: The bundle lacks something, is not of 2D images, or needs code of its own.
        MissingBackendError: MONAI or PyTorch is not installed.
    """
    config, path = _read_config(folder)
    place, arguments = _read_network(config, path)
    way_out = (
        f"Describe it as a network of your own: --model {place} --spec FILE --weights "
        f"{folder / WEIGHTS / 'model.pt'}; docs/custom-models.md shows the file."
    )
    if spec_path is not None:
        raise UsageError(f"{folder} describes itself, and --spec describes it again. {way_out}")
    if arguments.get("spatial_dims", arguments.get("dimensions", 2)) != 2:
        raise UsageError(
            f"The network of {folder} takes volumes, and EdgeSeg compiles networks of 2D images. "
            "Take a bundle whose spatial_dims is 2."
        )
    metadata = _read_record(folder / CONFIGS / METADATA)
    arguments = {key: _plain(value) for key, value in arguments.items()}
    try:
        transforms = _transforms(config, path)
        is_turned = _is_turned(transforms)
        inputs, outputs = _contracts(metadata["network_data_format"], transforms, is_turned)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{folder / CONFIGS / METADATA} does not tell the network's images and classes: "
            f"{_what_is_wrong(error)}. {way_out}"
        ) from error
    name = re.sub(r"[^\w-]+", "-", folder.resolve().name).strip("-").lower() or "monai"
    spec = ModelSpec(
        name=name,
        import_path=TURNED_PATH if is_turned else place,
        title=_text(metadata, "name", name),
        source=_text(metadata, "authors", "a bundle of MONAI"),
        parameters=0,
        macs=0,
        inputs=inputs,
        outputs=outputs,
        weights=ShippedWeights(
            "model",
            data=_text(metadata, "data_source", "not stated"),
            licence=_text(metadata, "copyright", "not stated"),
            folder=folder / WEIGHTS,
            ending=".pt",
        ),
        arguments={"place": place, "arguments": arguments} if is_turned else arguments,
        returns="logits",
    )
    return spec.counted()


def _text(metadata: Mapping[str, Any], key: str, default: str) -> str:
    value = metadata.get(key)
    return " ".join(value.split())[:200] if isinstance(value, str) and value.strip() else default


def _read_config(folder: Path) -> tuple[dict[str, Any], Path]:
    path = next(folder / CONFIGS / name for name in NAMES if (folder / CONFIGS / name).is_file())
    return _read_record(path), path


def _read_network(config: Mapping[str, Any], path: Path) -> tuple[str, dict[str, Any]]:
    """Place of the network's class and its arguments, with references followed.

    Raises:
        UsageError: The configuration has no network of MONAI's own, or needs code.
    """
    found = next((config[key] for key in KEYS if isinstance(config.get(key), dict)), None)
    target = (found or {}).get("_target_")
    if found is None or not isinstance(target, str):
        raise UsageError(
            f"{path} has no network: none of {', '.join(KEYS)} has a _target_. Name the network's "
            "class with --model package.module:Class, and describe it with --spec."
        )
    resolve = _Resolver(config, path)
    arguments = {key: resolve.value(value) for key, value in found.items() if key not in OTHER_KEYS}
    return _place_of(target, path), arguments


def _what_is_wrong(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it has no entry '{error.args[0]:.80}'"
    return f"{type(error).__name__}: {reason_of(error)}" if str(error) else type(error).__name__


def _place_of(target: str, path: Path) -> str:
    """Place of one of MONAI's networks, named as MONAI's configurations do.

    Raises:
        UsageError: It is another class, whose code a bundle may bring.
    """
    nets = require(NETWORKS, purpose="A bundle of MONAI")
    module, _, name = target.rpartition(".")
    found = getattr(nets, name, None) if f"{module}.".startswith((".", f"{NETWORKS}.")) else None
    if not inspect.isclass(found):
        raise UsageError(
            f"{path} names {target[:100]} for its network, which is none of MONAI's own; code of a "
            "bundle is not run. If you trust it, name the class with --model package.module:Class, "
            "and describe it with --spec."
        )
    return f"{NETWORKS}:{name}"


class _Resolver:
    """Follows references in a configuration, and evaluates nothing."""

    def __init__(self, config: Mapping[str, Any], path: Path) -> None:
        self.config = config
        self.path = path

    def value(self, value: Any, depth: int = 0) -> Any:
        """A plain value.

        Raises:
            UsageError: It is code, or a reference to nothing.
        """
        if depth > DEEPEST:
            raise UsageError(
                f"{self.path} has references that lead to each other. Correct the configuration."
            )
        if isinstance(value, dict):
            if "_target_" in value:
                self._refuse(str(value["_target_"]))
            return {str(key): self.value(one, depth + 1) for key, one in value.items()}
        if isinstance(value, list):
            return [self.value(one, depth + 1) for one in value]
        if isinstance(value, str) and value.startswith(("@", "$@")):
            return self.value(self.referred(value.lstrip("$")[1:]), depth + 1)
        if isinstance(value, str) and value.startswith(("$", "%")):
            self._refuse(value)
        return value

    def referred(self, name: str) -> Any:
        """What "@name" means; a "#" or "::" leads into it."""
        found: Any = self.config
        try:
            for part in re.split(r"::|#", name):
                found = found[int(part)] if isinstance(found, list) else found[part]
        except (LookupError, TypeError, ValueError) as error:
            if not re.fullmatch(r"[\w:#]+", name):
                self._refuse(f"@{name}")
            raise UsageError(
                f"{self.path} refers to @{name[:100]}, which it does not have. Correct the "
                "configuration."
            ) from error
        return found

    def _refuse(self, code: str) -> None:
        raise UsageError(
            f"{self.path} computes an argument of the network by code, {code[:100]!r}, and code of "
            "a bundle is not run. Write the value there, or describe the network with --model "
            "package.module:Class and --spec."
        )


def _plain(value: Any) -> Any:
    """A value as specs write it: nothing in it is taken for a name of code."""
    if value is None:
        return NONE
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, str) and (value == NONE or PLACE.fullmatch(value)):
        return {"text": value}
    return value


def _contracts(
    record: Mapping[str, Any], transforms: list[dict[str, Any]], is_turned: bool
) -> tuple[InputContract, OutputContract]:
    """What the network takes and gives, from `network_data_format` of the metadata.

    Args:
        is_turned: The metadata have the columns of a picture first, as MONAI reads it.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: It does not tell, or tells what EdgeSeg
            does not do.
    """
    (image,), (mask,) = record["inputs"].values(), record["outputs"].values()
    channels = image["num_channels"]
    if channels not in COLORS:
        raise ValueError(f"images have {channels} channels, and not one of {[*COLORS]}")
    sides = image["spatial_shape"]
    width, height = sides if is_turned else reversed(sides)
    if type(height) is not int or type(width) is not int:
        raise ValueError(f"spatial_shape {image['spatial_shape']} is no height and width in pixels")
    normalization = _normalization(image["value_range"], channels, transforms)
    count = mask["num_channels"]
    names = [str(mask["channel_def"][str(place)]) for place in range(count)]
    if not are_names(names):
        raise ValueError(f"channel_def names {names}, and a name consists of printable letters")
    if count == 1:
        # One map tells one class; what is not of it is background.
        names = ["background", names[0]]
    inputs = InputContract(height, width, _stride(height, width), normalization, channels=channels)
    return inputs, OutputContract(tuple(names), count)


def _transforms(config: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    """The transforms before the network, each with `_target_` as the bare name of its class."""
    preparing = config.get("preprocessing")
    found = preparing.get("transforms", ()) if isinstance(preparing, dict) else ()
    if isinstance(found, str) and found.startswith("@"):
        found = _Resolver(config, path).referred(found[1:])
    told = [one for one in found if isinstance(one, dict) and not one.get("_disabled_")]
    return [{**one, "_target_": str(one.get("_target_")).rpartition(".")[2]} for one in told]


def _is_turned(transforms: list[dict[str, Any]]) -> bool:
    """Whether the network sees pictures with columns first, as all readers of MONAI give them.

    Raises:
        ValueError: Transforms do more to the shape of a picture, or the reader is made by code.
    """
    for one in transforms:
        name = one["_target_"]
        if SHAPING.search(name):
            raise ValueError(f"its transform {name} changes the shape of pictures")
        if name in LOADERS and not isinstance(one.get("reader"), (str, type(None))):
            raise ValueError(f"the reader of {name} is no name")
        if name in LOADERS and str(one.get("reader")).startswith("$"):
            raise ValueError(f"the reader of {name} is code, which is not run")
    return not any(
        one["_target_"] in LOADERS and one.get("reverse_indexing") is False for one in transforms
    )


def _normalization(
    value_range: Any, channels: int, transforms: list[dict[str, Any]]
) -> MinMax | MeanStd:
    """How values become the network's, by the transforms of the configuration.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: They do something else.
    """
    low, high = map(float, value_range)
    by_pixel = MeanStd((0.0,) * channels, (RANGES.get((low, high), 1.0),) * channels)
    changing = [one for one in transforms if INTENSITY.search(one["_target_"])]
    if not changing:
        if (low, high) not in RANGES:
            raise ValueError(f"value_range {[low, high]} is neither [0, 1] nor [0, 255]")
        return by_pixel
    (one,) = changing
    name = one["_target_"]
    if name in STRETCH and one.get("factor") is None and not one.get("channel_wise"):
        return MinMax(float(one.get("minv", 0.0)), float(one.get("maxv", 1.0)))
    ends = tuple(one.get(key) for key in ("a_min", "a_max", "b_min", "b_max"))
    if name in BY_RANGE and ends in ((0, 255, 0, 1), (0, 255, None, None)):
        return MeanStd((0.0,) * channels, (1.0 if ends[3] == 1 else 1 / 255,) * channels)
    raise ValueError(f"its transform {name} changes values in a way that EdgeSeg does not have")


def _stride(height: int, width: int) -> int:
    """The largest power of two, 32 at most, of which both sides are multiples."""
    sizes = (32, 16, 8, 4, 2, 1)
    return next(size for size in sizes if height % size == 0 and width % size == 0)


def _read_record(path: Path) -> dict[str, Any]:
    """A configuration in JSON or YAML.

    Raises:
        UsageError: There is none, or it is damaged.
        MissingBackendError: It is YAML, and its reader is not installed.
    """
    if not path.is_file():
        raise UsageError(
            f"The bundle lacks {path}. Take the whole bundle, or describe the network with --model "
            "package.module:Class and --spec."
        )
    try:
        text = read_text_file(path)
        if path.suffix != ".json":
            yaml = require("yaml", purpose=f"Reading {path.name}")
            text = json.dumps(yaml.safe_load(text))
        record = parse_json(text)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read ({reason_of(error)}). Correct it.") from error
    except Exception as error:  # errors of YAML have a tree of their own
        if type(error).__module__.partition(".")[0] != "yaml":
            raise
        raise UsageError(f"{path} is no YAML ({reason_of(error)}). Correct it.") from error
    if not isinstance(record, dict):
        raise UsageError(f"{path} is no table of names and values. Correct it.")
    return record
