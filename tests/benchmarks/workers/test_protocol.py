"""Requests and answers as they go over the wire."""

from __future__ import annotations

import io
import json

import pytest

from edgeseg.benchmarks.workers.messages import (
    REQUESTS,
    Describe,
    Description,
    FirstInference,
    Label,
    LabelPrepared,
    Latencies,
    Load,
    Loaded,
    MemoryUse,
    PredictPrepared,
    Request,
    Time,
    TimePhases,
    decode_request,
    encode_request,
)
from edgeseg.benchmarks.workers.protocol import Worker, answer_line, explain


class Recorder(Worker):
    """Answers with fixed numbers."""

    def load(self, images: str | None = None) -> Loaded:
        return Loaded(1.5, 2 if images is None else len(images))

    def first(self) -> FirstInference:
        raise OSError(28, "No space left on device")

    def time(self, count: int) -> Latencies:
        return Latencies([0.5] * count)

    def memory(self) -> MemoryUse:
        return MemoryUse(7)

    def describe(self, packages: object) -> Description:
        return Description({"packages": packages})


def answers_to(line: str) -> list[dict[str, object]]:
    answers = io.StringIO()
    answer_line(Recorder(), line, answers, explain)
    return [json.loads(answer) for answer in answers.getvalue().splitlines()]


def test_requests_are_known_by_their_names() -> None:
    names = (
        "load first time sustain time_phases memory label label_prepared predict_prepared verify "
        "describe"
    )
    assert list(REQUESTS) == names.split()


@pytest.mark.parametrize(
    "request_",
    [
        Load("images.npy"),
        Load(),
        Time(3),
        TimePhases(["a.png"], 3, {"height": 4}, {"classes": ["a", "b"]}),
        Label(["a.png"], "labels.npy", {"height": 4}, {"classes": ["a", "b"]}),
        LabelPrepared("images.npy", 2, {"classes": ["a", "b"]}, "labels.npy"),
        PredictPrepared("images.npy", "masks.npy"),
        Describe(["numpy"]),
    ],
)
def test_requests_come_back_from_their_lines(request_: Request[object]) -> None:
    assert decode_request(encode_request(request_)) == request_


def test_lines_are_as_they_are_written_down() -> None:
    assert json.loads(encode_request(Time(3))) == {"command": "time", "count": 3}
    assert answers_to('{"command": "load"}') == [{"load_ms": 1.5, "bare_rss_bytes": 2}]
    assert answers_to('{"command": "load", "images": "abc"}')[0]["bare_rss_bytes"] == 3
    assert answers_to('{"command": "time", "count": 2}') == [
        {"latencies_ms": [0.5, 0.5], "waited_ms": None}
    ]
    assert answers_to('{"command": "memory"}') == [{"peak_rss_bytes": 7}]
    described = answers_to('{"command": "describe", "packages": ["a"]}')
    assert described == [{"facts": {"packages": ["a"]}}]


def test_errors_take_the_place_of_answers() -> None:
    (answer,) = answers_to('{"command": "first"}')
    assert answer["errno"] == 28
    assert answer["error"] == "OSError: [Errno 28] No space left on device"
    (unknown,) = answers_to('{"command": "dance"}')
    assert unknown == {"error": "KeyError: 'dance'", "errno": None}
    (short,) = answers_to('{"command": "time"}')
    assert "count" in str(short["error"])
    (unable,) = answers_to('{"command": "verify"}')
    assert unable["error"] == "NotImplementedError: Recorder has no golden pair"
