from __future__ import annotations

from collections.abc import Callable
from subprocess import CompletedProcess

import numpy as np
import pytest
from support import needs

from edgeseg.metrics.clusters import Clusters
from edgeseg.pipeline.studies.calibration import StudyRow


def row(title: str, *flips: list[float]) -> StudyRow:
    return StudyRow(title, np.array(flips))


def test_row_is_the_mean_over_seeds_and_images() -> None:
    default = row("default", [10, 20, 30])
    record = row("learned", [4, 8, 12], [6, 12, 18]).to_json(default)
    assert record["flips_per_10k"] == 10
    assert record["by_seed"] == [8, 12]
    assert record["worst_image"] == 15
    assert record["ratio_to_default"] == 0.5
    # Half of the default on every image: whatever is drawn, the ratio is the same.
    assert record["ratio_interval"] == (0.5, 0.5)
    low, high = record["interval"]
    assert 5 <= low < 10 < high <= 15


def test_intervals_resample_clusters() -> None:
    default, learned = row("default", [10, 10, 10]), row("learned", [0, 4, 4])
    record = learned.to_json(default, Clusters((0, 1, 1), "volumes"))
    # Two volumes: the first twice, both, or the second twice.
    assert record["interval"] == (0, 4)
    assert record["ratio_interval"] == (0, 0.4)


def test_there_is_no_ratio_where_the_default_flips_nothing() -> None:
    record = row("learned", [4, 8, 12]).to_json(row("default", [0, 0, 0]))
    assert (record["ratio_to_default"], record["ratio_interval"]) == (None, None)
    assert record["flips_per_10k"] == 8


def test_default_is_1_of_itself() -> None:
    default = row("default", [10, 20, 30])
    record = default.to_json(default)
    assert (record["ratio_to_default"], record["ratio_interval"]) == (1, (1, 1))


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["--method-option", "quantize_output=false"], "Did you mean quantize_outputs"),
        (["--method-option", "quantize_outputs=no"], "Give it as quantize_outputs=true"),
        (["--distill-option", "step=1"], "Did you mean steps"),
    ],
)
def test_wrong_options_are_found_before_anything_is_done(
    run_cli: Callable[..., CompletedProcess[str]], words: list[str], advice: str
) -> None:
    done = run_cli("calibration-study", "-m", "egeunet", "-t", "android", *words)
    assert done.returncode == 2, done.stderr
    assert advice in done.stderr
    assert len(done.stderr.splitlines()) == 1  # no line of a stage


@pytest.mark.slow
@needs("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime")
def test_command_prints_every_way(run_cli: Callable[..., CompletedProcess[str]]) -> None:
    words = ["--calibration-images", 4, "--check-images", 1, "--distill-option", "block_steps=1"]
    done = run_cli(
        "calibration-study",
        "-m",
        "egeunet",
        "-t",
        "onnxruntime",
        *words,
        "--distill-option",
        "steps=1",
    )
    assert done.returncode == 0, done.stderr
    titles = [
        "the vendor quantiser",
        "min-max",
        "percentile",
        "entropy",
        "mse",
        "mse + bias correction",
        "+ block reconstruction",
        "+ end to end",
    ]
    lines = [line for line in done.stdout.splitlines() if line.startswith("│")]
    assert [line.split("│")[1].strip() for line in lines] == titles
