"""Bytes to and from a process, with deadlines."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import threading
import time

PIECE_BYTES = 1 << 16


class Pipes:
    """Standard input and output of a process.

    Deadlines are moments of `time.monotonic`. Every method raises TimeoutError when its deadline is
    over, and EOFError or another OSError when the process is gone.

    Args:
        process: Its input and output are pipes.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout
        for pipe in (self._stdin, self._stdout):
            os.set_blocking(pipe.fileno(), False)
        self._sending = threading.Lock()
        self._received = b""

    def send(self, content: bytes, deadline: float) -> None:
        pipe = self._stdin.fileno()
        left = memoryview(content)
        with self._sending:
            while left:
                if not select.select([], [pipe], [], max(deadline - time.monotonic(), 0))[1]:
                    raise TimeoutError
                with contextlib.suppress(BlockingIOError):
                    left = left[os.write(pipe, left[:PIECE_BYTES]) :]

    def send_at_once(self, content: bytes) -> None:
        """Send a few bytes, unless something is being sent or the pipe is full."""
        if self._sending.acquire(blocking=False):
            try:
                with contextlib.suppress(BlockingIOError):
                    os.write(self._stdin.fileno(), content)
            finally:
                self._sending.release()

    def close_input(self) -> None:
        """End the process's input."""
        with self._sending:
            self._stdin.close()

    def read_line(self, deadline: float) -> bytes:
        """The next line, without its end."""
        while b"\n" not in self._received:
            self._receive(deadline)
        line, _, self._received = self._received.partition(b"\n")
        return line

    def read(self, count: int, deadline: float) -> bytes:
        """The next `count` bytes."""
        while len(self._received) < count:
            self._receive(deadline)
        content, self._received = self._received[:count], self._received[count:]
        return content

    def _receive(self, deadline: float) -> None:
        pipe = self._stdout.fileno()
        if not select.select([pipe], [], [], max(deadline - time.monotonic(), 0))[0]:
            raise TimeoutError
        piece = os.read(pipe, PIECE_BYTES)
        if not piece:
            raise EOFError
        self._received += piece
