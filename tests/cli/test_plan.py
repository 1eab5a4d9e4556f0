from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from edgeseg.quantize.plan.files import save_plan
from edgeseg.quantize.plan.quant_plan import Provenance, QuantPlan, WeightGrid

RunCli = Callable[..., "CompletedProcess[str]"]

PLAN = QuantPlan(
    {"image": 127.0},
    ("tail",),
    {
        name: WeightGrid(np.ones((2, 3, 1, 1), np.int8), np.array([0.25, 0.5], np.float32))
        for name in ("stem", "tail")
    },
    {"stem": np.array([1, 2], np.float32)},
    {"image": -128},
    Provenance("mse", {"bins": 9}, "ab" * 32, ("0a",), 3, {"flips_per_10k": 7.25}),
)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_plan(PLAN, tmp_path / "plan")
    return tmp_path / "plan"


def test_show_tells_all(run_cli: RunCli, saved: Path) -> None:
    done = run_cli("plan", "show", saved)
    assert done.returncode == 0
    rows = [" ".join(line.replace("│", " ").split()) for line in done.stdout.splitlines()]
    assert "stem int8 2x3x1x1 0.25 0.5 mean magnitude 1.5" in rows
    assert "tail float 2x3x1x1 0.25 0.5 the graph's" in rows
    assert "image 127 1 -128" in rows
    assert "mse, seed 3: bins 9" in rows
    assert "flips_per_10k: 7.25" in rows


def test_show_gives_json(run_cli: RunCli, saved: Path) -> None:
    assert json.loads(run_cli("plan", "show", saved, "--json").stdout) == PLAN.to_json()


def test_plan_of_a_bundle_is_found_in_it(run_cli: RunCli, tmp_path: Path) -> None:
    save_plan(PLAN, tmp_path / "bundle" / "quantization")
    done = run_cli("plan", "show", tmp_path / "bundle", "--json")
    assert json.loads(done.stdout) == PLAN.to_json()


def test_diff_of_equal_plans_says_so(run_cli: RunCli, saved: Path) -> None:
    done = run_cli("plan", "diff", saved, saved)
    assert (done.returncode, done.stdout) == (0, "The plans are equal.\n")


def test_diff_shows_both_sides_and_fails(run_cli: RunCli, saved: Path, tmp_path: Path) -> None:
    save_plan(replace(PLAN, ranges={"image": 63.5}), tmp_path / "other")
    done = run_cli("plan", "diff", saved, tmp_path / "other", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout) == [
        {
            "kind": "range",
            "name": "image",
            "before": "127.0, zero point -128",
            "after": "63.5, zero point -128",
        }
    ]
    text = " ".join(run_cli("plan", "diff", saved, tmp_path / "other").stdout.split())
    assert "range │ image │ 127.0, zero point -128 │ 63.5, zero point -128" in text


def test_folder_without_a_plan_says_what_to_name(run_cli: RunCli, tmp_path: Path) -> None:
    done = run_cli("plan", "show", tmp_path)
    assert done.returncode == 2
    assert "Name the folder of a plan, or a bundle" in done.stderr
