"""The Android module: what is written, that it compiles, and that it computes Python's masks."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from android_kits import android_kit, kit_sources
from kit_bundle import write_litert_bundle
from kotlin_compiler import PROGRAMS, STUBS, Kotlin
from PIL import Image, ImageOps
from sharing import make_once
from vectors import CONTRACTS, check_answers, contract_record, write_requests

from edgeseg.bundle.bundle import open_bundle
from edgeseg.contract import InputContract, MinMax
from edgeseg.embed.phones.android import kotlin_contract
from edgeseg.embed.phones.shared import short_name
from edgeseg.embed.surface import SOURCES, Kit, fill
from edgeseg.errors import TargetError

KOTLIN = SOURCES / "android" / "kotlin"


@pytest.fixture(scope="session")
def vector_program(kotlin: Kotlin, shared_folder: Path) -> Path:
    """Classes of a program that answers requests with a kit's `Contract`."""

    def make(classes: Path) -> None:
        sources = classes.with_name("vector-sources")
        sources.mkdir()
        text = (KOTLIN / "litert" / "Contract.kt").read_text()
        (sources / "Contract.kt").write_text(fill(text, {"PACKAGE": "kit"}))
        (sources / "Contracts.kt").write_text(contracts_file())
        kotlin.compile([sources, PROGRAMS / "Vectors.kt"], classes)

    return make_once(shared_folder, "vector-program", make)


def contracts_file() -> str:
    entries = "".join(
        f'    "{name}" to {kotlin_contract(contract_record(name))},\n' for name in CONTRACTS
    )
    imports = "import kit.NetworkContract\nimport kit.Normalization\n\n"
    return f"package contracts\n\n{imports}val CONTRACTS = mapOf(\n{entries})\n"


@pytest.mark.slow
@pytest.mark.parametrize("contract", CONTRACTS)
def test_vectors(contract: str, kotlin: Kotlin, vector_program: Path, tmp_path: Path) -> None:
    asked = write_requests(tmp_path, contract)
    done = kotlin.run("VectorsKt", contract, str(tmp_path), path=[vector_program])
    assert done.returncode == 0, done.stderr
    check_answers(tmp_path, asked)


@pytest.fixture(scope="session")
def litert_kit(shared_folder: Path) -> Path:
    """Kit of a network of three classes."""

    def make(folder: Path) -> None:
        android_kit(write_litert_bundle(folder.with_name("litert-bundle")), folder)

    return make_once(shared_folder, "litert-kit", make)


@pytest.fixture(scope="session")
def litert_program(kotlin: Kotlin, stubs: Path, litert_kit: Path, shared_folder: Path) -> Path:
    """Classes of that kit and of its tests."""

    def make(classes: Path) -> None:
        programs = [PROGRAMS / name for name in ("RunTests.kt", "Turns.kt")]
        sources = [*kit_sources(litert_kit), STUBS / "kotlin", *programs]
        kotlin.compile(sources, classes, [stubs])

    return make_once(shared_folder, "litert-program", make)


@pytest.mark.slow
def test_the_tests_of_a_litert_kit_pass(
    kotlin: Kotlin, stubs: Path, litert_kit: Path, litert_program: Path
) -> None:
    module = litert_kit / "edgeseg"
    golden, package = module / "golden", "edgeseg.mynet2"
    done = kotlin.run(
        "RunTestsKt",
        *(f"{package}.{name}" for name in ("ContractTest", "GoldenTest")),
        path=[litert_program, stubs, golden],
        properties={
            "assets": f"{module / 'src' / 'main' / 'assets'}:{golden}",
            "tensor": str(golden / "tensor.bin"),
            "probabilities": str(golden / "probabilities.bin"),
        },
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("passed ") == 5


@pytest.mark.slow
def test_tests_of_a_kit_find_a_wrong_mask(
    kotlin: Kotlin, stubs: Path, litert_kit: Path, litert_program: Path, tmp_path: Path
) -> None:
    golden = tmp_path / "golden"
    shutil.copytree(litert_kit / "edgeseg" / "golden", golden)
    labels = np.fromfile(golden / "labels.bin", np.uint8)
    labels[0] ^= 1
    labels.tofile(golden / "labels.bin")
    run = "RunTestsKt", "edgeseg.mynet2.ContractTest"
    done = kotlin.run(*run, path=[litert_program, stubs, golden])
    assert done.returncode != 0
    assert "flips in 10,000" in done.stderr


@pytest.mark.slow
def test_pictures_turn_as_exif_says(
    kotlin: Kotlin, stubs: Path, litert_program: Path, tmp_path: Path
) -> None:
    done = kotlin.run("edgeseg.mynet2.TurnsKt", str(tmp_path), path=[litert_program, stubs])
    assert done.returncode == 0, done.stderr
    picture = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    for orientation in range(10):
        marked = picture.copy()
        marked.getexif()[0x0112] = orientation
        expected = np.asarray(ImageOps.exif_transpose(marked))
        height, width, *values = map(int, (tmp_path / f"{orientation}.txt").read_text().split())
        assert (height, width) == expected.shape
        assert values == expected.ravel().tolist()


def test_a_kit_can_be_included_as_it_is(litert_kit: Path) -> None:
    there = {
        path.relative_to(litert_kit).as_posix() for path in litert_kit.rglob("*") if path.is_file()
    }
    kotlin = "edgeseg/src/main/kotlin/edgeseg/mynet2"
    assert there >= {
        "README.md",
        "contract.json",
        "edgeseg/build.gradle.kts",
        "edgeseg/src/main/AndroidManifest.xml",
        "edgeseg/src/main/assets/edgeseg/mynet2/model.tflite",
        f"{kotlin}/Contract.kt",
        f"{kotlin}/LiteRtEngine.kt",
        f"{kotlin}/Segmenter.kt",
        "edgeseg/golden/labels.bin",
    }
    texts = [path for path in litert_kit.rglob("*") if path.suffix in (".kt", ".kts", ".md")]
    unfilled = [path for path in texts if re.search(r"@[A-Z_]+@", path.read_text())]
    assert unfilled == []
    long = [path for path in texts for line in path.read_text().splitlines() if len(line) > 100]
    assert long == []
    readme = (litert_kit / "README.md").read_text()
    assert "not a medical device" in readme
    assert len(readme.splitlines()) <= 60


@pytest.mark.parametrize(
    ("runtime", "words"),
    [
        ("openvino", r"--android cannot embed: OpenVINO has no .* Build with --target android\."),
        ("onnxruntime", r"--android cannot embed: .* Build with --target android\."),
        ("tensorrt", r"phones have no GPU of NVIDIA\. Build with --target android\."),
    ],
)
def test_another_runtime_is_refused(tmp_path: Path, runtime: str, words: str) -> None:
    bundle = write_litert_bundle(tmp_path / "bundle", runtime=runtime)
    with pytest.raises(TargetError, match=words):
        android_kit(bundle, tmp_path / "kit")
    assert not (tmp_path / "kit").exists()


def test_networks_for_bands_that_no_camera_has_are_refused(tmp_path: Path) -> None:
    inputs = InputContract(8, 8, 8, MinMax(), channels=4)
    bundle = write_litert_bundle(tmp_path / "bundle", input=inputs.to_json())
    with pytest.raises(TargetError, match=r"of 4 channels.* Write the kit with --cpp"):
        android_kit(bundle, tmp_path / "kit")
    assert not (tmp_path / "kit").exists()


@pytest.mark.parametrize(
    ("name", "short"),
    [("EGE-UNet", "egeunet"), ("2fast", "net2fast"), ("fun", "netfun"), ("日本", "net")],
)
def test_packages_are_called_as_kotlin_allows(tmp_path: Path, name: str, short: str) -> None:
    bundle = write_litert_bundle(tmp_path / "bundle")
    record = json.loads((bundle / "manifest.json").read_text())
    record["model"]["name"] = name
    (bundle / "manifest.json").write_text(json.dumps(record))
    assert short_name(Kit(open_bundle(bundle))) == short


def test_a_name_ends_no_attribute(tmp_path: Path) -> None:
    bundle = write_litert_bundle(tmp_path / "bundle")
    record = json.loads((bundle / "manifest.json").read_text())
    record["model"]["name"] = 'a"<c> &'
    (bundle / "manifest.json").write_text(json.dumps(record))
    kit = android_kit(bundle, tmp_path / "kit")
    (segmenter,) = kit.rglob("Segmenter.kt")
    assert 'the network a"<c> &. It is' in segmenter.read_text()
    manifest = kit / "sample" / "src" / "main" / "AndroidManifest.xml"
    label = "{http://schemas.android.com/apk/res/android}label"
    application = ElementTree.parse(manifest).getroot().find("application")
    assert application is not None
    assert application.get(label) == 'a"<c> &'


def test_the_contract_as_kotlin() -> None:
    record = contract_record("normed")
    record["output"]["classes"] = ['a "$b"', "c\\d"]
    text = kotlin_contract(record)
    assert r'classes = listOf("a \"\$b\"", "c\\d")' in text
    how = record["input"]["normalization"]
    assert f"Normalization.MeanStd(floatArrayOf({how['mean'][0]!r}f, " in text
