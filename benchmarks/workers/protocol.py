"""What a process that measures a network and the process that asks it say to each other.

Needs Python 3.8 and nothing else: a copy lies beside `device_worker.py` on devices, and beside
`toolkit_worker.py` in other environments.

A request is a line of JSON: the name of its class in lower case as `command`, and its fields. An
answer is a line of JSON with the fields of the class that the request names. In between there may
be lines {"done": I}, one for each step of a long request. {"error": TEXT, "errno": NUMBER or null}
takes the place of an answer. The process ends when its input does.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import itertools
import json
import os
import re
import sys
from typing import IO, TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

Answer = TypeVar("Answer")

# As in `edgeseg.lazy`, which is not there on devices.
REPORTING_PACKAGES = ("openvino_telemetry",)


@dataclasses.dataclass(frozen=True)
class Loaded:
    """Attributes:
    load_ms: Time that opening the network took.
    bare_rss_bytes: Resident memory before that, with the runtime's modules imported.
    """

    load_ms: float
    bare_rss_bytes: int


@dataclasses.dataclass(frozen=True)
class FirstInference:
    """Attributes:
    first_ms: Latency.
    """

    first_ms: float


@dataclasses.dataclass(frozen=True)
class Latencies:
    """Attributes:
    latencies_ms: Latency of each inference, or one mean where single ones are not known.
    """

    latencies_ms: Sequence[float]


@dataclasses.dataclass(frozen=True)
class SustainedRun:
    """A long run in windows of equal length; each list has an entry a window.

    Attributes:
        starts_s: When it began.
        medians_ms: Median latency.
        cpu_shares: CPU time over time, of one thread: what is missing, others had.
        counts: Inferences.
        clocks_mhz: Of the core, as the system tells; empty where it does not.
    """

    starts_s: Sequence[float]
    medians_ms: Sequence[float]
    cpu_shares: Sequence[float]
    counts: Sequence[int]
    clocks_mhz: Sequence[float]


@dataclasses.dataclass(frozen=True)
class MemoryUse:
    """Attributes:
    peak_rss_bytes: Most resident memory since the network was opened.
    """

    peak_rss_bytes: int


@dataclasses.dataclass(frozen=True)
class Done:
    """The request was carried out; its result is a file."""


@dataclasses.dataclass(frozen=True)
class GoldenResult:
    """Attributes:
    holds: Whether the golden pair was reproduced within the manifest's limits.
    numbers: The differences, for people.
    """

    holds: bool
    numbers: str


@dataclasses.dataclass(frozen=True)
class Description:
    """Attributes:
    facts: What a latency is worth nothing without: processor, system, versions.
    """

    facts: dict[str, Any]


class Request(Generic[Answer]):
    """Base of requests; `answer` is the class of what answers them."""

    answer: ClassVar[type]


@dataclasses.dataclass(frozen=True)
class Load(Request[Loaded]):
    """Open the network.

    Attributes:
        images: File (.npy) of prepared images to time, (N, 1, 3, H, W) float32; None where nothing
            will be timed.
    """

    answer = Loaded
    images: str | None = None


@dataclasses.dataclass(frozen=True)
class First(Request[FirstInference]):
    """Run the first inference."""

    answer = FirstInference


@dataclasses.dataclass(frozen=True)
class Time(Request[Latencies]):
    """Time `count` inferences after one that is not counted: another process ran before."""

    answer = Latencies
    count: int


@dataclasses.dataclass(frozen=True)
class Sustain(Request[SustainedRun]):
    """Run without a pause.

    Attributes:
        seconds: How long.
        window_s: Length of a window.
        threads: That compute; CPU time is shared out among them.
    """

    answer = SustainedRun
    seconds: float
    window_s: float
    threads: int


@dataclasses.dataclass(frozen=True)
class Memory(Request[MemoryUse]):
    """Read the peak of memory."""

    answer = MemoryUse


@dataclasses.dataclass(frozen=True)
class Label(Request[Done]):
    """Write the label map of each image, which may be a step each.

    Attributes:
        images: Image files, or .npy files of decoded ones, (H, W, 3) uint8, on a device.
        inputs, outputs: The contracts as JSON; None takes those of the bundle that is open.
        result: File (.npy) for the maps, (N, h, w) uint8.
    """

    answer = Done
    images: Sequence[str]
    result: str
    inputs: Mapping[str, Any] | None = None
    outputs: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class LabelPrepared(Request[Done]):
    """Write the label map of each of the first prepared images of a file.

    Attributes:
        images: File (.npy) of prepared images, (N, 1, 3, H, W) float32.
        count: How many to label.
        outputs: The output contract as JSON.
        result: File (.npy) for the maps, (count, h, w) uint8.
    """

    answer = Done
    images: str
    count: int
    outputs: Mapping[str, Any]
    result: str


@dataclasses.dataclass(frozen=True)
class PredictPrepared(Request[Done]):
    """Write what the network gives for each prepared image of a file.

    Attributes:
        images: File (.npy) of prepared images, (N, 1, C, H, W) float32.
        result: File (.npy) for the probabilities, (N, 1, C, H, W) float32.
    """

    answer = Done
    images: str
    result: str


@dataclasses.dataclass(frozen=True)
class Verify(Request[GoldenResult]):
    """Replay the golden pair of the bundle that is open."""

    answer = GoldenResult


@dataclasses.dataclass(frozen=True)
class Describe(Request[Description]):
    """Describe the machine.

    Attributes:
        packages: Import names whose versions are wanted.
    """

    answer = Description
    packages: Sequence[str]


def command_of(request_class: type) -> str:
    """Name of a request on the wire: "label_prepared" for `LabelPrepared`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", request_class.__name__).lower()


LABELLING = (Label, LabelPrepared, PredictPrepared)
REQUESTS = {
    command_of(kind): kind
    for kind in (Load, First, Time, Sustain, Memory, *LABELLING, Verify, Describe)
}


def encode_request(request: Request[Any]) -> str:
    """Line of JSON, without its end."""
    fields = dataclasses.asdict(request)  # type: ignore[call-overload]
    return json.dumps({"command": command_of(type(request)), **fields})


def decode_request(line: str) -> Request[Any]:
    """Read what `encode_request` gave.

    Raises:
        KeyError: There is no such request.
        TypeError: It lacks a field, or has one too many.
    """
    fields = json.loads(line)
    request: Request[Any] = REQUESTS[fields.pop("command")](**fields)
    return request


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

    def start(self, stack: contextlib.ExitStack) -> None:  # noqa: B027
        """Start what does the work; `stack` takes what ends it again."""

    @abc.abstractmethod
    def load(self, images: str | None = None) -> Loaded:
        """See `Load`."""

    @abc.abstractmethod
    def first(self) -> FirstInference:
        """See `First`."""

    @abc.abstractmethod
    def time(self, count: int) -> Latencies:
        """See `Time`."""

    @abc.abstractmethod
    def memory(self) -> MemoryUse:
        """See `Memory`."""

    def sustain(self, request: Sustain, on_step: Callable[[], None] = do_nothing) -> SustainedRun:
        """See `Sustain`; `on_step` is called after each window."""
        raise NotImplementedError(f"{type(self).__name__} makes no long runs")

    def label(self, request: Label, on_step: Callable[[], None] = do_nothing) -> Done:
        """See `Label`; `on_step` is called after each image."""
        raise NotImplementedError(f"{type(self).__name__} writes no label maps")

    def label_prepared(self, request: LabelPrepared) -> Done:
        """See `LabelPrepared`."""
        raise NotImplementedError(f"{type(self).__name__} labels no prepared images")

    def predict_prepared(self, request: PredictPrepared) -> Done:
        """See `PredictPrepared`."""
        raise NotImplementedError(f"{type(self).__name__} predicts no prepared images")

    def verify(self) -> GoldenResult:
        """See `Verify`."""
        raise NotImplementedError(f"{type(self).__name__} has no golden pair")

    def describe(self, packages: Sequence[str]) -> Description:
        """See `Describe`."""
        raise NotImplementedError(f"{type(self).__name__} does not describe its machine")


def perform(worker: Worker, request: Request[Any], on_step: Callable[[], None]) -> Any:
    """Do what a request asks for; returns its answer."""
    if isinstance(request, Load):
        return worker.load(request.images)
    if isinstance(request, Time):
        return worker.time(request.count)
    if isinstance(request, (Sustain, Label)):
        return getattr(worker, command_of(type(request)))(request, on_step)
    if isinstance(request, (LabelPrepared, PredictPrepared)):
        return getattr(worker, command_of(type(request)))(request)
    if isinstance(request, Describe):
        return worker.describe(request.packages)
    # The others have no fields.
    return getattr(worker, command_of(type(request)))()


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
        reply(dataclasses.asdict(perform(worker, decode_request(line), report_step)))
    except Exception as error:
        reply({"error": explain(error), "errno": getattr(error, "errno", None)})
