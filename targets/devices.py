"""Devices: what a user names with `--target`, and the runtimes that compute there.

A runtime states the devices that it runs on, so that a new one is added in its own file. The name
of a runtime stands for any device that has it: `--target onnxruntime`.

A browser is a device too, `web`, of which this machine can check the masks but not measure the
speed: what is fastest on a core is not what is fastest in WebAssembly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgeseg.errors import EdgesegError, UnknownNameError

from . import RUNTIMES, runtime_class

DEFAULT_ELSEWHERE = "int8"  # where nothing can be measured


@dataclass(frozen=True)
class _Kind:
    """What is known of a device beside its runtimes; see `Device`.

    `own` names the device's own runtime where that is not the first in the registry.
    """

    title: str
    own: str = ""
    options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    is_measured: bool = True
    default_precision: str = DEFAULT_ELSEWHERE


KINDS = {
    "android": _Kind("Android phones and other ARM and x86 CPUs"),
    "intel": _Kind("Intel and AMD CPUs"),
    "jetson": _Kind("NVIDIA Jetson"),
    "rtx": _Kind("NVIDIA desktop GPUs"),
    # WebAssembly has no products of bytes that INT8 would gain by.
    "web": _Kind(
        "web pages, in the browser",
        own="native",
        options={"native": {"isa": "here+wasm+wasm-relaxed"}},
        is_measured=False,
        default_precision="fp32",
    ),
}


@dataclass(frozen=True)
class Device:
    """A kind of device.

    Attributes:
        name: As on the command line.
        title: One line for people.
        runtimes: Names of the runtimes that compute there, the device's own first.
        options: What a runtime's options are there unless others are given, by its name.
        is_measured: Whether a runtime that computes here is as fast as there.
        default_precision: What is built where no precision is named and nothing can be measured.
    """

    name: str
    title: str
    runtimes: tuple[str, ...]
    options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    is_measured: bool = True
    default_precision: str = DEFAULT_ELSEWHERE

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
    return (*KINDS, *(name for name in RUNTIMES.names() if not _is_vendor_runtime(name)))


def find_device(name: str) -> Device:
    """The device of that name, or any device that has the runtime of that name.

    Raises:
        UnknownNameError: There is neither.
    """
    if name in KINDS:
        kind = KINDS[name]
        there = [other for other in RUNTIMES.names() if name in _devices_of(other)]
        runtimes = tuple(sorted(there, key=lambda other: other != kind.own))
        return Device(
            name, kind.title, runtimes, kind.options, kind.is_measured, kind.default_precision
        )
    if name in RUNTIMES.names():
        return Device(name, runtime_class(name).title, (name,))
    raise UnknownNameError("target", name, device_names())


def _is_vendor_runtime(name: str) -> bool:
    """Whether a runtime is the own one of a device, under whose name users know it.

    One that a device takes before others is known by its own name.
    """
    return any(
        find_device(device).runtimes[0] == name and not KINDS[device].own
        for device in _devices_of(name)
    )


def _devices_of(runtime: str) -> tuple[str, ...]:
    try:
        return runtime_class(runtime).devices
    except EdgesegError:
        return ()  # another package's, which does not load: it says so when it is asked for
