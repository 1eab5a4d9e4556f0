"""examples/networks: each network is taken by its description; the table says what was found."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support import ROOT, needs

FOLDER = ROOT / "examples" / "networks"
MODULES = ("sweep", "tokens", "encoders", "two_branches", "libraries")


@pytest.fixture(scope="module")
def sweep() -> Iterator[ModuleType]:
    path = list(sys.path)
    before = {name: sys.modules.pop(name, None) for name in MODULES}
    spec = importlib.util.spec_from_file_location("sweep", FOLDER / "sweep.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["sweep"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = path
    for name, kept in before.items():
        sys.modules.pop(name, None)
        if kept is not None:
            sys.modules[name] = kept


@needs("torch", "monai")
def test_each_network_is_what_its_description_says(sweep: ModuleType, tmp_path: Path) -> None:
    from edgeseg.models import find_model

    assert len(sweep.NETWORKS) >= 16
    for name, network in sweep.NETWORKS.items():
        if network.source == "transformers":
            continue
        spec = tmp_path / f"{name}.toml"
        spec.write_text(sweep.describe(network))
        model = find_model(network.made_by, spec, None)
        assert model.outputs.channels == 1, name
        assert model.parameters > 5_000, name


def test_cells_tell_differences_flips_and_refusals(sweep: ModuleType) -> None:
    def told(**facts: Any) -> str:
        text: str = sweep.describe_cell(sweep.Cell(**facts))
        return text

    assert told(max_abs_diff=3e-7, flips_per_10k=0.0, repeats=True) == "3e-07"
    measured = {"max_abs_diff": 0.1, "flips_per_10k": 12.34, "method": "nncf"}
    assert told(**measured, repeats=True) == "12.3 flips"
    assert told(**measured, repeats=False) == "12.3 flips, **not the same twice**"
    assert told(refusal="No kernel.") == "refused"
    cells = {"UNet openvino fp32": sweep.Cell(refusal="No kernel.")}
    lines = sweep.table(cells).splitlines()
    assert len(lines) == 3
    assert lines[2].startswith("| UNet | MONAI | refused |")
