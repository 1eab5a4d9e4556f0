"""Trained bundles of MONAI are networks, and nothing that their configurations say is run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import changed, draw_pair, needs

from edgeseg.contract import MeanStd, MinMax
from edgeseg.errors import EdgesegError, UnknownNameError, UsageError, WeightsError
from edgeseg.models import find_model
from edgeseg.models.trained import TrainedModel
from edgeseg.records import short_name

pytestmark = needs("torch", "monai")

CONFIG: dict[str, Any] = {
    "imports": ["$import glob"],
    "dims": 2,
    "widths": [4, 8],
    "network_def": {
        "_target_": "UNet",
        "spatial_dims": "@dims",
        "in_channels": 3,
        "out_channels": "@classes#count",
        "channels": "@widths",
        "strides": [2],
        "norm": "INSTANCE",
    },
    "classes": {"count": 2},
    "network": "$@network_def.to(@device)",
}
SHAPE = "network_data_format.inputs.image.spatial_shape"
RANGE = {"a_min": 0, "a_max": 255, "b_min": 0, "b_max": 1}
METADATA: dict[str, Any] = {
    "name": "Two shapes",
    "authors": "A team",
    "copyright": "CC-BY-4.0",
    "network_data_format": {
        "inputs": {
            # Columns first, as MONAI reads pictures.
            "image": {"num_channels": 3, "spatial_shape": [32, 48], "value_range": [0, 1]},
        },
        "outputs": {"pred": {"num_channels": 2, "channel_def": {"0": "background", "1": "disc"}}},
    },
}


def reader_of(reader: Any) -> dict[str, Any]:
    return {"transforms": [{"_target_": "monai.transforms.LoadImage", "reader": reader}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    import torch
    from monai.networks.nets import UNet

    folder = tmp_path / "Two Shapes"
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    write(folder, CONFIG, METADATA)
    torch.manual_seed(0)
    network = UNet(2, 3, 2, channels=(4, 8), strides=(2,), norm="INSTANCE")
    torch.save(network.state_dict(), folder / "models" / "model.pt")
    return folder


def write(folder: Path, config: Any, metadata: Any) -> None:
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))


def test_the_network_computes_what_monai_computes(folder: Path) -> None:
    import torch
    from monai.bundle import ConfigParser

    model = TrainedModel.find(str(folder))
    spec = model.spec
    assert (spec.name, spec.title, spec.source) == ("two-shapes", "Two shapes", "A team")
    assert (spec.inputs.height, spec.inputs.width, spec.inputs.stride) == (48, 32, 16)
    assert spec.inputs.normalization == MeanStd()
    assert spec.outputs.classes == ("background", "disc")
    assert spec.parameters > 0
    assert model.weights == folder / "models" / "model.pt"
    image = torch.from_numpy(spec.inputs.prepare(draw_pair((60, 50), seed=1)[0]))
    theirs = ConfigParser({**CONFIG, "device": "cpu"}).get_parsed_content("network_def")
    theirs.load_state_dict(torch.load(model.weights, weights_only=True))
    with torch.inference_mode():
        expected = theirs.eval()(image.transpose(2, 3)).softmax(1).transpose(2, 3).numpy()
        assert np.allclose(model.load_network()(image).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("loader", [{}, {"reverse_indexing": False}, {"reader": "PILReader"}])
def test_a_picture_gets_the_mask_that_monai_gives_it(
    folder: Path, tmp_path: Path, loader: dict[str, Any]
) -> None:
    """Read, prepared and predicted by MONAI alone, from a file that is wider than high."""
    import torch
    from monai.bundle import ConfigParser
    from monai.data import PILReader

    transforms = [
        {"_target_": "LoadImaged", "keys": "image", **loader},
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
        {"_target_": "ScaleIntensityRanged", "keys": "image", **RANGE},
    ]
    config = {**CONFIG, "preprocessing": {"_target_": "Compose", "transforms": transforms}}
    is_turned = loader.get("reverse_indexing", True)
    width, height = 48, 32
    sides = [width, height] if is_turned else [height, width]
    write(folder, config, changed(METADATA, SHAPE, sides))
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    parser = ConfigParser({**config, "device": "cpu"})
    theirs = parser.get_parsed_content("network_def").eval()
    theirs.load_state_dict(torch.load(folder / "models" / "model.pt", weights_only=True))
    read = parser.get_parsed_content("preprocessing")
    image = read({"image": str(tmp_path / "picture.png")})["image"]
    assert list(image.shape[1:]) == sides
    with torch.inference_mode():
        mask = theirs(image[None].as_tensor())[0].argmax(0).numpy()
    upright = mask.T if is_turned else mask
    model = TrainedModel.find(str(folder))
    inputs = model.spec.inputs
    assert (inputs.height, inputs.width) == (height, width)
    with torch.inference_mode():
        ours = model.load_network()(torch.from_numpy(inputs.prepare(pixels)))
    assert upright.any()
    assert (ours[0].argmax(0).numpy() == upright).all()
    # MONAI's reader is what turns.
    assert PILReader().get_data(Image.fromarray(pixels))[0].shape[:2] == (width, height)


def test_maps_beside_the_mask_are_turned_too(folder: Path) -> None:
    import torch

    from edgeseg.models.foreign.turned import Turned

    turned = Turned("torch.nn:Identity")
    image = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert torch.equal(turned(image), image)
    turned.network.forward = lambda x: {"out": [x, 2 * x], "name": "net"}  # type: ignore[method-assign]
    first, second = turned(image)["out"]
    assert torch.equal(first, image)
    assert torch.equal(second, 2 * image)


def test_yaml_is_read_as_well(folder: Path) -> None:
    yaml = pytest.importorskip("yaml")
    (folder / "configs" / "inference.json").unlink()
    path = folder / "configs" / "inference.yaml"
    path.write_text(yaml.safe_dump(CONFIG))
    assert find_model(str(folder)).parameters > 0
    path.write_text("a: [")
    with pytest.raises(UsageError, match=r"inference\.yaml is no YAML.*Correct it"):
        find_model(str(folder))
    path.write_text("!!python/object/apply:os.system ['exit']")
    with pytest.raises(UsageError, match=r"is no YAML"):
        find_model(str(folder))


@pytest.mark.parametrize(
    ("transforms", "expected"),
    [
        ([{"_target_": "LoadImaged"}], MeanStd()),
        ("@lists#first", MinMax(0, 1)),
        ([{"_target_": "ScaleIntensityd", "keys": "image"}], MinMax(0, 1)),
        ([{"_target_": "monai.transforms.ScaleIntensityd", "minv": -1}], MinMax(-1, 1)),
        (
            [{"_target_": "ScaleIntensityRanged", **RANGE}],
            MeanStd(),
        ),
        ([{"_target_": "ScaleIntensityd", "_disabled_": True}], MeanStd()),
    ],
)
def test_transforms_tell_the_values(
    folder: Path, transforms: list[dict[str, Any]] | str, expected: MeanStd | MinMax
) -> None:
    lists = {"first": [{"_target_": "ScaleIntensityd"}]}
    config = {**CONFIG, "preprocessing": {"transforms": transforms}, "lists": lists}
    write(folder, config, METADATA)
    assert find_model(str(folder)).inputs.normalization == expected


def test_a_range_of_bytes_is_not_divided(folder: Path) -> None:
    place = "network_data_format.inputs.image.value_range"
    write(folder, CONFIG, changed(METADATA, place, [0, 255]))
    inputs = find_model(str(folder)).inputs
    white = inputs.prepare(np.full((4, 4, 3), 255, np.uint8))
    assert np.allclose(white, 255)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("network_def._target_", "scripts.net.Net", r"none of MONAI's own; code.*not run"),
        ("network_def._target_", "os.system", r"none of MONAI's own"),
        ("network_def._target_", "monai.networks.nets.os", r"none of MONAI's own"),
        ("network_def._target_", "$__import__('os')", r"none of MONAI's own"),
        ("network_def.in_channels", "$__import__('os').getpid()", r"by code.*Write the value"),
        ("network_def.in_channels", "%other.json::a", r"by code"),
        ("network_def.in_channels", "$@dims + 1", r"by code"),
        ("network_def.norm", {"_target_": "os.system"}, r"by code, 'os\.system'"),
        ("network_def.in_channels", "@gone", r"refers to @gone, which it does not have"),
        ("dims", "@dims", r"references that lead to each other"),
        ("dims", 3, r"takes volumes.*spatial_dims is 2"),
        ("network_def", None, r"has no network.*package\.module:Class"),
        ("network_def.chanels", [1], r"does not start with the arguments"),
        ("preprocessing", {"transforms": [{"_target_": "NormalizeIntensityd"}]}, r"NormalizeInten"),
        ("preprocessing", {"transforms": [{"_target_": "CropForegroundd"}]}, r"CropF.* the shape"),
        (
            "preprocessing",
            {"transforms": [{"_target_": "Rotate90d"}]},
            r"Rotate90d changes the shape",
        ),
        ("preprocessing", {"transforms": "@gone"}, r"refers to @gone"),
        ("preprocessing", reader_of("$monai.data.PILReader()"), r"reader of LoadImage is code"),
        ("preprocessing", reader_of({"_target_": "PILReader"}), r"reader of LoadImage is no name"),
    ],
)
def test_configurations_that_are_refused(
    folder: Path, place: str, value: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("code of the bundle was run")

    monkeypatch.setattr("os.system", refuse)
    monkeypatch.setattr("os.getpid", refuse)
    write(folder, changed(CONFIG, place, value), METADATA)
    with pytest.raises(UsageError, match=words):
        find_model(str(folder))


def test_texts_that_look_like_code_stay_texts(folder: Path) -> None:
    write(folder, changed(CONFIG, "network_def.norm", "os:system"), METADATA)
    with pytest.raises(UsageError, match="does not start with the arguments"):
        find_model(str(folder))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("inputs.image.num_channels", 7),
        ("inputs.image.spatial_shape", ["16*n", "16*n"]),
        ("inputs.image.spatial_shape", 64),
        ("inputs.image.spatial_shape", [64, 64, 64]),
        ("inputs.image.value_range", [-1000, 1000]),
        ("outputs.pred.channel_def", {}),
        ("outputs.pred.channel_def", {"0": "background", "1": " "}),
        ("outputs.pred", 3),
        ("inputs", {}),
    ],
)
def test_metadata_that_do_not_tell_enough(folder: Path, place: str, value: Any) -> None:
    write(folder, CONFIG, changed(METADATA, f"network_data_format.{place}", value))
    with pytest.raises(UsageError, match=r"does not tell.*--model monai\.networks\.nets:UNet"):
        find_model(str(folder))


def test_metadata_without_the_format_say_which_entry_is_missing(folder: Path) -> None:
    without = {name: part for name, part in METADATA.items() if name != "network_data_format"}
    write(folder, CONFIG, without)
    with pytest.raises(UsageError, match=r"images and classes: it has no entry 'network_data_form"):
        find_model(str(folder))


def remove_metadata(folder: Path) -> None:
    (folder / "configs" / "metadata.json").unlink()


def damage_metadata(folder: Path) -> None:
    (folder / "configs" / "metadata.json").write_text("{")


def list_metadata(folder: Path) -> None:
    (folder / "configs" / "metadata.json").write_text("[]")


def remove_weights(folder: Path) -> None:
    (folder / "models" / "model.pt").unlink()


def remove_configs(folder: Path) -> None:
    (folder / "configs" / "inference.json").unlink()


@pytest.mark.parametrize(
    ("damage", "kind", "words"),
    [
        (remove_metadata, UsageError, r"lacks .*metadata\.json\. Take the whole bundle"),
        (damage_metadata, UsageError, r"metadata\.json cannot be read.*Correct it"),
        (list_metadata, UsageError, r"is no table of names and values"),
        (remove_weights, WeightsError, r"Take again what ships them, or give your own with --wei"),
        (remove_configs, UnknownNameError, r"Unknown model"),
    ],
)
def test_folders_that_lack_something(
    folder: Path, damage: Callable[[Path], object], kind: type[EdgesegError], words: str
) -> None:
    damage(folder)
    with pytest.raises(kind, match=words):
        TrainedModel.find(str(folder))


def test_a_second_description_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"describes itself.*Describe it as a network of your own"):
        find_model(str(folder), tmp_path / "spec.toml")


def test_bundles_are_named_by_the_folder() -> None:
    assert short_name("a/b/Spleen/") == "spleen"
    assert short_name("package.module:Net") == "net"
    assert short_name("egeunet") == "egeunet"


@needs("onnx", "onnxscript", "onnxruntime")
@pytest.mark.slow
def test_it_is_built(
    folder: Path, tmp_path: Path, make_data_folder: Callable[..., Path], run_cli: Callable[..., Any]
) -> None:
    data = make_data_folder(6, (48, 32))
    for split, places in (("train", range(2)), ("val", range(2, 4)), ("test", range(4, 6))):
        (data / f"{split}.txt").write_text("\n".join(f"pair{place}" for place in places))
    words = ["build", "--model", folder, "--target", "onnxruntime", "--precision", "fp32"]
    done = run_cli(*words, "--data", data, "-o", tmp_path / "built", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["name"] == "two-shapes-onnxruntime-fp32"
    assert record["model"]["weights_licence"] == "CC-BY-4.0"
    assert record["checks"]["artifact"]["max_abs_diff"] < 1e-4
    assert run_cli("verify", tmp_path / "built").returncode == 0
