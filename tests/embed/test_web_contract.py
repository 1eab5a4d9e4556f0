"""The page's JavaScript prepares pictures and restores masks as Python does."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from support import ROOT
from vectors import CONTRACTS, FOLDER, check_answers, contract_record, write_requests

HELPER = ROOT / "tests" / "helpers" / "run_vectors.mjs"
MODULE = ROOT / "edgeseg" / "embed" / "sources" / "web" / "library" / "contract.js"


def run_node(*words: object) -> str:
    if shutil.which("node") is None:
        pytest.skip("node is not installed: tests/install_debian_packages.sh")
    run = subprocess.run(
        ["node", *map(str, words)], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize("contract", CONTRACTS)
def test_the_vectors(contract: str, tmp_path: Path) -> None:
    asked = write_requests(tmp_path, contract)
    run_node(HELPER, MODULE, FOLDER / "contracts" / f"{contract}.json", tmp_path)
    check_answers(tmp_path, asked)


def test_the_layout_is_the_artefacts(tmp_path: Path) -> None:
    """Channels side by side are the same values in another order, at both ends."""
    record = contract_record("stretched")
    record["input"]["tensor"]["layout"] = "NHWC"
    record["output"]["tensor"]["layout"] = "NHWC"
    path = tmp_path / "contract.json"
    path.write_text(json.dumps(record))
    asked = write_requests(tmp_path, "stretched")
    run_node(HELPER, MODULE, path, tmp_path)
    for vector in asked:
        answer = tmp_path / f"{vector.name}.tensor"
        channels, height, width = vector.tensor.shape
        values = memoryview(answer.read_bytes()).cast("f", (height, width, channels))
        for place in ((0, 0, 0), (channels - 1, height - 1, width // 2)):
            wanted = vector.tensor[place]
            assert abs(values[place[1], place[2], place[0]] - wanted) <= 3e-3
