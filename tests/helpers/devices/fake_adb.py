"""A fake of adb with one device, whose shell is mksh, as on Android; its disk is a folder here.

It says what adb 29 says. FAKE_ADB_ROOT is the device's /data/local/tmp, FAKE_ADB_STATE "device" or
what is wrong with the device, FAKE_ADB_PUSH what goes wrong with a push.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

SERIAL = "FAKE123"
TEMPORARY = "/data/local/tmp"
STATES = {
    "offline": "error: device offline",
    "unauthorized": (
        "error: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set\n"
        "Try 'adb kill-server' if that seems wrong.\n"
        "Otherwise check for a confirmation dialog on your device."
    ),
    "no permissions": (
        "error: insufficient permissions for device: user in plugdev group; are your udev rules "
        "wrong? no permissions"
    ),
}
PROPERTIES = {
    "ro.soc.model": "FAKE888",
    "ro.product.model": "Fake Phone",
    "ro.build.version.release": "14",
    "ro.product.cpu.abi": "arm64-v8a",
}


def install(folder: Path, root: Path) -> dict[str, str]:
    """Write programs `adb` and, for the device, `getprop`; returns what the environment needs."""
    root.mkdir()
    for name in ("client", "device"):
        (folder / name).mkdir(parents=True)
    adb = folder / "client" / "adb"
    adb.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "$@"\n')
    cases = "".join(f"{name}) echo '{value}';;\n" for name, value in PROPERTIES.items())
    getprop = folder / "device" / "getprop"
    getprop.write_text(f'#!/bin/sh\ncase "$1" in\n{cases}esac\n')
    for program in (adb, getprop):
        program.chmod(0o755)
    path = (str(folder / "client"), str(folder / "device"), os.environ["PATH"])
    return {
        "PATH": os.pathsep.join(path),
        "FAKE_ADB_ROOT": str(root),
        "FAKE_ADB_STATE": "device",
    }


def on_device(text: str) -> str:
    return text.replace(TEMPORARY, os.environ["FAKE_ADB_ROOT"])


def run_shell(script: str) -> int:
    """Run on the device: what runs there does not die with adb, it only loses its pipes."""
    process = subprocess.Popen(
        ["mksh", "-c", on_device(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    pipes = [process.stdin, process.stdout, process.stderr]
    ends = [pipe.fileno() for pipe in pipes if pipe is not None]
    threading.Thread(target=forward, args=(0, ends[0]), daemon=True).start()
    outputs = [
        threading.Thread(target=forward, args=(end, own)) for own, end in enumerate(ends[1:], 1)
    ]
    for thread in outputs:
        thread.start()
    for thread in outputs:
        thread.join()
    return process.wait()


def forward(source: int, destination: int) -> None:
    """Copy until the source ends, and then end the destination."""
    with contextlib.suppress(BrokenPipeError):
        while piece := os.read(source, 1 << 16):
            os.write(destination, piece)
    os.close(destination)


def fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


def main() -> int:
    option, serial, command, *words = sys.argv[1:]
    assert option == "-s"
    state = os.environ["FAKE_ADB_STATE"]
    if serial != SERIAL:
        return fail(f"error: device '{serial}' not found")
    if state != "device":
        return fail(STATES[state])
    if command == "get-state":
        print("device")
        return 0
    if command == "shell":
        return run_shell(" ".join(words))
    source, destination = words
    if command == "push":
        trouble = os.environ.get("FAKE_ADB_PUSH")
        if trouble:
            return fail(f"adb: error: failed to copy '{source}' to '{destination}': {trouble}")
        shutil.copyfile(source, on_device(destination))
        print(f"{source}: 1 file pushed, 0 skipped. 31.5 MB/s (1000 bytes in 0.001s)")
        return 0
    shutil.copyfile(on_device(source), destination)
    print(f"{source}: 1 file pulled, 0 skipped. 31.5 MB/s (1000 bytes in 0.001s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
