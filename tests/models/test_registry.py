from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support import needs

from edgeseg.errors import EdgesegError, UnknownNameError, UsageError, WeightsError
from edgeseg.models import MODELS, ModelSpec, ShippedWeights, find_model, list_models

WEIGHTS_LIMIT_BYTES = 5_000_000


@pytest.fixture(params=sorted(MODELS.names()))
def spec(request: pytest.FixtureRequest) -> ModelSpec:
    return find_model(request.param)


@needs("torch")
def test_registered_parameters_are_counted_ones(spec: ModelSpec) -> None:
    from edgeseg.models.complexity import count_parameters

    assert count_parameters(spec.make_network()) == spec.parameters


@needs("torch")
def test_registered_macs_are_counted_ones(spec: ModelSpec) -> None:
    from edgeseg.models.complexity import count_macs

    assert count_macs(spec.make_network(), spec.inputs) == spec.macs


@needs("torch")
def test_network_keeps_its_contracts(spec: ModelSpec) -> None:
    import torch

    small = spec.at_size(2 * spec.inputs.stride, spec.inputs.stride)
    with torch.inference_mode():
        mask = small.make_network().eval()(torch.rand(small.inputs.shape) * 255)
    assert mask.shape == (1, spec.outputs.channels, small.inputs.height, small.inputs.width)
    assert float(mask.min()) >= 0
    assert float(mask.max()) <= 1


# As edgeseg 0.1 wrote them into manifests, tunings and checkpoints of training runs.
KNOWN_PLACES = {
    "egeunet": "edgeseg.models.egeunet:EgeUnet",
    "egeunet-twin-relu": "edgeseg.models.twin:Twin",
    "ulite": "edgeseg.models.ulite:ULite",
    "ulite-twin-relu": "edgeseg.models.twin:Twin",
    "miniseg-twin-relu": "edgeseg.models.twin:Twin",
    "miniseg": "edgeseg.models.miniseg:MiniSeg",
    "msnet": "edgeseg.models.msnet:MsNet",
    "m2snet": "edgeseg.models.m2snet:M2SNet",
    "efficientunet": "edgeseg.models.efficient_unet:EfficientUnet",
}


@pytest.mark.parametrize(("name", "place"), KNOWN_PLACES.items())
def test_import_paths_are_those_of_older_manifests(name: str, place: str) -> None:
    assert find_model(name).to_json()["place"] == place


@needs("torch")
def test_a_spec_of_an_older_manifest_loads_the_shipped_weights() -> None:
    record = {
        "name": "egeunet-twin-relu",
        "place": "edgeseg.models.twin:Twin",
        "arguments": {
            "place": "edgeseg.models.egeunet:EgeUnet",
            "arguments": {},
            "activation": "relu",
        },
        "returns": "probabilities",
        "title": "Edge twin of EGE-UNet, skin lesions",
        "source": "Ruan et al., MICCAI 2023",
        "parameters": 59022,
        "macs": 90823168,
        "input": find_model("egeunet").inputs.to_json(),
        "output": find_model("egeunet").outputs.to_json(),
        "weights": {"data": "isic2018_task1", "licence": "CC-BY-NC-4.0"},
    }
    spec = ModelSpec.from_json(record)
    network = spec.load_network(find_model("egeunet-twin-relu").resolve_weights(None))
    assert sum(parameter.numel() for parameter in network.parameters()) == 59022


@pytest.mark.parametrize("command", [("models",), ("models", "--json"), ("doctor",), ("--help",)])
def test_listing_models_does_not_import_torch(command: tuple[str, ...]) -> None:
    script = f"""
import sys
sys.argv = ["edgeseg", *{command!r}]
from edgeseg.cli import main
try:
    main()
except SystemExit:
    pass
print("TORCH", "torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("TORCH False\n"), done.stderr


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("edgeseg.models.egeunet:SPEC", "which is of the name 'egeunet'"),
        ("edgeseg.models.egeunet:TAPS", "which is no ModelSpec"),
    ],
)
def test_a_place_that_is_no_spec_of_the_name_says_what_to_state(
    place: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODELS, "_places", {**MODELS.places(), "mine": place})
    with pytest.raises(EdgesegError, match=rf"'mine' is registered as {place}, {reason}\. State"):
        find_model("mine")


def test_names_are_their_keys() -> None:
    assert [spec.name for spec in list_models()] == list(MODELS.names())


def test_record_is_json(spec: ModelSpec) -> None:
    record = json.loads(json.dumps(spec.to_json()))
    assert record["name"] == spec.name
    assert record["input"]["height"] == spec.inputs.height


def test_wrong_size_names_nearest_right_ones() -> None:
    with pytest.raises(UsageError, match=r"\bNearest right: 96x224 and 128x256\."):
        find_model("egeunet").at_size(100, 250)


def test_size_below_stride_names_one_that_works() -> None:
    with pytest.raises(UsageError, match=r"Nearest right: 32x32\."):
        find_model("egeunet").at_size(10, 10)


def test_other_size_keeps_the_rest() -> None:
    spec = find_model("egeunet")
    small = spec.at_size(64, 96)
    assert small.inputs.shape == (1, 3, 64, 96)
    assert replace(small, inputs=spec.inputs) == spec


def test_a_model_is_found_at_another_size() -> None:
    assert find_model("egeunet", size=(64, 96)) == find_model("egeunet").at_size(64, 96)
    assert find_model("egeunet", size=None) == find_model("egeunet")


def test_a_map_of_two_channels_is_not_stretched() -> None:
    miniseg = find_model("miniseg")
    with pytest.raises(ValueError, match="miniseg: only a map of one channel"):
        replace(miniseg, paper_metrics=find_model("msnet").paper_metrics)


def test_unknown_model_names_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean egeunet\? Available: .*egeunet"):
        find_model("egunet")


def test_given_weights_win(spec: ModelSpec, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"mine\.pth\. Check --weights"):
        spec.resolve_weights(tmp_path / "mine.pth")
    (tmp_path / "mine.pth").touch()
    assert spec.resolve_weights(tmp_path / "mine.pth") == tmp_path / "mine.pth"


def test_model_without_shipped_weights_asks_for_some(spec: ModelSpec) -> None:
    with pytest.raises(UsageError, match="Give them with --weights"):
        replace(spec, weights=None).resolve_weights(None)


def test_lost_shipped_weights_tell_what_to_do(spec: ModelSpec) -> None:
    gone = replace(spec, weights=ShippedWeights("not_there", "some data", "CC0-1.0"))
    with pytest.raises(WeightsError, match=r"Reinstall edgeseg, or give your own with --weights"):
        gone.resolve_weights(None)


@pytest.fixture(params=[spec.name for spec in list_models() if spec.weights is not None])
def shipped(request: pytest.FixtureRequest) -> ShippedWeights:
    weights = find_model(request.param).weights
    assert weights is not None
    return weights


@needs("torch")
def test_shipped_weights_load(shipped: ShippedWeights) -> None:
    (spec,) = (spec for spec in list_models() if spec.weights == shipped)
    assert not spec.load_network(spec.resolve_weights(None)).training


def test_shipped_weights_are_small(shipped: ShippedWeights) -> None:
    assert shipped.path.stat().st_size < WEIGHTS_LIMIT_BYTES


def words_of(text: str) -> str:
    """Text with one space between words; a licence is written with hyphens or spaces."""
    return " ".join(text.lower().replace("-", " ").split())


def test_model_card_names_data_licence_and_split(shipped: ShippedWeights) -> None:
    card = shipped.path.with_suffix(".md").read_text(encoding="utf-8")
    assert shipped.data in card
    assert words_of(shipped.licence) in words_of(card)
    assert re.search(r"\bsplits?\b", card, re.IGNORECASE)
