"""What a build is asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgeseg.contract import AXIAL
from edgeseg.data.folder import FolderDataset, open_folder, open_sample
from edgeseg.errors import UsageError
from edgeseg.records import short_name
from edgeseg.targets import find_runtime
from edgeseg.targets.devices import find_device

from .device_settings import DeviceSettings

AUTO = "auto"
BUNDLES = Path("bundles")


@dataclass(frozen=True)
class BuildRequest:
    """What to build.

    Attributes:
        model, target: Names; see `edgeseg.targets.devices`.
        runtime: One of the device's runtimes; None takes its own one, and "auto" the fastest of
            those that compute on this machine.
        precision: A name; "auto" measures which form is fastest. None takes "auto" where the
            runtime computes on this machine, else the device's default.
        output: Folder of the bundle; None takes bundles/MODEL-TARGET-PRECISION.
        weights: Checkpoint; None takes the shipped one.
        data: Folder with real images, for calibration (train) and checks (val); None takes the
            sample that the package carries.
        spec: Describes a model of the user's own, "package.module:Class".
        calibration_images: At most so many are used.
        method: Quantisation method; None takes the runtime's first.
        method_options: Of the method, by name.
        options: Of the runtime, by name.
        size: (height, width) of the input; None is the model's default.
        search_seconds: For "auto": from then on it only asks what it must know. With a device they
            are seconds of its time.
        max_change: For "auto": how much of a metric may be lost, by its name in
            `edgeseg.metrics.table`, or of a quantity of `edgeseg.metrics.quantities`; None takes
            the limit away, and of others the default holds.
        min_agreement: For "auto": share of pixels with the FP32 reference's label, in place of the
            limit on flips.
        accept_uncertain: For "auto": take a form whose limits the images cannot tell, if what they
            show lies within.
        tuning: For "auto": a bundle or file whose tuning is taken, so that nothing is
            measured.
        device: For "auto": where candidates take turns; None measures them here.
        overwrite: Replace a bundle at `output`.
        use_cache: False builds everything anew.
    """

    model: str
    target: str
    precision: str | None = None
    output: Path | None = None
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
    max_change: Mapping[str, float | None] = field(default_factory=dict)
    min_agreement: float | None = None
    accept_uncertain: bool = False
    tuning: Path | None = None
    device: DeviceSettings | None = None
    overwrite: bool = False
    use_cache: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.search_seconds < math.inf:
            raise UsageError(
                f"--search-seconds {self.search_seconds:g} is no time. Give a number from 0 on."
            )


def completed(request: BuildRequest) -> BuildRequest:
    """The request with a precision and an output folder.

    Raises:
        UnknownNameError: There is no such target, or the device has no such runtime.
    """
    precision = request.precision or default_precision(
        request.target, request.runtime, on_device=request.device is not None
    )
    names = (short_name(request.model), request.target, request.runtime, precision)
    output = request.output or BUNDLES / "-".join(name for name in names if name)
    return replace(request, precision=precision, output=output)


def default_precision(target: str, runtime: str | None = None, *, on_device: bool = False) -> str:
    """What is built where no precision is named: "auto" where it can be measured.

    Args:
        on_device: Whether a device is named that measures.
    """
    if on_device:
        return AUTO
    return AUTO if measurable_runtimes(target, runtime) else find_device(target).default_precision


def measurable_runtimes(target: str, runtime: str | None = None) -> tuple[str, ...]:
    """Those of the runtimes that are asked for whose speed this machine can tell."""
    device = find_device(target)
    if not device.is_measured:
        return ()
    names = device.runtimes if runtime == AUTO else (device.resolve_runtime(runtime),)
    return tuple(name for name in names if not find_runtime(name).fallback_runtime())


def open_split(
    data: Path | None, *splits: str, labelled: bool = True, axis: int = AXIAL
) -> FolderDataset:
    """Splits of a data folder, whose volumes are cut along an axis, or of the sample."""
    if data is None:
        return open_sample(splits)
    if not data.is_dir():
        raise UsageError(f"No data folder at {data}. Check --data.")
    return open_folder(data, splits, labelled=labelled, axis=axis)
