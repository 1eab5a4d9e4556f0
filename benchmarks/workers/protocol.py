"""What a process that measures a network and the process that asks it say to each other.

Needs Python 3.8 and nothing else: a copy lies beside `device_worker.py` on devices, and beside
`toolkit_worker.py` in other environments.

Requests and answers are lines of JSON, see `messages`. Before an answer there may be lines
{"done": I}, one for each step of a long request. {"error": TEXT, "errno": NUMBER or null} takes the
place of an answer. The process ends when its input does.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import itertools
import json
import os
import sys
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

if TYPE_CHECKING or __package__:
    from . import messages
else:
    import messages

# As in `edgeseg.lazy`, which is not there on devices.
REPORTING_PACKAGES = ("openvino_telemetry",)


def hide_reporting_packages() -> None:
    """Let imports of packages that only send reports fail from now on, unless they are loaded."""
    modules: dict[str, Any] = sys.modules
    for name in REPORTING_PACKAGES:
        modules.setdefault(name, None)


def do_nothing() -> None:
    """Take no notice of a step."""


class Worker(abc.ABC):
    """Measures one network: the object that runs it, or what stands for that in another process.

    Use it in a `with` block: however the block ends, what `start` began ends with it.
    """

    _stack: contextlib.ExitStack

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @property
    def has_ended(self) -> bool:
        """Whether it can be asked no more."""
        return False

    def start(self, stack: contextlib.ExitStack) -> None:  # noqa: B027
        """Start what does the work; `stack` takes what ends it again."""

    @abc.abstractmethod
    def load(self, images: str | None = None) -> messages.Loaded:
        """See `Load`."""

    @abc.abstractmethod
    def first(self) -> messages.FirstInference:
        """See `First`."""

    @abc.abstractmethod
    def time(self, count: int) -> messages.Latencies:
        """See `Time`."""

    @abc.abstractmethod
    def memory(self) -> messages.MemoryUse:
        """See `Memory`."""

    def sustain(
        self, request: messages.Sustain, on_step: Callable[[], None] = do_nothing
    ) -> messages.SustainedRun:
        """See `Sustain`; `on_step` is called after each window."""
        raise NotImplementedError(f"{type(self).__name__} makes no long runs")

    def time_phases(self, request: messages.TimePhases) -> messages.Phases:
        """See `TimePhases`."""
        raise NotImplementedError(f"{type(self).__name__} times no phases")

    def label(
        self, request: messages.Label, on_step: Callable[[], None] = do_nothing
    ) -> messages.Done:
        """See `Label`; `on_step` is called after each image."""
        raise NotImplementedError(f"{type(self).__name__} writes no label maps")

    def label_prepared(self, request: messages.LabelPrepared) -> messages.Done:
        """See `LabelPrepared`."""
        raise NotImplementedError(f"{type(self).__name__} labels no prepared images")

    def predict_prepared(self, request: messages.PredictPrepared) -> messages.Done:
        """See `PredictPrepared`."""
        raise NotImplementedError(f"{type(self).__name__} predicts no prepared images")

    def verify(self) -> messages.GoldenResult:
        """See `Verify`."""
        raise NotImplementedError(f"{type(self).__name__} has no golden pair")

    def describe(self, packages: Sequence[str]) -> messages.Description:
        """See `Describe`."""
        raise NotImplementedError(f"{type(self).__name__} does not describe its machine")


def perform(worker: Worker, request: messages.Request[Any], on_step: Callable[[], None]) -> Any:
    """Do what a request asks for; returns its answer."""
    if isinstance(request, messages.Load):
        return worker.load(request.images)
    if isinstance(request, messages.Time):
        return worker.time(request.count)
    if isinstance(request, (messages.Sustain, messages.Label)):
        return getattr(worker, messages.command_of(type(request)))(request, on_step)
    if isinstance(request, (messages.TimePhases, messages.LabelPrepared, messages.PredictPrepared)):
        return getattr(worker, messages.command_of(type(request)))(request)
    if isinstance(request, messages.Describe):
        return worker.describe(request.packages)
    # The others have no fields.
    return getattr(worker, messages.command_of(type(request)))()


def explain(error: Exception) -> str:
    """The text of an error that nobody raised on purpose."""
    return f"{type(error).__name__}: {error}"


def serve(worker: Worker, explain: Callable[[Exception], str] = explain) -> None:
    """Answer requests from standard input until it ends.

    Args:
        explain: Text of an error.
    """
    # Libraries print; answers go through a copy of standard output that they do not know.
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        answer_line(worker, line, answers, explain)


def answer_line(
    worker: Worker, line: str, answers: IO[str], explain: Callable[[Exception], str]
) -> None:
    """Carry out one request and write its answer."""

    def reply(record: Mapping[str, Any]) -> None:
        answers.write(json.dumps(record) + "\n")

    steps = itertools.count(1)

    def report_step() -> None:
        reply({"done": next(steps)})

    try:
        reply(dataclasses.asdict(perform(worker, messages.decode_request(line), report_step)))
    except Exception as error:
        reply({"error": explain(error), "errno": getattr(error, "errno", None)})
