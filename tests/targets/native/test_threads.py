"""Several threads that compute one mask together."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from native_graphs import Branches
from support import needs

from edgeseg.records import Artifact
from edgeseg.targets import find_runtime

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")
RUNTIME = find_runtime("native", {"isa": "here"})


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_a_network_gives_the_same_mask(
    threads: int, small_artifact: Callable[..., Artifact]
) -> None:
    artifact = small_artifact("native")
    alone, together = RUNTIME.load(artifact), RUNTIME.load(artifact, threads)
    for seed in range(6):
        image = np.random.default_rng(seed).normal(0, 1, (1, 3, 64, 64)).astype(np.float32)
        # Sums over all pixels are added up in another order.
        assert np.abs(alone.run(image) - together.run(image)).max() < 1e-5


@pytest.mark.parametrize("size", [(17, 23), (1, 1), (3, 64), (32, 48)])
def test_every_kind_of_step_is_shared_out(size: tuple[int, int], tmp_path: Path) -> None:
    graph = Branches((3, *size), seed=2)
    wide = graph.channels(24)
    graph.end(graph.node("Gelu", wide), "map")
    graph.end(graph.channels(13, wide, 24), "pointwise")
    for stride, kernel in ((1, 3), (2, 5)):
        weight, settings = graph.random(9, 24, kernel, kernel), {"strides": [stride] * 2}
        settings |= {"pads": [kernel // 2] * 4}
        graph.end(graph.node("Conv", wide, weight, **settings), f"dense {kernel}")
        weight = graph.random(24, 1, kernel, kernel)
        graph.end(graph.node("Conv", wide, weight, group=24, **settings), f"depthwise {kernel}")
    graph.end(graph.node("MaxPool", wide, kernel_shape=[3, 3], pads=[1] * 4), "pool")
    ones = graph.constant(np.ones(24)), graph.constant(np.zeros(24))
    norm = graph.node("GroupNormalization", wide, *ones, num_groups=4)
    graph.end(graph.say_shape(norm, (1, 24, *size)), "norm")
    graph.end(graph.node("GlobalAveragePool", wide), "mean")
    graph.end(graph.node("ConvTranspose", wide, graph.random(24, 4, 2, 2), strides=[2, 2]), "up")
    graph.end(graph.node("Softmax", wide, axis=1), "softmax")
    scales = graph.constant([1.0, 1.0, 2.0, 2.0])
    graph.end(graph.node("Resize", wide, "", scales, mode="linear"), "resize")
    artifact = RUNTIME.compile(graph.save(tmp_path / "net.onnx"), tmp_path / "made", "fp32")
    image = graph.image()
    wanted = RUNTIME.load(artifact).run(image)
    for threads in (2, 3, 4):
        backend = RUNTIME.load(artifact, threads)
        for _ in range(2):
            given = backend.run(image)
            assert np.abs(given - wanted).max() <= 2e-5 * max(1.0, float(np.abs(wanted).max()))


def test_a_number_of_threads_that_is_none_is_refused(
    small_artifact: Callable[..., Artifact],
) -> None:
    artifact = small_artifact("native")
    library = ctypes.CDLL(str(next(artifact.folder.glob("*.so"))))
    library.edgeseg_memory_bytes.restype = ctypes.c_size_t
    assert library.edgeseg_memory_bytes(0) == library.edgeseg_memory_bytes(9) == 0
    assert library.edgeseg_memory_bytes(8) > library.edgeseg_memory_bytes(1) > 0
    handle, memory = ctypes.c_void_p(), ctypes.c_void_p(64)
    for threads in (0, 9, -1):
        size = ctypes.c_size_t(1 << 30)
        code = library.edgeseg_create(memory, size, threads, memory, size, ctypes.byref(handle))
        assert code == 8
