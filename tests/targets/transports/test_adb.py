"""adb devices, tried with a fake adb whose device is a folder and whose shell is Android's."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import fake_adb
import pytest
from loopback_sshd import is_running, wait_until
from support import INSTALL_SCRIPT, UNTESTED

from edgeseg.errors import DeviceError
from edgeseg.targets.transports.adb import AdbTransport
from edgeseg.targets.transports.address import AdbAddress

ADDRESS = AdbAddress(fake_adb.SERIAL)


def connect(timeout_s: float = 20.0, silence_s: int = 30) -> AdbTransport:
    return AdbTransport(ADDRESS, timeout_s=timeout_s, silence_s=silence_s)


def refusal(address: AdbAddress = ADDRESS) -> str:
    with pytest.raises(DeviceError) as caught, AdbTransport(address, timeout_s=20):
        pass
    return str(caught.value)


@pytest.fixture
def real_adb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The program itself, with a server of its own."""
    program = shutil.which("adb")
    if program is None:
        UNTESTED.add(f"the real adb (run {INSTALL_SCRIPT})")
        pytest.skip("no adb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(free.getsockname()[1]))
    monkeypatch.setenv("HOME", str(tmp_path))
    yield program
    subprocess.run([program, "kill-server"], check=True, capture_output=True)


def test_files_go_and_come_back(adb_device: Path, tmp_path: Path) -> None:
    content = os.urandom(100_000)
    (tmp_path / "there").write_bytes(content)
    with connect() as device:
        device.push(tmp_path / "there", "deep/a file.bin")
        (folder,) = adb_device.iterdir()
        assert (folder / "deep" / "a file.bin").read_bytes() == content
        device.pull("deep/a file.bin", tmp_path / "back", limit_bytes=len(content))
        assert (tmp_path / "back").read_bytes() == content
        with pytest.raises(DeviceError, match="where there can be 99999 at most"):
            device.pull("deep/a file.bin", tmp_path / "back", limit_bytes=99_999)
        device.remove("deep")
        device.remove("deep")
        assert device.shell("ls").split() == []
    assert list(adb_device.iterdir()) == []


def test_what_a_device_keeps_outlives_the_connection(adb_device: Path, tmp_path: Path) -> None:
    (tmp_path / "artefact").write_bytes(b"an artefact")
    sha256 = hashlib.sha256(b"an artefact").hexdigest()
    with connect() as device:
        assert device.find_kept(sha256) is None
        kept = device.keep(tmp_path / "artefact", sha256)
        assert device.busy_s > 0
    with connect() as device:
        assert device.find_kept(sha256) == kept
        assert device.shell(f"cat {kept}").strip() == "an artefact"
        with pytest.raises(DeviceError, match=r"artefact arrived changed at .* Check the cable"):
            device.keep(tmp_path / "artefact", "0" * 64)
        assert device.find_kept("0" * 64) is None
        device.forget([sha256])
    assert list(adb_device.iterdir()) == []


def test_commands_run_in_the_folder_and_tell_how_they_ended(adb_device: Path) -> None:
    with connect() as device:
        done = device.run(["sh", "-c", "pwd; echo trouble >&2; exit 3"])
        folder = fake_adb.on_device(device.folder)
        assert (done.code, done.stdout.strip(), done.stderr) == (3, folder, "trouble\n")
        assert device.run(["printf", "%s|", "a b", "$HOME", "it's"]).stdout.startswith(
            "a b|$HOME|it's|"
        )
        assert device.run(["/no/such/program"]).code == 127
        with pytest.raises(DeviceError, match="could not exit 4"):
            device.shell("exit 4")


@pytest.mark.parametrize(
    ("state", "advice"),
    [
        ("offline", "is offline. Unlock the device"),
        ("unauthorized", "accept the question that it shows"),
        ("no permissions", "Add the udev rule"),
    ],
)
def test_what_is_wrong_with_the_device_is_said(
    adb_device: Path, monkeypatch: pytest.MonkeyPatch, state: str, advice: str
) -> None:
    monkeypatch.setenv("FAKE_ADB_STATE", state)
    assert advice in refusal()


def test_an_unknown_serial_number_is_said(adb_device: Path) -> None:
    assert "Take one that 'adb devices' lists" in refusal(AdbAddress("OTHER"))


def test_the_real_adb_is_understood(real_adb: str) -> None:
    assert "adb knows no device of that serial number" in refusal(AdbAddress("no-such-device"))


def test_a_missing_client_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "Install Android's platform tools" in refusal()


def test_a_full_disk_is_said(
    adb_device: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "large").write_bytes(bytes(1_500_000))
    with connect() as device:
        monkeypatch.setenv("FAKE_ADB_PUSH", "remote write failed: No space left on device")
        with pytest.raises(DeviceError, match=r"The disk of adb://FAKE123 is full.*large \(1.5 MB"):
            device.push(tmp_path / "large", "large.bin")
    assert list(adb_device.iterdir()) == []


def test_a_command_that_takes_too_long_is_killed(adb_device: Path) -> None:
    with connect(timeout_s=0.5) as device:
        with pytest.raises(DeviceError, match=r"more than 0.5 s to run sleep.*--timeout"):
            device.run(["sleep", "86401"])
        assert wait_until(lambda: not is_running("sleep", "86401"))
    assert list(adb_device.iterdir()) == []


def pull_the_cable() -> None:
    """Kill every adb: on the device what they started only loses its input."""
    assert wait_until(lambda: is_running("sleep", "86402"))
    programs = [
        int(entry.parent.name)
        for entry in Path("/proc").glob("[0-9]*/cmdline")
        if fake_adb.__file__.encode() in entry.read_bytes().split(b"\0")
    ]
    # All at the same time.
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for program in programs:
            os.kill(program, number)


def test_a_lost_connection_leaves_nothing(adb_device: Path) -> None:
    with connect() as device:
        thread = threading.Thread(target=pull_the_cable)
        thread.start()
        with pytest.raises(DeviceError, match=r"was lost while it was to run sleep.*Check the cab"):
            device.run(["sleep", "86402"])
        thread.join()
    assert wait_until(lambda: not is_running("sleep", "86402"))
    assert wait_until(lambda: list(adb_device.iterdir()) == [])


HOST = """
import sys
from edgeseg.targets.transports.adb import AdbTransport
from edgeseg.targets.transports.address import AdbAddress
with AdbTransport(AdbAddress(sys.argv[1]), timeout_s=600, silence_s=2) as device:
    print(device.folder, flush=True)
    device.run(["sleep", "86403"])
"""


@pytest.fixture
def host(adb_device: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the device do something lasting."""
    command = [sys.executable, "-c", HOST, fake_adb.SERIAL]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert wait_until(lambda: is_running("sleep", "86403"))
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_host_that_is_killed_leaves_nothing(
    adb_device: Path, host: subprocess.Popen[str], number: signal.Signals
) -> None:
    host.send_signal(number)
    assert wait_until(lambda: not is_running("sleep", "86403"))
    assert wait_until(lambda: list(adb_device.iterdir()) == [])


def test_a_host_that_falls_silent_leaves_nothing(
    adb_device: Path, host: subprocess.Popen[str]
) -> None:
    host.send_signal(signal.SIGSTOP)
    assert wait_until(lambda: not is_running("sleep", "86403"))
    assert wait_until(lambda: list(adb_device.iterdir()) == [])
    host.send_signal(signal.SIGCONT)
