"""ssh devices, tried with a real sshd on loopback."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loopback_sshd import LoopbackSshd, is_running, make_key, wait_until
from support import UNTESTED

from edgeseg.errors import DeviceError
from edgeseg.targets.transports import agent
from edgeseg.targets.transports.base import Finished
from edgeseg.targets.transports.ssh import OPTIONS, SshTransport, quote_path

StartSshd = Callable[..., LoopbackSshd]
ECHO = "import sys\nfor line in sys.stdin: print(line.strip() * 2, flush=True)"


@pytest.fixture
def sshd(start_sshd: StartSshd) -> LoopbackSshd:
    return start_sshd()


def connect(sshd: LoopbackSshd, timeout_s: float = 30.0, silence_s: float = 30.0) -> SshTransport:
    return SshTransport(
        sshd.address, python=sys.executable, timeout_s=timeout_s, silence_s=silence_s
    )


def folders(sshd: LoopbackSshd) -> list[Path]:
    return list(sshd.temporary.iterdir())


def lasting_command(name: str) -> list[str]:
    """One that does not end, and starts another that does not end."""
    return ["sh", "-c", f"sleep 86400 {name} & sleep 86400", name]


def refusal(sshd: LoopbackSshd, python: str = sys.executable) -> str:
    transport = SshTransport(sshd.address, python=python, timeout_s=30)
    with pytest.raises(DeviceError) as caught, transport:
        pass
    return str(caught.value)


def test_files_go_and_come_back(sshd: LoopbackSshd, tmp_path: Path) -> None:
    content = os.urandom(2_500_000)
    (tmp_path / "there").write_bytes(content)
    (tmp_path / "empty").write_bytes(b"")
    with connect(sshd) as device:
        device.push(tmp_path / "there", "deep/file.bin")
        device.push(tmp_path / "empty", "empty.bin")
        assert device.sha256("deep/file.bin") == hashlib.sha256(content).hexdigest()
        for name, size in (("deep/file.bin", len(content)), ("empty.bin", 0)):
            device.pull(name, tmp_path / "back", limit_bytes=size)
            assert (tmp_path / "back").stat().st_size == size
        device.pull("deep/file.bin", tmp_path / "back", limit_bytes=len(content))
        assert (tmp_path / "back").read_bytes() == content
        device.push(tmp_path / "empty", "deep/file.bin")
        assert device.sha256("deep/file.bin") == hashlib.sha256(b"").hexdigest()
        device.remove("deep")
        device.remove("deep")
        done = device.run(["ls"])
    assert done.stdout.split() == ["empty.bin"]
    assert folders(sshd) == []


def test_commands_run_in_the_folder_and_tell_how_they_ended(sshd: LoopbackSshd) -> None:
    with connect(sshd) as device:
        done = device.run(["sh", "-c", "pwd; echo trouble >&2; exit 3"])
        assert done == Finished(3, device.facts["folder"] + "\n", "trouble\n")
        assert device.run(["sh", "-c", "kill -9 $$"]).code == -signal.SIGKILL
        with pytest.raises(DeviceError, match="could not run no-such-program"):
            device.run(["no-such-program"])


def test_the_device_tells_what_it_is(sshd: LoopbackSshd) -> None:
    with connect(sshd) as device:
        assert device.facts["python"] == sys.executable
        assert device.facts["machine"] == os.uname().machine
        assert Path(device.facts["folder"]).parent == sshd.temporary
        # Nobody else may look at the network.
        assert Path(device.facts["folder"]).stat().st_mode & 0o077 == 0


def test_a_worker_answers_lines(sshd: LoopbackSshd) -> None:
    with connect(sshd) as device:
        worker = device.start([sys.executable, "-c", ECHO], {})
        assert worker.ask("ab", "double") == "abab"
        other = device.start(["sh", "-c", "read line; echo $GREETING"], {"GREETING": "hello"})
        assert other.ask("", "greet") == "hello"
        assert worker.ask("c", "double") == "cc"
        worker.stop()
        assert not is_running(ECHO)


def test_a_worker_that_dies_leaves_its_words(sshd: LoopbackSshd) -> None:
    with connect(sshd) as device:
        worker = device.start(["sh", "-c", "read line; echo out of memory >&2; exit 7"], {})
        assert worker.ask("go", "work") == Finished(7, "", "out of memory\n")
        assert isinstance(worker.ask("go", "work"), Finished)


def test_what_the_shell_prints_at_login_does_no_harm(start_sshd: StartSshd) -> None:
    noise = "echo 'Welcome to the device'; printf 'no newline'"
    with connect(start_sshd(f'ForceCommand {noise}; eval "$SSH_ORIGINAL_COMMAND"')) as device:
        assert device.run(["echo", "works"]).stdout == "works\n"


def test_names_stay_inside_the_folder(sshd: LoopbackSshd, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with connect(sshd) as device:
        for name in ("../file", "/tmp/file", "a/../../file", ""):
            with pytest.raises(ValueError, match="no name inside"):
                device.push(tmp_path / "file", name)
            with pytest.raises(ValueError, match="no name inside"):
                device.remove(name)


def test_more_than_there_can_be_is_not_taken(sshd: LoopbackSshd, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(1000))
    with connect(sshd) as device:
        device.push(tmp_path / "file", "file")
        with pytest.raises(DeviceError, match=r"sends 1000 bytes as file.*999 at most"):
            device.pull("file", tmp_path / "back", limit_bytes=999)


def test_an_unknown_host_key_is_refused_and_not_learnt(sshd: LoopbackSshd) -> None:
    sshd.known_hosts.write_text("")
    words = refusal(sshd)
    assert "does not know the host key" in words
    assert f"Connect once by hand with 'ssh -p {sshd.port} " in words
    assert sshd.known_hosts.read_text() == ""


def test_a_changed_host_key_is_refused(sshd: LoopbackSshd) -> None:
    make_key(sshd.folder / "other_key")
    other = (sshd.folder / "other_key.pub").read_text().split()
    sshd.known_hosts.write_text(f"[127.0.0.1]:{sshd.port} {other[0]} {other[1]}\n")
    words = refusal(sshd)
    assert "is not the one that ssh knows" in words
    assert "ssh-keygen -R" in words


def test_a_refused_key_is_said(sshd: LoopbackSshd) -> None:
    make_key(sshd.folder / "other_key")
    shutil.copyfile(sshd.folder / "other_key.pub", sshd.folder / "authorized_keys")
    assert "does not accept any of your keys. Install one there with ssh-copy-id" in refusal(sshd)


def test_a_port_that_nobody_serves_is_said(sshd: LoopbackSshd) -> None:
    sshd.close()
    words = refusal(sshd)
    assert "cannot be reached" in words
    assert "Connection refused" in words


def test_a_missing_interpreter_is_said(sshd: LoopbackSshd) -> None:
    words = refusal(sshd, python="python9")
    assert "has no python9. Install Python 3.8 or newer there" in words
    assert "--device-python" in words


def test_an_interpreter_that_is_none_is_said(sshd: LoopbackSshd) -> None:
    assert "/bin/false does not start" in refusal(sshd, python="/bin/false")


def test_a_missing_client_is_said(sshd: LoopbackSshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(sshd.temporary))
    assert "Install the OpenSSH client" in refusal(sshd)


def test_a_command_that_takes_too_long_is_killed(sshd: LoopbackSshd) -> None:
    with connect(sshd, timeout_s=0.5) as device:
        with pytest.raises(DeviceError, match=r"more than 0.5 s to run sh.*--timeout"):
            device.run(lasting_command("too-long"))
        assert wait_until(lambda: not is_running("too-long"))
        worker = device.start(lasting_command("worker-too-long"), {})
        with pytest.raises(DeviceError, match=r"more than 0.5 s to think.*was killed"):
            worker.ask("go", "think")
        assert wait_until(lambda: not is_running("worker-too-long"))
        assert device.run(["echo", "still there"]).stdout == "still there\n"


def test_an_error_here_ends_what_runs_there(sshd: LoopbackSshd) -> None:
    def be_interrupted() -> None:
        with connect(sshd) as device:
            device.start(lasting_command("interrupted"), {})
            assert wait_until(lambda: is_running("interrupted"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        be_interrupted()
    assert folders(sshd) == []
    assert wait_until(lambda: not is_running("interrupted"))


@pytest.fixture
def waiting(sshd: LoopbackSshd) -> Iterator[tuple[threading.Thread, list[str]]]:
    """A thread that waits for the device, and the message with which that ends."""
    said: list[str] = []

    def work() -> None:
        try:
            with connect(sshd) as device:
                device.run(lasting_command("cut-off"))
        except DeviceError as error:
            said.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    assert wait_until(lambda: is_running("cut-off"))
    yield thread, said
    thread.join(30)


def test_a_connection_that_is_cut_leaves_nothing(
    sshd: LoopbackSshd, waiting: tuple[threading.Thread, list[str]]
) -> None:
    assert len(folders(sshd)) == 1
    sshd.kill_sessions()
    thread, said = waiting
    thread.join(30)
    assert "was lost while it was to run sh" in said[0]
    assert "Check the network and run again" in said[0]
    assert wait_until(lambda: not is_running("cut-off"))
    assert wait_until(lambda: folders(sshd) == [])


def test_a_device_that_falls_silent_is_said(
    sshd: LoopbackSshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OPTIONS, "ServerAliveInterval", "1")
    monkeypatch.setitem(OPTIONS, "ServerAliveCountMax", "2")
    with connect(sshd, silence_s=3) as device:
        # As when its network is gone: nothing is closed, and nothing comes.
        for session in sshd.sessions():
            os.kill(session, signal.SIGSTOP)
        with pytest.raises(DeviceError, match="was lost while it was to run sleep"):
            device.run(["sleep", "86404"])
    assert wait_until(lambda: folders(sshd) == [])


def test_the_home_folder_is_the_devices(sshd: LoopbackSshd) -> None:
    assert "has no ~/no such/python." in refusal(sshd, python="~/no such/python")
    assert quote_path("~/my env/bin/python") == "~/'my env/bin/python'"
    assert quote_path("/opt/$env/python") == "'/opt/$env/python'"


HOST = """
import json, sys
from edgeseg.targets.transports.address import SshAddress
from edgeseg.targets.transports.ssh import SshTransport
address = SshAddress(*json.loads(sys.argv[1]))
with SshTransport(address, python=sys.executable, timeout_s=600, silence_s=2) as device:
    print("connected", flush=True)
    device.run(json.loads(sys.argv[2]))
"""


@pytest.fixture
def host(sshd: LoopbackSshd) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the device do something lasting."""
    address = sshd.address
    words = (
        json.dumps([address.host, address.user, address.port]),
        json.dumps(lasting_command("host-gone")),
    )
    command = [sys.executable, "-c", HOST, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "connected\n"
        assert wait_until(lambda: is_running("host-gone"))
        yield process
        process.kill()


def test_a_host_that_is_killed_leaves_nothing(
    sshd: LoopbackSshd, host: subprocess.Popen[str]
) -> None:
    host.kill()
    assert wait_until(lambda: not is_running("host-gone"))
    assert wait_until(lambda: folders(sshd) == [])


def test_a_host_that_falls_silent_leaves_nothing(
    sshd: LoopbackSshd, host: subprocess.Popen[str]
) -> None:
    # As when its network is gone: nothing is closed, and nothing comes.
    host.send_signal(signal.SIGSTOP)
    assert wait_until(lambda: not is_running("host-gone"))
    assert wait_until(lambda: folders(sshd) == [])
    host.send_signal(signal.SIGCONT)


def test_a_full_disk_is_said_and_cleared(sshd: LoopbackSshd, tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(sshd.temporary)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        UNTESTED.add("full disk of a device (needs root)")
        pytest.skip("only root can mount a small disk")
    try:
        (tmp_path / "large").write_bytes(bytes(3_000_000))
        with pytest.raises(DeviceError) as caught, connect(sshd) as device:
            device.push(tmp_path / "large", "large.bin")
        assert f"The disk of {sshd.address} is full" in str(caught.value)
        assert "large (3.0 MB)" in str(caught.value)
        assert "set TMPDIR there" in str(caught.value)
        assert folders(sshd) == []
    finally:
        subprocess.run(["umount", str(sshd.temporary)], check=True)


def test_what_a_killed_agent_left_goes_with_the_next_connection(sshd: LoopbackSshd) -> None:
    with connect(sshd) as device:
        left = Path(device.facts["folder"])
        os.utime(left, (0, 0))
        with connect(sshd):
            assert left.is_dir(), "a folder in use was deleted"
        parent = device.run(["sh", "-c", "echo $PPID"]).stdout
        os.kill(int(parent), signal.SIGKILL)
        with pytest.raises(DeviceError, match="was lost"):
            device.run(["true"])
    os.utime(left)
    unlocked = left.with_name(left.name.removesuffix(agent.HELD) + "x")  # as agents are born
    unlocked.mkdir()
    with connect(sshd):
        assert not left.exists()
        assert unlocked.is_dir(), "it is too young to be surely left over"
    os.utime(unlocked, (0, 0))
    with connect(sshd):
        assert not unlocked.exists()
    assert folders(sshd) == []


def test_the_agent_keeps_to_old_python() -> None:
    ast.parse(Path(agent.__file__).read_text(), feature_version=(3, 8))


def test_connecting_takes_seconds_at_most(sshd: LoopbackSshd) -> None:
    started = time.monotonic()
    with connect(sshd):
        pass
    assert time.monotonic() - started < 10


def test_what_a_device_keeps_outlives_the_connection(sshd: LoopbackSshd, tmp_path: Path) -> None:
    (tmp_path / "artefact").write_bytes(b"an artefact")
    sha256 = hashlib.sha256(b"an artefact").hexdigest()
    with connect(sshd) as device:
        assert device.find_kept(sha256) is None
        kept = device.keep(tmp_path / "artefact", sha256)
        assert device.busy_s > 0
    assert folders(sshd) == []
    with connect(sshd) as device:
        assert device.find_kept(sha256) == kept
        device.place(sha256, "candidate0/model.bin")
        assert device.run(["cat", "candidate0/model.bin"]).stdout == "an artefact"
        with pytest.raises(DeviceError, match=r"artefact arrived changed at .* Check the device"):
            device.keep(tmp_path / "artefact", "0" * 64)
        device.forget([sha256])
        assert device.find_kept(sha256) is None
