"""What `edgeseg inspect` finds out, and whether what it writes builds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx_files import (
    broken_net,
    cropped_net,
    flat_net,
    half_net,
    half_size_net,
    last_channels_net,
    model_of,
    random_net,
    save,
    small_net,
    two_outputs_net,
    value,
    weights,
)

from edgeseg.errors import UsageError
from edgeseg.models.foreign.onnx_file import read_onnx_model
from edgeseg.models.foreign.user import read_description
from edgeseg.pipeline.inspect import inspect_onnx, write_spec

RunCli = Callable[..., "CompletedProcess[str]"]


def strided_net(stride: int = 4) -> onnx.ModelProto:
    """It adds its image to one that was made smaller and larger again: sizes must fit."""
    pool = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
    scales = numpy_helper.from_array(np.array([1, 1, stride, stride], np.float32), "scales")
    nodes = [
        helper.make_node("MaxPool", ["pixels"], ["small"], "/down", **pool),
        helper.make_node("Resize", ["small", "", "scales"], ["large"], "/up", mode="nearest"),
        helper.make_node("Add", ["pixels", "large"], ["sum"], "/add"),
        helper.make_node("Conv", ["sum", "w"], ["logits"], "/head"),
        helper.make_node("Sigmoid", ["logits"], ["mask"], "/sigmoid"),
    ]
    sizes = (1, 3, "h", "w")
    constants = [scales, weights("w", 1, 3, 1, 1)]
    return model_of(nodes, [value("pixels", sizes)], [value("mask", (1, 1, "h", "w"))], constants)


@pytest.mark.parametrize(
    ("make", "layout", "size", "channels", "returns"),
    [
        (small_net, "NCHW", (32, 32), 1, "logits"),
        (last_channels_net, "NHWC", (32, 32), 1, "logits"),
        (half_size_net, "NCHW", (32, 32), 1, "logits"),
        (flat_net, "NCHW", (32, 32), 1, "logits"),
        (half_net, "NCHW", (32, 32), 1, "logits"),
        (lambda: small_net(channels=3), "NCHW", (32, 32), 3, "logits"),
        (lambda: small_net(sizes=(1, 3, "h", "w")), "NCHW", (256, 256), 1, "logits"),
        (strided_net, "NCHW", (256, 256), 1, "probabilities"),
    ],
)
def test_what_it_finds_out(
    make: Callable[[], onnx.ModelProto],
    layout: str,
    size: tuple[int, int],
    channels: int,
    returns: str,
    tmp_path: Path,
) -> None:
    found = inspect_onnx(save(make(), tmp_path))
    assert (found.layout, (found.height, found.width)) == (layout, size)
    assert (found.channels, found.returns) == (channels, returns)
    write_spec(found, tmp_path / "written.toml")
    spec = read_description("onnx:net", tmp_path / "written.toml")
    assert (spec.inputs.height, spec.inputs.width) == size
    assert (spec.outputs.channels, spec.returns) == (channels, returns)


def test_the_stride_is_tried(tmp_path: Path) -> None:
    path = save(strided_net(8), tmp_path)
    assert inspect_onnx(path, (64, 64)).stride == 8
    with pytest.raises(UsageError, match=r"on an image of 60x64 .*Name a size"):
        inspect_onnx(path, (60, 64))


def test_the_mask_of_several_outputs_is_the_one_of_fewest_channels(tmp_path: Path) -> None:
    found = inspect_onnx(save(two_outputs_net(), tmp_path))
    assert found.output == "logits"
    assert 'output = "logits"' in found.spec_text


def test_a_network_that_does_not_segment_is_refused(tmp_path: Path) -> None:
    model = small_net(names=("pixels", "map"))
    mean = helper.make_node("GlobalAveragePool", ["map"], ["score"], "/pool")
    flat = helper.make_node("Flatten", ["score"], ["logits"], "/flat")
    nodes = [*model.graph.node, mean, flat]
    outputs = [value("logits", (1, 1))]
    path = save(model_of(nodes, model.graph.input, outputs, model.graph.initializer), tmp_path)
    with pytest.raises(UsageError, match=r"no map of the image. A network that segments is wanted"):
        inspect_onnx(path)


def decided_net() -> onnx.ModelProto:
    model = small_net(names=("pixels", "map"))
    zero = numpy_helper.from_array(np.float32(0), "zero")
    node = helper.make_node("Greater", ["map", "zero"], ["mask"], "/threshold")
    outputs = [value("mask", (1, 1, 32, 32), onnx.TensorProto.BOOL)]
    constants = [*model.graph.initializer, zero]
    return model_of([*model.graph.node, node], model.graph.input, outputs, constants)


def looping_net() -> onnx.ModelProto:
    """It adds one to its map a thousand million times."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"], "/go"),
            helper.make_node("Add", ["before", "one"], ["after"], "/plus"),
        ],
        "body",
        [
            value("turn", (), onnx.TensorProto.INT64),
            value("go", (), onnx.TensorProto.BOOL),
            value("before", (1, 1, 32, 32)),
        ],
        [value("go_on", (), onnx.TensorProto.BOOL), value("after", (1, 1, 32, 32))],
    )
    model = small_net(names=("pixels", "map"))
    constants = [
        *model.graph.initializer,
        numpy_helper.from_array(np.int64(10**9), "turns"),
        numpy_helper.from_array(np.array(True), "yes"),
        numpy_helper.from_array(np.float32(1), "one"),
    ]
    loop = helper.make_node("Loop", ["turns", "yes", "map"], ["logits"], "/loop", body=body)
    outputs = [value("logits", (1, 1, 32, 32))]
    return model_of([*model.graph.node, loop], model.graph.input, outputs, constants)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (looping_net, "runs in a loop, in /loop (Loop). Export"),
        (broken_net, "holds NaN or infinity for random images. Export"),
        (random_net, "answers one image in two ways. Take out"),
        (decided_net, "mask bool (1, 1, 32, 32), the numbers of the classes"),
        (cropped_net, "of a half, a quarter"),
    ],
)
def test_what_a_build_would_refuse_is_refused(
    make: Callable[[], onnx.ModelProto], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=re.escape(reason)):
        inspect_onnx(save(make(), tmp_path))


def test_a_file_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Cannot read .*none.onnx .*Check its name"):
        inspect_onnx(tmp_path / "none.onnx")


def test_a_description_is_never_replaced(tmp_path: Path) -> None:
    found = inspect_onnx(save(small_net(), tmp_path))
    with pytest.raises(UsageError, match=r"is there already. Name another file for --write-spec"):
        write_spec(found, tmp_path / "spec.toml")


def test_what_is_written_builds(run_cli: RunCli, tmp_path: Path) -> None:
    path = save(small_net(), tmp_path)
    spec, bundle = tmp_path / "written.toml", tmp_path / "bundle"
    done = run_cli("inspect", path, "--write-spec", spec)
    assert done.returncode == 0, done.stderr
    assert "pixels float32 (1, 3, 32, 32), NCHW" in done.stdout
    assert "<- the mask" in done.stdout
    record = json.loads(run_cli("inspect", path, "--json").stdout)
    assert (record["output"], record["channels"], record["returns"]) == ("logits", 1, "logits")
    words = ("--onnx", path, "--spec", spec, "--target", "onnxruntime", "--precision", "fp32")
    done = run_cli("build", *words, "--output", bundle)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["model"]["name"] == "net"
    assert str(tmp_path) not in json.dumps(manifest), "a manifest does not tell where it was built"
    assert run_cli("verify", bundle).returncode == 0
    done = run_cli("bench", bundle, "--runs", 12, "--images", 3, "--json")
    assert done.returncode == 0, done.stderr
    (reference,) = json.loads(done.stdout)["reference"]
    assert reference["model"] == "net"


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ((), "neither was given. Give one of them"),
        (("--model", "egeunet", "--onnx", "net.onnx"), "both was given. Give one of them"),
        (("--onnx", "net.pt"), "does not end in .onnx. Name the file that was exported"),
        (("--onnx", "net.onnx"), "No ONNX file at net.onnx. Check --onnx"),
    ],
)
def test_a_build_names_one_network(
    run_cli: RunCli, words: tuple[str, ...], advice: str, tmp_path: Path
) -> None:
    done = run_cli("build", "--target", "intel", *words, "--output", tmp_path / "bundle")
    assert done.returncode == 2
    assert advice in " ".join(done.stderr.split())


@pytest.mark.parametrize("last", ["Sigmoid", "Softmax", "Identity"])
def test_logits_are_none_where_the_last_operation_makes_probabilities(
    last: str, tmp_path: Path
) -> None:
    model = small_net(names=("pixels", "map"))
    settings = {"axis": 1} if last == "Softmax" else {}
    made = helper.make_node(last, ["map"], ["shares"], "/last", **settings)
    moved = helper.make_node("Identity", ["shares"], ["logits"], "/moved")
    outputs = [value("logits", (1, 1, 32, 32))]
    nodes = [*model.graph.node, made, moved]
    path = save(model_of(nodes, model.graph.input, outputs, model.graph.initializer), tmp_path)
    if last == "Identity":
        assert read_onnx_model(path, tmp_path / "spec.toml").returns == "logits"
        return
    with pytest.raises(UsageError, match=rf"/last \({last}\).*Write returns = \"probabilities\""):
        read_onnx_model(path, tmp_path / "spec.toml")
