"""The contract in C: the vectors, every format, both languages, warnings and sanitizers."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import ROOT, needs
from vectors import (
    CONTRACTS,
    REQUESTS,
    check_answers,
    contract_record,
    contracts_of,
    probabilities_of,
    write_requests,
)

from edgeseg.contract import InputContract, MeanStd, MinMax, OutputContract, resize_plane
from edgeseg.embed.contract_c import HEADER, c_string, comment_lines, header_text
from edgeseg.lazy import is_installed

PROGRAM = ROOT / "tests" / "helpers" / "vectors_program.c"
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")
SANITIZERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
COMPILERS = {
    "gcc": ("gcc", "-std=c11"),
    "g++": ("g++", "-std=c++17", "-x", "c++"),
    "clang": (sys.executable, "-m", "ziglang", "cc", "-std=c11"),
    "clang++": (sys.executable, "-m", "ziglang", "cc", "-std=c++17", "-x", "c++"),
}
ARM64 = (sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl", "-static")
SYSTEMS = ("x86_64-windows-gnu", "aarch64-macos", "aarch64-linux-musl", "wasm32-wasi")
FORMATS = {"as it is": 0, "RGBA": 2, "BGR": 3, "BGRA": 4}


def compiled(folder: Path, header: str, compiler: str, options: Sequence[str] = ()) -> Path:
    """The program with a header, without a warning."""
    words = ARM64 if compiler == "arm64" else COMPILERS[compiler]
    is_here = is_installed("ziglang") if "ziglang" in words else shutil.which(words[0])
    if not is_here:
        pytest.skip(f"{compiler} is not installed: tests/install_debian_packages.sh")
    folder.mkdir(exist_ok=True)
    (folder / HEADER).write_text(header, encoding="utf-8")
    program = folder / "program"
    command = [*words, "-O2", *WARNINGS, *options, f"-I{folder}", str(PROGRAM), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return program


def run(program: Path, folder: Path, form: int = 0, emulator: Sequence[str] = ()) -> None:
    words = [*emulator, str(program), str(folder), str(form)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, (done.returncode, done.stderr)


def header_of(contract: str, layout: str = "NCHW") -> str:
    record = copy.deepcopy(contract_record(contract))
    for end in ("input", "output"):
        record[end]["tensor"]["layout"] = layout
    return header_text(*contracts_of(contract), record)


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("contract", CONTRACTS)
def test_all_vectors(contract: str, compiler: str, tmp_path: Path) -> None:
    program = compiled(tmp_path / "made", header_of(contract), compiler)
    asked = write_requests(tmp_path, contract)
    assert {vector.pixels.itemsize for vector in asked} == {1, 2}
    run(program, tmp_path)
    check_answers(tmp_path, asked)
    check_planes(tmp_path, contract, asked)


def check_planes(folder: Path, contract: str, asked: Sequence[Any]) -> None:
    """Probabilities at the picture's size are those that the labels were cut from."""
    given = probabilities_of(contract)
    for vector in asked:
        height, width = vector.mask.shape
        wanted = resize_plane(given.transpose(1, 2, 0), height, width).transpose(2, 0, 1)
        planes = np.fromfile(folder / f"{vector.name}.planes", "<f4").reshape(wanted.shape)
        assert np.abs(planes - wanted).max() < 1e-5, vector.name


@pytest.mark.parametrize("form", ["RGBA", "BGR", "BGRA"])
@pytest.mark.parametrize("contract", CONTRACTS)
def test_the_order_of_bytes_changes_nothing(contract: str, form: str, tmp_path: Path) -> None:
    program = compiled(tmp_path / "made", header_of(contract), "gcc")
    asked = write_requests(tmp_path, contract)
    run(program, tmp_path, FORMATS[form])
    check_answers(tmp_path, asked)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_channels_may_lie_side_by_side(contract: str, tmp_path: Path) -> None:
    program = compiled(tmp_path / "made", header_of(contract, "NHWC"), "gcc")
    asked = write_requests(tmp_path, contract)
    planes = probabilities_of(contract)
    (tmp_path / "probabilities.f32").write_bytes(planes.transpose(1, 2, 0).tobytes())
    run(program, tmp_path)
    for vector in asked:
        path = tmp_path / f"{vector.name}.tensor"
        channels, height, width = vector.tensor.shape
        values = np.fromfile(path, "<f4").reshape(height, width, channels)
        path.write_bytes(values.transpose(2, 0, 1).tobytes())
    check_answers(tmp_path, asked)
    check_planes(tmp_path, contract, asked)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_sanitizers_find_nothing(contract: str, tmp_path: Path) -> None:
    program = compiled(tmp_path / "made", header_of(contract), "gcc", SANITIZERS)
    asked = write_requests(tmp_path, contract)
    for form in FORMATS.values():
        run(program, tmp_path, form)
        check_answers(tmp_path, asked)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_arm64_does_the_same(contract: str, tmp_path: Path) -> None:
    emulator = shutil.which("qemu-aarch64-static")
    if emulator is None:
        pytest.skip("qemu is not installed: tests/install_debian_packages.sh")
    program = compiled(tmp_path / "made", header_of(contract), "arm64")
    asked = [one for one in write_requests(tmp_path, contract) if one.pixels.size < 10**6]
    names = {vector.name for vector in asked}
    lines = (tmp_path / REQUESTS).read_text().splitlines(keepends=True)
    (tmp_path / REQUESTS).write_text("".join(one for one in lines if one.split()[0] in names))
    run(program, tmp_path, emulator=(emulator,))
    check_answers(tmp_path, asked)


@needs("ziglang")
@pytest.mark.parametrize("language", [("c", "-std=c11"), ("c++", "-std=c++17")])
@pytest.mark.parametrize("system", SYSTEMS)
def test_other_systems_take_the_header(
    system: str, language: tuple[str, str], tmp_path: Path
) -> None:
    (tmp_path / HEADER).write_text(header_of("normed"), encoding="utf-8")
    (tmp_path / "library.c").write_text(LIBRARY)
    kind, standard = language
    words = [sys.executable, "-m", "ziglang", "cc", "-target", system, "-x", kind, standard]
    words += [*WARNINGS, "-Wno-missing-prototypes", "-O2", "-c", "library.c", "-o", "library.o"]
    done = subprocess.run(
        words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")


LIBRARY = """
#include "edgeseg_contract.h"
static struct edgeseg_work work;
int prepare(const void *p, int f, int h, int w, size_t r, float *t)
{ return edgeseg_prepare(&work, p, f, h, w, r, t); }
int restore(const float *t, int h, int w, uint8_t *l, float *p)
{ return edgeseg_restore(&work, t, h, w, l, p); }
const char *class_name(int label) { return edgeseg_class_name(label); }
"""


def loaded(folder: Path, inputs: InputContract, outputs: OutputContract) -> Any:
    """The functions of a contract's header, to be called from here."""
    import ctypes

    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed: tests/install_debian_packages.sh")
    form = {"tensor": {"layout": "NCHW"}, "words": ["a */ b /* c"]}
    (folder / HEADER).write_text(header_text(inputs, outputs, {"input": form, "output": form}))
    (folder / "library.c").write_text(LIBRARY)
    words = ["gcc", "-std=c11", "-O2", *WARNINGS, "-shared", "-fPIC", "library.c", "-o", "it.so"]
    subprocess.run(words, cwd=folder, check=True, timeout=300)
    return ctypes.CDLL(str(folder / "it.so"))


@pytest.mark.parametrize("bands", [2, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_networks_take_their_own_bands(bands: int, dtype: Any, tmp_path: Path) -> None:
    inputs = InputContract(
        16, 24, 8, MeanStd((0.1, 0.2, 0.3, 0.4)[:bands], (0.5, 0.6, 0.7, 0.8)[:bands]),
        channels=bands, white=1023,
    )  # fmt: skip
    outputs = OutputContract(("rest", "spot"), 1)
    library = loaded(tmp_path, inputs, outputs)
    image = np.random.default_rng(0).integers(
        0, 256 if dtype == np.uint8 else 2000, (31, 17, bands)
    )
    image = np.ascontiguousarray(image, dtype)
    tensor = np.empty(inputs.shape, np.float32)
    form = 6 + (16 if dtype == np.uint16 else 0)
    assert library.prepare(*pointers(image), form, 31, 17, no_gaps(), *pointers(tensor)) == 0
    assert np.abs(tensor - inputs.prepare(image)).max() < 1e-5
    # A picture of other channels is none of theirs.
    assert library.prepare(*pointers(image), 1, 31, 17, no_gaps(), *pointers(tensor)) == 9


def pointers(*arrays: Any) -> list[Any]:
    import ctypes

    return [ctypes.c_void_p(array.ctypes.data) for array in arrays]


def no_gaps() -> Any:
    import ctypes

    return ctypes.c_size_t(0)


def test_what_is_wrong_gets_a_code(tmp_path: Path) -> None:
    import ctypes

    inputs, outputs = InputContract(8, 8, 8, MinMax()), OutputContract(("rest", '*/"é'), 1)
    library = loaded(tmp_path, inputs, outputs)
    image, tensor = np.zeros((4, 4, 3), np.uint8), np.zeros((1, 3, 8, 8), np.float32)
    given, to = pointers(image, tensor)
    assert library.prepare(given, 1, 4, 4, no_gaps(), to) == 0
    assert library.prepare(given, 1, 4, 4, ctypes.c_size_t(11), to) == 5  # rows are cut short
    assert library.prepare(given, 1, 0, 4, no_gaps(), to) == 5
    assert library.prepare(given, 1, 4, 8193, no_gaps(), to) == 5
    assert library.prepare(given, 7, 4, 4, no_gaps(), to) == 9
    assert library.prepare(None, 1, 4, 4, no_gaps(), to) == 4
    mask, labels = np.zeros((1, 1, 8, 8), np.float32), np.zeros((4, 4), np.uint8)
    assert library.restore(*pointers(mask), 4, 4, *pointers(labels), None) == 0
    assert library.restore(*pointers(mask), 4, 4, None, None) == 0
    assert library.restore(*pointers(mask), 0, 4, None, None) == 5
    mask[0, 0, 3, 3] = np.nan
    assert library.restore(*pointers(mask), 4, 4, *pointers(labels), None) == 6
    library.class_name.restype = ctypes.c_char_p
    assert library.class_name(1).decode() == '*/"é'
    assert library.class_name(2) == b""


def test_grey_is_repeated_for_three_channels(tmp_path: Path) -> None:
    inputs, outputs = InputContract(8, 8, 8, MinMax()), OutputContract(("rest", "spot"), 1)
    library = loaded(tmp_path, inputs, outputs)
    for dtype, form in ((np.uint8, 5), (np.uint16, 21)):
        grey = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, (11, 13)).astype(dtype)
        tensor = np.empty(inputs.shape, np.float32)
        assert library.prepare(*pointers(grey), form, 11, 13, no_gaps(), *pointers(tensor)) == 0
        wanted = inputs.prepare(np.repeat(grey[..., None], 3, 2))
        assert np.abs(tensor - wanted).max() < 1e-5


def test_the_header_says_the_contract_in_words() -> None:
    header = header_of("stretched")
    record = contract_record("stretched")
    plain = " ".join(re.sub(r"^ \*( \d\.)?", "", header, flags=re.MULTILINE).split())
    for sentence in (*record["input"]["words"], *record["output"]["words"]):
        assert sentence in plain
    assert max(map(len, header.splitlines())) <= 100


def test_no_sentence_ends_its_comment() -> None:
    text = comment_lines(["A class */ named /* so", "two"])
    assert "*/" not in text
    assert "/*" not in text
    assert text.splitlines()[1].startswith(" * 2. two")


def test_strings_of_c_are_ascii() -> None:
    assert c_string('a"b\\c?é') == '"a\\042b\\134c\\077\\303\\251"'
