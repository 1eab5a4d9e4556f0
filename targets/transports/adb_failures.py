"""What adb's own messages mean, and what to do."""

from __future__ import annotations

import re

from edgeseg.errors import DeviceError, DeviceLostError

from .base import tail

NO_DEVICE = re.compile(r"device '[^']*' not found|no devices|unknown host service")
# A device that restarts, or whose cable is out, says one of these.
LOSSES = ("offline", "error: closed", "cannot connect to daemon", "no answer within")


def adb_failure(address: str, what: str, output: str, *, is_cut: bool = False) -> DeviceError:
    """Error of something that the device could not do; see `explain_adb_failure`."""
    text = output.lower()
    is_lost = is_cut or any(word in text for word in LOSSES) or NO_DEVICE.search(text)
    kind = DeviceLostError if is_lost else DeviceError
    return kind(explain_adb_failure(address, what, output, is_cut=is_cut))


def explain_adb_failure(address: str, what: str, output: str, *, is_cut: bool = False) -> str:
    """Why the device could not do something, and what to do.

    Args:
        output: Output of adb and of the device's shell.
        is_cut: Whether they ended in the middle of it.
    """
    text = output.lower()
    if "no space left on device" in text or "enospc" in text:
        return (
            f"The disk of {address} is full: it could not {what}. Free some space there (Settings, "
            "Storage) and run again."
        )
    if "unauthorized" in text:
        return (
            f"{address} has not allowed this machine to debug it. Unlock the device and accept the "
            "question that it shows."
        )
    if "no permissions" in text:
        return (
            f"This machine's rights do not let adb open {address}: {tail(output)}. Add the udev "
            "rule for the device (Debian: apt install android-sdk-platform-tools-common)."
        )
    if "offline" in text:
        return f"{address} is offline. Unlock the device, or plug it in again, and run again."
    if NO_DEVICE.search(text):
        return (
            f"adb knows no device of that serial number: {address}. Take one that 'adb devices' "
            "lists; USB debugging must be on, and the cable in."
        )
    if is_cut or "error: closed" in text or "cannot connect to daemon" in text:
        return (
            f"The connection to {address} was lost while it was to {what}"
            f"{f' ({tail(output)})' if output.strip() else ''}. What ran there ends by itself and "
            "its folder is removed. Check the cable and run again."
        )
    reason = tail(output) or "it does not say why"
    return f"{address} could not {what}: {reason}. Check the device with 'adb shell'."
