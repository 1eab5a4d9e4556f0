"""Measuring bundles on a device: what is compared with what, and the way to the device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from edgeseg.benchmarks.measure import measure
from edgeseg.benchmarks.participants import Participant, on_threads
from edgeseg.benchmarks.report import Report
from edgeseg.benchmarks.settings import BenchSettings
from edgeseg.targets.transports.adb import AdbTransport
from edgeseg.targets.transports.address import AdbAddress, SshAddress
from edgeseg.targets.transports.ssh import SshTransport

from ...bundle.bundle import Bundle
from ...data.folder import FolderDataset
from ...progress import SILENT, Progress
from ..builder.bundle_reference import reference_runner, require_named
from ..builder.device_settings import DeviceSettings
from ..devices.adb import AdbDevice
from ..devices.base import Device, DeviceRunner
from ..devices.ssh import SshDevice
from .device_link import device_address
from .local import (
    bundle_key,
    name_bundles,
    note_candidates,
    reference_key,
    require_source,
)

FLOAT = "fp32"


def bench_on_device(
    bundles: Sequence[Bundle],
    dataset: FolderDataset,
    settings: BenchSettings,
    device: DeviceSettings,
    progress: Progress = SILENT,
    *,
    model: str | None = None,
) -> Report:
    """Measure bundles on a device in one interleaved run.

    An FP32 bundle among them is the baseline of those of the same network and target. Where there
    is none, latencies stand by themselves, without a speed-up.

    Args:
        bundles: Of one model, weights and contract each.
        dataset: Labelled images for accuracy, which are decoded here.
        model: See `reference_runner`.

    Raises:
        DeviceError: The device is not reached, lacks something, or fails.
        BenchmarkError: A bundle has no source, or what runs on the device fails.
    """
    address = device_address(device)
    name_bundles(bundles)
    require_named(bundles, model)
    for bundle in bundles:
        bundle.check_files()
        require_source(bundle)
    with open_device(address, device, settings) as connected:
        runners = {}
        environment: dict[str, Any] = {}
        with progress.stage(f"copy to {address} and verify there", total=len(bundles)) as stage:
            for number, bundle in enumerate(bundles):
                runner = connected.install(bundle, f"bundle{number}")
                numbers, facts = runner.verify()
                versions = {**environment.get("versions", {}), **facts.get("versions", {})}
                environment = {**facts, "versions": versions}
                stage.note(f"{bundle.name}: {numbers}")
                stage.advance()
                runners[bundle_key(bundle)] = runner
        participants = device_participants(bundles, runners, str(address), model)
        report = measure(
            [*participants, *on_threads(participants, settings.sweep_threads)],
            dataset,
            settings,
            progress,
            environment=environment,
        )
        note_candidates(report, bundles)
        return report


@contextlib.contextmanager
def open_device(
    address: SshAddress | AdbAddress, device: DeviceSettings, settings: BenchSettings
) -> Iterator[Device]:
    """Connect to a device; what was brought and started there is gone when the block ends."""
    if isinstance(address, AdbAddress):
        with AdbTransport(address, timeout_s=device.timeout_s) as adb:
            yield AdbDevice(adb, device.program, settings.threads)
    else:
        with SshTransport(address, python=device.python, timeout_s=device.timeout_s) as ssh:
            yield SshDevice(ssh, settings.threads)


def device_participants(
    bundles: Sequence[Bundle],
    runners: dict[str, DeviceRunner],
    device: str,
    model: str | None = None,
) -> list[Participant]:
    """What to measure, baselines first.

    Args:
        runners: Of each bundle, by its key.
        device: Its address.
        model: See `reference_runner`.
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
            reference=reference_runner(bundle, model),
            reference_key=reference_key(bundle),
            inputs=bundle.inputs,
            outputs=bundle.outputs,
            artifact_bytes=bundle.artifact_bytes,
            baseline_key=bundle_key(baseline) if baseline else "",
            device=device,
            bundle_sha256=bundle.identity,
        )
        if participant.is_baseline:
            participant = replace(participant, name=f"{participant.name} (FP32 baseline)")
        participants.append(participant)
    return participants


def find_baseline(bundle: Bundle, bundles: Sequence[Bundle]) -> Bundle | None:
    """The first FP32 bundle of the same network, target and runtime."""

    def identity(bundle: Bundle) -> tuple[str, str, str]:
        return bundle.manifest.target, bundle.manifest.runtime, reference_key(bundle)

    for candidate in bundles:
        if candidate.manifest.precision == FLOAT and identity(candidate) == identity(bundle):
            return candidate
    return None
