from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from edgeseg.training.optimization import Schedule, make_optimizer
from edgeseg.training.recipes import Recipe


def make_network() -> torch.nn.Module:
    network = torch.nn.Module()
    network.resnet = torch.nn.Linear(1, 1, bias=False)
    network.head = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(2.0)
    return network


def rates_of(recipe: Recipe, steps_per_epoch: int, dice: float = 0.5) -> list[float]:
    """Learning rate of each step of a run."""
    optimizer = make_optimizer(make_network(), recipe)
    schedule = Schedule(optimizer, recipe, steps_per_epoch)
    rates = []
    for _ in range(recipe.epochs):
        for _ in range(steps_per_epoch):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.end_step()
        schedule.end_epoch(dice)
    return rates


def test_cosine_falls_in_its_period_and_rises_again() -> None:
    recipe = Recipe("test", epochs=5, learning_rate=1e-3, min_learning_rate=1e-5, cosine_period=2)
    middle = (1e-3 + 1e-5) / 2
    expected = [1e-3, middle, 1e-5, middle, 1e-3]
    assert rates_of(recipe, 3)[::3] == pytest.approx(expected, rel=1e-9)


def test_one_cycle_peaks_at_the_rate_and_ends_near_zero() -> None:
    recipe = Recipe("test", epochs=2, learning_rate=1e-2, schedule="one_cycle")
    rates = rates_of(recipe, 10)
    # torch's defaults: start at 1/25 of the peak, peak at 30 % of 20 steps, end at 1/10,000 of
    # the start.
    assert rates[0] == pytest.approx(1e-2 / 25)
    assert rates.index(max(rates)) == 0.3 * 20 - 1
    assert max(rates) == pytest.approx(1e-2)
    assert rates[-1] == pytest.approx(1e-2 / 25 / 1e4)


def test_poly_falls_with_the_power_0_9() -> None:
    recipe = Recipe("test", epochs=2, learning_rate=0.1, schedule="poly")
    expected = [0.1 * (1 - step / 4) ** 0.9 for step in range(4)]
    assert rates_of(recipe, 2) == pytest.approx(expected)


def test_triangle_peaks_in_the_middle() -> None:
    recipe = Recipe("test", epochs=3, learning_rate=0.4, schedule="triangle")
    # Three steps of a way of four: half, all, half.
    assert rates_of(recipe, 1) == pytest.approx([0.2, 0.4, 0.2])


def test_plateau_halves_after_ten_epochs_without_a_better_score() -> None:
    recipe = Recipe("test", epochs=14, learning_rate=0.4, schedule="plateau")
    # The first epoch sets the mark; the eleventh after it is one too many.
    assert rates_of(recipe, 1) == pytest.approx([0.4] * 12 + [0.2] * 2)


def test_optimizer_is_adamw_with_the_settings() -> None:
    network = make_network()
    optimizer = make_optimizer(network, Recipe("test", learning_rate=0.5, weight_decay=0.1))
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    optimizer.step()
    # Decoupled decay 2 * (1 - 0.5 * 0.1) = 1.9, then the first step of Adam is the rate.
    assert float(network.head.weight.detach()) == pytest.approx(1.9 - 0.5, rel=1e-6)


def test_the_backbone_learns_more_slowly() -> None:
    network = make_network()
    recipe = Recipe(
        "test",
        optimizer="sgd",
        learning_rate=0.5,
        weight_decay=0.0,
        backbone="resnet",
        backbone_rate=0.1,
    )
    optimizer = make_optimizer(network, recipe)
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 1.0)
    optimizer.step()
    # The first Nesterov step is rate * (1 + 0.9) * gradient.
    assert float(network.head.weight.detach()) == pytest.approx(2 - 0.5 * 1.9)
    assert float(network.resnet.weight.detach()) == pytest.approx(2 - 0.05 * 1.9)


def test_the_backbone_keeps_its_share_under_a_schedule() -> None:
    recipe = Recipe(
        "test",
        epochs=1,
        learning_rate=0.4,
        schedule="triangle",
        backbone="resnet",
        backbone_rate=0.1,
    )
    optimizer = make_optimizer(make_network(), recipe)
    schedule = Schedule(optimizer, recipe, 3)
    optimizer.step()
    schedule.end_step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.4, 0.04])
