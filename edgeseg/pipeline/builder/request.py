"""What a build is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgeseg.data.folder import FolderDataset, open_folder, open_sample
from edgeseg.errors import UsageError


@dataclass(frozen=True)
class BuildRequest:
    """What to build.

    Attributes:
        model, target: Names; see `edgeseg.targets.devices`.
        runtime: One of the device's runtimes; None takes its own one.
        precision: A name; "auto" measures which form is fastest.
        output: Folder of the bundle.
        weights: Checkpoint; None takes the shipped one.
        data: Folder with real images, for calibration (train) and checks (val); None takes the
            sample that the package carries.
        spec: Describes a model of the user's own, "package.module:Class".
        calibration_images: At most so many are used.
        method: Quantisation method; None takes the runtime's first.
        method_options: Of the method, by name.
        options: Of the runtime, by name.
        size: (height, width) of the input; None is the model's default.
        search_seconds: For "auto": from then on it only asks what it must know.
        max_dice_drop: For "auto": of pooled Dice; None is the default.
        max_hd95_growth: For "auto": share of mean HD95; None is the default.
        min_agreement: For "auto": share of pixels with the float network's label; None asks for it
            only without labels.
        tuning: For "auto": a bundle or file whose tuning is taken, so that nothing is
            measured.
        overwrite: Replace a bundle at `output`.
        use_cache: False builds everything anew.
    """

    model: str
    target: str
    precision: str
    output: Path
    runtime: str | None = None
    weights: Path | None = None
    data: Path | None = None
    spec: Path | None = None
    calibration_images: int = 64
    method: str | None = None
    method_options: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    search_seconds: float = 240.0
    max_dice_drop: float | None = None
    max_hd95_growth: float | None = None
    min_agreement: float | None = None
    tuning: Path | None = None
    overwrite: bool = False
    use_cache: bool = True


def open_split(data: Path | None, *splits: str, labelled: bool = True) -> FolderDataset:
    """Splits of a data folder, or of the sample."""
    if data is None:
        return open_sample(splits)
    if not data.is_dir():
        raise UsageError(f"No data folder at {data}. Check --data.")
    return open_folder(data, splits, labelled=labelled)
