"""LiteRT's benchmark_model: how it is called and what it prints.

Source: tools/benchmark in the LiteRT and TensorFlow repositories, whose README names the flags.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

INPUT_NAME = "image"  # the program takes inputs in their order; names need not be the graph's
_NUMBER = r"([0-9.]+(?:e[+-]?[0-9]+)?)"
_TIMINGS = re.compile(
    rf"Inference timings in us: Init: {_NUMBER}, First inference: {_NUMBER}, "
    rf"Warmup \(avg\): {_NUMBER}, Inference \(avg\): {_NUMBER}"
)
_COUNT = re.compile(r"\bcount=([0-9]+)\b")
_FOOTPRINT = re.compile(rf"Memory footprint delta.*overall={_NUMBER}")


@dataclass(frozen=True)
class Timings:
    """What one call printed.

    Attributes:
        init_ms: Loading the graph and allocating tensors.
        first_ms: The first inference.
        mean_ms: Over the counted inferences.
        count: How many these were.
        footprint_mb: Growth of the process's peak memory since its start; None where it is silent.
    """

    init_ms: float
    first_ms: float
    mean_ms: float
    count: int
    footprint_mb: float | None


def benchmark_command(
    program: str,
    graph: str,
    *,
    runs: int,
    threads: int,
    seconds: float,
    shape: Sequence[int],
    input_file: str,
    output_file: str | None = None,
    flags: Sequence[str] = (),
) -> list[str]:
    """Words of a call that counts `runs` inferences after one that it does not count.

    Args:
        seconds: After which no further inference is begun.
        shape: Of the input tensor.
        input_file: Raw values of the input tensor.
        output_file: Takes the raw values of the output tensor.
        flags: Further ones.
    """
    return [
        program,
        f"--graph={graph}",
        f"--num_threads={threads}",
        f"--num_runs={runs}",
        "--min_secs=0",
        f"--max_secs={seconds:g}",
        "--warmup_runs=1",
        "--warmup_min_secs=0",
        f"--input_layer={INPUT_NAME}",
        f"--input_layer_shape={','.join(map(str, shape))}",
        f"--input_layer_value_files={INPUT_NAME}:{input_file}",
        *([f"--output_filepath={output_file}"] if output_file else []),
        *flags,
    ]


def parse_timings(text: str) -> Timings:
    """Read what a call printed.

    Raises:
        ValueError: It does not tell timings.
    """
    timings = _TIMINGS.search(text)
    counts = _COUNT.findall(text)
    if timings is None or not counts:
        raise ValueError("it printed no timings")
    init, first, _, mean = (float(number) / 1e3 for number in timings.groups())
    footprint = _FOOTPRINT.search(text)
    return Timings(init, first, mean, int(counts[-1]), float(footprint[1]) if footprint else None)


def can_write_outputs(help_text: str) -> bool:
    """Whether the program's --help names the flag that writes output tensors."""
    return "--output_filepath" in help_text
