from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from edgeseg.contract import InputContract, MeanStd
from edgeseg.distillation.taps import FeatureTaps, Projections, find_taps
from edgeseg.errors import TrainingError, UnknownNameError, UsageError
from edgeseg.models import find_model, list_models
from edgeseg.models.logits import LogitsNetwork

INPUTS = InputContract(8, 8, 1, MeanStd())


class Small(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 4, 1)
        self.pool = torch.nn.MaxPool2d(2, return_indices=True)
        self.flat = torch.nn.Flatten()
        self.unused = torch.nn.Conv2d(4, 4, 1)

    def forward(self, image: Any) -> Any:
        pooled, _ = self.pool(self.first(image))
        self.flat(pooled)
        return pooled[:, :1]


def test_features_come_in_the_order_of_the_names() -> None:
    network = Small()
    taps = FeatureTaps(network, ("pool", "first"), "small")
    image = torch.rand(2, 3, 8, 8)
    with taps.listening():
        network(image)
    pooled, first = taps.take()
    assert torch.equal(first, network.first(image))
    assert pooled.shape == (2, 4, 4, 4)  # of a module that gives several, the first


def test_nothing_is_heard_when_nobody_listens() -> None:
    network = Small()
    taps = FeatureTaps(network, ("first",), "small")
    with taps.listening():
        network(torch.rand(1, 3, 8, 8))
    taps.take()
    network(torch.rand(1, 3, 8, 8))
    with pytest.raises(TrainingError, match="takes no part"):
        taps.take()


def test_module_that_does_not_run_is_named() -> None:
    network = Small()
    taps = FeatureTaps(network, ("first", "unused"), "the student small")
    with pytest.raises(TrainingError, match=r"'unused' of the student small.*Tap another"):
        taps.count_channels(network, INPUTS)


def test_unknown_module_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"small has no module 'frist'\. .* mean first\?"):
        FeatureTaps(Small(), ("frist",), "small")


def test_output_that_is_no_map_is_refused() -> None:
    network = Small()
    with pytest.raises(TrainingError, match=r"'flat' of small gives \(1, 64\), not a feature map"):
        FeatureTaps(network, ("flat",), "small").count_channels(network, INPUTS)


def test_names_are_those_of_the_network_behind_logits() -> None:
    network = LogitsNetwork(Small())
    taps = FeatureTaps(network, ("first",), "small")
    assert taps.count_channels(network, INPUTS) == [4]
    assert network.training


@pytest.mark.parametrize("model", [spec.name for spec in list_models() if spec.taps])
def test_default_taps_are_maps_of_equal_strides_in_all_networks(model: str) -> None:
    spec = find_model(model, None, (96, 96))
    network = spec.make_network().eval()
    taps = FeatureTaps(network, find_taps(spec, (), "--taps"), model)
    with taps.listening(), torch.no_grad():
        network(torch.zeros(spec.inputs.shape))
    sizes = [features.shape[2] for features in taps.take()]
    assert sizes == sorted(sizes[:3], reverse=True) + sorted(sizes[3:])
    assert min(sizes) >= 3


def test_network_without_default_taps_needs_names() -> None:
    own = replace(find_model("egeunet"), import_path="mypackage:EgeUnet", taps=())
    assert find_taps(own, ("a", "b"), "--student-taps") == ("a", "b")
    with pytest.raises(UsageError, match=r"features of egeunet.*with --student-taps"):
        find_taps(own, (), "--student-taps")


def test_projections_bring_every_layer_to_one_width() -> None:
    projections = Projections([2, 5], 3)
    given = [torch.rand(1, 2, 4, 4), torch.rand(1, 5, 2, 2).bfloat16()]
    assert [tuple(one.shape) for one in projections(given)] == [(1, 3, 4, 4), (1, 3, 2, 2)]
    weight, bias = projections.layers[0].weight, projections.layers[0].bias
    expected = (weight[:, :, 0, 0] @ given[0][0, :, 1, 2]) + bias
    assert torch.allclose(projections(given)[0][0, :, 1, 2], expected)
