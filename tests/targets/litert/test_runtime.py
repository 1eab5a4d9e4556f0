from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import needs

from edgeseg.contract import InputContract, MeanStd, OutputContract
from edgeseg.errors import MissingBackendError, TargetError, UnknownNameError
from edgeseg.formats.onnx import MODULE
from edgeseg.formats.tflite import read_tflite
from edgeseg.models import MODELS, find_model
from edgeseg.records import Artifact
from edgeseg.targets.litert import runtime as litert
from edgeseg.targets.litert.conversion import FAILURE, smooth_noise
from edgeseg.targets.litert.runtime import ATTEMPTS, MODEL_FILE, LiteRtRuntime

if TYPE_CHECKING:
    from torch import nn

    from edgeseg.models import ModelSpec

pytestmark = needs("onnx2tf", "onnx", "onnx_ir", "onnxruntime", "ai_edge_litert")

RUNTIME = LiteRtRuntime()
SPEC = find_model("egeunet").at_size(64, 64)
SETTINGS = RUNTIME.runtime_settings("fp32")


@pytest.fixture(scope="module")
def compile_to(small_artifact: Callable[..., Artifact]) -> Callable[[str], Artifact]:
    return partial(small_artifact, RUNTIME.name)


@pytest.fixture
def image() -> NDArray[np.float32]:
    pixels = smooth_noise(64, 64) * np.float32(255)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def load(artifact: Artifact, threads: int = 1) -> Any:
    return RUNTIME.load(artifact, threads)


def save(text: str, path: Path) -> Path:
    """Write a graph in ONNX's own notation."""
    import onnx

    model = onnx.parser.parse_model(text)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def graph(body: str, *, opset: int = 20, size: str = "8,8", domains: str = "") -> str:
    return f"""
        <ir_version: 10, opset_import: ["" : {opset}{domains}]>
        net (float[1,3,{size}] image) => (float[1,1,{size}] mask)
        <float[1,3,1,1] weight = {{1, -2, 1}}, int64[1] last = {{3}}, int64[1] back = {{-1}},
         int64[1] end = {{-99}}>
        {{ {body} }}
    """


def test_model_has_float_nhwc_input_and_output_and_a_signature(
    compile_to: Callable[[str], Artifact],
) -> None:
    backend = load(compile_to("fp32"))
    interpreter = backend._interpreter
    (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (list(entry["shape"]), entry["dtype"]) == ([1, 64, 64, 3], np.float32)
    assert (list(result["shape"]), result["dtype"]) == ([1, 64, 64, 1], np.float32)
    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["image"], "outputs": ["mask"]}
    }


def test_model_holds_built_in_operators_and_no_transposes(
    compile_to: Callable[[str], Artifact],
) -> None:
    artifact = compile_to("fp32")
    kinds = {operator.kind for operator in read_tflite(artifact.folder / MODEL_FILE).operators}
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "GELU", "RESIZE_BILINEAR"} <= kinds
    assert not kinds & {"CUSTOM", "TRANSPOSE", "RESHAPE"}


def test_the_whole_network_is_computed_by_xnnpack(compile_to: Callable[[str], Artifact]) -> None:
    operators = load(compile_to("fp32"))._interpreter._get_ops_details()
    assert [operator["op_name"] for operator in operators].count("DELEGATE") == 1
    assert operators[-1]["op_name"] == "DELEGATE"


def test_fp16_halves_the_weights(
    compile_to: Callable[[str], Artifact], image: NDArray[np.float32]
) -> None:
    full, half = compile_to("fp32"), compile_to("fp16")
    model = read_tflite(half.folder / MODEL_FILE)
    assert sum(operator.kind == "DEQUANTIZE" for operator in model.operators) > 100
    assert half.size_bytes < 0.85 * full.size_bytes
    difference = np.abs(load(half).run(image) - load(full).run(image)).max()
    assert 0 < difference < 0.02  # 11 bits of mantissa: seen, but not another network


def test_compiling_twice_gives_equal_bytes(
    compile_to: Callable[[str], Artifact], small_onnx: Path, tmp_path: Path
) -> None:
    twice = compile_to("fp32"), RUNTIME.compile(small_onnx, tmp_path / "again", "fp32")
    one, two = ((made.folder / MODEL_FILE).read_bytes() for made in twice)
    assert one == two


def test_compiling_is_offline_silent_and_leaves_tensorflow_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    path = save(graph("logits = Conv(image, weight)  mask = Sigmoid(logits)"), tmp_path / "a.onnx")
    loaded = "tensorflow" in sys.modules
    RUNTIME.compile(path, tmp_path / "made", "fp32")
    assert capfd.readouterr() == ("", "")
    assert ("tensorflow" in sys.modules) == loaded
    assert {entry.name for entry in tmp_path.iterdir()} == {"a.onnx", "made"}
    assert {entry.name for entry in (tmp_path / "made").iterdir()} == {MODEL_FILE}


def test_wide_images_keep_their_orientation(tmp_path: Path) -> None:
    body = """
        small = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(image)
        large = Resize<mode = "linear", coordinate_transformation_mode = "align_corners">
            (small, , , sizes)
        logits = Conv(large, weight)
        mask = Sigmoid(logits)
    """
    text = graph(body, size="4,10").replace(
        "int64[1] last", "int64[4] sizes = {1,3,4,10}, int64[1] last"
    )
    made = RUNTIME.compile(save(text, tmp_path / "wide.onnx"), tmp_path / "made", "fp32")
    image = np.random.default_rng(1).normal(0, 1, (1, 3, 4, 10)).astype(np.float32)
    small = image.reshape(1, 3, 2, 2, 5, 2).mean((3, 5))
    rows = np.stack([small[:, :, 0] * (3 - i) / 3 + small[:, :, 1] * i / 3 for i in range(4)], 2)
    places = np.arange(10) * 4 / 9
    left = np.minimum(places.astype(int), 3)
    large = rows[..., left] * (1 - places + left) + rows[..., left + 1] * (places - left)
    logits = large[:, :1] - 2 * large[:, 1:2] + large[:, 2:]
    np.testing.assert_allclose(load(made).run(image), 1 / (1 + np.exp(-logits)), atol=1e-6)


def test_squeezed_tensors_take_another_attempt(tmp_path: Path) -> None:
    body = """
        means = ReduceMean<keepdims = 0>(image, space)
        gate = Sigmoid(means)
        wide = Unsqueeze(gate, space)
        gated = Mul(image, wide)
        logits = Conv(gated, weight)
        mask = Sigmoid(logits)
    """
    # As many columns and rows as channels: shapes tell nothing.
    text = graph(body, size="3,3").replace(
        "int64[1] last", "int64[2] space = {2, 3}, int64[1] last"
    )
    path = save(text, tmp_path / "squeezed.onnx")
    made = RUNTIME.compile(path, tmp_path / "made", "fp32")
    image = np.random.default_rng(1).normal(0, 1, (1, 3, 3, 3)).astype(np.float32)
    gated = image / (1 + np.exp(-image.mean((2, 3), keepdims=True)))
    logits = gated[:, :1] - 2 * gated[:, 1:2] + gated[:, 2:]
    np.testing.assert_allclose(load(made).run(image), 1 / (1 + np.exp(-logits)), atol=1e-6)


@pytest.fixture
def one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litert, "ATTEMPTS", ATTEMPTS[:1])


@pytest.mark.usefixtures("one_attempt")
def test_a_wrong_conversion_names_the_first_operator_that_differs(tmp_path: Path) -> None:
    # onnx2tf 1.29.24 does not turn tensors round.
    body = """
        bent = Tanh(image)
        turned = Slice(bent, back, end, last, back)
        both = Add(bent, turned)
        logits = Conv(both, weight)
        mask = Sigmoid(logits)
    """
    path = save(graph(body), tmp_path / "net.onnx")
    with pytest.raises(
        TargetError,
        match=r"onnx2tf made another network of net\.onnx: a probability differs by up to "
        r"\d\.\de-0\d, allowed is \de-04; the first operator whose result differs is Slice "
        r"'turned'\. Write that part of the model in another way, or build for another --target\.",
    ):
        RUNTIME.compile(path, tmp_path / "made", "fp32")
    assert not (tmp_path / "made").exists()


@pytest.mark.usefixtures("one_attempt")
def test_a_mask_that_hardly_varies_hides_no_wrong_conversion(tmp_path: Path) -> None:
    body = """
        turned = Slice(image, back, end, last, back)
        logits = Conv(turned, weight)
        flat = Mul(logits, tiny)
        mask = Sigmoid(flat)
    """
    text = graph(body).replace("int64[1] last", "float tiny = {0.0001}, int64[1] last")
    path = save(text, tmp_path / "net.onnx")
    with pytest.raises(
        TargetError, match=r"made another network.* differs by up to \d\.\de-0\d, allowed is 1e-06"
    ):
        RUNTIME.compile(path, tmp_path / "made", "fp32")


@pytest.mark.usefixtures("one_attempt")
def test_operators_of_tensorflow_are_refused_by_name(tmp_path: Path) -> None:
    body = "logits = Conv(image, weight)  bent = Erf(logits)  mask = Sigmoid(bent)"
    path = save(graph(body), tmp_path / "net.onnx")
    with pytest.raises(
        TargetError, match=r"needs FlexErf, which TFLite does not have.*Replace that operation"
    ):
        RUNTIME.compile(path, tmp_path / "made", "fp32")


@pytest.mark.usefixtures("one_attempt")
def test_an_operator_that_onnx2tf_does_not_know_is_named(tmp_path: Path) -> None:
    body = "logits = Conv(image, weight)  mask = own.Wobble(logits)"
    path = save(graph(body, domains=', "own" : 1'), tmp_path / "net.onnx")
    with pytest.raises(
        TargetError, match=r"onnx2tf does not convert net\.onnx: .*Wobble.*in another way"
    ):
        RUNTIME.compile(path, tmp_path / "made", "fp32")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            f"I0000 noise\n{FAILURE}at operator 'a': it broke.\nW0000 more\n",
            "at operator 'a': it broke",
        ),
        ("Killed\n", "Killed"),
        ("", "it ended with code 9"),
    ],
)
def test_the_reason_of_a_failed_conversion_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, reason: str
) -> None:
    monkeypatch.setattr(litert.CONVERTER, "convert", lambda folder, switches: (9, said))
    path = save(
        graph("logits = Conv(image, weight)  mask = Sigmoid(logits)"), tmp_path / "net.onnx"
    )
    with pytest.raises(TargetError) as caught:
        RUNTIME.compile(path, tmp_path / "made", "fp32")
    assert str(caught.value).startswith(f"onnx2tf does not convert net.onnx: {reason}. Write")


def test_all_reasons_are_told_once_and_in_the_users_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    path = save(
        graph("logits = Conv(image, weight)  mask = Sigmoid(logits)"), tmp_path / "net.onnx"
    )
    model = onnx.load(path)
    model.graph.node[0].name = "node_conv"
    model.graph.node[0].metadata_props.add(key=MODULE, value="decoder.head")
    onnx.save(model, path)

    def convert(folder: Path, switches: list[str]) -> tuple[int, str]:
        if "own" in switches:
            return 1, f"{FAILURE}Conv 'node_conv' is too new.\n"
        if "trial" in switches:
            return 1, f"{FAILURE}too slow\n"
        return 1, f"{FAILURE}at operator 'node_conv': it broke\n"

    monkeypatch.setattr(litert.CONVERTER, "convert", convert)
    with pytest.raises(TargetError) as caught:
        RUNTIME.compile(path, tmp_path / "made", "fp32")
    assert str(caught.value) == (
        "No way to convert net.onnx to TFLite works: (1) onnx2tf, onnx2tf with shapes does not "
        "convert net.onnx: at operator 'node_conv' of module 'decoder.head': it broke; (2) onnx2tf "
        "with shapes and with trials does not convert net.onnx: too slow; (3) EdgeSeg's own "
        "translation does not convert net.onnx: Conv 'node_conv' is too new. Write that part of "
        "the model in another way, or build for another --target."
    )


def test_what_onnx2tf_does_not_convert_is_translated(tmp_path: Path) -> None:
    # Neither of the attempts with onnx2tf turns tensors round or has a builtin form of Erf.
    body = """
        bent = Erf(image)
        turned = Slice(bent, back, end, last, back)
        both = Add(bent, turned)
        logits = Conv(both, weight)
        mask = Sigmoid(logits)
    """
    made = RUNTIME.compile(save(graph(body), tmp_path / "net.onnx"), tmp_path / "made", "fp32")
    image = np.zeros((1, 3, 8, 8), np.float32)
    image[0, 0, 2, 1] = 0.5
    got = load(made).run(image)
    erf = 0.5204998778  # of 0.5
    wanted = np.full((1, 1, 8, 8), 0.5)
    wanted[0, 0, 2, [1, 6]] = 1 / (1 + np.exp(-erf))
    np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_an_open_size_is_refused(tmp_path: Path) -> None:
    text = graph("logits = Conv(image, weight)  mask = Sigmoid(logits)", size="height,width")
    path = save(text, tmp_path / "open.onnx")
    with pytest.raises(TargetError, match=r"open\.onnx has the shape .*with a fixed input size"):
        RUNTIME.compile(path, tmp_path / "made", "fp32")


def test_int8_is_no_precision_to_compile_to(small_onnx: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"compiled precision 'int8'.*fp16, fp32"):
        RUNTIME.compile(small_onnx, tmp_path / "made", "int8")


def test_missing_onnx2tf_names_the_install_command(
    small_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx2tf", None)
    with pytest.raises(MissingBackendError, match=r"pip install 'edgeseg\[android\]'"):
        RUNTIME.compile(small_onnx, tmp_path / "made", "fp32")


def test_doctor_names_the_runtime() -> None:
    assert "runtime ai_edge_litert" in RUNTIME.diagnose().notes


@pytest.mark.slow
@needs("torch", "onnxscript")
@pytest.mark.parametrize("name", sorted(MODELS.names()))
def test_every_registered_model_goes_through(
    name: str,
    export_random: Callable[[str], tuple[nn.Module, ModelSpec, Path]],
    tmp_path: Path,
) -> None:
    import torch

    network, spec, path = export_random(name)
    made = RUNTIME.compile(path, tmp_path / "made", "fp32")
    image = np.random.default_rng(0).normal(0, 1, spec.inputs.shape).astype(np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(image)).numpy()
    assert np.abs(load(made).run(image) - expected).max() <= 1e-3


@pytest.mark.slow
@needs("torch", "onnxscript")
def test_several_classes_come_out_as_channels(tmp_path: Path) -> None:
    import torch

    from edgeseg.reference.onnx_export import onnx_from_torch

    torch.manual_seed(1)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Softmax(dim=1))
    inputs = InputContract(12, 20, 4, MeanStd())
    outputs = OutputContract(("background", "a", "b", "c"), 4)
    onnx_from_torch(network, inputs, outputs, tmp_path / "net.onnx")
    made = RUNTIME.compile(tmp_path / "net.onnx", tmp_path / "made", "fp32")
    image = np.random.default_rng(0).normal(0, 1, inputs.shape).astype(np.float32)
    mask = load(made).run(image)
    assert mask.shape == (1, 4, 12, 20)
    np.testing.assert_allclose(mask, network(torch.from_numpy(image)).detach().numpy(), atol=1e-6)


def test_arithmetic_in_fp16_is_offered_to_a_cpu_that_has_it() -> None:
    runtime = LiteRtRuntime()
    assert runtime.half_variants("fp32", ["asimd", "asimddp"]) == {}
    variants = runtime.half_variants("fp32", ["asimd", "asimdhp"])
    usual = runtime.runtime_settings("fp32")
    assert list(variants) == ["arithmetic in fp16"]
    assert runtime.is_half({**usual, **variants["arithmetic in fp16"]})
    assert not runtime.is_half(usual)
