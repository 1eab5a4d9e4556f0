"""A kit appears whole or not at all, and its record tells what is in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from small_bundle import IMAGE, MASK, write_small_bundle

from edgeseg.bundle.bundle import open_bundle
from edgeseg.embed import SURFACES, find_surface
from edgeseg.embed.surface import Kit, Parity, Surface, fill
from edgeseg.embed.writer import write_kit
from edgeseg.errors import BundleError, OutputInUseError, TargetError, UnknownNameError
from edgeseg.records import sha256_of_file


class PaperSurface(Surface):
    """Prints the contract."""

    name = "paper"
    title = "a sheet of paper"
    runtimes: ClassVar[Mapping[str, str]] = {"openvino": "a reader"}
    refusals: ClassVar[Mapping[str, str]] = {"native": "paper computes nothing; use --cpp."}

    def write(self, kit: Kit, folder: Path) -> None:
        kit.write_contract(folder / "contract.json")
        kit.write_golden(folder / "golden")


class TornSurface(PaperSurface):
    """Fails when half is written."""

    def write(self, kit: Kit, folder: Path) -> None:
        super().write(kit, folder)
        raise TargetError("The printer is out of paper. Fill it.")


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(open_bundle(write_small_bundle(tmp_path / "bundle")))


def changed(kit: Kit, change: Mapping[str, object]) -> Kit:
    path = kit.bundle.folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    return Kit(open_bundle(kit.bundle.folder))


def test_a_kit_records_every_file(kit: Kit, tmp_path: Path) -> None:
    written = write_kit(kit, PaperSurface(), tmp_path / "kit")
    record = json.loads((tmp_path / "kit" / "embed.json").read_text())
    there = {path for path in (tmp_path / "kit").rglob("*") if path.is_file()}
    assert written.files == len(there)
    assert record["files"] == {
        path.relative_to(tmp_path / "kit").as_posix(): sha256_of_file(path)
        for path in sorted(there)
        if path.name != "embed.json"
    }
    manifest = kit.bundle.folder / "manifest.json"
    assert record["bundle"]["manifest_sha256"] == sha256_of_file(manifest)
    assert record["parity"]["status"] == "not run here"
    assert record["parity"]["reason"]


def test_the_golden_pair_is_read_in_any_language(kit: Kit, tmp_path: Path) -> None:
    kit.write_golden(tmp_path)
    record = json.loads((tmp_path / "golden.json").read_text())
    assert record["image"] == {"height": 5, "width": 4, "channels": 3}
    assert record["mask"] == {"channels": 1, "height": 8, "width": 8}
    assert (np.fromfile(tmp_path / "image.bin", np.uint8) == IMAGE.ravel()).all()
    assert (np.fromfile(tmp_path / "mask.bin", "<f4") == MASK.ravel()).all()
    labels = np.fromfile(tmp_path / "labels.bin", np.uint8).reshape(5, 4)
    restored = kit.bundle.outputs.restore(MASK.astype(np.float32), 5, 4)
    assert (labels == restored).all()
    assert 0 < labels.sum() < labels.size


def test_a_golden_image_of_16_bits_is_brought_to_8(tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path / "bundle")
    deep = IMAGE.astype(np.uint16) * 257
    np.save(folder / "golden" / "image.npy", deep)
    kit = Kit(open_bundle(folder))
    assert (kit.golden_image == IMAGE).all()
    assert kit.golden_limits == (0.1, 25)
    assert Kit(open_bundle(write_small_bundle(tmp_path / "of_8"))).golden_limits == (0.01, 5)


def test_the_contract_holds_numbers_and_words(kit: Kit) -> None:
    contract = kit.contract
    assert contract["input"]["tensor"] == {
        "layout": "NCHW",
        "dtype": "float32",
        "shape": [1, 3, 8, 8],
    }
    assert contract["input"]["channels"] == 3
    assert contract["output"]["classes"] == ["skin", "lesion"]
    assert len(contract["input"]["words"]) > 4


def test_the_tensors_of_an_nhwc_artefact(kit: Kit) -> None:
    form = {"layout": "NHWC", "dtype": "float32"}
    artifact = {**kit.bundle.manifest.artifact.model_dump(), "settings": {"input": form}}
    contract = changed(kit, {"artifact": artifact}).contract
    assert contract["input"]["tensor"]["shape"] == [1, 8, 8, 3]
    assert contract["output"]["tensor"]["shape"] == [1, 1, 8, 8]


def test_integers_at_the_ends_are_refused(kit: Kit, tmp_path: Path) -> None:
    form = {"layout": "NHWC", "dtype": "int8", "scale": 0.1, "zero_point": 3}
    artifact = {**kit.bundle.manifest.artifact.model_dump(), "settings": {"input": form}}
    with pytest.raises(TargetError, match=r"is int8, and kits take float32\. Build the bundle"):
        write_kit(changed(kit, {"artifact": artifact}), PaperSurface(), tmp_path / "kit")


@pytest.mark.parametrize(
    ("runtime", "words"),
    [
        ("native", r"is for native, which --paper cannot embed: paper computes nothing; use --cpp"),
        ("litert", r"it runs openvino only; build with one of them as --runtime"),
    ],
)
def test_a_runtime_that_is_not_there_is_refused(
    kit: Kit, tmp_path: Path, runtime: str, words: str
) -> None:
    with pytest.raises(TargetError, match=words):
        write_kit(changed(kit, {"runtime": runtime}), PaperSurface(), tmp_path / "kit")
    assert not (tmp_path / "kit").exists()


def test_nothing_half_written_stays(kit: Kit, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="out of paper"):
        write_kit(kit, TornSurface(), tmp_path / "kit")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    write_kit(kit, PaperSurface(), tmp_path / "kit")
    before = (tmp_path / "kit" / "embed.json").read_text()
    with pytest.raises(TargetError, match="out of paper"):
        write_kit(kit, TornSurface(), tmp_path / "kit", overwrite=True)
    assert (tmp_path / "kit" / "embed.json").read_text() == before


def test_a_folder_in_use_is_refused(kit: Kit, tmp_path: Path) -> None:
    used = tmp_path / "used"
    used.mkdir()
    (used / "thesis.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputInUseError, match=r"holds no kit\. Choose another --output"):
            write_kit(kit, PaperSurface(), used, overwrite=overwrite)
    assert (used / "thesis.txt").read_text() == "mine"
    with pytest.raises(OutputInUseError, match="holds no kit"):
        write_kit(kit, PaperSurface(), kit.bundle.folder, overwrite=True)


def test_a_kit_is_replaced_on_demand_only(kit: Kit, tmp_path: Path) -> None:
    write_kit(kit, PaperSurface(), tmp_path / "kit")
    (tmp_path / "kit" / "old").touch()
    with pytest.raises(OutputInUseError, match=r"holds a kit\. Replace it with --overwrite"):
        write_kit(kit, PaperSurface(), tmp_path / "kit")
    write_kit(kit, PaperSurface(), tmp_path / "kit", overwrite=True)
    assert not (tmp_path / "kit" / "old").exists()


def test_a_damaged_bundle_is_not_embedded(kit: Kit, tmp_path: Path) -> None:
    (kit.bundle.folder / "artifact" / "model.bin").write_bytes(b"artefacT")
    with pytest.raises(BundleError, match="was changed after the bundle was built"):
        write_kit(kit, PaperSurface(), tmp_path / "kit")
    assert not (tmp_path / "kit").exists()


def test_parity_is_told_in_words_and_numbers() -> None:
    ran = Parity("node 20", flips_per_10k=0.5, max_abs_diff=1e-3, milliseconds=4.0)
    assert str(ran) == "0.50 of 10,000 pixels flip (node 20)"
    assert ran.to_json()["status"] == "run"
    assert str(Parity("a phone", reason="no phone is here")) == "not run here (no phone is here)"


def test_names_between_at_signs_are_filled_in_once() -> None:
    assert fill("w = @WIDTH@; me@home", {"WIDTH": "8"}) == "w = 8; me@home"
    assert fill("@A@ @B@", {"A": "@B@", "B": "b"}) == "@B@ b"


@pytest.mark.parametrize(
    "name", ["a\nb", "a*/b", "a\fb", 'a""' + '"b', "x" * 101, "back\\slash", "\u202ereversed"]
)
def test_names_that_break_source_are_refused(kit: Kit, tmp_path: Path, name: str) -> None:
    output = {**kit.bundle.manifest.output, "classes": ["skin", name]}
    with pytest.raises(TargetError, match=r"cannot stand in source code.*plain names"):
        write_kit(changed(kit, {"output": output}), PaperSurface(), tmp_path / "kit")


@pytest.mark.parametrize("name", ['"quoted"', "Bowen's $disease", "Läsion 病変", "@CLASSES@"])
def test_other_names_are_taken(kit: Kit, tmp_path: Path, name: str) -> None:
    output = {**kit.bundle.manifest.output, "classes": ["skin", name]}
    write_kit(changed(kit, {"output": output}), PaperSurface(), tmp_path / "kit")


def test_a_folder_in_the_bundle_is_no_output(kit: Kit) -> None:
    with pytest.raises(OutputInUseError, match=r"lies in the bundle .* Choose another --output"):
        write_kit(kit, PaperSurface(), kit.bundle.folder / "kits" / "page")
    kit.bundle.check_files()


class ForgetfulSurface(PaperSurface):
    """Asks for a setting that is not there."""

    def write(self, kit: Kit, folder: Path) -> None:
        super().write(kit, folder)
        kit.bundle.manifest.artifact.settings["colour"]


def test_a_manifest_that_lacks_something_is_told(kit: Kit, tmp_path: Path) -> None:
    words = r"lacks what --paper needs.*KeyError: 'colour'.*Build the bundle anew"
    with pytest.raises(TargetError, match=words):
        write_kit(kit, ForgetfulSurface(), tmp_path / "kit")
    assert not (tmp_path / "kit").exists()


def test_an_unknown_surface_is_told_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown surface 'andriod'\. Did you mean android"):
        find_surface("andriod")


@pytest.mark.parametrize("name", SURFACES.names())
def test_each_surface_states_what_it_is(name: str) -> None:
    surface = find_surface(name)
    assert surface.name == name
    assert surface.title
    assert surface.runtimes
    assert not {*surface.runtimes} & {*surface.refusals}
