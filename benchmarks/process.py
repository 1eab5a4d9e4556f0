"""The parent's end of a benchmark worker."""

from __future__ import annotations

import abc
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Self

from edgeseg.errors import BenchmarkError, WorkerKilledError

from .workers.messages import (
    Answer,
    Done,
    First,
    FirstInference,
    Label,
    LabelPrepared,
    Latencies,
    Load,
    Loaded,
    Memory,
    MemoryUse,
    Phases,
    PredictPrepared,
    Request,
    Sustain,
    SustainedRun,
    Time,
    TimePhases,
    encode_request,
)
from .workers.protocol import Worker, do_nothing

STDERR_TAIL = 600
END_SECONDS = 10  # for a process that has closed its answers
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class WorkerProxy(Worker):
    """A worker in another process, which is asked in the words of `protocol`.

    Attributes:
        name: What it measures, for messages.
    """

    name: str

    @abc.abstractmethod
    def ask(self, request: Request[Answer], on_step: Callable[[], None] = do_nothing) -> Answer:
        """Send a request and wait for its answer; `on_step` is called for each step it reports.

        Raises:
            BenchmarkError: The worker reports an error or dies.
        """

    def load(self, images: str | None = None) -> Loaded:
        return self.ask(Load(images))

    def first(self) -> FirstInference:
        return self.ask(First())

    def time(self, count: int) -> Latencies:
        return self.ask(Time(count))

    def sustain(self, request: Sustain, on_step: Callable[[], None] = do_nothing) -> SustainedRun:
        return self.ask(request, on_step)

    def time_phases(self, request: TimePhases) -> Phases:
        return self.ask(request)

    def memory(self) -> MemoryUse:
        return self.ask(Memory())

    def label(self, request: Label, on_step: Callable[[], None] = do_nothing) -> Done:
        return self.ask(request, on_step)

    def label_prepared(self, request: LabelPrepared) -> Done:
        return self.ask(request)

    def predict_prepared(self, request: PredictPrepared) -> Done:
        return self.ask(request)


class WorkerProcess(WorkerProxy):
    """A worker in a process of this machine.

    Args:
        name: What it measures, for messages.
        command: Starts a program that serves `protocol`.
        threads: CPU threads that its numeric libraries may use; 0 leaves that to them.

    Attributes:
        advice: What to do when it fails, the end of a message.
    """

    advice = "Check the bundle with edgeseg verify"

    def __init__(self, name: str, command: Sequence[str], threads: int) -> None:
        self.name = name
        self.command = list(command)
        self._threads = threads

    def start(self, stack: contextlib.ExitStack) -> None:
        self._stderr = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (closed by the stack)
        environment = dict(os.environ)
        if self._threads > 0:
            # Numeric libraries read these at their first import.
            environment.update(dict.fromkeys(THREAD_VARIABLES, str(self._threads)))
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=environment,
            text=True,
            encoding="utf-8",
        )
        stack.callback(self._end)

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def ask(self, request: Request[Answer], on_step: Callable[[], None] = do_nothing) -> Answer:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(encode_request(request) + "\n")
            stdin.flush()
        except OSError as error:
            raise self._death() from error
        while True:
            line = stdout.readline()
            if not line:
                raise self._death()
            record: dict[str, Any] = json.loads(line)
            if "error" in record:
                raise BenchmarkError(
                    f"Measuring {self.name} failed: {record['error'].rstrip('.')}. {self.advice}."
                )
            if "done" not in record:
                answer: Answer = request.answer(**record)
                return answer
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
        reason = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self._stderr.seek(0)
        tail = self._stderr.read()[-STDERR_TAIL:].decode(errors="replace").strip()
        stderr = f" Its last output: {tail}" if tail else ""
        kind = WorkerKilledError if code == -signal.SIGKILL else BenchmarkError
        return kind(
            f"The process that ran {self.name} ended with {reason}.{stderr} {self.advice}, and "
            "that the machine has enough free memory."
        )


class Runner(abc.ABC):
    """Something that maps prepared images to masks, and how to start a worker that measures it.

    Attributes:
        times_blocks: Its worker reports the mean latency of a block, not that of each inference.
        has_masks: Its worker writes label maps; without them there is no accuracy.
        times_phases: Its worker prepares pictures and restores masks itself.
    """

    times_blocks: bool = False
    has_masks: bool = True
    times_phases: bool = True

    def on_threads(self, threads: int) -> Self:
        """The same on another number of threads; a runner is a dataclass that has `threads`."""
        changed: Self = replace(self, threads=threads)  # type: ignore[type-var]
        return changed

    @abc.abstractmethod
    def open_worker(self, name: str) -> Worker:
        """The worker, not started yet.

        Args:
            name: What it measures, for messages.
        """


class ProcessRunner(Runner):
    """A runner that a new Python process of this environment opens.

    Subclasses can be imported by their name, and are made from what `to_json` gives.
    """

    threads: int  # CPU threads that it may use; its process is kept on so many cores, 0 leaves it

    @abc.abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Arguments of `from_json`, in JSON values."""

    @classmethod
    @abc.abstractmethod
    def from_json(cls, record: dict[str, Any]) -> ProcessRunner:
        """Read what `to_json` gave."""

    @abc.abstractmethod
    def modules(self) -> Sequence[str]:
        """Modules of the runtime, to be loaded before memory is looked at."""

    @abc.abstractmethod
    def open(self) -> Any:
        """Open what has `run(image)`, in the process that measures it."""

    def open_worker(self, name: str) -> WorkerProcess:
        kind = type(self)
        record = {"class": f"{kind.__module__}:{kind.__qualname__}", "fields": self.to_json()}
        # -P: what lies in the working folder must not be taken for a library.
        module = f"{__package__}.workers.worker"
        command = [sys.executable, "-P", "-m", module, str(self.threads), json.dumps(record)]
        return WorkerProcess(name, command, self.threads)
