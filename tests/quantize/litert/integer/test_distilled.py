"""Integer models that learn from their float self."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from integer_graphs import save_network, save_norms, start_of
from support import needs
from tiny_graphs import run_as_written
from tiny_litert import Made, make, run

from edgeseg.errors import CalibrationError, UsageError
from edgeseg.formats.tflite import read_tflite
from edgeseg.progress import SILENT
from edgeseg.quantize import usual_methods
from edgeseg.quantize.litert.integer.distilled import (
    DistilledIntegerOptions,
    DistilledIntegerQuantizer,
)
from edgeseg.quantize.litert.integer.quantizer import IntegerOptions, IntegerQuantizer

pytestmark = needs("torch", "onnx2tf", "ai_edge_litert", "onnx", "onnx_ir", "onnxruntime")

SHORT = DistilledIntegerOptions(ranges="min-max", steps=16, held_back=0.5, batch=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("distilled"), save_norms)


def test_equal_seeds_give_equal_files_of_integers(made: Made, tmp_path: Path) -> None:
    contents = []
    for name in ("first", "second"):
        artifact, record = DistilledIntegerQuantizer(SHORT).quantize(
            made.source, made.images, tmp_path / name
        )
        contents.append((artifact.folder / artifact.files[0]).read_bytes())
        assert record.method == "integer-distill"
        assert record.settings["steps"] == 16
        assert record.layers["float"] == 0
        model = read_tflite(artifact.folder / artifact.files[0])
        assert [kind for kind in model.types if kind == "FLOAT32"] == ["FLOAT32"] * 2
    assert contents[0] == contents[1]


def test_coarse_weights_learn_to_agree(tmp_path: Path) -> None:
    import torch

    from edgeseg.quantize.distillation.end_to_end_stage import EndToEndSettings
    from edgeseg.quantize.litert.file import TfliteFile
    from edgeseg.quantize.litert.integer.learning.graph import load_tflite_graph
    from edgeseg.quantize.litert.integer.learning.learner import IntegerLearner
    from edgeseg.quantize.litert.integer.writer import IntegerWriter
    from edgeseg.quantize.plan.weight_grids import covering_grid

    made = make(tmp_path, save_network)
    path = made.source.folder / made.source.files[0]
    start = start_of(made)
    plan = start.plan_of(start.groups)
    graph = load_tflite_graph(TfliteFile(path.read_bytes()))
    coarse = {
        int(name): covering_grid(graph.constants[place.weight].numpy(), steps=7)
        for name, place in graph.convolutions.items()
    }
    rows = (np.ascontiguousarray(one.transpose(0, 2, 3, 1)) for one in made.images)
    images = [torch.from_numpy(one) for one in rows]
    learner = IntegerLearner(graph, graph, replace(plan, weights=coarse), images, images, 0)
    with SILENT.stage("learn") as stage:
        learner.learn_end_to_end(EndToEndSettings(400, 1, 1.0), stage)
    assert learner.best.loss < 0.7 * learner.begin.loss
    assert learner.best_plan.weights.keys() == coarse.keys()
    assert learner.best_plan.grids == plan.grids
    # The file holds what was learned.
    written = tmp_path / "learned.tflite"
    written.write_bytes(IntegerWriter(path.read_bytes(), learner.best_plan).write())
    file = TfliteFile(written.read_bytes())
    stored = [
        file.constant(int(one.inputs[1])).ravel()
        for one in file.operators
        if "CONV_2D" in file.kind_of(one)
    ]
    for grid in learner.best_plan.weights.values():
        assert any(np.array_equal(np.sort(one), np.sort(grid.values.ravel())) for one in stored)


def test_a_share_of_int16_comes_closer(made: Made, tmp_path: Path) -> None:
    counts, distances = [], []
    for share in (0.0, 0.3, 0.6):
        options = IntegerOptions(ranges="min-max", int16=share)
        artifact, record = IntegerQuantizer(options).quantize(
            made.source, made.images, tmp_path / str(share)
        )
        distances.append(
            np.mean(
                [
                    np.abs(run(artifact, one) - run_as_written(made.onnx_path, one)).mean()
                    for one in made.images
                ]
            )
        )
        assert record.settings["int16"] == share
        assert record.layers["float"] == 0
        counts.append(record.layers["int16"])
    assert counts[0] < counts[1] < counts[2]
    assert distances[2] < 0.8 * distances[0]


def test_one_image_is_too_few(made: Made, tmp_path: Path) -> None:
    one = replace(made.images, pairs=made.images.pairs[:1], digests=made.images.digests[:1])
    with pytest.raises(CalibrationError, match="Raise --calibration-images"):
        DistilledIntegerQuantizer(SHORT).quantize(made.source, one, tmp_path / "int8")
    assert not (tmp_path / "int8").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [("steps", 0), ("batch", 0), ("held_back", 1.0), ("int16", 1.1), ("int16", float("nan"))],
)
def test_numbers_that_cannot_be_are_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"The option {name} is .*Give {name}="):
        DistilledIntegerOptions(**{name: value})  # type: ignore[arg-type]


def test_no_build_tries_it_unasked() -> None:
    assert "integer-distill" not in usual_methods(("tflite",))
