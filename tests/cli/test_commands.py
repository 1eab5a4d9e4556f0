from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image
from support import needs

from edgeseg import __version__
from edgeseg.bundle.bundle import open_bundle
from edgeseg.data.folder import open_sample
from edgeseg.targets import RUNTIMES

RunCli = Callable[..., "CompletedProcess[str]"]


def test_the_version_is_printed(run_cli: RunCli) -> None:
    assert run_cli("--version").stdout == f"edgeseg {__version__}\n"


def test_models_tell_cost_and_contract(run_cli: RunCli) -> None:
    egeunet = json.loads(run_cli("models", "--json").stdout)[0]
    assert egeunet["parameters"] == 53374
    assert egeunet["input"]["normalization"] == {"low": 0.0, "high": 255.0, "kind": "min_max"}
    assert "53,374" in run_cli("models").stdout


@pytest.mark.parametrize("command", ["build", "bench", "predict", "train", "evaluate"])
def test_help_tells_the_defaults(run_cli: RunCli, command: str) -> None:
    words = " ".join(run_cli(command, "--help").stdout.replace("│", " ").split())
    assert "[the" not in words
    if command != "predict":
        assert "default: the" in words


def test_doctor_names_every_target(run_cli: RunCli) -> None:
    report = json.loads(run_cli("doctor", "--json").stdout)
    assert [runtime["runtime"] for runtime in report["runtimes"]] == list(RUNTIMES.names())
    assert report["devices"]["android"] == ["litert", "onnxruntime", "native"]
    text = run_cli("doctor").stdout
    assert all(f"runtime {name}" in text for name in RUNTIMES.names())
    assert "--target android: litert, onnxruntime, native" in text


@pytest.mark.parametrize(
    ("blocked", "builds", "command"),
    [
        ("nncf", ["fp32", "bf16"], "pip install 'edgeseg[intel]'"),
        ("torch", [], "pip install 'edgeseg[export]'"),
    ],
)
def test_doctor_gives_the_command_that_adds_what_is_missing(
    tmp_path: Path, blocked: str, builds: list[str], command: str
) -> None:
    script = f"""
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == {blocked!r} else find(name, *rest)
sys.argv = ["edgeseg", "doctor", "--json"]
from edgeseg.cli import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    runtimes = json.loads(done.stdout)["runtimes"]
    (openvino,) = [runtime for runtime in runtimes if runtime["runtime"] == "openvino"]
    assert openvino["builds"] == builds
    assert "fp32" in openvino["runs"]
    assert command in [item["install"] for item in openvino["missing"]]


@needs("torch", "openvino", "nncf")
def test_build_prints_what_it_made(built: dict[str, Path], tmp_path: Path, run_cli: RunCli) -> None:
    words = ("build", "-m", "egeunet", "-t", "intel", "-p", "int8", "-o", tmp_path / "out")
    done = run_cli(*words)
    assert done.returncode == 0, done.stderr
    assert "from the cache" in done.stdout
    assert "of 10,000 pixels flip" in done.stderr
    assert "CC-BY-NC-4.0" in done.stderr
    manifest = json.loads(run_cli(*words, "--overwrite", "--json").stdout)
    assert manifest["precision"] == "int8"


@needs("torch", "onnxruntime")
@pytest.mark.slow
def test_build_warns_when_the_sample_is_of_another_kind(tmp_path: Path, run_cli: RunCli) -> None:
    words = ("build", "-m", "miniseg", "-t", "onnxruntime", "-p", "int8", "--size", "64x64")
    words = (*words, "--calibration-images", 2)
    done = run_cli(*words, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "Warning: calibrated on the sample, which shows skin lesions." in done.stderr
    assert "Warning: INT8 was calibrated with 2 images" in " ".join(done.stderr.split())
    again = run_cli(*words, "-o", tmp_path / "out2", "--data", open_sample(["test"]).root)
    assert "Warning: calibrated" not in again.stderr


@needs("openvino")
def test_verify_prints_that_all_is_well(built: dict[str, Path], run_cli: RunCli) -> None:
    done = run_cli("verify", built["int8"])
    assert done.returncode == 0
    count = len(open_bundle(built["int8"]).manifest.files)
    assert f"ok. {count} files unchanged" in done.stdout
    told = " ".join(done.stdout.split())
    assert re.search(r"\(allowed \de-\d\d\), 0\.00 of 10,000 pixels flip \(allowed 100\)", told)
    assert json.loads(run_cli("verify", built["int8"], "--json").stdout)["ok"] is True


@needs("openvino")
def test_predict_writes_masks_of_the_images_sizes(
    built: dict[str, Path], tmp_path: Path, run_cli: RunCli
) -> None:
    pair = open_sample(["test"])[0]
    grey = tmp_path / "grey.png"
    Image.fromarray(pair.read_image()[:100, :120, 0].copy()).save(grey)
    gallery = tmp_path / "gallery.png"
    words = ("predict", built["int8"], pair.image_path, grey, "-o", tmp_path / "masks")
    done = run_cli(*words, "--gallery", gallery)
    assert done.returncode == 0, done.stderr
    mask = np.asarray(Image.open(tmp_path / "masks" / f"{pair.name}.png"))
    assert mask.shape == pair.read_image().shape[:2]
    assert set(np.unique(mask)) == {0, 255}
    truth = pair.read_labels(2)
    dice = 2 * np.sum((mask > 0) & (truth > 0)) / (np.sum(mask > 0) + np.sum(truth))
    assert dice > 0.8
    assert np.asarray(Image.open(tmp_path / "masks" / "grey.png")).shape == (100, 120)
    assert Image.open(gallery).size[0] > 3 * 224

    again = run_cli(*words)
    assert again.returncode == 2
    assert "--overwrite" in again.stderr
    printed = json.loads(run_cli(*words, "--overwrite", "--json").stdout)
    masks = [str(tmp_path / "masks" / f"{name}.png") for name in (pair.name, "grey")]
    assert [record["mask"] for record in printed["masks"]] == masks
    assert printed["masks"][1]["image"] == str(grey)
    assert printed["gallery"] is None
    one = run_cli("predict", built["int8"], grey, "-o", tmp_path / "one")
    assert one.stdout == f"1 mask in {tmp_path / 'one'}\n"


@needs("openvino", "torch")
def test_a_gallery_compares_with_the_reference_or_another_bundle(
    built: dict[str, Path], tmp_path: Path, run_cli: RunCli
) -> None:
    image = open_sample(["test"])[0].image_path
    words = ("predict", built["int8"], image, "--overwrite", "-o", tmp_path / "masks")
    widths = []
    for more in ((), ("--compare", built["fp32"])):
        done = run_cli(*words, "--gallery", tmp_path / "gallery.png", *more)
        assert done.returncode == 0, done.stderr
        widths.append(Image.open(tmp_path / "gallery.png").size[0])
    assert widths == [4 * 232 + 8] * 2

    bare = shutil.copytree(built["int8"], tmp_path / "bare")
    shutil.rmtree(bare / "source")
    manifest = json.loads((bare / "manifest.json").read_text())
    kept = [file for file in manifest["files"] if not file["path"].startswith("source/")]
    (bare / "manifest.json").write_text(json.dumps({**manifest, "files": kept}))
    done = run_cli("predict", bare, image, "-o", tmp_path / "b", "--gallery", tmp_path / "b.png")
    assert done.returncode == 0, done.stderr
    assert "no source/ folder with the FP32 weights. Compare with another bundle" in done.stderr
    assert Image.open(tmp_path / "b.png").size[0] == 3 * 232 + 8


def test_compare_without_a_gallery_is_refused(run_cli: RunCli, tmp_path: Path) -> None:
    done = run_cli("predict", tmp_path, tmp_path, "-o", tmp_path, "--compare", tmp_path)
    assert done.returncode == 2
    assert "--compare is shown in a gallery. Name one with --gallery." in done.stderr


@needs("openvino")
def test_predict_names_the_subfolders_that_hold_the_images(
    built: dict[str, Path], tmp_path: Path, run_cli: RunCli
) -> None:
    inner = tmp_path / "study" / "series1"
    inner.mkdir(parents=True)
    shutil.copy(open_sample(["test"])[0].image_path, inner / "a.jpg")
    words = ("-o", tmp_path / "masks")
    done = run_cli("predict", built["fp32"], tmp_path / "study", *words)
    assert done.returncode == 1
    told = " ".join(done.stderr.split())
    assert "holds no image. Its subfolders do: series1. These are not looked into; name" in told
    inner.rename(tmp_path / "apart")
    done = run_cli("predict", built["fp32"], tmp_path / "study", *words)
    assert done.returncode == 1
    assert "holds no image. Name image files." in " ".join(done.stderr.split())


@needs("openvino")
def test_predict_leaves_out_what_a_system_keeps_beside_files(
    built: dict[str, Path], tmp_path: Path, run_cli: RunCli
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", (40, 30)).save(images / "a.png")
    (images / "._a.png").write_bytes(b"Mac OS X")
    done = run_cli("predict", built["fp32"], images, "-o", tmp_path / "masks")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["a.png"]


@needs("torch", "monai", "lightning_fabric")
@pytest.mark.slow
def test_a_network_is_trained_evaluated_and_built(
    make_data_folder: Callable[..., Path], tmp_path: Path, run_cli: RunCli
) -> None:
    data = make_data_folder(12, (40, 56))
    names = [f"pair{index}" for index in range(12)]
    for split, part in (("train", names[:8]), ("val", names[8:10]), ("test", names[10:])):
        (data / f"{split}.txt").write_text("\n".join(part))
    run = tmp_path / "run"
    common = ("--model", "egeunet", "--data", data, "--size", "32x32")
    words = ("train", *common, "--output", run, "--recipe", "short", "--epochs", 2)
    done = run_cli(*words)
    assert done.returncode == 0, done.stderr
    assert "pooled Dice" in done.stdout
    assert len(json.loads((run / "history.json").read_text())) == 2
    assert "--resume" in run_cli(*words).stderr

    weights = run / "best.safetensors"
    scored = run_cli("evaluate", *common, "--weights", weights, "--json")
    assert scored.returncode == 0, scored.stderr
    assert json.loads(scored.stdout)["images"] == 2


@needs("torch", "monai", "lightning_fabric")
def test_training_says_what_features_its_loss_uses(
    make_data_folder: Callable[..., Path], tmp_path: Path, run_cli: RunCli
) -> None:
    from edgeseg.models.weights import save_weights
    from edgeseg.training.lossnet import VggFeatures

    data = make_data_folder()
    (data / "train.txt").write_text("pair0\npair1")
    (data / "val.txt").write_text("pair2")
    weights = tmp_path / "vgg16.safetensors"
    save_weights(weights, VggFeatures())
    # A run is there already, so that this one ends before its first epoch.
    (tmp_path / "best.safetensors").touch()
    words = ("train", "--model", "msnet", "--data", data, "-o", tmp_path, "--size", "32x32")
    said = run_cli(*words).stderr
    assert "random VGG-16 features, no --perceptual-weights" in said
    assert "--resume" in said
    said = run_cli(*words, "--perceptual-weights", weights).stderr
    assert "VGG-16 features of vgg16.safetensors" in said
    assert "VGG-16" not in run_cli(*words, "--recipe", "short").stderr


def test_evaluate_scores_the_shipped_weights_on_the_sample(run_cli: RunCli) -> None:
    pytest.importorskip("torch")
    done = run_cli("evaluate", "--model", "egeunet", "--split", "val", "--json")
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)
    low, high = scores["accuracy_ci95"]["dice_pooled"]
    assert 0.85 < low <= scores["accuracy"]["dice_pooled"] <= high < 1


def test_evaluate_compares_two_networks_image_by_image(run_cli: RunCli) -> None:
    words = ("evaluate", "--model", "egeunet-twin-relu", "--against", "egeunet", "--split", "val")
    record = json.loads(run_cli(*words, "--json").stdout)
    theirs = record["against"]
    for name, value in theirs["difference"].items():
        assert value == pytest.approx(record["accuracy"][name] - theirs["accuracy"][name])
        low, high = theirs["difference_ci95"][name]
        assert low <= value <= high
    done = run_cli(*words, "--max-change", "dice_pooled=0.2", "--max-change", "iou_image=0")
    assert done.returncode == 1, "the networks differ, so that a margin of nothing is not kept"
    lines = done.stdout.splitlines()
    assert "egeunet-twin-relu minus egeunet, image by image" in lines
    last = lines[-6].split()
    assert last[0] == "dice_pooled"
    assert last[1] == f"{theirs['difference']['dice_pooled']:+.4f}"
    assert lines[-2].startswith("egeunet-twin-relu keeps pooled Dice within 0.2: ")
    assert not lines[-1].startswith("egeunet-twin-relu keeps Dice")
    kept = run_cli(*words, "--max-change", "dice_pooled=0.2", "--json")
    assert kept.returncode == 0, kept.stderr
    assert json.loads(kept.stdout)["against"]["margins"][0]["verdict"] == "keeps"


def test_evaluate_prints_the_metrics_of_the_paper_with_their_definitions(run_cli: RunCli) -> None:
    pytest.importorskip("torch")
    words = ("evaluate", "--model", "egeunet", "--split", "val", "--metrics", "paper")
    scored = json.loads(run_cli(*words, "--json").stdout)
    scores = scored["metrics"]["scores"]
    assert list(scores) == [
        "iou_pooled",
        "dice_pooled",
        "accuracy",
        "specificity_pooled",
        "sensitivity_pooled",
    ]
    for name in ("iou_pooled", "dice_pooled"):
        assert scores[name]["value"] == pytest.approx(scored["accuracy"][name])
        assert scores[name]["ci95"] == pytest.approx(scored["accuracy_ci95"][name])
    assert scored["metrics"]["empty_images"] == {"truth": 0, "prediction": 0, "both": 0}

    printed = run_cli(*words).stdout
    assert "Metrics of the paper (Ruan et al., MICCAI 2023" in printed
    for name, score in scores.items():
        (line,) = [line for line in printed.splitlines() if line.split()[:1] == [name]]
        assert f"{score['value']:.4f}" in line
        assert score["definition"] in line
        assert score["source"] in line
    assert "in both: 0" in printed
    assert "stretched" not in printed


@needs("torch", "monai", "scipy")
def test_evaluate_prints_all_metrics_and_keeps_each_images_distance(run_cli: RunCli) -> None:
    words = ("evaluate", "--model", "ulite", "--split", "val", "--metrics", "all")
    record = json.loads(run_cli(*words, "--json").stdout)["metrics"]
    distances = record["per_image"]["hd95_px"]
    assert len(distances) == len(record["image_names"])
    assert record["scores"]["hd95_px"]["value"] == pytest.approx(np.mean(distances))
    printed = run_cli(*words).stdout
    assert "All metrics" in printed
    assert "hd95_px" in printed


@needs("torch", "scipy")
@pytest.mark.slow
def test_evaluate_says_that_maps_are_stretched(
    make_data_folder: Callable[..., Path], tmp_path: Path, run_cli: RunCli
) -> None:
    from edgeseg.models import find_model
    from edgeseg.models.weights import save_weights

    data = make_data_folder(2, (40, 56))
    (data / "test.txt").write_text("pair0\npair1")
    weights = tmp_path / "random.safetensors"
    save_weights(weights, find_model("msnet").make_network())
    words = ("--weights", weights, "--data", data, "--size", "64x64", "--metrics", "paper")
    done = run_cli("evaluate", "--model", "msnet", *words)
    assert done.returncode == 0, done.stderr
    assert "stretched to 0..1 from its own minimum and maximum" in done.stdout
    for name in ("soft_dice_image", "iou_image", "weighted_f", "s_measure", "e_measure", "mae"):
        assert name in done.stdout


def test_python_dash_m_works(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgeseg", "--version"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert done.stdout.startswith("edgeseg ")
