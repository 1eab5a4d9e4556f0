"""The files of sweeps that the documents and the examples show are read."""

from __future__ import annotations

import re
from pathlib import Path

from support import ROOT

from edgeseg.pipeline.fleet.store import STORE_NAME
from edgeseg.pipeline.fleet.sweep_file import KEYS, read_sweep_file
from edgeseg.pipeline.sweep import BUNDLES, SWEEP_NAME

PAGE = ROOT / "docs" / "fleet.md"


def test_the_example_is_read() -> None:
    plan = read_sweep_file(ROOT / "examples" / "sweep.toml")
    assert len(plan.points()) == 14


def test_the_file_of_the_page_is_whole_and_read(tmp_path: Path) -> None:
    (shown,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for key in KEYS:
        assert re.search(rf"^\[*{key}\b", shown, re.MULTILINE), key
    (tmp_path / "runs" / "egeunet").mkdir(parents=True)
    (tmp_path / "runs" / "egeunet" / "best.safetensors").write_text("")
    (tmp_path / "tiny.toml").write_text("")
    (tmp_path / "data" / "isic2018").mkdir(parents=True)
    shown = shown.replace('"ulite"]', '"ulite", "tiny_net:TinyNet"]')
    shown = shown.replace('"onnxruntime"]', '"onnxruntime", "native"]')
    (tmp_path / "sweep.toml").write_text(shown)
    assert read_sweep_file(tmp_path / "sweep.toml").devices == ("local", "pi5")


def test_the_page_names_what_is_written() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in (STORE_NAME, f"{BUNDLES}/", SWEEP_NAME, "table.md", "sweep.csv"):
        assert f"`{name}`" in text
