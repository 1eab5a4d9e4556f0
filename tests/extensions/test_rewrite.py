"""A rewrite from another package, and a runtime that lists it: no file of edgeseg knows them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from fake_evaluator import FakeEvaluator
from support import needs

from edgeseg.lower.rewrites import REWRITES, find_rewrite, rewrite_names, statistics_rewrites
from edgeseg.pipeline.auto import fixed_candidates, search_space
from edgeseg.pipeline.builder.context import BuildContext
from edgeseg.pipeline.builder.request import BuildRequest
from edgeseg.progress import SILENT
from edgeseg.targets import RUNTIMES, find_runtime
from edgeseg.tuning.candidate import Candidate
from edgeseg.tuning.constraints import Constraints
from edgeseg.tuning.search import Search

pytestmark = needs("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime")

RunCli = Callable[..., "CompletedProcess[str]"]

REWRITE = '''
"""x / s as x * (1 / s) for a constant s."""

import numpy as np

from edgeseg.formats.onnx import constant_of, is_constant
from edgeseg.lower.graph import rewrite_each
from edgeseg.lower.rewrite import as_rewrite


@as_rewrite("product-for-quotient")
def product_for_quotient(model):
    def rewrite(edit, node):
        if node.op_type != "Div" or not is_constant(node.inputs[1]):
            return None
        divisor = constant_of(node.inputs[1])
        if divisor.dtype != np.float32 or not divisor.all():
            return None
        return edit("Mul", node.inputs[0], np.asarray(1 / divisor, np.float32))

    return rewrite_each(model, rewrite)

'''
RUNTIME = """
from edgeseg.targets.onnxruntime import OnnxRuntime


class PlainRuntime(OnnxRuntime):
    name = "onnxruntime-plain"
    devices = ()
    rewrites = {"fp32": ("product-for-quotient", "fold-constants")}
"""
NETWORK = """
from torch import nn


class Dividing(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.last = nn.Conv2d(4, 1, 1)

    def forward(self, x):
        return self.last(self.first(x).relu() / 3.0)
"""
SPEC = """
title = "A network that divides by a constant"
classes = ["background", "disc"]
channels = 1
returns = "logits"
height = 32
width = 32
stride = 1

[normalization]
kind = "mean_std"
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
"""
NAME = "product-for-quotient"


@pytest.fixture
def package(
    install_package: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    places = {
        "edgeseg.rewrites": {NAME: "quick_rewrites:product_for_quotient"},
        "edgeseg.targets": {"onnxruntime-plain": "quick_runtime:PlainRuntime"},
    }
    files = {
        "quick_rewrites.py": REWRITE,
        "quick_runtime.py": RUNTIME,
        "dividing.py": NETWORK,
    }
    install_package("quick-rewrites", files, places)
    for registry in (REWRITES, RUNTIMES):
        monkeypatch.setattr(registry, "_places", None)
    yield
    for name in ("quick_rewrites", "quick_runtime", "dividing"):
        sys.modules.pop(name, None)


def test_it_comes_before_the_one_that_must_be_last(package: None) -> None:
    assert rewrite_names()[-2:] == (NAME, "resize-of-opset-17")
    assert find_rewrite(NAME).name == NAME
    assert NAME not in statistics_rewrites()


def test_lists_of_other_runtimes_stay_as_they_are(package: None) -> None:
    for name in ("openvino", "litert", "onnxruntime"):
        for names in find_runtime(name).rewrites.values():
            assert NAME not in names


def test_a_runtime_that_lists_it_applies_it_and_keeps_the_function(
    package: None, tmp_path: Path, run_cli: RunCli
) -> None:
    (tmp_path / "net.toml").write_text(SPEC)
    weights = save_network(tmp_path / "net.pth")
    words = ["--model", "dividing:Dividing", "--spec", tmp_path / "net.toml"]
    words += ["--weights", weights, "--target", "onnxruntime-plain", "--precision", "fp32"]
    done = run_cli("build", *words, "--output", tmp_path / "bundle")
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "bundle/manifest.json").read_text(encoding="utf-8"))
    assert manifest["lowering"] == {"fold-constants": 0, NAME: 1}
    assert manifest["checks"]["artifact"]["max_abs_diff"] <= 1e-5
    assert manifest["toolchain"]["quick-rewrites"] == "1.0"
    done = run_cli("verify", tmp_path / "bundle")
    assert done.returncode == 0, done.stderr


def test_auto_tries_it_on_runtimes_that_do_not_list_it(package: None, tmp_path: Path) -> None:
    request = BuildRequest("egeunet", "onnxruntime", "auto", tmp_path / "bundle")
    context = BuildContext(request, SILENT)

    def latency_ms(candidate: Candidate) -> float:
        return 5.0 if NAME in candidate.rewrites else 10.0

    evaluator = FakeEvaluator(latency_ms)
    space = search_space(context, fixed_candidates(context), evaluator)
    constraints = Constraints({"dice_pooled": 0.005})
    result = Search(space, evaluator, constraints, 300.0, lambda: evaluator.seconds).run()
    assert NAME in result.candidate.rewrites


def save_network(path: Path) -> Path:
    import torch
    from dividing import Dividing

    torch.manual_seed(0)
    torch.save(Dividing().state_dict(), path)
    return path
