"""Another package adds a network through an entry point; no file of edgeseg changes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from support import needs

from edgeseg.models import MODELS, find_model
from edgeseg.pipeline.distill import DistillRequest, distill_model
from edgeseg.training.options import TrainingOptions

RunCli = Callable[..., "CompletedProcess[str]"]
# Stated without torch, so that `edgeseg models` is quick.
DECLARATION = """
from edgeseg.contract import InputContract, MeanStd, OutputContract
from edgeseg.models import ModelSpec, Recipe

RECIPES = {
    "quick": Recipe("quick", loss="bce_dice", epochs=3, batch_size=4, rotation="quarter"),
    "long": Recipe("long", loss="bce_dice", epochs=30),
}
TAPS = ("down.0", "down.2", "head")
SPEC = ModelSpec(
    name="small-unet",
    import_path="small_unet.network:SmallUnet",
    title="A U-Net of one level, discs",
    source="tests/extensions",
    parameters=924,
    macs=470_016,
    inputs=InputContract(32, 32, 2, MeanStd()),
    outputs=OutputContract(("background", "disc"), 1),
    weights=None,
    arguments={"width": 8},
    recipes=RECIPES,
    taps=TAPS,
)
"""
NETWORK = """
import torch
from torch import nn
from torch.nn import functional as F


class SmallUnet(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.GELU(), nn.Conv2d(width, width, 3, 2, 1)
        )
        self.mix = nn.GroupNorm(2, width)
        self.head = nn.Conv2d(width + 3, 1, 3, padding=1)

    def forward_logits(self, image):
        deep = F.interpolate(self.mix(self.down(image)), scale_factor=2.0, mode="bilinear")
        return self.head(torch.cat([deep, image], 1))

    def forward(self, image):
        return torch.sigmoid(self.forward_logits(image))
"""
NAMES = [f"pair{index}" for index in range(12)]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folder of an installed package `small_unet` that adds the model small-unet."""
    site = tmp_path / "site"
    metadata = site / "small_unet-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: small-unet\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[edgeseg.models]\nsmall-unet = small_unet:SPEC\n")
    (site / "small_unet").mkdir()
    (site / "small_unet" / "__init__.py").write_text(DECLARATION)
    (site / "small_unet" / "network.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(MODELS, "_places", None)
    yield site / "small_unet"
    for name in ("small_unet", "small_unet.network"):
        sys.modules.pop(name, None)


@pytest.fixture
def data(make_data_folder: Callable[..., Path]) -> Path:
    folder = make_data_folder(12, (40, 56))
    for split, names in (("train", NAMES[:8]), ("val", NAMES[8:10]), ("test", NAMES[10:])):
        (folder / f"{split}.txt").write_text("\n".join(names))
    return folder


@pytest.mark.usefixtures("package")
def test_the_list_of_models_names_it_without_loading_its_module(run_cli: RunCli) -> None:
    done = run_cli("models", "--json")
    assert done.returncode == 0, done.stderr
    listed = {record["name"]: record for record in json.loads(done.stdout)}
    assert listed["small-unet"]["place"] == "small_unet.network:SmallUnet"
    assert listed["small-unet"]["arguments"] == {"width": 8}
    assert "egeunet" in listed
    assert "small_unet.network" not in sys.modules


@needs("torch")
@pytest.mark.usefixtures("package")
def test_its_stated_cost_is_the_counted_one_and_its_variant_is_found() -> None:
    spec = find_model("small-unet")
    assert spec.parameters == (3 * 72 + 8) + (8 * 72 + 8) + 2 * 8 + (11 * 9 + 1)
    assert spec.macs == 32 * 32 * 3 * 72 + 16 * 16 * 8 * 72 + 32 * 32 * 11 * 9
    assert spec.counted() == spec
    variant = find_model("small-unet-twin-relu")
    replaced = variant.make_network().replaced
    assert replaced == {"down.1": "ReLU", "mix": "BatchNorm2d"}
    assert (variant.recipes, variant.taps) == (spec.recipes, spec.taps)


@needs("torch")
@pytest.mark.parametrize("name", ["small-unet", "small-unet-twin"])
def test_cache_keys_hold_its_code(name: str, package: Path) -> None:
    before = find_model(name).source_digest()
    assert before is not None
    assert find_model(name).source_digest() == before
    (package / "network.py").write_text(NETWORK.replace("nn.GELU()", "nn.SiLU()"))
    assert find_model(name).source_digest() != before


@needs("torch", "monai", "lightning_fabric", "onnx", "onnxscript", "onnxruntime")
@pytest.mark.usefixtures("package")
def test_it_is_trained_built_and_verified(data: Path, tmp_path: Path, run_cli: RunCli) -> None:
    run, bundle = tmp_path / "run", tmp_path / "bundle"
    common = ("--model", "small-unet", "--data", data)
    done = run_cli("train", *common, "--output", run, "--epochs", 1, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["weights_path"] == str(run / "best.safetensors")
    assert (told["best_epoch"], len(told["history"])) == (1, 1)
    assert len(json.loads((run / "history.json").read_text())) == 1

    weights = ("--weights", run / "best.safetensors")
    target = ("--target", "onnxruntime", "--precision", "fp32")
    done = run_cli("build", *common, *weights, *target, "--output", bundle)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["model"]["spec"]["place"] == "small_unet.network:SmallUnet"
    done = run_cli("verify", bundle)
    assert done.returncode == 0, done.stderr


@needs("torch", "monai", "lightning_fabric")
@pytest.mark.usefixtures("package")
def test_it_learns_from_a_teacher_by_the_layers_that_it_states(data: Path, tmp_path: Path) -> None:
    result = distill_model(
        DistillRequest(
            teachers=("ulite",),
            student="small-unet",
            data=data,
            output=tmp_path / "run",
            teacher_sizes=((32, 32),),
            method="graphflow",
            settings={"critic_width": 2, "paraphraser_steps": 2, "nodes": 4},
            teacher_taps=("e1", "e2", "d1"),
            training=TrainingOptions(settings={"epochs": 1}),
        )
    )
    find_model("small-unet").load_network(result.weights_path)
    assert result.history[0]["loss_vertices"] > 0
