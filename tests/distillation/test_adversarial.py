from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from edgeseg.distillation.adversarial import (
    AdversarialGame,
    Critic,
    SelfAttention,
    gradient_penalty,
)


class Slope(torch.nn.Module):
    """Scores images by `slope` times the sum of their values."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor(slope))

    def forward(self, logits: Any) -> Any:
        return self.slope * logits.sum((1, 2, 3))


def test_gradient_penalty_by_hand() -> None:
    # The gradient is 3 at each of 4 pixels, of length 6: (6 - 1)^2.
    real, fake = torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2)
    assert gradient_penalty(Slope(3.0), real, fake).item() == pytest.approx(25.0)


def test_penalty_teaches_the_critic() -> None:
    critic = Slope(3.0)
    gradient_penalty(critic, torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)).backward()
    # d/ds (2 s - 1)^2 = 4 (2 s - 1) = 20
    assert critic.slope.grad is not None
    assert float(critic.slope.grad) == pytest.approx(20.0)


def test_attention_starts_as_nothing() -> None:
    x = torch.rand(2, 8, 3, 3)
    assert torch.equal(SelfAttention(8)(x), x)


def test_attention_by_hand() -> None:
    layer = SelfAttention(1).eval()
    for name in ("query", "key", "value"):
        module = getattr(layer, name)
        torch.nn.utils.parametrize.remove_parametrizations(module, "weight")
        torch.nn.init.constant_(module.weight, 0.0 if name == "query" else 1.0)
        torch.nn.init.zeros_(module.bias)
    torch.nn.init.ones_(layer.gain)
    # Queries of zero look at all places alike: the mean of 1, 2, 3, 6 is added.
    x = torch.tensor([1.0, 2.0, 3.0, 6.0]).view(1, 1, 2, 2)
    assert layer(x).flatten().tolist() == pytest.approx([4, 5, 6, 9])


def test_every_convolution_but_the_score_has_norm_one() -> None:
    torch.manual_seed(0)
    critic = Critic(1, width=4)
    for _ in range(30):  # power iterations
        critic(torch.rand(1, 1, 32, 32))
    normed = [m for m in critic.modules() if hasattr(m, "parametrizations")]
    assert len(normed) == 4 + 2 * 3
    for module in normed:
        largest = torch.linalg.matrix_norm(module.weight.flatten(1), 2)
        assert largest.item() == pytest.approx(1.0, rel=0.05)


def test_critic_scores_each_image() -> None:
    assert Critic(3, width=4)(torch.rand(2, 3, 32, 48)).shape == (2,)


def test_critic_learns_to_tell_them_apart_and_the_student_follows() -> None:
    torch.manual_seed(0)
    game = AdversarialGame(1, 4)
    teacher = 3 * torch.ones(4, 1, 16, 16)
    student = torch.full((4, 1, 16, 16), -3.0, requires_grad=True)
    first = float(game.train_critic(student, teacher))
    for _ in range(20):
        last = float(game.train_critic(student, teacher))
    assert last < first
    assert student.grad is None
    game.student_loss(student).backward()
    assert student.grad is not None
    assert float(student.grad.sum()) < 0  # a step down the gradient moves it to the teacher
    assert all(not parameter.requires_grad for parameter in game.critic.parameters())


def test_students_loss_by_hand() -> None:
    game = AdversarialGame(1, 4)
    game.critic = Slope(2.0)  # type: ignore[assignment]
    # Scores of 2 * 16 * 3 and of zero, whose mean is 48; the maps have 16 values.
    student = torch.stack([torch.full((1, 4, 4), 3.0), torch.zeros(1, 4, 4)])
    assert game.student_loss(student).item() == pytest.approx(-48.0)
    assert game.student_loss(student, normalized=True).item() == pytest.approx(-48.0 / 4)


def test_game_goes_on_from_its_state() -> None:
    torch.manual_seed(0)
    game, other = AdversarialGame(1, 4), AdversarialGame(1, 4)
    student, teacher = torch.rand(2, 1, 16, 16), torch.rand(2, 1, 16, 16)
    game.train_critic(student, teacher)
    other.load_state_dict(game.state_dict())
    losses = []
    for one in (game, other):
        torch.manual_seed(1)
        losses.append(float(one.train_critic(student, teacher)))
    assert losses[0] == losses[1]
