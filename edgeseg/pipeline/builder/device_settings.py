"""How a device is used. Imports nothing heavy: the command line takes defaults from it."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import UsageError

LONGEST_TIMEOUT_S = 24 * 3600.0


@dataclass(frozen=True)
class DeviceSettings:
    """Attributes:
    device: Its address, as `parse_device` reads it.
    python: Interpreter on an ssh device.
    program: The runtime's on-device program for adb: a file here or an absolute path there.
    timeout_s: Longest time that one step on the device may take.
    """

    device: str
    python: str = "python3"
    program: str | None = None
    timeout_s: float = 600.0

    def __post_init__(self) -> None:
        if not 0 < self.timeout_s <= LONGEST_TIMEOUT_S:
            raise UsageError(
                f"--timeout {self.timeout_s:g} is out of range. Give seconds above 0, up to "
                f"{LONGEST_TIMEOUT_S:.0f}."
            )

    @classmethod
    def given(cls, device: str | DeviceSettings | None) -> DeviceSettings | None:
        """Those of an address, with defaults for the rest; None stays None."""
        return cls(device) if isinstance(device, str) else device
