"""Options that name a device, of all commands that measure there."""

from __future__ import annotations

from typing import Annotated

import typer

from ...errors import UsageError
from ...pipeline.builder.device_settings import DeviceSettings

DeviceAddress = Annotated[
    str | None,
    typer.Option("--device", help="Device to measure on: ssh://USER@HOST[:PORT] or adb://SERIAL."),
]
DevicePython = Annotated[str, typer.Option(help="Python interpreter of an ssh device.")]
DeviceProgram = Annotated[
    str | None,
    typer.Option(
        "--device-program",
        "--benchmark-model",
        help="Program that runs artefacts over adb, such as LiteRT's benchmark_model: a file "
        "here, or its path on the device.",
    ),
]
Timeout = Annotated[
    float, typer.Option(help="Longest time that one step on the device may take, in seconds.")
]


def device_settings(
    device: str | None, python: str, program: str | None, timeout: float
) -> DeviceSettings | None:
    """What the options say; None where no device is named.

    Raises:
        UsageError: The others are given without a device.
    """
    settings = DeviceSettings(device or "", python, program, timeout)
    if device is not None:
        return settings
    if settings != DeviceSettings(""):
        raise UsageError(
            "--device-python, --device-program and --timeout say how to measure on a device. Name "
            "it with --device."
        )
    return None
