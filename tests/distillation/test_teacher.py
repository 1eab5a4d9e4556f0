from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import Counter, needs

torch = pytest.importorskip("torch")

from edgeseg.data.folder import open_folder
from edgeseg.data.label_subset import forget_labels
from edgeseg.distillation.teacher import (
    TEACHER_LOGITS,
    KeptAnswers,
    Teacher,
    all_pairs,
    image_name,
    images_for,
)
from edgeseg.errors import UsageError
from edgeseg.models import TrainedModel, find_model
from edgeseg.models.weights import save_weights
from edgeseg.training.recipes import Recipe
from edgeseg.training.samples import Draw, TrainingImages

SPEC = find_model("ulite", None, (32, 32))
STUDENT = find_model("egeunet", None, (32, 32))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("teacher") / "ulite.safetensors"
    save_weights(path, SPEC.make_network())
    return path


@pytest.fixture
def teacher(weights: Path) -> Teacher:
    return Teacher(TrainedModel(SPEC, weights))


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGESEG_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Silent(torch.nn.Module):
    """A network that gives probabilities only."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(1))

    def forward(self, image: Any) -> Any:
        return torch.sigmoid(self.gain * image[:, :1])


def test_a_teacher_without_logits_is_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "none.safetensors", Silent())
    spec = replace(find_model("ulite"), import_path=f"{__name__}:Silent")
    with pytest.raises(UsageError, match=r"teacher ulite has no forward_logits.*--teacher-spec"):
        Teacher(TrainedModel(spec, tmp_path / "none.safetensors"))
    assert spec.source_digest() is not None
    assert find_model("ulite").source_digest() is None


def test_teacher_does_not_learn(teacher: Teacher) -> None:
    assert not any(value.requires_grad for value in teacher.network.parameters())
    assert not teacher.network.training


class Column:
    """A teacher that answers with the red plane, and so sees how the image lies."""

    def logits(self, image: Any) -> Any:
        return image[:, :1] * torch.tensor([[1.0, 2.0], [4.0, 8.0]])


@pytest.mark.parametrize(
    ("views", "expected"),
    [
        (1, [1.0, 2.0, 4.0, 8.0]),
        # With the mirror image the columns' factors are averaged: 3/2 and 6.
        (2, [1.5, 1.5, 6.0, 6.0]),
        # With half turns, or all turns, every pixel gets the mean of all four.
        (4, [3.75] * 4),
        (8, [3.75] * 4),
    ],
)
def test_views_are_turned_back_and_averaged(views: int, expected: list[float]) -> None:
    mean = Teacher.mean_logits(Column(), torch.ones(1, 3, 2, 2), views)  # type: ignore[arg-type]
    assert mean.flatten().tolist() == expected


@pytest.mark.parametrize("views", [1, 2, 4, 8])
def test_views_of_an_even_teacher_change_nothing(views: int) -> None:
    class Even:
        def logits(self, image: Any) -> Any:
            return image[:, :1]

    image = torch.rand(1, 3, 4, 4)
    mean = Teacher.mean_logits(Even(), image, views)  # type: ignore[arg-type]
    assert torch.allclose(mean, image[:, :1])


def test_answers_are_asked_once_and_found_again(
    teacher: Teacher, make_data_folder: Callable[..., Path], own_cache: Path
) -> None:
    pairs = list(open_folder(make_data_folder(3, (40, 30))))
    counter = Counter()
    first = KeptAnswers([teacher], pairs, STUDENT.inputs, 1, progress=counter)
    assert counter.steps == 3
    image = torch.from_numpy(SPEC.inputs.prepare(pairs[1].read_image()))
    kept = first.recall(pairs[1], pairs[1].read_image())[TEACHER_LOGITS]
    assert kept.shape == (1, 32, 32)
    assert np.allclose(kept, teacher.logits(image)[0].numpy(), rtol=1e-3, atol=1e-3)
    again = KeptAnswers([teacher], pairs, STUDENT.inputs, 1)
    assert (first.was_kept, again.was_kept) == (False, True)
    assert np.array_equal(first.logits, again.logits)
    others = KeptAnswers([teacher], pairs, STUDENT.inputs, 1, views=2)
    assert not others.was_kept


def test_answers_have_the_size_of_the_student(
    teacher: Teacher, make_data_folder: Callable[..., Path], own_cache: Path
) -> None:
    pairs = list(open_folder(make_data_folder(1, (40, 30))))
    inputs = STUDENT.at_size(64, 96).inputs
    assert KeptAnswers([teacher], pairs, inputs, 1).logits.shape == (1, 1, 64, 96)


@needs("monai")
def test_kept_answers_move_with_their_image(
    teacher: Teacher, make_data_folder: Callable[..., Path], own_cache: Path
) -> None:
    dataset = forget_labels(open_folder(make_data_folder(2, (32, 32))))
    kept = KeptAnswers([teacher], all_pairs(dataset, None), STUDENT.inputs, 1)
    # The first channel of the logits is replaced by the image's red, so that one tells the other.
    red = np.stack([pair.read_image()[None, ..., 0].astype(np.float32) for pair in dataset])
    kept.logits = red
    recipe = Recipe("test", rotation="quarter")
    inputs = replace(STUDENT.inputs, normalization=SPEC.inputs.normalization)
    images = TrainingImages(dataset, inputs, STUDENT.outputs, recipe, companions=kept.recall)
    seen = set()
    for turn in range(1, 9):
        image, labels, companions = images.load(Draw(turn, 1))
        assert labels is None
        moved = companions[TEACHER_LOGITS]
        assert torch.allclose(moved / 255, image[:1], atol=1e-6)
        seen.add(moved.numpy().tobytes())
    assert len(seen) > 2


def test_the_teacher_sees_images_under_its_own_contract(
    teacher: Teacher, make_data_folder: Callable[..., Path]
) -> None:
    pair = open_folder(make_data_folder(1, (40, 30)))[0]
    other: Any = Column()
    other.spec = STUDENT
    planes = images_for([teacher, other])(pair, pair.read_image())
    for index, spec in enumerate((SPEC, STUDENT)):
        expected = spec.inputs.prepare(pair.read_image())[0]
        assert np.array_equal(planes[image_name(index)], expected)


def test_several_teachers_answer_by_their_mean_in_the_form_of_the_student(
    make_data_folder: Callable[..., Path], own_cache: Path
) -> None:
    class Says:
        def __init__(self, *values: float) -> None:
            self.spec = SPEC
            self.values = torch.tensor(values).view(1, -1, 1, 1)

        def cache_identity(self) -> Any:
            return self.values.tolist()

        def to(self, device: Any) -> None:
            pass

        def mean_logits(self, image: Any, views: int) -> Any:
            return self.values.expand(len(image), -1, 8, 8)

    teachers: Any = [Says(4.0), Says(1.0, 3.0)]  # of one channel, and of two: 3 - 1
    pairs = list(open_folder(make_data_folder(1, (40, 30))))
    kept = KeptAnswers(teachers, pairs, STUDENT.inputs, 1)
    assert kept.logits.shape == (1, 1, 32, 32)
    assert set(np.unique(kept.logits)) == {3.0}
