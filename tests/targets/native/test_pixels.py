"""Pictures of every format in a compiled network, and names that begin with a prefix."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from native_graphs import Branches
from numpy.typing import NDArray
from support import needs

from edgeseg.contract import InputContract, MinMax, OutputContract, resize_plane
from edgeseg.errors import UsageError
from edgeseg.formats.onnx import CONTRACT, contract_text
from edgeseg.records import Artifact
from edgeseg.targets import find_runtime

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")
SIDES = [(64, 64), (97, 301), (1, 1), (300, 7)]
RGB, RGBA, BGR, BGRA, GREY, BANDS, DEEP = 1, 2, 3, 4, 5, 6, 16


def build(
    folder: Path, inputs: InputContract, seed: int = 0, **options: str
) -> tuple[Artifact, OutputContract]:
    """A network of one convolution and three classes."""
    import onnx

    outputs = OutputContract(("rest", "left", "right"), 3)
    graph = Branches((inputs.channels, inputs.height, inputs.width), seed)
    graph.results.append(graph.node("Softmax", graph.channels(3), axis=1))
    folder.mkdir(exist_ok=True)
    model = onnx.load(graph.save(folder / "net.onnx"))
    model.metadata_props.add(key=CONTRACT, value=contract_text(inputs, outputs))
    onnx.save(model, folder / "net.onnx")
    runtime = find_runtime("native", {"isa": "here", **options})
    return runtime.compile(folder / "net.onnx", folder / "made", "fp32"), outputs


def load(artifact: Artifact) -> Any:
    return find_runtime("native", {"isa": "here"}).load(artifact)


def picture(height: int, width: int, dtype: Any = np.uint8) -> NDArray[Any]:
    size = (height // 5 + 1, width // 5 + 1, 3)
    coarse = np.random.default_rng(height).integers(0, np.iinfo(dtype).max, size)
    return np.kron(coarse, np.ones((5, 5, 1), int))[:height, :width].astype(dtype)


def forms_of(image: NDArray[Any]) -> dict[int, NDArray[Any]]:
    """The same RGB picture in other formats, with an alpha that must not be looked at."""
    alpha = np.full((*image.shape[:2], 1), 77, image.dtype)
    added = DEEP if image.dtype == np.uint16 else 0
    return {
        RGB + added: image,
        RGBA + added: np.concatenate([image, alpha], 2),
        BGR + added: image[..., ::-1],
        BGRA + added: np.concatenate([image[..., ::-1], alpha], 2),
    }


@pytest.mark.parametrize("channels", [1, 3])
def test_every_format_gives_what_the_contract_gives(channels: int, tmp_path: Path) -> None:
    inputs = InputContract(48, 72, 8, MinMax(-1.0, 1.0), channels=channels, white=50_000)
    artifact, outputs = build(tmp_path, inputs)
    backend = load(artifact)
    for dtype in (np.uint8, np.uint16):
        for height, width in SIDES:
            image = picture(height, width, dtype)
            wanted = backend.run(inputs.prepare(image))
            planes = resize_plane(wanted[0].transpose(1, 2, 0), height, width).transpose(2, 0, 1)
            for layout, pixels in forms_of(image).items():
                labels, probabilities = backend.run_pixels(pixels, layout)
                assert np.abs(probabilities - planes).max() < 2e-5, (layout, height, width)
                flips = labels != outputs.restore(wanted, height, width)
                assert flips.mean() <= 1e-4, (layout, height, width)
            grey = image[..., 0]
            alike = grey if channels == 1 else np.repeat(grey[..., None], 3, 2)
            wanted = backend.run(inputs.prepare(alike))
            labels, _ = backend.run_pixels(grey, GREY + (DEEP if dtype == np.uint16 else 0))
            assert (labels != outputs.restore(wanted, height, width)).mean() <= 1e-4


def test_another_format_is_refused(tmp_path: Path) -> None:
    inputs = InputContract(8, 8, 8, MinMax(), channels=2)
    backend = load(build(tmp_path, inputs)[0])
    bands = np.zeros((5, 6, 2), np.uint8)
    assert backend.run_pixels(bands, BANDS)[1].shape == (3, 5, 6)
    with pytest.raises(RuntimeError, match="takes no pictures of this format"):
        backend.run_pixels(np.zeros((5, 6, 3), np.uint8), RGB)


def test_one_program_links_two_networks_with_prefixes(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed: tests/install_debian_packages.sh")
    inputs = InputContract(8, 16, 8, MinMax())
    image = np.random.default_rng(3).normal(0, 1, inputs.shape).astype(np.float32)
    (tmp_path / "image").write_bytes(image.tobytes())
    backends, archives = [], []
    for seed, prefix in enumerate(("lesion", "organ2")):
        options = {"static": "true", "prefix": prefix, "compiler": "gcc"}
        artifact, _ = build(tmp_path / prefix, inputs, seed, **options)
        record = json.loads((artifact.folder / "network.json").read_text())
        assert record["prefix"] == prefix
        header = (artifact.folder / f"{prefix}.h").read_text()
        assert f"int {prefix}_run(" in header
        assert not re.search("edgeseg", header, re.IGNORECASE)
        backends.append(load(artifact))
        archives.append(next(artifact.folder.glob("*.a")))
    program = tmp_path / "two.c"
    program.write_text(TWO_NETWORKS)
    folders = [f"-I{archive.parent}" for archive in archives]
    words = ["gcc", "-Wall", "-Wextra", "-Werror", *folders, str(program), *map(str, archives)]
    subprocess.run([*words, "-o", str(tmp_path / "two")], check=True)
    weights = [str(archive.parent / "network.weights") for archive in archives]
    done = subprocess.run(
        [str(tmp_path / "two"), str(tmp_path / "image"), *weights], capture_output=True, check=False
    )
    assert done.returncode == 0, done.returncode
    masks = np.frombuffer(done.stdout, np.float32).reshape(2, 1, 3, 8, 16)
    for mask, backend in zip(masks, backends, strict=True):
        assert np.abs(mask - backend.run(image)).max() < 1e-6
    assert np.abs(masks[0] - masks[1]).max() > 0.01


def test_a_prefix_that_c_cannot_take_is_refused() -> None:
    for prefix in ("", "Lesion", "2nd", "a-b", "a" * 33):
        with pytest.raises(UsageError, match="Give a small letter, then small letters"):
            find_runtime("native", {"prefix": prefix})


TWO_NETWORKS = """
#include <stdio.h>
#include <stdlib.h>
#include "lesion.h"
#include "organ2.h"
static float image[3 * 8 * 16], mask[3 * 8 * 16];
static void *load(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    char *content = aligned_alloc(64, 1 << 20);
    *size = fread(content, 1, 1 << 20, file);
    fclose(file);
    return content;
}
#define RUN(NAME, PATH)                                                                      \\
    do {                                                                                     \\
        size_t size, bytes = NAME##_memory_bytes(1);                                         \\
        void *weights = load(PATH, &size), *memory = aligned_alloc(64, (bytes + 63) / 64 * 64); \\
        struct NAME##_network *network;                                                      \\
        int code = NAME##_create(memory, bytes, 1, weights, size, &network);                 \\
        if (!code) code = NAME##_run(network, image, mask);                                  \\
        if (code) return code;                                                               \\
        fwrite(mask, 1, sizeof mask, stdout);                                                \\
    } while (0)
int main(int count, char **words)
{
    size_t size;
    if (count != 4) return 90;
    FILE *file = fopen(words[1], "rb");
    size = fread(image, 1, sizeof image, file);
    fclose(file);
    if (size != sizeof image) return 91;
    RUN(lesion, words[2]);
    RUN(organ2, words[3]);
    return 0;
}
"""
