from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from edgeseg.distillation.feature_match import FeatureMatch
from edgeseg.distillation.objective import DistillObjective
from edgeseg.distillation.paraphraser import Paraphraser
from edgeseg.distillation.settings import DistillSettings
from edgeseg.distillation.taps import FeatureTaps, Projections
from edgeseg.distillation.teacher import TEACHER_LOGITS, Teacher, image_name
from edgeseg.models import TrainedModel, find_model
from edgeseg.models.weights import save_weights
from edgeseg.training.batches import Batch

SPEC = find_model("ulite", None, (96, 96))
CPU = torch.device("cpu")


class Answers:
    """Stands for answers that are kept."""

    def recall(self, pair: Any, pixels: Any) -> Any:
        raise NotImplementedError


class Student(torch.nn.Module):
    """Answers with one learned number everywhere."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = torch.nn.Parameter(torch.tensor(value))

    def forward_logits(self, image: Any) -> Any:
        return torch.ones_like(image[:, :1]) * self.value


def mean_error(logits: Any, labels: Any) -> Any:
    """A task loss that is worked out by head."""
    return (logits[:, 0] - labels).abs().mean()


@pytest.fixture
def teacher(tmp_path: Path) -> Teacher:
    torch.manual_seed(2)
    save_weights(tmp_path / "ulite.safetensors", SPEC.make_network())
    return Teacher(TrainedModel(SPEC, tmp_path / "ulite.safetensors"))


def batch_of(labels: int, teacher: float, count: int = 4) -> Batch:
    companions = {TEACHER_LOGITS: torch.full((count, 1, 2, 2), teacher)}
    return Batch(torch.zeros(count, 3, 2, 2), torch.ones(labels, 2, 2).long(), companions)


def objective_of(teacher: Teacher, **settings: Any) -> DistillObjective:
    kept: Any = Answers()
    return DistillObjective(mean_error, CPU, DistillSettings(**settings), 1, [teacher], kept=kept)


def test_whole_loss_by_hand(teacher: Teacher) -> None:
    # Task: |3 - 1| = 2 on the labelled; pseudo: the teacher's logit 5 is a mask of 1, again 2.
    # Logits: no divergence where student and teacher agree.
    objective = objective_of(teacher, logits=1.0, pseudo=0.5)
    total, terms = objective.compute(Student(3.0), batch_of(2, 3.0))
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        {"task": 2.0, "logits": 0.0, "pseudo": 2.0}, abs=1e-6
    )
    assert total.item() == pytest.approx(3.0)


def test_task_loss_sees_the_labelled_images_only(teacher: Teacher) -> None:
    seen = []

    def loss(logits: Any, labels: Any) -> Any:
        seen.append((len(logits), len(labels), int(labels.sum())))
        return logits.mean()

    objective = objective_of(teacher, logits=1.0, pseudo=1.0)
    objective.task_loss = loss
    objective.compute(Student(0.0), batch_of(1, -2.0))
    # One labelled image of ones, and three of the teacher's zeros.
    assert seen == [(1, 1, 4), (3, 3, 0)]


def test_pseudo_labels_need_unlabelled_images(teacher: Teacher) -> None:
    objective = objective_of(teacher, pseudo=1.0)
    _, terms = objective.compute(Student(0.0), batch_of(4, 1.0))
    assert list(terms) == ["task"]


def test_divergence_is_over_all_images(teacher: Teacher) -> None:
    batch = batch_of(2, 0.0)
    batch.companions[TEACHER_LOGITS][:2] = 3.0  # the labelled ones
    objective = objective_of(teacher, logits=1.0)
    _, terms = objective.compute(Student(0.0), batch)
    assert float(terms["logits"].detach()) > 0.1


@pytest.fixture
def graph_flow(teacher: Teacher) -> tuple[DistillObjective, Any, Batch]:
    """Graph flow and the critic between U-Lite and a U-Lite of other weights."""
    torch.manual_seed(4)
    student: Any = SPEC.make_network()
    names = ("e1", "e2", "d1")
    theirs = FeatureTaps(teacher.network, names, "teacher")
    ours = FeatureTaps(student, names, "student")
    channels = theirs.count_channels(teacher.network, SPEC.inputs)
    match = FeatureMatch(
        theirs, ours, [Paraphraser(count, 4) for count in channels], Projections(channels, 4)
    )
    settings = DistillSettings(
        vertices=1.0, edges=1.0, adversarial=0.1, normalized=True, critic_width=2
    )
    objective = DistillObjective(mean_error, CPU, settings, 1, [teacher], features=match)
    image = torch.rand(2, 3, 96, 96)
    batch = Batch(image, torch.ones(2, 96, 96).long(), {image_name(0): image})
    return objective, student, batch


def test_features_and_critic_teach_student_and_projections(
    graph_flow: tuple[DistillObjective, Any, Batch],
) -> None:
    objective, student, batch = graph_flow
    total, terms = objective.compute(student, batch)
    assert list(terms) == ["task", "vertices", "edges", "adversarial"]
    expected = terms["task"] + terms["vertices"] + terms["edges"] + 0.1 * terms["adversarial"]
    assert float(total.detach()) == pytest.approx(float(expected.detach()))
    total.backward()
    assert all(value.grad is not None for value in objective.parameters())
    assert student.e1.pw.weight.grad is not None
    assert len(list(objective.parameters())) == 2 * 3


def test_a_term_of_no_weight_is_left_out(graph_flow: tuple[DistillObjective, Any, Batch]) -> None:
    objective, student, batch = graph_flow
    objective.settings = objective.settings.changed({"edges": 0.0})
    _, terms = objective.compute(student, batch)
    assert list(terms) == ["task", "vertices", "adversarial"]


def test_a_step_does_not_move_teacher_or_paraphrasers(
    graph_flow: tuple[DistillObjective, Any, Batch],
) -> None:
    objective, student, batch = graph_flow
    assert objective.features is not None
    frozen = [objective.teachers[0].network, objective.features.paraphrasers]
    before = [value.clone() for module in frozen for value in module.state_dict().values()]
    total, _ = objective.compute(student, batch)
    total.backward()
    after = [value for module in frozen for value in module.state_dict().values()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert all(value.grad is None for module in frozen for value in module.parameters())


def test_state_holds_projections_and_critic(
    graph_flow: tuple[DistillObjective, Any, Batch],
) -> None:
    objective, student, batch = graph_flow
    state = objective.state_dict()
    copy = {
        "features": {name: value.clone() for name, value in state["features"].items()},
        "game": {"critic": {k: v.clone() for k, v in state["game"]["critic"].items()}},
    }
    copy["game"]["optimizer"] = state["game"]["optimizer"]
    objective.compute(student, batch)
    changed = objective.state_dict()["game"]["critic"]
    assert any(not torch.equal(v, changed[k]) for k, v in copy["game"]["critic"].items())
    objective.load_state_dict(copy)
    restored = objective.state_dict()["game"]["critic"]
    assert all(torch.equal(v, restored[k]) for k, v in copy["game"]["critic"].items())


def test_identity_names_teacher_settings_and_taps(
    graph_flow: tuple[DistillObjective, Any, Batch],
) -> None:
    identity = graph_flow[0].identity()
    assert identity["teacher taps"] == ["e1", "e2", "d1"]
    assert identity["distillation"]["vertices"] == 1.0
    assert identity["teachers"][0]["source"] is None
    assert len(identity["teachers"][0]["weights"]) == 64


def test_the_teacher_is_asked_about_the_blend(teacher: Teacher) -> None:
    torch.manual_seed(0)
    image = torch.rand(4, 3, 96, 96)
    batch = Batch(image, torch.empty(0, 96, 96).long(), {image_name(0): image})
    objective = DistillObjective(
        mean_error, CPU, DistillSettings(logits=1.0, mixup=1.0), 1, [teacher]
    )
    asked = []
    teacher.logits = lambda images: asked.append(images) or images[:, :1]  # type: ignore[assignment, func-returns-value]

    class Watching(Student):
        def forward_logits(self, image: Any) -> Any:
            asked.append(image)
            return super().forward_logits(image)

    objective.compute(Watching(1.0), batch)
    first, second = asked
    assert first.equal(second)
    assert not torch.allclose(first, image)
    with pytest.raises(ValueError, match="no kept answers"):
        objective_of(teacher, logits=1.0, mixup=1.0)


def test_kept_answers_are_cut_with_their_images(teacher: Teacher) -> None:
    torch.manual_seed(0)
    # The teacher's logit is the image's value: a pasted box keeps its own image's answer.
    values = torch.tensor([1.0, -2.0, 3.0, -4.0])[:, None, None, None]
    batch = Batch(
        values.expand(4, 3, 8, 8),
        torch.empty(0, 8, 8).long(),
        {TEACHER_LOGITS: values.expand(4, 1, 8, 8)},
    )
    seen = []

    class Echo(torch.nn.Module):
        def forward_logits(self, image: Any) -> Any:
            seen.append(image)
            return image[:, :1]

    objective = objective_of(teacher, logits=1.0, views=4, cutmix=1.0)
    _, terms = objective.compute(Echo(), batch)
    assert (seen[0] != batch.image).flatten(1).any(1).all()
    assert terms["logits"].item() == pytest.approx(0, abs=1e-6)
    # Without boxes in the answers there would be a divergence.
    uncut = batch._replace(image=seen[0])
    assert objective_of(teacher, logits=1.0).compute(Echo(), uncut)[1]["logits"].item() > 0.1
