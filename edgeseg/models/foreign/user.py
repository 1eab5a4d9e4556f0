"""Networks that users bring: a class that can be imported, and a TOML file that describes it.

title = "My network"
classes = ["background", "lesion"]
channels = 1               # 1: sigmoid mask of two classes; else one a class, softmax
returns = "logits"         # what forward() gives: "logits" or "probabilities"
output = "out"             # where forward() returns several maps: which, by name or index
height = 256
width = 256
stride = 32                # height and width are multiples of it
input_channels = 3         # 1: grey, to which any picture is converted; may be left out
white = 4095               # of images of 16 bits, where it is not 65535
window = "file"            # of DICOM and NIfTI: the file's own; or a table, see below
ignore = 255               # value in masks of which nothing is known, where there is one

[normalization]
kind = "mean_std"          # or "min_max" with low and high
mean = [0.485, 0.456, 0.406]  # of pixels in 0..1, a number for each channel
std = [0.229, 0.224, 0.225]

[window]                   # of DICOM and NIfTI; may be left out
centre = 40                # in the file's own unit, such as Hounsfield's
width = 400                # black is half of it below the centre, white half above

[volume]                   # how volumes are cut into slices; may be left out
axis = "axial"             # or 0 (left to right), 1 (to the front), 2 (upwards, axial)

[arguments]                # keyword arguments of the class or function; may be left out
width = 32
"""

from __future__ import annotations

import contextlib
import sys
import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ...contract import AXIAL, COLORS, InputContract, MeanStd, MinMax, OutputContract
from ...data.medical.windows import require_window
from ...errors import UsageError, reason_of
from ...lazy import require_installed
from ...storage.reading import read_text_file
from ..construction import require_plain
from ..spec import ModelSpec, are_names

REQUIRED = ("classes", "channels", "returns", "height", "width", "stride", "normalization")
OF_IMAGES = ("window", "volume", "white", "ignore")
OPTIONAL = ("title", "arguments", "output", "input_channels", *OF_IMAGES)
AXES = {"axial": AXIAL, 0: 0, 1: 1, 2: 2}
LARGEST_STD = 2.0  # of pixels in 0..1; 0.5 is the largest that any pixels have
NORMALIZATIONS: dict[str, type[MinMax] | type[MeanStd]] = {"mean_std": MeanStd, "min_max": MinMax}


def read_user_model(import_path: str, spec_path: Path | None) -> ModelSpec:
    """Spec of a user's network; parameters and MACs are counted on it.

    Args:
        import_path: "package.module:Class", importable from here or from the working folder.
        spec_path: TOML file as this module describes.

    Raises:
        UsageError: The file or the class is missing or does not make sense.
    """
    if spec_path is None:
        raise UsageError(
            f"The network {import_path} is not one of edgeseg's own. Describe it in a TOML file "
            "and give that with --spec (edgeseg distill: --teacher-spec, --student-spec); "
            "docs/custom-models.md shows one. Commands without that option take edgeseg's own."
        )
    _require_import_path(import_path)
    record = _read_toml(spec_path)
    spec = _described(import_path, spec_path, record)
    require_installed(["torch"], purpose=f"The model {import_path}")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)  # at the end: nothing there hides a library
    return _counted(spec, spec_path, is_told="input_channels" in record)


def read_description(import_path: str, spec_path: Path) -> ModelSpec:
    """What a TOML file says of a network; nothing is counted, and no code is imported.

    Raises:
        UsageError: The file is missing or does not make sense.
    """
    return _described(import_path, spec_path, _read_toml(spec_path))


def with_images_of(spec: ModelSpec, spec_path: Path) -> ModelSpec:
    """A registered network that sees images as a TOML file says.

    Args:
        spec_path: TOML file with some of `OF_IMAGES` and nothing else.

    Raises:
        UsageError: It holds something else, or does not make sense.
    """
    record = _parse_toml(spec_path)
    others = [name for name in record if name not in OF_IMAGES]
    if others:
        raise UsageError(
            f"{spec_path} has {', '.join(others)}, which {spec.name} states itself. Of a network "
            f"that edgeseg has, --spec tells how images are read: leave {', '.join(OF_IMAGES)}."
        )
    try:
        _require_whole_numbers(record)
        inputs = replace(
            spec.inputs,
            white=record.get("white", spec.inputs.white),
            window=_read_window(record),
            axis=_read_axis(record),
        )
        outputs = replace(spec.outputs, ignore=record.get("ignore", spec.outputs.ignore))
        return replace(spec, inputs=inputs, outputs=outputs)
    except ValueError as error:
        raise UsageError(
            f"{spec_path} does not say how images are read: {error} Correct that entry."
        ) from error


def _described(import_path: str, spec_path: Path, record: dict[str, Any]) -> ModelSpec:
    try:
        return _spec_of_record(import_path, record)
    except ValueError as error:
        raise UsageError(
            f"{spec_path} does not describe a network: {error} Correct that entry."
        ) from error


def _counted(spec: ModelSpec, spec_path: Path, *, is_told: bool) -> ModelSpec:
    """The spec with what one forward pass tells, of grey images where the network takes no others.

    Raises:
        UsageError: See `ModelSpec.counted`; the network takes other channels than the spec says.
    """
    try:
        return spec.counted()
    except UsageError:
        other = _with_own_channels(spec)
        if other is None:
            raise
        if not is_told and other.inputs.channels == 1 and _is_one_number(spec.inputs):
            return other
        count = other.inputs.channels
        raise UsageError(
            f"{spec.import_path} takes images of {count} channels, and {spec_path} says "
            f"{spec.inputs.channels}. Write input_channels = {count} there, with {count} numbers "
            "each in mean and std; docs/custom-models.md tells which images are read."
        ) from None


def _with_own_channels(spec: ModelSpec) -> ModelSpec | None:
    """The spec with the number of channels that the network takes; None where it takes none."""
    normalization = spec.inputs.normalization
    for count in COLORS:
        if isinstance(normalization, MeanStd):
            normalization = MeanStd(normalization.mean[:1] * count, normalization.std[:1] * count)
        inputs = replace(spec.inputs, channels=count, normalization=normalization)
        with contextlib.suppress(UsageError):
            return replace(spec, inputs=inputs).counted()
    return None


def _is_one_number(inputs: InputContract) -> bool:
    """Whether all channels are normalised alike, so that grey ones can be, too."""
    how = inputs.normalization
    return isinstance(how, MinMax) or len({*zip(how.mean, how.std, strict=True)}) == 1


def _parse_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text_file(path))
    except OSError as error:
        raise UsageError(f"Cannot read {path} ({error.strerror}). Check the path.") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no TOML: {reason_of(error)}. Correct it.") from error


def _read_toml(path: Path) -> dict[str, Any]:
    record = _parse_toml(path)
    missing = [name for name in REQUIRED if name not in record]
    unknown = [name for name in record if name not in (*REQUIRED, *OPTIONAL)]
    faults = [f"lacks {', '.join(missing)}"] if missing else []
    faults += [f"has the unknown entry {name}" for name in unknown]
    if faults:
        listing = " and ".join(faults)
        raise UsageError(f"{path} {listing}. docs/custom-models.md shows a whole file.")
    return record


def _require_import_path(import_path: str) -> None:
    module, _, name = import_path.partition(":")
    is_file = "/" in module or module.endswith(".py")
    if is_file or not all(word.isidentifier() for word in (*module.split("."), *name.split("."))):
        raise UsageError(
            f"--model {import_path} is not written as package.module:Class. Write tiny_net:TinyNet "
            "for the class TinyNet in tiny_net.py."
        )


def _require_kinds(record: dict[str, Any]) -> None:
    """Refuse entries of another type than the contracts expect.

    Raises:
        ValueError: Names the entry.
    """
    for name in ("channels", "height", "width", "stride", "input_channels"):
        value = record.get(name, 3)
        if type(value) is not int or value < 1:  # True would count as 1
            raise ValueError(f"{name} is {value!r}, which is not a whole number above zero.")
    _require_whole_numbers(record)
    classes = record["classes"]
    if not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
        raise ValueError(f"classes is {classes!r}, which is not a list of names.")
    if not are_names(classes):
        raise ValueError(f"classes is {classes!r}, and a name consists of printable letters.")
    if len(set(classes)) < len(classes):
        raise ValueError(f"classes is {classes!r}, which names a class twice.")
    if not isinstance(record.get("title", ""), str):
        raise ValueError(f"title is {record['title']!r}, which is not text.")
    output = record.get("output", 0)
    if type(output) not in (int, str):
        raise ValueError(
            f"output is {output!r}, which is neither a name nor the index of what forward returns."
        )
    if not isinstance(record["returns"], str):
        raise ValueError(f"returns is {record['returns']!r}, which is not text.")
    for name in ("normalization", "arguments"):
        if not isinstance(record.get(name, {}), dict):
            raise ValueError(f"{name} is {record[name]!r}, which is not a table, [{name}].")
    require_plain(record.get("arguments", {}), "arguments")


def _require_whole_numbers(record: dict[str, Any]) -> None:
    for name in ("white", "ignore"):
        if type(record.get(name, 0)) is not int:
            raise ValueError(f"{name} is {record[name]!r}, which is not a whole number.")


def _read_normalization(settings: dict[str, Any]) -> MinMax | MeanStd:
    """The normalization of a table with `kind`.

    Raises:
        ValueError: Names the entry.
    """
    kind = settings.get("kind")
    if not isinstance(kind, str) or kind not in NORMALIZATIONS:
        raise ValueError(
            f"kind of [normalization] is {kind!r}, which is not one of {', '.join(NORMALIZATIONS)}."
        )
    normalization = NORMALIZATIONS[kind]
    known = {field.name for field in fields(normalization)}
    for name, value in settings.items():
        if name not in known:
            raise ValueError(f"[normalization] of kind {kind} has no entry {name}.")
        numbers = value if isinstance(value, list) else [value]
        is_list = name in ("mean", "std")
        is_number = all(type(number) in (int, float) for number in numbers)
        if name != "kind" and not (is_number and isinstance(value, list) is is_list):
            wanted = "a list of numbers, one for each channel" if is_list else "a number"
            raise ValueError(f"{name} of [normalization] is {value!r}, which is not {wanted}.")
    made = normalization(**settings)
    if isinstance(made, MeanStd):
        _require_unit_range(made)
    return made


def _read_window(record: dict[str, Any]) -> tuple[float, float] | str | None:
    """The window of DICOM and NIfTI files, as the contract has it.

    Raises:
        ValueError: Names the entry.
    """
    window = record.get("window")
    if isinstance(window, dict):
        names = {"center": "centre"}
        table = {names.get(name, name): value for name, value in window.items()}
        if set(table) != {"centre", "width"}:
            raise ValueError(
                f"[window] holds {', '.join(map(str, window)) or 'nothing'}; it is centre and "
                "width, two numbers."
            )
        window = (table["centre"], table["width"])
    require_window(window)
    if window is not None and "white" in record:
        raise ValueError("white and window both say what is white; one of them must go.")
    read: tuple[float, float] | str | None = window
    return read


def _read_axis(record: dict[str, Any]) -> int:
    """The axis of [volume].

    Raises:
        ValueError: Names the entry.
    """
    table = record.get("volume", {})
    if not isinstance(table, dict) or set(table) - {"axis"}:
        raise ValueError(f"volume is {table!r}, which is not a table [volume] with axis alone.")
    axis = table.get("axis", "axial")
    if type(axis) not in (int, str) or axis not in AXES:
        raise ValueError(f"axis of [volume] is {axis!r}, which is not 'axial', 0, 1 or 2.")
    return AXES[axis]


def _channels_of(normalization: MinMax | MeanStd) -> int:
    """The number of channels where the spec does not say it: as many as it has means."""
    return len(normalization.mean) if isinstance(normalization, MeanStd) else 3


def _require_unit_range(normalization: MeanStd) -> None:
    """Refuse statistics of pixels in 0..255, as some toolboxes write them.

    Raises:
        ValueError: Says what to write.
    """
    is_mean = any(abs(mean) > 1 for mean in normalization.mean)
    is_std = any(std > LARGEST_STD for std in normalization.std)
    if is_mean or is_std:
        mean = [round(mean / 255, 4) if is_mean else mean for mean in normalization.mean]
        std = [float(f"{std / 255:.4g}") for std in normalization.std]
        raise ValueError(
            f"mean {list(normalization.mean)} and std {list(normalization.std)} of [normalization] "
            "are those of pixels in 0..255, and pixels are divided by 255 first. Write "
            f"mean = {mean} and std = {std}."
        )


def _spec_of_record(import_path: str, record: dict[str, Any]) -> ModelSpec:
    _require_kinds(record)
    name = import_path.partition(":")[2]
    normalization = _read_normalization(record["normalization"])
    inputs = InputContract(
        record["height"],
        record["width"],
        record["stride"],
        normalization,
        channels=record.get("input_channels", _channels_of(normalization)),
        white=record.get("white"),
        window=_read_window(record),
        axis=_read_axis(record),
    )
    return ModelSpec(
        name=name.lower(),
        import_path=import_path,
        title=record.get("title", name),
        source="brought by the user",
        parameters=0,
        macs=0,
        inputs=inputs,
        outputs=OutputContract(
            tuple(record["classes"]), record["channels"], ignore=record.get("ignore")
        ),
        weights=None,
        arguments=dict(record.get("arguments", {})),
        returns=record["returns"],
        output=record.get("output"),
    )
