"""Checkpoints as training frameworks leave them load, and what was done to them is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from edgeseg.errors import WeightsError
from edgeseg.models.weights import load_weights


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))
        self.head = nn.Conv2d(3, 1, 1)


class Tied(Net):
    def __init__(self) -> None:
        super().__init__()
        self.again = self.head


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = Net()


@pytest.fixture
def state() -> dict[str, Any]:
    torch.manual_seed(1)
    return dict(Net().state_dict())


def half(state: dict[str, Any]) -> dict[str, Any]:
    return {name: tensor / 2 for name, tensor in state.items() if tensor.is_floating_point()}


def behind(prefix: str, state: dict[str, Any]) -> dict[str, Any]:
    return {prefix + name: tensor for name, tensor in state.items()}


def load(content: Any, folder: Path, state: dict[str, Any], network: Any = None) -> str:
    """Load a checkpoint into another network, which must have the state's tensors then."""
    torch.manual_seed(2)
    network = network or Net()
    torch.save(content, folder / "net.pth")
    note = load_weights(network, folder / "net.pth")
    inner = network.model if isinstance(network, Outer) else network
    for name, tensor in state.items():
        assert torch.equal(inner.state_dict()[name], tensor), name
    return note


@pytest.mark.parametrize("prefix", ["model.", "net.", "model.net.", "net._orig_mod.", "module.m."])
def test_names_behind_one_prefix_load(prefix: str, state: dict[str, Any], tmp_path: Path) -> None:
    extra = {"criterion.pos_weight": torch.ones(1), "epoch_mean": torch.ones(1)}
    content = {"state_dict": {**behind(prefix, state), **extra}, "epoch": 3}
    note = load(content, tmp_path, state)
    assert f"took the names after {prefix.removesuffix('_orig_mod.')}" in note
    assert "left out 2 (criterion.pos_weight, epoch_mean)" in note


def test_what_wrappers_of_modules_add_is_dropped(state: dict[str, Any], tmp_path: Path) -> None:
    names = {name: name.replace("body.", "body._orig_mod.module.") for name in state}
    assert load({names[name]: state[name] for name in state}, tmp_path, state) == ""


def test_buffers_of_a_profiler_are_left_out(state: dict[str, Any], tmp_path: Path) -> None:
    counts = {f"{place}total_ops": torch.zeros(1) for place in ("", "body.", "body.0.")}
    note = load({**state, **counts, "head.total_params": torch.zeros(1)}, tmp_path, state)
    assert note == "left out 4 (total_ops, body.total_ops, body.0.total_ops, head.total_params)"


@pytest.mark.parametrize("key", ["ema", "model_ema", "ema_model", "state_dict_ema"])
def test_averaged_weights_are_taken_and_told(
    key: str, state: dict[str, Any], tmp_path: Path
) -> None:
    note = load({"state_dict": half(state), key: state}, tmp_path, state)
    assert note == f"took {key} (averaged weights), not state_dict"
    assert load({key: state}, tmp_path, state) == f"took {key} (averaged weights)"


def test_averaged_weights_of_one_flat_state_are_taken(
    state: dict[str, Any], tmp_path: Path
) -> None:
    content = {**behind("model.", half(state)), **behind("ema_model.module.", state)}
    assert "took ema_model.* (averaged" in load(content, tmp_path, state)


@pytest.mark.parametrize("key", ["network_weights", "state_dict", "generator", "a"])
def test_a_state_is_found_under_any_key(key: str, state: dict[str, Any], tmp_path: Path) -> None:
    load({"epoch": 1, "deep": {key: state}, "optimizer": {"state": {}}}, tmp_path, state)


@pytest.mark.parametrize("is_flat", [True, False])
def test_of_several_that_fit_none_is_guessed(
    is_flat: bool, state: dict[str, Any], tmp_path: Path
) -> None:
    if is_flat:
        content = {**behind("student.", state), **behind("teacher.", half(state))}
    else:
        content = {"student": state, "teacher": half(state)}
    with pytest.raises(WeightsError, match=r"student.*teacher.*Save the one that is meant"):
        load(content, tmp_path, state)


def test_two_copies_of_one_state_are_no_choice(state: dict[str, Any], tmp_path: Path) -> None:
    load({"best": state, "last": dict(state)}, tmp_path, state)


def test_tied_weights_that_were_saved_once_fill_both(state: dict[str, Any], tmp_path: Path) -> None:
    note = load(state, tmp_path, state, Tied())
    assert note == "filled 2 (again.weight, again.bias) from tied weights"


def test_weights_of_the_network_within_a_class_load(state: dict[str, Any], tmp_path: Path) -> None:
    assert "renamed 9" in load(state, tmp_path, state, Outer())


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float64"])
def test_other_floats_load(kind: str, state: dict[str, Any], tmp_path: Path) -> None:
    cast = {name: t.to(getattr(torch, kind)) if t.is_floating_point() else t
            for name, t in state.items()}  # fmt: skip
    load(cast, tmp_path, {name: tensor.to(state[name].dtype) for name, tensor in cast.items()})


def test_old_names_of_weight_norm_load(tmp_path: Path) -> None:
    old = nn.Sequential(nn.utils.weight_norm(nn.Conv2d(2, 3, 1)))
    new = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 3, 1)))
    torch.save(old.state_dict(), tmp_path / "old.pth")
    assert "renamed 2" in load_weights(new, tmp_path / "old.pth")
    assert torch.allclose(new[0].weight, old[0].weight)


def test_a_part_that_is_missing_is_refused(state: dict[str, Any], tmp_path: Path) -> None:
    del state["head.weight"]
    with pytest.raises(WeightsError, match=r"1 missing \(head\.weight\); 0 unexpected\. Check"):
        load(behind("model.", state), tmp_path, state)


def test_names_within_the_network_that_it_lacks_are_refused(
    state: dict[str, Any], tmp_path: Path
) -> None:
    content = behind("model.", {**state, "aux.weight": torch.ones(1)})
    with pytest.raises(WeightsError, match=r"0 missing; 1 unexpected \(model\.aux\.weight\)"):
        load(content, tmp_path, state)


def test_what_lies_beside_a_wrapper_of_which_the_file_knows_is_refused(
    state: dict[str, Any], tmp_path: Path
) -> None:
    own = behind("model.", state)
    with pytest.raises(WeightsError, match=r"1 unexpected \(head\.extra\)"):
        load({**own, "head.extra": torch.ones(1)}, tmp_path, state, Outer())


def test_averaged_weights_that_do_not_fit_are_told(state: dict[str, Any], tmp_path: Path) -> None:
    part = {name: tensor for name, tensor in half(state).items() if name != "head.bias"}
    note = load({"state_dict": state, "state_dict_ema": part}, tmp_path, state)
    assert "the averaged weights state_dict_ema do not fit" in note
    assert "1 missing (head.bias)" in note
