"""What a user can get wrong: one message saying what to do, code 1 or 2, nothing written."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image
from support import ROOT, needs

RunCli = Callable[..., "CompletedProcess[str]"]
BUILD = ("build", "--model", "egeunet", "--target", "intel", "--precision", "fp32")

pytestmark = needs("torch", "openvino")


def refused(done: CompletedProcess[str], code: int, *advice: str) -> None:
    """One message, the right code, no traceback."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert [line[:7] for line in done.stderr.splitlines()].count("Error: ") == 1, done.stderr
    for words in advice:
        assert words in done.stderr


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out"


class Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> object:
        return Path.touch, (self.mark,)


def test_a_pickle_with_code_is_not_run(run_cli: RunCli, tmp_path: Path, output: Path) -> None:
    checkpoint, mark = tmp_path / "evil.pth", tmp_path / "was_run"
    checkpoint.write_bytes(pickle.dumps({"state_dict": Payload(mark)}))
    done = run_cli(*BUILD, "--weights", checkpoint, "--output", output)
    refused(done, 1, "evil.pth", "Save only the weights")
    assert not mark.exists()
    assert not output.exists()


def test_a_truncated_checkpoint_is_refused(
    run_cli: RunCli, tmp_path: Path, output: Path, random_weights: Path
) -> None:
    checkpoint = tmp_path / "half.safetensors"
    checkpoint.write_bytes(random_weights.read_bytes()[:5000])
    done = run_cli(*BUILD, "--weights", checkpoint, "--output", output)
    refused(done, 1, "half.safetensors", "Copy or download it again")
    assert not output.exists()


def test_a_checkpoint_of_another_network_is_refused(
    run_cli: RunCli, tmp_path: Path, output: Path
) -> None:
    import torch

    checkpoint = tmp_path / "other.pth"
    torch.save({"stem.weight": torch.zeros(3)}, checkpoint)
    done = run_cli(*BUILD, "--weights", checkpoint, "--output", output)
    refused(done, 1, "missing", "unexpected (stem.weight)", "--model")
    assert not output.exists()


def test_nan_weights_are_refused(
    run_cli: RunCli, tmp_path: Path, output: Path, random_weights: Path
) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(random_weights)
    state["final.bias"][0] = float("nan")
    save_file(state, tmp_path / "nan.safetensors")
    done = run_cli(*BUILD, "--weights", tmp_path / "nan.safetensors", "--output", output)
    refused(done, 1, "'final.bias'", "use an earlier checkpoint")
    assert not output.exists()


def test_missing_weights_are_named(run_cli: RunCli, tmp_path: Path, output: Path) -> None:
    done = run_cli(*BUILD, "--weights", tmp_path / "none.pth", "--output", output)
    refused(done, 2, "none.pth", "Check --weights")


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (("--model", "egunet", "--target", "intel"), "Did you mean egeunet?"),
        (("--model", "egeunet", "--target", "jetsn"), "Unknown target 'jetsn'"),
        (("--model", "egeunet", "--target", "intel", "--size", "big"), "such as 256x256"),
        (("--model", "egeunet", "--target", "intel", "--size", "250x250"), "224x224 and 256x256"),
    ],
)
def test_an_unknown_name_or_size_is_a_usage_error(
    run_cli: RunCli, output: Path, words: tuple[str, ...], advice: str
) -> None:
    refused(run_cli("build", *words, "-p", "fp32", "-o", output), 2, advice)
    assert not output.exists()


def test_an_output_in_use_is_left_alone(run_cli: RunCli, output: Path) -> None:
    output.mkdir()
    (output / "thesis.txt").write_text("years of work")
    refused(run_cli(*BUILD, "--output", output), 2, "Choose another --output")
    assert [path.name for path in output.iterdir()] == ["thesis.txt"]


def test_a_data_folder_without_images_is_refused(
    run_cli: RunCli, tmp_path: Path, output: Path
) -> None:
    refused(run_cli(*BUILD, "--data", tmp_path, "--output", output), 1, "images/", "Put images in")
    (tmp_path / "images").mkdir()
    refused(run_cli(*BUILD, "--data", tmp_path, "--output", output), 1, "holds no image")


def test_an_image_that_is_no_image_is_named(
    run_cli: RunCli, make_data_folder: Callable[..., Path], output: Path
) -> None:
    data = make_data_folder()
    (data / "val.txt").write_text("pair0")
    (data / "images" / "pair0.png").write_text("hello")
    done = run_cli(*BUILD, "--data", data, "--output", output)
    refused(done, 1, "pair0.png is not an image")
    assert not output.exists()


def test_a_mask_of_another_size_is_named(
    run_cli: RunCli, make_data_folder: Callable[..., Path]
) -> None:
    data = make_data_folder()
    (data / "test.txt").write_text("pair0")
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(data / "masks" / "pair0.png")
    done = run_cli("evaluate", "--model", "egeunet", "--data", data)
    refused(done, 1, "pair0.png is 9x8 pixels, its image 56x40", "Resize the mask")


def test_a_missing_mask_is_named(run_cli: RunCli, make_data_folder: Callable[..., Path]) -> None:
    data = make_data_folder(masks=False)
    (data / "test.txt").write_text("pair0")
    done = run_cli("evaluate", "--model", "egeunet", "--data", data)
    refused(done, 1, "has no mask", "masks/pair0.png")


def test_an_unknown_set_of_metrics_is_named(run_cli: RunCli) -> None:
    done = run_cli("evaluate", "--model", "egeunet", "--metrics", "papr")
    refused(done, 2, "'papr'", "Did you mean paper?", "Available: all, paper")


def test_a_network_to_compare_with_must_be_known(run_cli: RunCli) -> None:
    words = ("evaluate", "--model", "egeunet")
    done = run_cli(*words, "--against", "egunet")
    refused(done, 2, "'egunet'", "Did you mean egeunet?")
    done = run_cli(*words, "--against-weights", "other.safetensors")
    refused(done, 2, "--against-weights belongs to --against")
    refused(run_cli(*words, "--max-change", "dice_pooled=0.01"), 2, "belongs to --against")


def test_metrics_without_their_packages_are_refused_before_the_work(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeseg.lazy.is_installed", lambda module: module != "monai")
    done = run_cli("evaluate", "--model", "egeunet", "--metrics", "all")
    refused(done, 1, "--metrics all needs the package 'monai'", "pip install 'edgeseg[train]'")
    assert done.stderr.startswith("Error:")  # no line of a stage


def test_a_tampered_bundle_is_refused_by_every_command(
    run_cli: RunCli, built: dict[str, Path], tmp_path: Path
) -> None:
    bundle = shutil.copytree(built["fp32"], tmp_path / "bundle")
    model = bundle / "artifact" / "model.xml"
    model.write_text(model.read_text().replace("Sigmoid", "Relu", 1))
    image = Path(__file__).parents[2] / "edgeseg/data/isic2016_cc0/images/ISIC_0000011.jpg"
    for words in (
        ("verify", bundle),
        ("bench", bundle),
        ("predict", bundle, image, "--output", tmp_path / "masks"),
    ):
        refused(run_cli(*words), 1, "model.xml was changed", "Do not use it")
    assert not (tmp_path / "masks").exists()


def test_what_is_no_bundle_is_told_apart(run_cli: RunCli, tmp_path: Path) -> None:
    refused(run_cli("verify", tmp_path / "nowhere"), 1, "nowhere does not exist", "edgeseg build")
    (tmp_path / "file").write_text("")
    refused(run_cli("verify", tmp_path / "file"), 1, "file is a file and not", "edgeseg build")
    (tmp_path / "manifest.json").write_text("[]")
    refused(run_cli("verify", tmp_path), 1, "does not hold a manifest", "build it anew")


def test_a_folder_that_is_no_bundle_is_refused(run_cli: RunCli, tmp_path: Path) -> None:
    refused(run_cli("verify", tmp_path), 1, "is not a bundle", "edgeseg build")


def test_an_unwritable_place_is_named(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run_cli(*BUILD, "--size", "64x64", "--output", tmp_path / "file" / "bundle")
    refused(done, 2, "Choose another --output")


def test_prediction_writes_all_masks_or_none(
    run_cli: RunCli, built: dict[str, Path], tmp_path: Path
) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("hello")
    words = ("predict", built["fp32"], tmp_path / "a.png", tmp_path / "b.png")
    refused(run_cli(*words, "-o", tmp_path / "masks"), 1, "b.png is not an image")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_masks_do_not_go_to_the_folder_of_the_images(
    run_cli: RunCli, built: dict[str, Path], tmp_path: Path
) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "a.jpg")
    done = run_cli("predict", built["fp32"], tmp_path, "-o", tmp_path)
    refused(done, 2, "is the folder of the images", "Choose another --output")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


def test_a_gallery_is_a_png_file(run_cli: RunCli, built: dict[str, Path], tmp_path: Path) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    words = ("predict", built["fp32"], tmp_path / "a.png", "-o", tmp_path / "masks")
    refused(run_cli(*words, "--gallery", tmp_path / "g.jpg"), 2, "does not end in .png", "PNG file")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_report_replaces_reports_only(
    run_cli: RunCli, built: dict[str, Path], tmp_path: Path
) -> None:
    place = tmp_path / "report.json"
    for content in (b"\xff\xd8\xff picture", b"[1]", b'{"schema_version": 3}'):
        place.write_bytes(content)
        done = run_cli("bench", built["fp32"], "--json-file", place)
        refused(done, 2, "holds something else than a report", "Choose another file")
        assert place.read_bytes() == content


def test_a_search_that_does_not_take_place_has_no_seconds(run_cli: RunCli, output: Path) -> None:
    done = run_cli(*BUILD, "--search-seconds", 5, "--output", output)
    refused(done, 2, "--precision fp32 does not search", "Leave one of them out")
    assert not output.exists()


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "(No such file or directory)"), ("[", "(Expecting value")]
)
def test_a_tuning_that_is_none_is_refused(
    run_cli: RunCli, tmp_path: Path, output: Path, content: str | None, reason: str
) -> None:
    tuning = tmp_path / "tuning.json"
    if content is not None:
        tuning.write_text(content)
    words = ("build", "--model", "egeunet", "--target", "intel", "--tuning", tuning)
    done = run_cli(*words, "--output", output)
    refused(done, 2, "holds no tuning", reason, "Name a bundle")
    assert "Errno" not in done.stderr


def test_prediction_never_replaces_its_images(
    run_cli: RunCli, built: dict[str, Path], tmp_path: Path
) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    words = ("predict", built["fp32"], tmp_path / "a.png", "--overwrite")
    refused(run_cli(*words, "-o", tmp_path), 2, "Choose another --output")
    gallery = ("-o", tmp_path / "masks", "--gallery", tmp_path / "a.png")
    refused(run_cli(*words, *gallery), 2, "Choose another --gallery")
    mask = tmp_path / "masks" / "a.png"
    refused(
        run_cli(*words, "-o", tmp_path / "masks", "--gallery", mask), 2, "Choose another --gallery"
    )
    assert (tmp_path / "a.png").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (("--seed", -1), "must not be below zero"),
        (("--accelerator", "tpu"), "Available: auto, cpu, cuda, gpu, mps"),
        (("--learning-rate", "nan"), "learning_rate is nan; it must be above zero and finite"),
        (("--learning-rate", "inf"), "learning_rate is inf; it must be above zero and finite"),
        (("--size", "99999968x99999968"), "at most 8192 pixels"),
        (("--perceptual-weights", "vgg.pth"), "has no perceptual term that could use --perceptual"),
    ],
)
def test_training_settings_that_cannot_work_are_refused(
    run_cli: RunCli,
    make_data_folder: Callable[..., Path],
    tmp_path: Path,
    words: tuple[object, ...],
    advice: str,
) -> None:
    data = make_data_folder()
    (data / "train.txt").write_text("pair0\npair1")
    (data / "val.txt").write_text("pair2")
    run = ("train", "-m", "egeunet", "--data", data, "-o", tmp_path / "run")
    refused(run_cli(*run, *words), 2, advice)
    assert not (tmp_path / "run").exists()


def test_weights_of_another_run_are_not_overwritten(
    run_cli: RunCli, make_data_folder: Callable[..., Path], tmp_path: Path
) -> None:
    data = make_data_folder()
    (data / "train.txt").write_text("pair0\npair1")
    (data / "val.txt").write_text("pair2")
    (tmp_path / "best.safetensors").write_text("precious")
    words = ("train", "-m", "egeunet", "--data", data, "-o", tmp_path, "--size", "32x32")
    refused(run_cli(*words), 2, "best.safetensors", "--resume")
    assert (tmp_path / "best.safetensors").read_text() == "precious"


def test_perceptual_weights_that_cannot_be_used_are_refused(
    run_cli: RunCli, make_data_folder: Callable[..., Path], tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    data = make_data_folder()
    (data / "train.txt").write_text("pair0\npair1")
    (data / "val.txt").write_text("pair2")
    torch.save({"features.0.weight": torch.ones(64, 3, 3, 3)}, tmp_path / "vgg11.pth")
    words = ("train", "-m", "msnet", "--data", data, "-o", tmp_path / "run", "--size", "32x32")
    for name, *advice in (
        ("gone.pth", "No weights file at", "Check the path"),
        ("vgg11.pth", "Name torchvision's VGG-16", "for N = 0, 2, 5, 7, 10, 12, 14, 17, 19, 21"),
    ):
        done = run_cli(*words, "--perceptual-weights", tmp_path / name)
        refused(done, 1, name, *advice)
    assert not (tmp_path / "run").exists()


def test_a_method_without_quantisation_is_refused(run_cli: RunCli, output: Path) -> None:
    refused(run_cli(*BUILD, "--method", "nncf", "-o", output), 2, "Leave them out")


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (
            ("--option", "speed=9"),
            ("Runtime openvino has no option 'speed'", "Available: none"),
        ),
        (("--option", "speed"), ("--option speed is no option", "Write NAME=VALUE")),
        (("--option", "a=1", "--option", "a=2"), ("--option a was given twice",)),
    ],
)
def test_an_option_that_the_runtime_does_not_have_is_refused(
    run_cli: RunCli, output: Path, words: tuple[str, ...], advice: tuple[str, ...]
) -> None:
    refused(run_cli(*BUILD, *words, "-o", output), 2, *advice)
    assert not output.exists()


def test_a_method_for_another_format_is_refused(run_cli: RunCli, output: Path) -> None:
    words = ("build", "-m", "egeunet", "-t", "onnxruntime", "-p", "int8", "--method", "nncf")
    refused(run_cli(*words, "-o", output), 2, "nncf takes openvino-ir, not onnx", "Leave --method")
    assert not output.exists()


def test_a_bundle_named_twice_is_refused(run_cli: RunCli, built: dict[str, Path]) -> None:
    refused(run_cli("bench", built["fp32"], built["fp32"]), 2, "Name each bundle once")


def test_more_threads_than_cores_are_refused(
    run_cli: RunCli, small_bundles: dict[str, Path], tmp_path: Path
) -> None:
    bundle = small_bundles["fp32"]
    refused(run_cli("bench", bundle, "--threads", 4096), 2, "Lower --threads")
    words = (
        "predict",
        bundle,
        ROOT / "edgeseg/data/isic2016_cc0/images",
        "--threads",
        4096,
        "-o",
        tmp_path / "masks",
    )
    refused(run_cli(*words), 2, "Lower --threads")


def test_training_on_overlapping_lists_is_refused(
    run_cli: RunCli, make_data_folder: Callable[..., Path], tmp_path: Path
) -> None:
    data = make_data_folder()
    (data / "train.txt").write_text("pair0\npair1")
    (data / "val.txt").write_text("pair1")
    done = run_cli("train", "--model", "egeunet", "--data", data, "-o", tmp_path / "run")
    refused(done, 1, "in both train.txt and val.txt, such as pair1")
    assert not (tmp_path / "run").exists()


def test_an_unknown_option_is_a_usage_error(run_cli: RunCli) -> None:
    assert run_cli("build", "--modle", "egeunet").returncode == 2
