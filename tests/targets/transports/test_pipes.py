"""Bytes to and from a process, tried with `cat` and with a process that takes nothing."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from edgeseg.targets.transports.pipes import Pipes

Start = Callable[..., Pipes]


@pytest.fixture
def start() -> Iterator[Start]:
    processes: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> Pipes:
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        return Pipes(processes[-1])

    yield start
    for process in processes:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def soon() -> float:
    return time.monotonic() + 10


def test_lines_and_counted_bytes_come_in_order(start: Start) -> None:
    pipes = start("cat")
    pipes.send(b"a line\n12345and more\n", soon())
    assert pipes.read_line(soon()) == b"a line"
    assert pipes.read(5, soon()) == b"12345"
    pipes.send_at_once(b"\n")
    assert pipes.read_line(soon()) == b"and more"
    assert pipes.read_line(soon()) == b""


def test_more_than_a_pipe_holds_is_sent_whole(start: Start) -> None:
    pipes = start("wc", "-c")
    pipes.send(bytes(1_000_000), soon())
    pipes.close_input()
    assert pipes.read_line(soon()).strip() == b"1000000"


def test_deadlines_end_waiting(start: Start) -> None:
    pipes = start("sleep", "86405")
    with pytest.raises(TimeoutError):
        pipes.read_line(time.monotonic() + 0.1)
    with pytest.raises(TimeoutError):
        pipes.send(bytes(10_000_000), time.monotonic() + 0.1)
    pipes.send_at_once(b"\n")  # a full pipe is no reason to wait


def test_a_process_that_is_gone_is_an_error(start: Start) -> None:
    pipes = start("true")
    with pytest.raises(EOFError):
        pipes.read_line(soon())
