"""The generated C under sanitizers, and the same network on different instruction sets."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from native_graphs import Branches
from support import UNTESTED, needs

from edgeseg.targets import find_runtime
from edgeseg.targets.native.frontend.graph import import_graph
from edgeseg.targets.native.interface import header, implementation, network_key, weights_file
from edgeseg.targets.native.isa import INSTRUCTION_SETS, runs_here
from edgeseg.targets.native.passes import fuse
from edgeseg.targets.native.source import write_source

pytestmark = needs("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime")

# Each array has its exact size, so that a read beyond it is seen.
APP = """
#include <stdio.h>
#include <stdlib.h>
#include "edgeseg.h"
int main(int count, char **words)
{
    FILE *file = fopen(words[1], "rb");
    fseek(file, 0, SEEK_END);
    size_t size = (size_t)ftell(file);
    rewind(file);
    void *weights = aligned_alloc(64, (size + 63) / 64 * 64), *memory;
    if (fread(weights, 1, size, file) != size) return 9;
    fclose(file);
    memory = aligned_alloc(64, (edgeseg_memory_bytes(2) + 63) / 64 * 64);
    int32_t image_size[3], mask_size[3];
    edgeseg_sizes(image_size, mask_size);
    size_t pixels = (size_t)image_size[0] * image_size[1] * image_size[2];
    float *image = malloc(pixels * sizeof(float));
    float *mask = malloc((size_t)mask_size[0] * mask_size[1] * mask_size[2] * sizeof(float));
    for (size_t i = 0; i < pixels; ++i) image[i] = (float)(i * 7919 % 1000) / 500.0f - 1.0f;
    edgeseg_network *network;
    int code = edgeseg_create(memory, edgeseg_memory_bytes(2), 2, weights, size, &network);
    for (int i = 0; code == 0 && i < 2; ++i) code = edgeseg_run(network, image, mask);
    static const int sides[][2] = {{1, 1}, {97, 301}, {301, 64}, {64, 97}, {8192, 1}, {2, 8192}};
    for (int i = 0; code == 0 && i < 6; ++i) {
        int height = sides[i][0], width = sides[i][1];
        uint8_t *rgb = malloc((size_t)height * width * 3);
        uint8_t *labels = malloc((size_t)height * width);
        for (int j = 0; j < height * width * 3; ++j) rgb[j] = (uint8_t)(j * 7919 % 251);
        code = edgeseg_run_picture(network, rgb, height, width, 0, labels);
        free(rgb);
        free(labels);
        if (code == EDGESEG_NO_CONTRACT) code = image_size[0] == 3 && count == 3;
    }
    edgeseg_destroy(network);
    if (edgeseg_run(network, image, mask) != EDGESEG_NO_HANDLE) code = 8;
    free(weights);
    free(memory);
    free(image);
    free(mask);
    return code + (count < 2);
}
"""


def run_sanitized(onnx_path: Path, isa: str, folder: Path) -> None:
    program, contracts = import_graph(onnx_path)
    fuse(program)
    source = write_source(program, INSTRUCTION_SETS[isa].machine)
    folder.mkdir()
    (folder / "edgeseg.h").write_text(header(program))
    key = network_key([source])
    text = source.text + implementation(source, key, contracts)
    (folder / "network.c").write_text(text)
    (folder / "app.c").write_text(APP)
    (folder / "weights").write_bytes(weights_file(source, key))
    words = ["gcc", "-std=c11", "-O0", "-fno-math-errno", "-Wno-psabi", *INSTRUCTION_SETS[isa].gcc]
    words += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    subprocess.run([*words, "app.c", "network.c", "-o", "app"], cwd=folder, check=True)
    done = subprocess.run(
        ["./app", "weights"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize("isa", ["x86-64-v2", "x86-64-v3"])
def test_sanitizers_find_nothing(isa: str, small_onnx: Path, tmp_path: Path) -> None:
    if shutil.which("gcc") is None or not runs_here(INSTRUCTION_SETS[isa]):
        UNTESTED.add(f"generated C for {isa} under sanitizers")
        pytest.skip(f"no gcc, or no CPU with {isa}")
    run_sanitized(small_onnx, isa, tmp_path / "network")
    odd = Branches((3, 13, 27))
    value = odd.channels(7)
    odd.end(odd.node("Conv", value, odd.random(5, 7, 3, 3), pads=[1] * 4), "convolution")
    odd.end(odd.node("MaxPool", value, kernel_shape=[3, 3], pads=[1] * 4), "pool")
    wide = odd.node("ConvTranspose", value, odd.random(7, 4, 2, 2), strides=[2, 2])
    odd.end(odd.node("Gelu", wide), "transposed")
    odd.end(odd.node("Softmax", value, axis=1), "softmax")
    run_sanitized(odd.save(tmp_path / "odd.onnx"), isa, tmp_path / "odd")


@pytest.mark.usefixtures("as_it_ships")
def test_instruction_sets_agree(light_onnx: Path, tmp_path: Path) -> None:
    image = np.random.default_rng(0).uniform(0, 255, (1, 3, 64, 64)).astype(np.float32)
    masks = {}
    for name, isa in INSTRUCTION_SETS.items():
        if runs_here(isa):
            runtime = find_runtime("native", {"isa": name})
            artifact = runtime.compile(light_onnx, tmp_path / name, "fp32")
            masks[name] = runtime.load(artifact).run(image)
    first, *others = masks.values()
    for other in others:
        assert np.abs(first - other).max() < 1e-5
        assert ((first > 0.5) != (other > 0.5)).sum() == 0


def test_compiling_twice_gives_equal_bytes(small_onnx: Path, tmp_path: Path) -> None:
    runtime = find_runtime("native", {"isa": "here"})
    made = [runtime.compile(small_onnx, tmp_path / name, "fp32") for name in ("a", "b")]
    for name in made[0].files:
        assert (made[0].folder / name).read_bytes() == (made[1].folder / name).read_bytes()
