"""Measuring bundles on a device: what is compared with what, and the way to the device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from edgeseg.benchmarks.measure import measure
from edgeseg.benchmarks.participants import BenchSettings, Participant
from edgeseg.benchmarks.process import Worker
from edgeseg.benchmarks.report import Report
from edgeseg.targets.transports.adb import AdbTransport
from edgeseg.targets.transports.address import AdbAddress, SshAddress, parse_device
from edgeseg.targets.transports.ssh import SshTransport

from ..bundle.bundle import Bundle
from ..data.folder import FolderDataset
from ..errors import UsageError
from ..progress import SILENT, Progress
from ..records import RunnerSpec
from .bench import (
    bundle_key,
    name_bundles,
    note_candidates,
    reference_key,
    require_source,
    torch_runner,
)
from .devices.adb import AdbDevice
from .devices.ssh import SshDevice

FLOAT = "fp32"


class Place(Protocol):
    """A connected device that bundles are brought to. See `SshDevice` and `AdbDevice`."""

    @property
    def times_blocks(self) -> bool: ...

    @property
    def has_masks(self) -> bool: ...

    def install_tools(self) -> None:
        """Bring what all bundles need."""

    def install(self, bundle: Bundle, folder: str) -> RunnerSpec:
        """Bring what the device needs of a bundle."""

    def verify(self, bundle: Bundle, runner: RunnerSpec) -> tuple[str, dict[str, Any]]:
        """Replay the golden pair there; returns the numbers, and facts of the device."""

    def open_worker(self, name: str, runner: RunnerSpec) -> Worker:
        """Start what runs a participant."""


LONGEST_TIMEOUT_S = 24 * 3600.0


@dataclass(frozen=True)
class DeviceSettings:
    """Attributes:
    device: As `parse_device` takes it.
    python: Interpreter there, for ssh.
    benchmark_model: LiteRT's program of that name, for adb: a file here or an absolute path there.
    timeout_s: How long one step on the device may take.
    """

    device: str
    python: str = "python3"
    benchmark_model: str | None = None
    timeout_s: float = 600.0

    def __post_init__(self) -> None:
        if not 0 < self.timeout_s <= LONGEST_TIMEOUT_S:
            raise UsageError(
                f"--timeout {self.timeout_s:g} is no time. Give seconds above 0, up to "
                f"{LONGEST_TIMEOUT_S:.0f}."
            )


def bench_on_device(
    bundles: Sequence[Bundle],
    dataset: FolderDataset,
    settings: BenchSettings,
    device: DeviceSettings,
    progress: Progress = SILENT,
) -> Report:
    """Measure bundles on a device in one interleaved run.

    An FP32 bundle among them is the baseline of those of the same network and target. Where there
    is none, latencies stand by themselves, without a speed-up.

    Args:
        bundles: Of one model, weights and contract each.
        dataset: Labelled images for accuracy, which are decoded here.

    Raises:
        DeviceError: The device is not reached, lacks something, or fails.
        BenchmarkError: A bundle has no source, or what runs on the device fails.
    """
    address = parse_device(device.device)
    if isinstance(address, AdbAddress) and device.python != DeviceSettings.python:
        raise UsageError("--device-python is for ssh://: over adb no Python runs. Leave it out.")
    if not isinstance(address, AdbAddress) and device.benchmark_model is not None:
        raise UsageError("--benchmark-model is for adb://. Leave it out.")
    name_bundles(bundles)
    for bundle in bundles:
        bundle.check_files()
        require_source(bundle)
    with open_place(address, device, settings) as place:
        runners = {}
        environment: dict[str, Any] = {}
        with progress.stage(f"copy to {address} and verify there", total=len(bundles)) as stage:
            place.install_tools()
            for number, bundle in enumerate(bundles):
                runner = place.install(bundle, f"bundle{number}")
                numbers, facts = place.verify(bundle, runner)
                versions = {**environment.get("versions", {}), **facts.get("versions", {})}
                environment = {**facts, "versions": versions}
                stage.note(f"{bundle.name}: {numbers}")
                stage.advance()
                runners[bundle_key(bundle)] = runner
        report = measure(
            device_participants(bundles, runners, str(address), place),
            dataset,
            settings,
            progress,
            open_worker=place.open_worker,
            environment=environment,
        )
        note_candidates(report, bundles)
        return report


@contextlib.contextmanager
def open_place(
    address: SshAddress | AdbAddress, device: DeviceSettings, settings: BenchSettings
) -> Iterator[Place]:
    """Connect to a device; what was brought and started there is gone when the block ends."""
    if isinstance(address, AdbAddress):
        with AdbTransport(address, timeout_s=device.timeout_s) as adb:
            yield AdbDevice(adb, device.benchmark_model, settings.threads)
    else:
        with SshTransport(address, python=device.python, timeout_s=device.timeout_s) as ssh:
            yield SshDevice(ssh, settings.threads)


def device_participants(
    bundles: Sequence[Bundle], runners: dict[str, RunnerSpec], device: str, place: Place
) -> list[Participant]:
    """What to measure, baselines first.

    Args:
        runners: Of each bundle, by its key.
        device: Its address.
    """
    names = name_bundles(bundles)
    participants = []
    for bundle in sorted(bundles, key=lambda bundle: bundle.manifest.precision != FLOAT):
        manifest = bundle.manifest
        key = bundle_key(bundle)
        baseline = find_baseline(bundle, bundles)
        participant = Participant(
            key=key,
            name=names[key],
            model=manifest.model.name,
            target=manifest.target,
            precision=manifest.precision,
            runner=runners[key],
            reference=torch_runner(bundle),
            reference_key=reference_key(bundle),
            inputs=bundle.inputs,
            outputs=bundle.outputs,
            artifact_bytes=bundle.artifact_bytes,
            baseline_key=bundle_key(baseline) if baseline else "",
            device=device,
            times_blocks=place.times_blocks,
            has_masks=place.has_masks,
        )
        if participant.is_baseline:
            participant = replace(participant, name=f"{participant.name} (float baseline)")
        participants.append(participant)
    return participants


def find_baseline(bundle: Bundle, bundles: Sequence[Bundle]) -> Bundle | None:
    """The first FP32 bundle of the same network, target and runtime."""

    def identity(one: Bundle) -> tuple[str, str, str]:
        return one.manifest.target, one.manifest.runtime, reference_key(one)

    for candidate in bundles:
        if candidate.manifest.precision == FLOAT and identity(candidate) == identity(bundle):
            return candidate
    return None
