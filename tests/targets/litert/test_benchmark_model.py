from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeseg.errors import BenchmarkError
from edgeseg.records import Artifact
from edgeseg.targets.device_program import ProgramCall, ProgramTimings
from edgeseg.targets.litert.benchmark_model import BenchmarkModel, TfliteTensorForm

PROGRAM = BenchmarkModel()
FLOAT = {"layout": "NHWC", "dtype": "float32", "scale": None, "zero_point": None}
# What LiteRT's program prints, shortened.
PRINTED = """INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Min num runs: [50]
INFO: Graph: [/data/local/tmp/model.tflite]
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: The input model file size (MB): 0.340415
INFO: Initialized session in 5.685ms.
INFO: Running benchmark for at least 1 iterations and at least 0 seconds but terminate if exceeding 600 seconds.
INFO: count=1 curr=18535

INFO: Running benchmark for at least 50 iterations and at least 0 seconds but terminate if exceeding 600 seconds.
INFO: count=50 first=14518 curr=14604 min=14409 max=15035 avg=14575.2 std=107 p5=14441 median=14562 p95=14780

INFO: Inference timings in us: Init: 5685, First inference: 18535, Warmup (avg): 18535, Inference (avg): 14575.2
INFO: Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual memory footprint of the model at runtime. Take the information at your discretion.
INFO: Memory footprint delta from the start of the tool (MB): init=2.51953 overall=7.25
"""  # noqa: E501


def test_timings_are_read() -> None:
    assert PROGRAM.parse_timings(PRINTED) == ProgramTimings(
        5.685, 18.535, pytest.approx(14.5752), 50, int(7.25 * 2**20)
    )


def test_a_program_that_tells_no_memory_gives_none() -> None:
    without = PRINTED[: PRINTED.index("INFO: Note")]
    assert PROGRAM.parse_timings(without).peak_bytes is None


def test_large_numbers_may_be_written_with_exponents() -> None:
    printed = PRINTED.replace("Inference (avg): 14575.2", "Inference (avg): 1.23457e+06")
    assert PROGRAM.parse_timings(printed).mean_ms == pytest.approx(1234.57)


@pytest.mark.parametrize("printed", ["", "ERROR: Failed to allocate tensors!", PRINTED[:700]])
def test_anything_else_is_no_timings(printed: str) -> None:
    with pytest.raises(ValueError, match="it printed no timings"):
        PROGRAM.parse_timings(printed)


def call(**more: str) -> list[str]:
    """Words of a call for a float graph of images 256x128."""
    settings = {"delegate": "xnnpack", "input": FLOAT, "output": FLOAT}
    files = ("artifact/model.tflite",)
    artifact = Artifact("litert", "fp32", "tflite", Path("bundle"), files, settings)
    described = ProgramCall(
        program="/data/benchmark_model",
        graph="bundle0/artifact/model.tflite",
        runs=20,
        threads=4,
        seconds=90.5,
        input_file="input.bin",
        **more,
    )
    return PROGRAM.command(artifact, (1, 3, 256, 128), described)


def test_a_call_counts_what_it_is_told_to() -> None:
    words = call()
    assert words[0] == "/data/benchmark_model"
    assert {
        "--graph=bundle0/artifact/model.tflite",
        "--num_threads=4",
        "--num_runs=20",
        "--min_secs=0",
        "--max_secs=90.5",
        "--warmup_runs=1",
        "--warmup_min_secs=0",
        "--input_layer=image",
        "--input_layer_shape=1,256,128,3",
        "--input_layer_value_files=image:input.bin",
        "--use_xnnpack=true",
    } == set(words[1:])


def test_outputs_are_asked_for_where_they_are_wanted() -> None:
    assert call(output_file="out")[-2:] == ["--output_filepath=out", "--use_xnnpack=true"]


def test_help_tells_whether_outputs_are_written() -> None:
    assert PROGRAM.can_write_outputs("\t--output_filepath=\tstring\toptional\tFile path")
    assert not PROGRAM.can_write_outputs("\t--graph=\tstring\toptional\tgraph file name")
    assert PROGRAM.recognizes("\t--graph=\tstring\toptional\tgraph file name")
    assert not PROGRAM.recognizes("usage: ls [FILE]")


def test_integers_are_quantized_by_hand() -> None:
    record = {"layout": "NHWC", "dtype": "int8", "scale": 0.5, "zero_point": -3}
    form = TfliteTensorForm.of(record, (1, 2, 1, 2))
    values = np.array([[[[0.0, 1.0]], [[-70.0, 0.24]]]], np.float32)
    # 0 is quantized to -3, 1 is -1; -70 would be -143, 0.24 rounds to 0. Channels last.
    assert np.frombuffer(form.encode(values), np.int8).tolist() == [-3, -128, -1, -3]
    assert form.size_bytes == 4
    decoded = form.decode(np.array([-3, -128, -1, 127], np.int8).tobytes())
    assert decoded.tolist() == [[[[0.0, 1.0]], [[-62.5, 65.0]]]]


def test_floats_are_only_turned() -> None:
    form = TfliteTensorForm.of(FLOAT, (1, 3, 4, 5))
    values = np.random.default_rng(0).normal(size=(1, 3, 4, 5)).astype(np.float32)
    assert form.shape == (1, 4, 5, 3)
    raw = np.frombuffer(form.encode(values), np.float32).reshape(1, 4, 5, 3)
    assert np.array_equal(raw[0, 1, 2], values[0, :, 1, 2])
    assert np.array_equal(form.decode(form.encode(values)), values)


def test_another_layout_is_refused() -> None:
    with pytest.raises(BenchmarkError, match="takes images as NCHW"):
        TfliteTensorForm.of({**FLOAT, "layout": "NCHW"}, (1, 3, 4, 5))
