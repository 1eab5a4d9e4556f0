from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from edgeseg.models.complexity import count_parameters
from edgeseg.models.egeunet.network import EgeUnet, Ghpa, resize_bilinear

GOLDEN = Path(__file__).parent / "golden"
OUTPUTS = ("mask", "deep0", "deep1", "deep2", "deep3", "deep4")
TOLERANCE = 1e-4  # of the standard deviation of the output


def draw_parameter(key: str, shape: tuple[int, ...], gain: float) -> NDArray[np.float32]:
    """The rule that the golden outputs were made with; EGE-UNet has no running statistics."""
    generator = np.random.default_rng(zlib.crc32(key.encode()))
    if len(shape) >= 2:
        values = gain * generator.normal(0, 1, shape) / np.sqrt(np.prod(shape[1:]))
    elif key.endswith("bias"):
        values = generator.normal(0, 0.05, shape)
    else:
        values = generator.uniform(0.5, 1.5, shape)
    return values.astype(np.float32)


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    text = (GOLDEN / "egeunet.json").read_text(encoding="utf-8")
    result: dict[str, Any] = json.loads(text)
    return result


@pytest.fixture(scope="module")
def network(record: dict[str, Any]) -> EgeUnet:
    network = EgeUnet()
    state = {
        key: torch.from_numpy(draw_parameter(key, tuple(shape), record["gain"]))
        for key, shape, _ in record["state_dict"]
    }
    network.load_state_dict(state, strict=True)
    return network.eval()


@pytest.fixture(scope="module")
def answers(network: EgeUnet, record: dict[str, Any]) -> dict[str, NDArray[np.float32]]:
    generator = np.random.default_rng(zlib.crc32(b"input"))
    image = torch.from_numpy(
        generator.uniform(0, 1, record["input_shape"]).astype(np.float32),
    )
    with torch.inference_mode():
        logits = network.forward_logits(image)
        answers = {
            f"deep{index}": torch.sigmoid(side).numpy() for index, side in enumerate(logits.side)
        }
        answers["mask"] = network(image).numpy()
    return answers


@pytest.mark.parametrize("name", OUTPUTS)
def test_output_equals_published_module(answers: dict[str, NDArray[np.float32]], name: str) -> None:
    with np.load(GOLDEN / "egeunet.npz") as golden:
        expected = golden[name]
    assert answers[name].shape == expected.shape
    assert np.abs(answers[name] - expected).max() <= TOLERANCE * expected.std()


def test_keys_are_those_of_published_checkpoints(record: dict[str, Any]) -> None:
    layout = [
        [key, list(tensor.shape), str(tensor.dtype).removeprefix("torch.")]
        for key, tensor in EgeUnet().state_dict().items()
    ]
    assert layout == record["state_dict"]


def test_parameter_count_is_published_one(record: dict[str, Any]) -> None:
    assert count_parameters(EgeUnet()) == record["parameters"] == 53_374


def test_forward_is_sigmoid_of_main_logits(network: EgeUnet) -> None:
    image = torch.rand(1, 3, 32, 64) * 255
    with torch.inference_mode():
        assert torch.equal(network(image), torch.sigmoid(network.forward_logits(image).mask))


@pytest.mark.parametrize("classes", [1, 4])
def test_outputs_have_size_of_image(classes: int) -> None:
    with torch.inference_mode():
        logits = EgeUnet(classes).forward_logits(torch.rand(2, 3, 64, 32))
    assert logits.mask.shape == (2, classes, 64, 32)
    assert [tuple(side.shape) for side in logits.side] == [(2, 1, 64, 32)] * 5


def test_gates_are_what_forward_multiplies_with() -> None:
    torch.manual_seed(3)
    block = Ghpa(8, 8).eval()
    for gate in (block.params_xy, block.params_zx, block.params_zy):
        torch.nn.init.normal_(gate)
    x = torch.randn(2, 8, 5, 7)
    with torch.inference_mode():
        plane, rows, columns = block.gates(5, 7)
        assert [tuple(gate.shape) for gate in (plane, rows, columns)] == [
            (1, 2, 5, 7),
            (1, 2, 5, 1),
            (1, 2, 1, 7),
        ]
        parts = block.norm1(x).chunk(4, dim=1)
        products = [part * gate for part, gate in zip(parts, (plane, rows, columns), strict=False)]
        expected = block.ldw(block.norm2(torch.cat((*products, block.dw(parts[3])), dim=1)))
        assert torch.allclose(block(x), expected, atol=1e-6)
        constants = (torch.zeros_like(plane), rows, columns)
        block.gates = lambda height, width: constants
        assert not torch.allclose(block(x), expected, atol=1e-3)


def test_gates_depend_on_size_only(network: EgeUnet) -> None:
    block = network.get_submodule("encoder4.0")
    with torch.inference_mode():
        before = block.gates(8, 8)
        block(torch.randn(1, 24, 8, 8))
        after = block.gates(8, 8)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert before[0].shape[2:] != block.gates(4, 4)[0].shape[2:]


def test_resize_keeps_corners() -> None:
    small = torch.tensor([[[[0.0, 2.0], [4.0, 6.0]]]])
    # Aligned corners: 2 samples become 3, the new one half-way.
    expected = torch.tensor([[[[0.0, 1.0, 2.0], [2.0, 3.0, 4.0], [4.0, 5.0, 6.0]]]])
    assert torch.equal(resize_bilinear(small, 3, 3), expected)


def test_input_below_stride_fails(network: EgeUnet) -> None:
    with pytest.raises(RuntimeError, match="too small"), torch.inference_mode():
        network(torch.rand(1, 3, 16, 16))


def test_grey_input_fails(network: EgeUnet) -> None:
    with pytest.raises(RuntimeError, match="3 channels"), torch.inference_mode():
        network(torch.rand(1, 1, 32, 32))
