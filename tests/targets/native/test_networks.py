"""Whole networks, and the C interface of what they become."""

from __future__ import annotations

import ctypes
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support import native_optimised, needs

from edgeseg.errors import TargetError, UnknownNameError
from edgeseg.models import MODELS, ModelSpec
from edgeseg.records import Artifact
from edgeseg.reference.reference import onnx_predictor
from edgeseg.targets import find_runtime
from edgeseg.targets.native.compiler import Compiler, find_compiler
from edgeseg.targets.native.interface import HEADER as HEAD
from edgeseg.targets.native.isa import INSTRUCTION_SETS
from edgeseg.targets.native.runtime import CONTENTS, HEADER
from edgeseg.targets.runners.native_backend import choose

if TYPE_CHECKING:
    from torch import nn

pytestmark = needs("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime")
RUNTIME = find_runtime("native", {"isa": "here"})
WEIGHTS = "network.weights"


@pytest.fixture(scope="module")
def artifact(small_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    with native_optimised("-O2"):  # what an app gets
        return RUNTIME.compile(small_onnx, tmp_path_factory.mktemp("native") / "made", "fp32")


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS.names())
def test_every_registered_network_is_computed_as_torch_does(
    name: str,
    export_random: Callable[[str], tuple[nn.Module, ModelSpec, Path]],
    tmp_path: Path,
) -> None:
    import torch

    network, spec, path = export_random(name)
    image = np.random.default_rng(2).normal(0, 1, spec.inputs.shape).astype(np.float32)
    with torch.inference_mode():
        wanted = network(torch.from_numpy(image)).numpy()
    given = RUNTIME.load(RUNTIME.compile(path, tmp_path / "made", "fp32")).run(image)
    assert np.abs(given - wanted).max() < 2e-5
    rounded = onnx_predictor(path, spec.outputs, spec.inputs)(image)
    assert np.abs(given - wanted).max() < 10 * max(1e-6, float(np.abs(rounded - wanted).max()))


def image_for(artifact: Artifact) -> np.ndarray:
    text = (artifact.folder / HEADER).read_text()
    sizes = [re.search(rf"EDGESEG_IMAGE_{axis} (\d+)", text) for axis in ("HEIGHT", "WIDTH")]
    height, width = (int(found[1]) for found in sizes if found)
    return np.random.default_rng(1).normal(0, 1, (1, 3, height, width)).astype(np.float32)


def test_nan_in_gives_nan_out(artifact: Artifact) -> None:
    image = image_for(artifact)
    backend = RUNTIME.load(artifact)
    before = backend.run(image)
    image[0, 1, 5, 7] = np.nan
    assert np.isnan(backend.run(image)).any()
    image[:] = np.inf
    backend.run(image)
    image = image_for(artifact)
    assert np.array_equal(backend.run(image), before)  # nothing of it is left


def test_denormal_images_are_computed(artifact: Artifact) -> None:
    image = np.full_like(image_for(artifact), 1e-41)
    backend = RUNTIME.load(artifact)
    assert np.allclose(backend.run(image), backend.run(np.zeros_like(image)), atol=1e-6)


def test_handles_in_threads_do_not_disturb_each_other(artifact: Artifact) -> None:
    images = [image_for(artifact) * (1 + number) for number in range(8)]
    backends = [RUNTIME.load(artifact) for _ in images]
    wanted = [backends[0].run(image) for image in images]
    wrong: list[int] = []

    def work(number: int) -> None:
        masks = (backends[number].run(images[number]) for _ in range(125))
        wrong.extend(number for mask in masks if not np.array_equal(mask, wanted[number]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_image_of_another_size_is_refused(artifact: Artifact) -> None:
    with pytest.raises(RuntimeError, match=r"the image has the shape \(1, 3, 8, 8\), not"):
        RUNTIME.load(artifact).run(np.zeros((1, 3, 8, 8), np.float32))


def library_of(artifact: Artifact) -> Path:
    """That for this machine."""
    contents = json.loads((artifact.folder / CONTENTS).read_text())
    return artifact.folder / str(choose(contents["libraries"])["library"])


class Library:
    """The C interface as an app calls it."""

    def __init__(self, artifact: Artifact) -> None:
        self.library: Any = ctypes.CDLL(str(library_of(artifact)))
        self.library.edgeseg_memory_bytes.restype = ctypes.c_size_t
        self.library.edgeseg_error_text.restype = ctypes.c_char_p
        self.memory = self.aligned(self.library.edgeseg_memory_bytes(1))

    @staticmethod
    def aligned(size: int) -> np.ndarray:
        room = np.zeros(size + 64, np.uint8)
        start = -room.ctypes.data % 64
        return room[start : start + size]

    def create(self, weights: bytes, memory: np.ndarray | None = None, threads: int = 1) -> int:
        content = self.aligned(len(weights))
        content[:] = np.frombuffer(weights, np.uint8)
        room = self.memory if memory is None else memory
        handle = ctypes.c_void_p()
        size = ctypes.c_size_t
        pointer = ctypes.c_void_p
        code: int = self.library.edgeseg_create(
            pointer(room.ctypes.data),
            size(room.size),
            threads,
            pointer(content.ctypes.data),
            size(content.size),
            ctypes.byref(handle),
        )
        assert bool(handle.value) == (code == 0)
        return code


def test_weights_are_checked_before_anything_is_read(artifact: Artifact) -> None:
    library = Library(artifact)
    whole = (artifact.folder / WEIGHTS).read_bytes()
    assert library.create(whole) == 0
    generator = np.random.default_rng(0)
    for _ in range(300):
        kind = int(generator.integers(3))
        if kind == 0:
            broken = whole[: int(generator.integers(len(whole)))]
        elif kind == 1:
            broken = whole + bytes(int(generator.integers(1, 99)))
        else:
            content = bytearray(whole)
            place = int(
                generator.choice([generator.integers(32), generator.integers(64, len(whole))])
            )
            content[place] ^= 1 << int(generator.integers(8))
            broken = bytes(content)
        assert library.create(broken) in (2, 3), (kind, len(broken))
    signs = bytearray(whole)
    for place in range(HEAD.size + 7, HEAD.size + 7 + 8 * 400, 8):
        signs[place] ^= 0x80  # of two neighbouring floats, the second
    assert library.create(bytes(signs)) == 2
    known = bytearray(whole)
    known[HEAD.size - 1] = 1
    assert library.create(bytes(known)) == 2
    assert library.create(bytes(HEAD.size)) == 2
    for code in range(6):
        assert library.library.edgeseg_error_text(code)


def test_memory_that_is_too_small_or_not_aligned_is_refused(artifact: Artifact) -> None:
    library = Library(artifact)
    whole = (artifact.folder / WEIGHTS).read_bytes()
    assert library.create(whole, library.memory[:-1]) == 1
    assert library.create(whole, library.aligned(library.memory.size + 64)[4:]) == 1


def test_the_library_calls_no_other(artifact: Artifact) -> None:
    done = subprocess.run(
        ["nm", "-D", "--undefined-only", library_of(artifact)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []


def test_the_library_has_a_name_and_static_ones_leave_the_apps_functions_alone(
    small_onnx: Path, tmp_path: Path
) -> None:
    runtime = find_runtime("native", {"isa": "here", "static": "true"})
    made = runtime.compile(small_onnx, tmp_path / "made", "fp32")
    library = library_of(made)
    words = ["readelf", "-d", library]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert f"soname: [{library.name}]" in told
    words = ["nm", "--defined-only", library.with_suffix(".a")]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "edgeseg_run" in told
    assert " memcpy" not in told
    assert " memset" not in told


def test_a_folder_may_be_built_into_again_while_its_library_is_loaded(
    small_onnx: Path, light_onnx: Path, tmp_path: Path
) -> None:
    image = np.random.default_rng(1).normal(0, 1, (1, 3, 64, 64)).astype(np.float32)
    first = RUNTIME.load(RUNTIME.compile(small_onnx, tmp_path / "made", "fp32"))
    before = first.run(image)
    second = RUNTIME.load(RUNTIME.compile(light_onnx, tmp_path / "made", "fp32"))
    assert not np.array_equal(second.run(image), before)
    assert np.array_equal(first.run(image), before)


def test_the_header_is_c_and_cpp(artifact: Artifact, tmp_path: Path) -> None:
    for suffix, compiler in ((".c", "gcc"), (".cpp", "g++")):
        source = tmp_path / f"app{suffix}"
        source.write_text('#include "edgeseg.h"\nint main(void) { return edgeseg_version(); }\n')
        words = [compiler, "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"]
        subprocess.run([*words, f"-I{artifact.folder}", str(source)], check=True)


def test_an_unknown_instruction_set_or_compiler_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="instruction set of native 'x86'"):
        find_runtime("native", {"isa": "x86"})
    with pytest.raises(UnknownNameError, match="compiler of native 'tcc'"):
        find_runtime("native", {"compiler": "tcc"})


def test_a_missing_compiler_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeseg.targets.native.compiler.is_installed", lambda _: False)
    monkeypatch.setenv("PATH", "")
    isa = INSTRUCTION_SETS["x86-64-v2"]
    for name, wanted in (("auto", "zig or gcc or clang"), ("gcc", "gcc")):
        with pytest.raises(
            TargetError, match=rf"needs {wanted}, .* pip install 'edgeseg\[native\]'"
        ):
            find_compiler(name, isa)


def test_what_the_compiler_complains_of_is_told(tmp_path: Path) -> None:
    source = tmp_path / "network.c"
    source.write_text("int main(void) { return missing; }\n")
    compiler = find_compiler("auto", INSTRUCTION_SETS["x86-64-v2"])
    assert isinstance(compiler, Compiler)
    isa = INSTRUCTION_SETS["x86-64-v2"]
    with pytest.raises(TargetError, match=r"does not compile .*missing.*--option compiler=NAME"):
        compiler.compile(source, isa)


def test_a_machine_without_a_library_is_told_what_there_is(
    artifact: Artifact, tmp_path: Path
) -> None:
    from dataclasses import replace

    folder = shutil.copytree(artifact.folder, tmp_path / "made")
    contents = json.loads((folder / CONTENTS).read_text())
    library = choose(contents["libraries"])
    contents["libraries"] = [
        {**library, "isa": "dream", "flags": ["amx_dream"]},
        {**library, "isa": "five", "architecture": "riscv64"},
    ]
    (folder / CONTENTS).write_text(json.dumps(contents))
    wanted = (
        r"this machine is linux on x86_64; for dream this CPU lacks amx_dream; "
        r"five is for linux on riscv64"
    )
    with pytest.raises(TargetError, match=wanted):
        RUNTIME.load(replace(artifact, folder=folder))


def test_a_damaged_library_is_not_loaded(artifact: Artifact, tmp_path: Path) -> None:
    from dataclasses import replace

    folder = shutil.copytree(artifact.folder, tmp_path / "made")
    library = library_of(replace(artifact, folder=folder))
    library.write_bytes(library.read_bytes()[:-5])
    with pytest.raises(TargetError, match=rf"{library.name} is damaged"):
        RUNTIME.load(replace(artifact, folder=folder))


def test_an_unknown_operator_is_named_with_its_place(tmp_path: Path) -> None:
    import onnx

    text = """
        <ir_version: 10, opset_import: ["" : 20]>
        net (float[1,3,8,8] image) => (float[1,3,8,8] mask) { mask = Sin (image) }
    """
    path = tmp_path / "sine.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    with pytest.raises(TargetError, match=r"Runtime native cannot compile Sin .*another --runtime"):
        RUNTIME.compile(path, tmp_path / "made", "fp32")


def test_an_operator_that_is_refused_is_named_with_its_module(tmp_path: Path) -> None:
    import torch
    from torch import nn

    from edgeseg.contract import InputContract, MinMax, OutputContract
    from edgeseg.models.logits import LogitsNetwork
    from edgeseg.reference.onnx_export import onnx_from_torch

    class Wave(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.sin(image)

    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(Wave(), nn.Conv2d(4, 1, 1)))
    path = tmp_path / "wave.onnx"
    inputs, outputs = InputContract(8, 8, 1, MinMax()), OutputContract(("other", "thing"), 1)
    onnx_from_torch(LogitsNetwork(network), inputs, outputs, path)
    with pytest.raises(TargetError, match=r"compile Sin '\w+' of module '1\.0': .* --runtime\."):
        RUNTIME.compile(path, tmp_path / "made", "fp32")


def test_an_antialiased_resize_is_refused(tmp_path: Path) -> None:
    """ONNX Runtime itself computes it otherwise than torch."""
    import onnx

    text = """
        <ir_version: 10, opset_import: ["" : 20]>
        net (float[1,3,8,8] image) => (float[1,3,4,4] mask)
        <int64[4] size = {1, 3, 4, 4}>
        { mask = Resize <mode = "linear", antialias = 1> (image, , , size) }
    """
    path = tmp_path / "resize.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    with pytest.raises(TargetError, match=r"Resize .*option antialias.*another --runtime"):
        RUNTIME.compile(path, tmp_path / "made", "fp32")
