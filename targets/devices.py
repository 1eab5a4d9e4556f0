"""Devices: what a user names with `--target`, and the runtimes that compute there.

A runtime states the devices that it runs on, so that a new one is added in its own file. The name
of a runtime stands for any device that has it: `--target onnxruntime`.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeseg.errors import EdgesegError, UnknownNameError

from . import RUNTIMES, runtime_class

TITLES = {
    "android": "Android phones and other ARM and x86 CPUs",
    "intel": "Intel and AMD CPUs",
    "jetson": "NVIDIA Jetson",
    "rtx": "NVIDIA desktop GPUs",
}


@dataclass(frozen=True)
class Device:
    """A kind of device.

    Attributes:
        name: As on the command line.
        title: One line for people.
        runtimes: Names of the runtimes that compute there, the device's own first.
    """

    name: str
    title: str
    runtimes: tuple[str, ...]

    def resolve_runtime(self, name: str | None) -> str:
        """The runtime of that name; None takes the device's own.

        Raises:
            UnknownNameError: The device has no such runtime.
        """
        if name is None:
            return self.runtimes[0]
        if name not in self.runtimes:
            raise UnknownNameError("runtime", name, self.runtimes, self.name)
        return name


def device_names() -> tuple[str, ...]:
    """Every device with a name of its own, and every runtime that is on none of them alone."""
    return (*TITLES, *(name for name in RUNTIMES.names() if not _is_vendor_runtime(name)))


def find_device(name: str) -> Device:
    """The device of that name, or any device that has the runtime of that name.

    Raises:
        UnknownNameError: There is neither.
    """
    if name in TITLES:
        runtimes = tuple(other for other in RUNTIMES.names() if name in _devices_of(other))
        return Device(name, TITLES[name], runtimes)
    if name in RUNTIMES.names():
        return Device(name, runtime_class(name).title, (name,))
    raise UnknownNameError("target", name, device_names())


def _is_vendor_runtime(name: str) -> bool:
    """Whether a runtime is the own one of a device, under whose name users know it."""
    return any(find_device(device).runtimes[0] == name for device in _devices_of(name))


def _devices_of(runtime: str) -> tuple[str, ...]:
    try:
        return runtime_class(runtime).devices
    except EdgesegError:
        return ()  # another package's, which does not load: it says so when it is asked for
