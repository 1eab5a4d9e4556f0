"""What a process that measures a network is asked, and what it answers.

Needs Python 3.8 and nothing else: a copy lies beside `protocol.py` on devices and in other
environments.

A request is a line of JSON: the name of its class in lower case as `command`, and its fields. An
answer is a line of JSON with the fields of the class that the request names.
"""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Answer = TypeVar("Answer")


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
    waited_ms: Time in which threads of the process were ready and others had their core, all
        threads together; None where the system does not tell.
    """

    latencies_ms: Sequence[float]
    waited_ms: float | None = None


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
class Phases:
    """Times of the parts of a prediction; each list has an entry a prediction.

    Attributes:
        preprocess_ms: From the decoded picture to the network's input.
        inference_ms: The network.
        postprocess_ms: From its output to the mask of the picture's size.
    """

    preprocess_ms: Sequence[float]
    inference_ms: Sequence[float]
    postprocess_ms: Sequence[float]


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
class TimePhases(Request[Phases]):
    """Time the parts of predictions, from decoded pictures to masks of their size.

    Attributes:
        images: As of `Label`.
        repeats: Counted predictions of each, after one that is not.
        inputs, outputs: As of `Label`.
    """

    answer = Phases
    images: Sequence[str]
    repeats: int
    inputs: Mapping[str, Any] | None = None
    outputs: Mapping[str, Any] | None = None


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
    for kind in (Load, First, Time, Sustain, TimePhases, Memory, *LABELLING, Verify, Describe)
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
