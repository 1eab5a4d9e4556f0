from __future__ import annotations

import pytest

from edgeseg.targets.transports.benchmark_model import (
    Timings,
    benchmark_command,
    can_write_outputs,
    parse_timings,
)

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
    assert parse_timings(PRINTED) == Timings(5.685, 18.535, pytest.approx(14.5752), 50, 7.25)


def test_a_program_that_tells_no_memory_gives_none() -> None:
    without = PRINTED[: PRINTED.index("INFO: Note")]
    assert parse_timings(without).footprint_mb is None


def test_large_numbers_may_be_written_with_exponents() -> None:
    printed = PRINTED.replace("Inference (avg): 14575.2", "Inference (avg): 1.23457e+06")
    assert parse_timings(printed).mean_ms == pytest.approx(1234.57)


@pytest.mark.parametrize("printed", ["", "ERROR: Failed to allocate tensors!", PRINTED[:700]])
def test_anything_else_is_no_timings(printed: str) -> None:
    with pytest.raises(ValueError, match="it printed no timings"):
        parse_timings(printed)


def test_a_call_counts_what_it_is_told_to() -> None:
    words = benchmark_command(
        "/data/benchmark_model",
        "model.tflite",
        runs=20,
        threads=4,
        seconds=90.5,
        shape=(1, 256, 256, 3),
        input_file="input.bin",
    )
    assert words[0] == "/data/benchmark_model"
    assert {
        "--graph=model.tflite",
        "--num_threads=4",
        "--num_runs=20",
        "--min_secs=0",
        "--max_secs=90.5",
        "--warmup_runs=1",
        "--warmup_min_secs=0",
        "--input_layer=image",
        "--input_layer_shape=1,256,256,3",
        "--input_layer_value_files=image:input.bin",
    } == set(words[1:])


def test_outputs_are_asked_for_where_they_are_wanted() -> None:
    words = benchmark_command(
        "benchmark_model",
        "model.tflite",
        runs=1,
        threads=1,
        seconds=9,
        shape=(1,),
        input_file="in",
        output_file="out",
        flags=("--use_xnnpack=true",),
    )
    assert words[-2:] == ["--output_filepath=out", "--use_xnnpack=true"]


def test_help_tells_whether_outputs_are_written() -> None:
    assert can_write_outputs("\t--output_filepath=\tstring\toptional\tFile path")
    assert not can_write_outputs("\t--graph=\tstring\toptional\tgraph file name")
