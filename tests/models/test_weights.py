from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from edgeseg.errors import WeightsError
from edgeseg.models.weights import load_state, load_weights, save_weights

REFUSED = r"would run code from the file, so it was refused. Save only the weights, torch\.save"
AGAIN = "Copy or download it again"


def make_network(width: int = 3) -> Any:
    return torch.nn.Sequential(torch.nn.Linear(2, width), torch.nn.LayerNorm(width))


def saved(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


class Payload:
    """Its pickle creates a file when it is loaded without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


@pytest.fixture
def network() -> Any:
    torch.manual_seed(1)
    return make_network()


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def write(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def assert_loads(path: Path, network: Any) -> None:
    torch.manual_seed(2)
    other = make_network()
    load_weights(other, path)
    for name, tensor in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


def test_safetensors_give_back_what_was_saved(network: Any, tmp_path: Path) -> None:
    save_weights(tmp_path / "net.safetensors", network)
    assert_loads(tmp_path / "net.safetensors", network)


def test_saving_leaves_one_file(network: Any, tmp_path: Path) -> None:
    save_weights(tmp_path / "new" / "net.safetensors", network)
    save_weights(tmp_path / "new" / "net.safetensors", network)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["net.safetensors"]


@pytest.mark.parametrize("zipped", [True, False])
def test_pth_loads(network: Any, write: Callable[[str, bytes], Path], zipped: bool) -> None:
    content = saved(network.state_dict(), _use_new_zipfile_serialization=zipped)
    assert_loads(write("net.pth", content), network)


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]
)
def test_prefix_of_wrapping_modules_is_dropped(
    network: Any, write: Callable[[str, bytes], Path], prefix: str
) -> None:
    state = {prefix + name: tensor for name, tensor in network.state_dict().items()}
    assert_loads(write("net.pth", saved(state)), network)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "network", "net"])
def test_wrapped_state_dict_is_found(
    network: Any, write: Callable[[str, bytes], Path], key: str
) -> None:
    content = {"epoch": 3, key: network.state_dict(), "optimizer": {"lr": 0.1}}
    assert_loads(write("net.pth", saved(content)), network)


def test_wrappers_and_prefix_go_together(network: Any, write: Callable[[str, bytes], Path]) -> None:
    state = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    assert_loads(write("net.pth", saved({"model": {"state_dict": state}})), network)


def test_a_network_that_shares_a_tensor_is_saved(tmp_path: Path) -> None:
    class Shared(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = self.second = torch.nn.Conv2d(2, 2, 1)

    network, other = Shared(), Shared()
    save_weights(tmp_path / "shared.safetensors", network)
    load_weights(other, tmp_path / "shared.safetensors")
    assert torch.equal(other.second.weight, network.first.weight)


def test_missing_file_is_named(network: Any, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"No weights file at .*gone\.pth\. Check the path"):
        load_weights(network, tmp_path / "gone.pth")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_truncated_file_is_refused(
    network: Any, write: Callable[[str, bytes], Path], kind: str, share: float
) -> None:
    if kind == "pth":
        content = saved(network.state_dict())
    else:
        save_weights(path := write("whole.safetensors", b""), network)
        content = path.read_bytes()
    path = write(f"net.{kind}", content[: int(len(content) * share)])
    with pytest.raises(WeightsError, match=AGAIN):
        load_weights(network, path)


def test_legacy_pth_cut_anywhere_is_refused(
    network: Any, write: Callable[[str, bytes], Path]
) -> None:
    content = saved(network.state_dict(), _use_new_zipfile_serialization=False)
    for length in range(0, len(content), 7):
        with pytest.raises(WeightsError):
            load_weights(network, write("net.pth", content[:length]))


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_empty_file_is_refused(
    network: Any, write: Callable[[str, bytes], Path], name: str
) -> None:
    with pytest.raises(WeightsError, match=AGAIN):
        load_weights(network, write(name, b""))


TEXTS = {
    "words": b"hello world\n",
    "html": b"<!DOCTYPE html><html><body>404</body></html>",
    "json": b'{"a": 1}',
    "lfs_pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_text_file_is_refused(
    network: Any, write: Callable[[str, bytes], Path], name: str, text: bytes
) -> None:
    with pytest.raises(WeightsError, match=name):
        load_weights(network, write(name, text))


@pytest.mark.parametrize("kind", ["html", "json", "lfs_pointer"])
def test_text_file_is_not_taken_for_code(
    network: Any, write: Callable[[str, bytes], Path], kind: str
) -> None:
    with pytest.raises(WeightsError, match=AGAIN):
        load_weights(network, write("net.pth", TEXTS[kind]))


@pytest.mark.parametrize("kind", ["torch", "torch_legacy", "plain"])
def test_code_in_pickle_does_not_run(
    tmp_path: Path, write: Callable[[str, bytes], Path], kind: str
) -> None:
    proof = tmp_path / "proof"
    pickle.loads(pickle.dumps(Payload(proof))).close()
    assert proof.exists()  # the payload works where nobody looks
    proof.unlink()
    state = {"weight": torch.zeros(2), "extra": Payload(proof)}
    content = {
        "torch": saved(state),
        "torch_legacy": saved(state, _use_new_zipfile_serialization=False),
        "plain": pickle.dumps(Payload(proof), protocol=2),
    }[kind]
    with pytest.raises(WeightsError, match=REFUSED):
        load_state(write("net.pth", content))
    assert not proof.exists()


def test_whole_pickled_module_is_refused(network: Any, write: Callable[[str, bytes], Path]) -> None:
    with pytest.raises(WeightsError, match=REFUSED):
        load_weights(network, write("net.pth", saved(network)))


@pytest.mark.parametrize(
    ("value", "kind"), [([1, 2], "list"), ({}, "dict"), ({"epoch": 3}, "dict"), (7, "int")]
)
def test_file_without_state_dict_says_what_it_holds(
    write: Callable[[str, bytes], Path], value: Any, kind: str
) -> None:
    with pytest.raises(WeightsError, match=rf"\(found {kind}\)\. Save one with torch\.save"):
        load_state(write("net.pth", saved(value)))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(
    network: Any, write: Callable[[str, bytes], Path], value: float
) -> None:
    state = network.state_dict()
    state["0.weight"][0, 1] = value
    with pytest.raises(WeightsError, match=r"in '0\.weight'.*use an earlier checkpoint"):
        load_weights(make_network(), write("net.pth", saved(state)))


def test_wrong_shape_names_both(network: Any, write: Callable[[str, bytes], Path]) -> None:
    path = write("net.pth", saved(network.state_dict()))
    with pytest.raises(WeightsError, match=r"\(3, 2\), the network needs \(5, 2\).*Check widths"):
        load_weights(make_network(5), path)


def test_wrong_keys_are_listed(network: Any, write: Callable[[str, bytes], Path]) -> None:
    state = network.state_dict()
    state["head.weight"] = state.pop("1.weight")
    with pytest.raises(
        WeightsError,
        match=r"1 missing \(1\.weight\); 1 unexpected \(head\.weight\)\. Check that --model",
    ):
        load_weights(network, write("net.pth", saved(state)))


def test_long_lists_of_keys_are_cut(network: Any, write: Callable[[str, bytes], Path]) -> None:
    state = {f"layer{index}": torch.zeros(1) for index in range(9)}
    with pytest.raises(WeightsError, match=r"9 unexpected \(layer0, .*layer3, \.\.\.\)"):
        load_weights(network, write("net.pth", saved(state)))


def test_refused_file_leaves_network_alone(
    network: Any, write: Callable[[str, bytes], Path]
) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = {name: torch.full_like(tensor, float("nan")) for name, tensor in before.items()}
    with pytest.raises(WeightsError):
        load_weights(network, write("net.pth", saved(state)))
    assert all(torch.equal(network.state_dict()[name], before[name]) for name in before)


def test_integer_weights_are_refused(network: Any, write: Callable[[str, bytes], Path]) -> None:
    state = {name: tensor.to(torch.int8) for name, tensor in network.state_dict().items()}
    with pytest.raises(WeightsError, match=r"0\.weight"):
        load_weights(network, write("net.pth", saved(state)))
