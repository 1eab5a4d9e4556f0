from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from edgeseg.distillation.kernel_start import KernelFit
from edgeseg.distillation.twin_start import Line, start_twin
from edgeseg.models import find_model
from edgeseg.models.egeunet.network import ChannelLayerNorm
from edgeseg.models.twin import ACTIVATIONS, ConvolutionBridge, replace_slow_parts


def test_line_by_hand() -> None:
    # y = 2 x + 1 in the first channel, 5 - x in the second, over two images.
    line = Line()
    for values in ([0.0, 1.0], [2.0, 5.0]):
        x = torch.tensor(values).view(1, 1, 1, 2).expand(1, 2, 1, 2)
        y = torch.cat((2 * x[:, :1] + 1, 5 - x[:, 1:]), dim=1)
        line.add([x], y)
    assert line.mean.tolist() == [2.0, 2.0]
    assert line.variance.tolist() == [3.5, 3.5]  # (4 + 1 + 0 + 9) / 4
    assert line.slope.tolist() == pytest.approx([2.0, -1.0])
    assert line.offset.tolist() == pytest.approx([1.0, 5.0])


def test_a_constant_input_gives_its_mean_answer_and_stays_alive() -> None:
    line = Line()
    line.add([torch.full((1, 1, 2, 2), 3.0)], torch.arange(4.0).view(1, 1, 2, 2))
    assert line.slope.tolist() == [1.0]
    assert line.offset.tolist() == [-1.5]  # 3 - 1.5 is the mean


class Affine(ChannelLayerNorm):
    """A LayerNorm by name that scales and shifts, as one does whose statistics never change."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight[:, None, None] + self.bias[:, None, None]


def make_affine() -> Affine:
    norm = Affine(4)
    torch.nn.init.uniform_(norm.weight, 0.5, 2.0)
    torch.nn.init.normal_(norm.bias)
    return norm


def test_bridge_finds_the_kernels_that_made_its_answers() -> None:
    torch.manual_seed(0)
    hidden, found = ConvolutionBridge(3, 2), ConvolutionBridge(3, 2)
    fit = KernelFit()
    for _ in range(3):
        maps = torch.randn(2, 3, 8, 8), torch.randn(2, 2, 16, 16), torch.randn(2, 1, 16, 16)
        with torch.no_grad():
            fit.add(maps, hidden(*maps))
    fit.set_weights(found)
    with torch.no_grad():
        wanted = hidden(*maps)
        # The penalty shrinks them: by RIDGE, more where neighbours look alike after the resize.
        assert float((found(*maps) - wanted).square().mean()) < 0.01 * float(wanted.var())
        assert torch.allclose(found.low.weight, hidden.low.weight, rtol=0.05, atol=0.01)


def test_bridge_of_what_never_changes_is_its_bias() -> None:
    bridge, fit = ConvolutionBridge(1, 1), KernelFit()
    maps = torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    fit.add(maps, torch.full((1, 1, 4, 4), 7.0))
    fit.set_weights(bridge)
    assert bridge.low.bias.tolist() == pytest.approx([7.0])
    assert all(torch.isfinite(parameter).all() for parameter in bridge.parameters())


def test_affine_and_batch_norm_take_the_line() -> None:
    torch.manual_seed(0)
    original = torch.nn.Sequential(make_affine(), torch.nn.ReLU(), torch.nn.GroupNorm(1, 4))
    twin = torch.nn.Sequential(ChannelLayerNorm(4), torch.nn.ReLU(), torch.nn.GroupNorm(1, 4))
    replaced = replace_slow_parts(twin, ACTIVATIONS["relu"])
    assert replaced == {"0": "ChannelAffine", "2": "BatchNorm2d"}
    # One image: the statistics of its groups are constants, the line through them is exact.
    image = torch.rand(1, 4, 6, 6)
    start_twin(twin, original, replaced, [image])
    with torch.no_grad():
        assert torch.allclose(twin.eval()(image), original(image), atol=1e-4)


def test_start_is_nearer_than_the_weights_alone() -> None:
    torch.manual_seed(1)
    spec = find_model("egeunet", None, (64, 64))
    original = spec.load_network(spec.resolve_weights(None))
    twin = find_model("egeunet-twin", None, (64, 64)).make_network().eval()
    image = 255 * torch.rand(2, 3, 64, 64)

    def error() -> float:
        with torch.no_grad():
            wanted = original.forward_logits(image).mask
            return float((twin.forward_logits(image).mask - wanted).square().mean())

    start_twin(twin, original, [], [image])
    weights_alone = error()
    start_twin(twin, original, twin.replaced, [image])
    assert error() < 0.5 * weights_alone


def test_what_has_no_weights_in_the_twin_needs_no_start() -> None:
    torch.manual_seed(3)
    original = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.PReLU(4))
    twin = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.PReLU(4))
    start_twin(twin, original, replace_slow_parts(twin, torch.nn.ReLU), [torch.rand(1, 3, 4, 4)])
    assert torch.equal(twin[0].weight, original[0].weight)


def test_a_small_stem_starts_at_the_least_squares_of_the_wide_one() -> None:
    torch.manual_seed(2)
    original = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 7, padding=3))
    with torch.no_grad():  # what lies within 3x3 alone
        inner = original[0].weight[:, :, 2:5, 2:5].clone()
        original[0].weight.zero_()
        original[0].weight[:, :, 2:5, 2:5] = inner
    twin = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 7, padding=3))
    replaced = replace_slow_parts(twin, torch.nn.ReLU)
    assert replaced == {"0": "Conv2d"}
    assert twin[0].kernel_size == (3, 3)
    image = torch.randn(2, 3, 24, 24)
    start_twin(twin, original, replaced, [image])
    with torch.no_grad():
        assert torch.allclose(twin[0].weight, inner, rtol=0.02, atol=1e-3)
        assert float((twin(image) - original(image)).square().mean()) < 1e-3
