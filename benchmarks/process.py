"""The parent's end of a benchmark worker."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from edgeseg.errors import BenchmarkError, WorkerKilledError
from edgeseg.records import RunnerSpec

STDERR_TAIL = 600
END_SECONDS = 10  # for a process that has closed its answers


class Worker(Protocol):
    """Something that measures one artefact; it ends when the block ends, however it ends."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def ask(
        self, command: str, *, on_step: Callable[[], None] | None = None, **arguments: Any
    ) -> dict[str, Any]:
        """Do what `worker.py` says of the command, and answer so."""


OpenWorker = Callable[[str, RunnerSpec], Worker]


class WorkerProcess:
    """One worker, ended when the block ends, however it ends.

    Args:
        name: For messages.
        runner: What it opens.
        command: Starts a worker of another environment that speaks the same.
    """

    def __init__(self, name: str, runner: RunnerSpec, command: Sequence[str] | None = None) -> None:
        self.name = name
        self.runner = runner
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed in __exit__)
        environment = dict(os.environ)
        if runner.threads > 0:
            # Numeric libraries read these at their first import.
            for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
                environment[variable] = str(runner.threads)
        # -P: what lies in the working folder must not be taken for a library.
        own = [sys.executable, "-P", "-m", "edgeseg.benchmarks.worker", str(runner.threads)]
        self._process = subprocess.Popen(
            own if command is None else list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=environment,
            text=True,
            encoding="utf-8",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._stderr.close()

    def ask(
        self, command: str, *, on_step: Callable[[], None] | None = None, **arguments: Any
    ) -> dict[str, Any]:
        """Send a command and wait for its answer; `on_step` is called for each step it reports.

        Raises:
            BenchmarkError: The worker reports an error or dies.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps({"command": command, **arguments}) + "\n")
            stdin.flush()
        except OSError as error:
            raise self._death() from error
        while True:
            line = stdout.readline()
            if not line:
                raise self._death()
            answer: dict[str, Any] = json.loads(line)
            if "error" in answer:
                raise BenchmarkError(
                    f"Measuring {self.name} failed: {answer['error'].rstrip('.')}. Check the "
                    "bundle with edgeseg verify."
                )
            if "done" not in answer:
                return answer
            if on_step is not None:
                on_step()

    @property
    def has_ended(self) -> bool:
        """Whether it can be asked no more."""
        return self._process.poll() is not None

    def _death(self) -> BenchmarkError:
        try:
            code = self._process.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self._stderr.seek(0)
        tail = self._stderr.read()[-STDERR_TAIL:].decode(errors="replace").strip()
        said = f" It said: {tail}" if tail else ""
        kind = WorkerKilledError if code == -signal.SIGKILL else BenchmarkError
        return kind(
            f"The process that ran {self.name} ended with {how}.{said} Check the bundle with "
            "edgeseg verify, and that the machine has enough free memory."
        )
