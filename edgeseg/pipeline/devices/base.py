"""What the bench needs of any device: bundles on it, and workers that measure them."""

from __future__ import annotations

import abc
from typing import Any

from edgeseg.benchmarks.process import Runner
from edgeseg.bundle.bundle import Bundle
from edgeseg.records import VERSION
from edgeseg.storage.cache import code_digest


class DeviceRunner(Runner):
    """A bundle that lies on a device."""

    @abc.abstractmethod
    def verify(self) -> tuple[str, dict[str, Any]]:
        """Replay the golden pair on the device.

        Returns:
            The numbers, for people, and facts of the device for `Report.environment`.

        Raises:
            DeviceError: The masks differ by more than the manifest allows.
        """


class Device(abc.ABC):
    """A connected device."""

    @abc.abstractmethod
    def install(self, bundle: Bundle, folder: str) -> DeviceRunner:
        """Copy what the device needs of a bundle.

        Args:
            folder: Its name on the device.

        Raises:
            UsageError: The device does not run such bundles.
            DeviceError: It lacks the runtime or the space; or a file arrived changed.
        """


def describe_code() -> dict[str, str]:
    """Which edgeseg measures, for `Report.environment`."""
    return {"edgeseg": VERSION, "edgeseg_code": code_digest()[:12]}
