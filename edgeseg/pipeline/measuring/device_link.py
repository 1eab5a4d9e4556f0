"""The way to a device that may go away while candidates take turns on it, and come back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from edgeseg.errors import DeviceError, DeviceLostError, UsageError
from edgeseg.targets.transports.adb import AdbTransport
from edgeseg.targets.transports.address import AdbAddress, SshAddress, parse_device
from edgeseg.targets.transports.ssh import SshTransport

from ...progress import SILENT, Progress
from ..builder.context import BuildContext
from ..builder.device_settings import DeviceSettings
from ..devices.adb_candidates import AdbCandidates
from ..devices.candidates import Brought, CandidateDevice, Tried
from ..devices.ssh_candidates import SshCandidates
from ..evaluator.contest import THREADS

PAUSE_S = 3.0  # between two attempts
Open = Callable[[], contextlib.AbstractContextManager[CandidateDevice]]


class DeviceLink:
    """Use it as a context; what was started on the device ends with it.

    Args:
        address: For messages.
        open_device: Connects; what it gives is used for one connection.
        brought: What was copied there, over all connections.
        patience_s: Longest time to wait for a device that went away.

    Attributes:
        interruptions: How often it went away.
        fingerprint: What the device is.
    """

    def __init__(
        self,
        address: str,
        open_device: Open,
        brought: Brought,
        patience_s: float,
        progress: Progress = SILENT,
        pause_s: float = PAUSE_S,
    ) -> None:
        self.address = address
        self.brought = brought
        self.interruptions = 0
        self.fingerprint: dict[str, Any] = {}
        self._open_device = open_device
        self._patience_s = patience_s
        self._pause_s = pause_s
        self._progress = progress
        self._stack = contextlib.ExitStack()
        self._device: CandidateDevice | None = None
        self._busy_s = 0.0  # of the connections before

    def __enter__(self) -> Self:
        """Connect.

        Raises:
            DeviceError: The device is not reached, or lacks something.
        """
        self._connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._disconnect()

    @property
    def device(self) -> CandidateDevice:
        assert self._device is not None
        return self._device

    @property
    def busy_s(self) -> float:
        """Seconds that steps on the device have taken, over all connections."""
        return self._busy_s + (self._device.busy_s if self._device is not None else 0.0)

    def await_return(self, lost: DeviceLostError) -> None:
        """Connect again to a device that went away.

        Args:
            lost: How that was noticed.

        Raises:
            DeviceError: It does not come back in time; the message says what is kept.
            UsageError: Another device answers.
        """
        self.interruptions += 1
        self._disconnect()
        deadline = time.monotonic() + self._patience_s
        reason: DeviceError = lost
        with self._progress.stage(f"wait for {self.address} to come back") as stage:
            while True:
                try:
                    self._connect()
                    return
                except DeviceError as error:
                    reason = error
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                stage.note(f"{left:.0f} s more at most")
                time.sleep(min(self._pause_s, left))
        raise DeviceError(
            f"{self.address} went away in the middle of the search and did not come back within "
            f"{self._patience_s:g} s: {reason} What was measured is kept: give the same command "
            "once the device is there, and it goes on where it stopped. --timeout sets how long "
            "it waits."
        ) from lost

    def _connect(self) -> None:
        with contextlib.ExitStack() as stack:
            device = stack.enter_context(self._open_device())
            found = device.fingerprint()
            if self.fingerprint and found != self.fingerprint:
                names = sorted(name for name in found if found[name] != self.fingerprint.get(name))
                raise UsageError(
                    f"Another device, or the same one changed, answers at {self.address}: "
                    f"{', '.join(names)} differ. Give the command again, so that it is measured "
                    "for what it is now."
                )
            self.fingerprint = found
            self._device = device
            self._stack = stack.pop_all()

    def _disconnect(self) -> None:
        self._busy_s = self.busy_s
        self._device = None
        # Of a connection that is lost nothing can be closed in order; the device's end does that.
        with contextlib.suppress(DeviceError):
            self._stack.close()


def device_address(settings: DeviceSettings) -> SshAddress | AdbAddress:
    """Where a device is.

    Raises:
        UsageError: The address has another form, or the settings are for another kind of device.
    """
    address = parse_device(settings.device)
    if isinstance(address, AdbAddress) and settings.python != DeviceSettings.python:
        raise UsageError("--device-python is for ssh://: over adb no Python runs. Leave it out.")
    if not isinstance(address, AdbAddress) and settings.program is not None:
        raise UsageError("--device-program is for adb://. Leave it out.")
    return address


def tried_of(context: BuildContext) -> Tried:
    """What all artefacts of a build have in common."""
    return Tried(context.runtime.name, context.spec.inputs, context.spec.outputs, THREADS)


def link_to(settings: DeviceSettings, tried: Tried, progress: Progress = SILENT) -> DeviceLink:
    """The way to the device of these settings, not connected yet.

    Raises:
        UsageError: See `device_address`.
    """
    address = device_address(settings)
    brought = Brought()

    @contextlib.contextmanager
    def open_ssh() -> Iterator[CandidateDevice]:
        assert isinstance(address, SshAddress)
        with SshTransport(address, python=settings.python, timeout_s=settings.timeout_s) as ssh:
            yield SshCandidates(ssh, tried, brought)

    @contextlib.contextmanager
    def open_adb() -> Iterator[CandidateDevice]:
        assert isinstance(address, AdbAddress)
        with AdbTransport(address, timeout_s=settings.timeout_s) as adb:
            yield AdbCandidates(adb, tried, settings.program, brought)

    open_device = open_adb if isinstance(address, AdbAddress) else open_ssh
    return DeviceLink(str(address), open_device, brought, settings.timeout_s, progress)
