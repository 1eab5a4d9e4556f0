"""Which of several maps that a network returns is its mask."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

torch = pytest.importorskip("torch")

from torch import nn
from torch.nn import functional as F

from edgeseg.contract import InputContract, MeanStd, OutputContract
from edgeseg.errors import UsageError
from edgeseg.models.logits import LogitsNetwork, ProbabilityNetwork
from edgeseg.models.outputs import pick_output
from edgeseg.models.probe import Probe, probe_network

INPUTS = InputContract(16, 24, 1, MeanStd())
OUTPUTS = OutputContract(("background", "lesion"), 1)


@dataclass
class Named:
    mask: Any
    edge: Any


class Pair(NamedTuple):
    mask: Any
    edge: Any


class Net(nn.Module):
    """A body, a head, and a second head that leaves earlier."""

    def __init__(self, give: Callable[[Any, Any, Any], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.head, self.side = nn.Conv2d(4, 1, 1), nn.Conv2d(4, 1, 1)
        self.give = give

    def forward(self, image: Any) -> Any:
        early = self.first(image)
        late = self.second(early)
        return self.give(self.head(late), self.side(early), late)


def probe(
    give: Callable[[Any, Any, Any], Any],
    output: str | int | None = None,
    returns: str = "logits",
) -> Probe:
    return probe_network(Net(give), "nets:Net", INPUTS, OUTPUTS, output, returns)


def map_of(give: Callable[[Any, Any, Any], Any], output: str | int | None) -> Any:
    """What is taken, by adding ten to the mask and nothing to the rest."""
    net = Net(lambda mask, edge, late: give(mask * 0 + 10, edge * 0, late * 0))
    return pick_output(net(torch.zeros(1, 3, 16, 24)), output)


@pytest.mark.parametrize(
    ("give", "chosen"),
    [
        (lambda mask, edge, late: mask, None),
        (lambda mask, edge, late: (mask,), None),
        (lambda mask, edge, late: [mask, late], None),
        (lambda mask, edge, late: (late, mask), "1"),
        (lambda mask, edge, late: ([late], [mask]), "1.0"),
        (lambda mask, edge, late: {"aux": late, "mask": mask}, "mask"),
        (lambda mask, edge, late: OrderedDict(aux=edge, out=mask), "out"),
        (lambda mask, edge, late: {"logits": mask, "edge": edge}, "logits"),
        (lambda mask, edge, late: Named(mask, late), "mask"),
        (lambda mask, edge, late: Pair(mask, late), "mask"),
        (lambda mask, edge, late: (edge[:, :, ::2, ::2], mask), "1"),
        (lambda mask, edge, late: (mask, edge), None),  # more parameters have a part in the first
    ],
)
def test_the_mask_is_found_where_it_is_certain(give: Any, chosen: str | None) -> None:
    assert probe(give).output == chosen
    assert bool((map_of(give, chosen) == 10).all())


@pytest.mark.parametrize(
    ("give", "words"),
    [
        # As PraNet: the first map is coarse, and later ones make use of it.
        (
            lambda mask, edge, late: (edge, mask),
            r"several maps of one size: 0 \(1, 1, 16, 24\), 1 \(1, 1, 16, 24\).*output = 1\.",
        ),
        (
            lambda mask, edge, late: {"mask": mask, "edge": edge},
            r'mask \(1, 1, 16, 24\), edge \(1, 1, 16, 24\)\. Say in the spec.*output = "edge"',
        ),
        (lambda mask, edge, late: Named(mask, edge), "which is the mask, as in output ="),
        (lambda mask, edge, late: (late, late), r"no map of 1 channels.*0 \(1, 4, 16, 24\)"),
        (lambda mask, edge, late: ("a", None), "It returns no tensor. Correct channels, or let"),
        (lambda mask, edge, late: None, "let its forward return a tensor"),
    ],
)
def test_what_could_be_several_is_refused_with_names_and_shapes(give: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        probe(give)


@pytest.mark.parametrize(
    ("give", "output"),
    [
        (lambda mask, edge, late: (edge, mask), 1),
        (lambda mask, edge, late: (edge, mask), "1"),
        (lambda mask, edge, late: (edge, edge, mask), -1),
        (lambda mask, edge, late: {"edge": edge, "mask": mask}, "mask"),
        (lambda mask, edge, late: {"edge": edge, "mask": mask}, 1),
        (lambda mask, edge, late: {"edge": edge, "masks": [mask, edge]}, "masks"),
        (lambda mask, edge, late: {"edge": edge, "masks": [edge, mask]}, "masks.1"),
        (lambda mask, edge, late: Named(mask, edge), "mask"),
        (lambda mask, edge, late: Pair(mask, edge), "mask"),
        (lambda mask, edge, late: Pair(mask, edge), 0),
    ],
)
def test_the_entry_that_the_spec_names_is_taken(give: Any, output: str | int) -> None:
    assert probe(give, output).output == output
    assert bool((map_of(give, output) == 10).all())


@pytest.mark.parametrize("output", ["masc", 2, -3])
def test_an_entry_that_is_not_there_lists_those_that_are(output: str | int) -> None:
    with pytest.raises(UsageError, match=r"mask \(1, 1, 16, 24\), edge .*Name one of these"):
        probe(lambda mask, edge, late: {"mask": mask, "edge": edge}, output)


def test_an_entry_of_a_network_that_returns_one_tensor_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'mask', and .* one tensor.*Leave the entry out"):
        probe(lambda mask, edge, late: mask, "mask")


@pytest.mark.parametrize(("factor", "size"), [(2, (8, 12)), (4, (4, 6)), (5, (4, 5))])
def test_smaller_maps_are_resized_and_the_contract_says_so(
    factor: int, size: tuple[int, int]
) -> None:
    def give(mask: Any, edge: Any, late: Any) -> Any:
        return mask[:, :, ::factor, ::factor]

    found = probe(give)
    assert found.outputs.resized_from == size
    assert OutputContract.from_json(found.outputs.to_json()) == found.outputs
    net, image = Net(give).eval(), torch.rand(1, 3, 16, 24)
    with torch.inference_mode():
        logits = F.interpolate(net(image), (16, 24), mode="bilinear", align_corners=False)
        assert torch.equal(LogitsNetwork(net).eval()(image), logits.sigmoid())
        assert torch.equal(ProbabilityNetwork(net).eval()(image), logits)


def test_maps_of_another_shape_are_refused() -> None:
    with pytest.raises(UsageError, match=r"gives \(1, 1, 14, 24\) where .*of a half, a quarter"):
        probe(lambda mask, edge, late: mask[:, :, 1:-1])


@pytest.mark.parametrize(
    "end",
    [
        torch.sigmoid,
        lambda one: F.interpolate(torch.sigmoid(one[:, :, ::2, ::2]), (16, 24), mode="bilinear"),
        lambda one: torch.softmax(torch.cat([one, -one], 1), 1)[:, 1:],
        lambda one: torch.cat([one.sigmoid()[..., :12], one.sigmoid()[..., 12:]], -1).clone(),
    ],
)
def test_a_probability_that_is_called_logits_is_recognised(end: Any) -> None:
    with pytest.raises(UsageError, match=r'second time\. Write returns = "probabilities"'):
        probe(lambda mask, edge, late: end(mask))
    probe(lambda mask, edge, late: end(mask), None, "probabilities")


@pytest.mark.parametrize("end", [lambda one: one > 0, lambda one: (one > 0).long()])
def test_classes_that_are_decided_already_are_refused(end: Any) -> None:
    with pytest.raises(UsageError, match=r"decided already\. Let its forward return the logits"):
        probe(lambda mask, edge, late: end(mask))


def test_a_gate_does_not_make_probabilities() -> None:
    probe(lambda mask, edge, late: mask * edge.sigmoid())
    probe(lambda mask, edge, late: mask.sigmoid() + edge.sigmoid())


def test_heads_that_are_stacked_for_training_give_the_first() -> None:
    net = LogitsNetwork(Net(lambda mask, edge, late: torch.stack([mask, edge], 1))).train()
    assert net.forward_logits(torch.rand(2, 3, 16, 24)).shape == (2, 1, 16, 24)
