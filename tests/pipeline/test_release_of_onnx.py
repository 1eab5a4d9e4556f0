"""A bundle whose network came as an ONNX file is released as any other, and says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx_files import save, small_net
from signed_folder import make_keys
from support import needs

from edgeseg.pipeline.build import BuildRequest, build_bundle
from edgeseg.pipeline.release import ReleaseRequest, release_bundle
from edgeseg.pipeline.verify import verify_bundle
from edgeseg.records import sha256_of_file

pytestmark = needs("onnx", "onnx_ir", "onnxruntime", "cryptography", "model_signing", "cyclonedx")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(small_net(), tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="module")
def bundle(network: Path) -> Path:
    request = BuildRequest(
        str(network),
        "onnxruntime",
        "fp32",
        network.parent / "bundle",
        spec=network.parent / "spec.toml",
    )
    return build_bundle(request)[0].folder


def test_documents_name_the_file_itself(network: Path, bundle: Path, tmp_path: Path) -> None:
    private, public = make_keys(tmp_path)
    made = release_bundle(ReleaseRequest(bundle, private, tmp_path / "release"))
    verify_bundle(made.folder, public)
    assert made.unstated == ("Task", "Data", "Licence", "Limits")

    def read(name: str) -> Any:
        return json.loads((made.folder / name).read_text(encoding="utf-8"))

    weights = read("traceability.json")["weights"]
    digest = sha256_of_file(network)
    assert (weights["form"], weights["sha256"]) == ("ONNX file", digest)
    card = (made.folder / "README.md").read_text(encoding="utf-8")
    assert f"- **Weights:** `{digest[:12]}`, ONNX file\n" in card
    assert "Compared with ONNX Runtime on the ONNX file on 8 images" in card
    assert "PyTorch" not in card
    assert "under which licence they may be used and passed on" in card
    assert "torch," not in (made.folder / "soup.csv").read_text(encoding="utf-8")
    model = read("bom.cdx.json")["metadata"]["component"]
    told = {one["name"]: one["value"] for one in model["properties"]}
    assert told["edgeseg:weights_licence"] == "not stated"
    assert told["edgeseg:weights_sha256"] == digest
    assert read("configs/metadata.json")["pytorch_version"] == "not used"


def test_a_licence_of_your_own_is_the_same_in_every_document(bundle: Path, tmp_path: Path) -> None:
    private, _ = make_keys(tmp_path)
    card = tmp_path / "card.md"
    card.write_text("- **Licence:** Clinic use only.\n")
    made = release_bundle(ReleaseRequest(bundle, private, tmp_path / "release", card=card))

    def read(name: str) -> Any:
        return json.loads((made.folder / name).read_text(encoding="utf-8"))

    model = read("bom.cdx.json")["metadata"]["component"]
    told = {one["name"]: one["value"] for one in model["properties"]}
    assert told["edgeseg:weights_licence"] == "Clinic use only"
    assert model["licenses"] == [{"license": {"name": "Clinic use only"}}]
    assert read("configs/metadata.json")["copyright"] == "Clinic use only"
    assert read("traceability.json")["weights"]["licence"] == "Clinic use only"
    text = (made.folder / "README.md").read_text(encoding="utf-8")
    assert 'license: other\nlicense_name: "Clinic use only"\n' in text
    assert "## Licence of the weights\n\nClinic use only.\n" in text


def test_the_command_asks_for_what_nobody_has_stated(
    bundle: Path, tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    private, _ = make_keys(tmp_path)
    words = ["release", bundle, "--key", private, "--no-check", "-o"]
    done = run_cli(*words, tmp_path / "release")
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stderr.split())
    assert "Nobody has stated of the weights: task, data, licence, limits." in told
    assert "give that with --card" in told
    card = tmp_path / "card.md"
    card.write_text(
        "- **Task:** moles.\n- **Data:** ours.\n- **Licence:** MIT.\n- **Limits:** two sites.\n"
    )
    done = run_cli(*words, tmp_path / "again", "--card", card)
    assert done.returncode == 0, done.stderr
    assert "Nobody has stated" not in done.stderr
    bom = json.loads((tmp_path / "again" / "bom.cdx.json").read_text())
    assert bom["metadata"]["component"]["licenses"] == [{"license": {"id": "MIT"}}]
