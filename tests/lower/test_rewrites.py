"""Each rewrite keeps the function, on graphs made by hand, and on trained networks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import needs

from edgeseg.data.folder import open_sample
from edgeseg.errors import UnknownNameError
from edgeseg.lower.rewrites import (
    find_rewrite,
    lower_graph,
    rewrite_names,
    rewrites_for,
    statistics_rewrites,
)
from edgeseg.models import find_model
from edgeseg.records import sha256_of_file
from edgeseg.reference.reference import export_checked, reference_images
from edgeseg.reference.torch_reference import TorchReference
from edgeseg.targets import RUNTIMES, find_runtime

pytestmark = needs("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime")

SIZE = 8
CHANNELS = 4


class Normalized:
    """Layers written as the exporter writes those of the networks; torch modules by name."""

    def __init__(self, seed: int = 0) -> None:
        import torch
        from torch import nn

        torch.manual_seed(seed)
        self.torch, self.nn = torch, nn

    def group_norm(self) -> Any:
        layer = self.nn.GroupNorm(2, CHANNELS)
        self.nn.init.uniform_(layer.weight, 0.5, 1.5)
        self.nn.init.normal_(layer.bias)
        return layer

    def pooled_group_norm(self, *, signed: bool = False) -> Any:
        layer = self.group_norm()
        if signed:
            self.nn.init.uniform_(layer.weight, -1.5, -0.5)
        return self.nn.Sequential(layer, self.nn.MaxPool2d(2))

    def layer_norm(self) -> Any:
        from edgeseg.models.egeunet.network import ChannelLayerNorm

        layer = ChannelLayerNorm(CHANNELS)
        self.nn.init.normal_(layer.weight, 1.0, 0.3)
        self.nn.init.normal_(layer.bias)
        return layer

    def flat_layer_norm(self) -> Any:
        layer = self.layer_norm()
        layer.weight.data[1] = 0.0
        return layer

    def resize(self, *, align_corners: bool, channels: int = 1) -> Any:
        torch, nn = self.torch, self.nn

        class Resize(nn.Module):  # type: ignore[name-defined, misc]
            def forward(self, x: Any) -> Any:
                return torch.nn.functional.interpolate(
                    x[:, :channels] * 2, (11, 21), mode="bilinear", align_corners=align_corners
                )

        return Resize()


@pytest.fixture
def export(tmp_path: Path) -> Callable[[Any], Path]:
    """Export a torch module with input `image` (1, 4, 8, 8) as a network is exported."""
    import torch

    def export(module: Any) -> Path:
        path = tmp_path / "plain.onnx"
        program = torch.onnx.export(
            module.eval(),
            (torch.rand(1, CHANNELS, SIZE, SIZE),),
            dynamo=True,
            opset_version=20,
            input_names=["image"],
            output_names=["mask"],
            verbose=False,
        )
        program.save(path)
        return path

    return export


def run(path: Path, image: NDArray[np.float32]) -> NDArray[np.float32]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: image})[0])


def operators(path: Path) -> Counter[str]:
    """Kinds of the operators that a graph's input reaches; runtimes compute the others once."""
    import onnx

    graph = onnx.load(path).graph
    reached = {value.name for value in graph.input}
    kinds: Counter[str] = Counter()
    for node in graph.node:
        if reached.intersection(node.input):
            reached.update(node.output)
            kinds[node.op_type] += 1
    return kinds


def lower(path: Path, names: Sequence[str]) -> tuple[Path, dict[str, int]]:
    import onnx

    lowered = path.with_name("lowered.onnx")
    counts = lower_graph(path, names, lowered)
    onnx.checker.check_model(lowered, full_check=True)
    return lowered, counts


@pytest.fixture
def image() -> NDArray[np.float32]:
    # Far from zero: a variance as a difference of squares would lose its digits here.
    generator = np.random.default_rng(5)
    return generator.normal(30, 3, (1, CHANNELS, SIZE, SIZE)).astype(np.float32)


CASES: list[tuple[list[str], Callable[[Normalized], Any], str]] = [
    (["group-norm-by-channel"], Normalized.group_norm, "InstanceNormalization"),
    (["layer-norm-by-convolution"], Normalized.layer_norm, "ReduceMean"),
    (["resize-by-matrices"], lambda make: make.resize(align_corners=True), "Resize"),
    (["resize-by-matrices"], lambda make: make.resize(align_corners=False), "Resize"),
]


@pytest.mark.parametrize(("names", "make", "gone"), CASES)
def test_a_rewrite_keeps_the_function(
    export: Callable[[Any], Path],
    image: NDArray[np.float32],
    names: list[str],
    make: Callable[[Normalized], Any],
    gone: str,
) -> None:
    plain = export(make(Normalized()))
    assert operators(plain)[gone]
    lowered, counts = lower(plain, names)
    assert list(counts) == names
    assert counts[names[0]] > 0
    assert not operators(lowered)[gone]
    np.testing.assert_allclose(run(lowered, image), run(plain, image), rtol=1e-4, atol=1e-4)
    again, counts = lower(lowered, names)
    assert counts[names[0]] == 0
    assert operators(again) == operators(lowered)


def test_constants_are_folded(tmp_path: Path, image: NDArray[np.float32]) -> None:
    import onnx
    from onnx import helper, numpy_helper

    # mask = image * Conv(seed) + Gelu(Conv(seed)): two values that depend on weights only.
    generator = np.random.default_rng(2)
    shapes = {"seed": (1, CHANNELS, SIZE, SIZE), "kernel": (CHANNELS, CHANNELS, 1, 1)}
    constants = [
        numpy_helper.from_array(generator.normal(size=shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["seed", "kernel"], ["gate"]),
        helper.make_node("Gelu", ["gate"], ["offset"]),
        helper.make_node("Mul", ["image", "gate"], ["gated"]),
        helper.make_node("Add", ["gated", "offset"], ["mask"]),
    ]
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shapes["seed"])
        for name in ("image", "mask")
    ]
    graph = helper.make_graph(nodes, "gate", ends[:1], ends[1:], constants)
    plain = tmp_path / "plain.onnx"
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), plain)
    lowered, counts = lower(plain, ["fold-constants"])
    assert counts == {"fold-constants": 2}
    assert operators(lowered) == Counter({"Mul": 1, "Add": 1})
    np.testing.assert_allclose(run(lowered, image), run(plain, image), rtol=1e-6)
    assert lower(lowered, ["fold-constants"])[1] == {"fold-constants": 0}


@pytest.mark.parametrize("signed", [False, True])
def test_an_affine_moves_behind_a_pooling_when_its_weights_are_positive(
    export: Callable[[Any], Path], image: NDArray[np.float32], signed: bool
) -> None:
    plain = export(Normalized().pooled_group_norm(signed=signed))
    lowered, counts = lower(plain, ["group-norm-by-channel", "affine-after-pooling"])
    assert counts == {"group-norm-by-channel": 1, "affine-after-pooling": 0 if signed else 1}
    np.testing.assert_allclose(run(lowered, image), run(plain, image), rtol=1e-4, atol=1e-4)


def test_a_norm_with_a_weight_of_zero_is_left_alone(export: Callable[[Any], Path]) -> None:
    _, counts = lower(export(Normalized().flat_layer_norm()), ["layer-norm-by-convolution"])
    assert counts == {"layer-norm-by-convolution": 0}


def test_a_resize_of_many_channels_is_left_alone(export: Callable[[Any], Path]) -> None:
    module = Normalized().resize(align_corners=True, channels=3)
    assert lower(export(module), ["resize-by-matrices"])[1] == {"resize-by-matrices": 0}


def test_an_unknown_rewrite_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"'fold-constant'\. Did you mean fold-constants"):
        lower_graph(tmp_path / "x.onnx", ["fold-constant"], tmp_path / "y.onnx")


@pytest.mark.parametrize("name", rewrite_names())
def test_a_rewrite_declares_the_name_under_which_it_is_registered(name: str) -> None:
    assert find_rewrite(name).name == name


def test_rewrites_that_move_statistics_say_so() -> None:
    assert statistics_rewrites() == {
        "group-norm-by-channel",
        "mean-by-pooling",
        "norms-after-concat",
        "pointwise-before-norm",
        "layer-norm-by-convolution",
    }


def test_a_name_to_leave_out_must_be_a_rewrite() -> None:
    with pytest.raises(UnknownNameError, match=r"'dense-stems'.*Did you mean dense-stem"):
        rewrites_for("channels-last", without=("dense-stems",))


def test_a_layout_gets_its_own_rewrites_and_those_for_any() -> None:
    last, first = rewrites_for("channels-last"), rewrites_for("channels-first")
    assert "dense-stem" in last
    assert "dense-stem" in first
    assert ("resize-by-matrices" in last, "resize-by-matrices" in first) == (True, False)
    assert ("resize-maps-by-matrices" in last, "resize-maps-by-matrices" in first) == (False, True)
    assert set(last) | set(first) == set(rewrite_names())


@pytest.mark.parametrize("name", RUNTIMES.names())
def test_targets_name_rewrites_that_exist(name: str) -> None:
    runtime = find_runtime(name)
    assert set(runtime.rewrites) <= set(runtime.precisions)
    listed = {rewrite for names in runtime.rewrites.values() for rewrite in names}
    assert listed <= set(rewrite_names())


# How often each rewrite alone finds something in the shipped networks at 64x64. Where an
# exporter writes something else than before, a rewrite that finds nothing any more fails here.
FOUND = {
    "egeunet": {
        "fold-constants": 48,
        "group-norm-by-channel": 10,
        "depthwise-after-concat": 5,
        "pointwise-before-norm": 5,
        "layer-norm-by-convolution": 9,
        "resize-by-matrices": 1,
        "resize-maps-by-matrices": 10,
        "pointwise-by-product": 12,
        "thin-pointwise-by-product": 4,
        "resize-of-opset-17": 10,
    },
    "ulite": {
        "merge-parallel": 14,
        "batch-norm-into-next": 1,
        "concat-by-sum": 5,
        "nearest-by-shuffle": 5,
        "pointwise-by-product": 13,
        "thin-pointwise-by-product": 1,
        "resize-of-opset-17": 5,
    },
    "miniseg": {
        "softmax-by-sigmoid": 1,
        "box-by-depthwise": 20,
        "gate-after-concat": 20,
        "dense-pointwise": 40,
        "merge-parallel": 3,
        "batch-norm-into-sum": 3,
        "dense-stem": 1,
        "stride-before-dilation": 9,
        "concat-by-sum": 3,
        "pointwise-before-resize": 3,
        "split-by-pointwise": 3,
        "resize-maps-by-matrices": 4,
        "pointwise-by-product": 34,
        "thin-pointwise-by-product": 2,
        "prelu-by-depthwise": 40,
        "resize-of-opset-17": 4,
    },
}
TARGET_SETS = sorted(
    {names for name in RUNTIMES.names() for names in find_runtime(name).rewrites.values()}
)


@pytest.fixture(scope="session", params=FOUND)
def trained(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, NDArray[np.float32], NDArray[np.float32]]:
    """Name, plain export, one real image and its probabilities of a shipped network."""
    spec = find_model(request.param).at_size(64, 64)  # other tests export egeunet and ulite so
    weights = spec.resolve_weights(None)
    network = spec.load_network(weights)
    references = reference_images(network, spec, open_sample(["val"]).pairs[:1])
    plain = export_checked(
        TorchReference(network, spec), spec, sha256_of_file(weights), lambda: references
    ).path
    image = references.inputs[0]
    return request.param, plain, image, run(plain, image)


def test_each_rewrite_alone_keeps_a_trained_network(
    trained: tuple[str, Path, NDArray[np.float32], NDArray[np.float32]], tmp_path: Path
) -> None:
    network, plain, image, expected = trained
    found, differences = {}, {}
    for name in rewrite_names():
        lowered = tmp_path / f"{name}.onnx"
        count = lower_graph(plain, [name], lowered)[name]
        if count:
            found[name] = count
            differences[name] = float(np.abs(run(lowered, image) - expected).max())
    assert found == FOUND[network]
    assert max(differences.values()) <= 1e-4, differences


@pytest.mark.parametrize("names", TARGET_SETS, ids=lambda names: f"{len(names)}-{names[-1]}")
def test_the_rewrites_of_a_target_keep_a_trained_network(
    trained: tuple[str, Path, NDArray[np.float32], NDArray[np.float32]],
    tmp_path: Path,
    names: tuple[str, ...],
) -> None:
    _, plain, image, expected = trained
    lowered = tmp_path / "lowered.onnx"
    assert sum(lower_graph(plain, names, lowered).values()) > 0
    assert float(np.abs(run(lowered, image) - expected).max()) <= 1e-4


@pytest.mark.parametrize("trained", ["miniseg"], indirect=True)
def test_equal_graphs_give_equal_bytes_in_every_process(
    trained: tuple[str, Path, NDArray[np.float32], NDArray[np.float32]], tmp_path: Path
) -> None:
    _, plain, _, _ = trained
    lower_graph(plain, rewrite_names(), tmp_path / "here.onnx")
    code = (
        "import sys; from pathlib import Path;"
        "from edgeseg.lower.rewrites import lower_graph, rewrite_names;"
        "lower_graph(Path(sys.argv[1]), rewrite_names(), Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(plain), str(tmp_path / "there.onnx")]
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": seed})
    assert (tmp_path / "there.onnx").read_bytes() == (tmp_path / "here.onnx").read_bytes()
