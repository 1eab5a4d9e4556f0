from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import needs

from edgeseg.errors import ParityError
from edgeseg.lazy import is_installed
from edgeseg.metrics.hausdorff import PACKAGES
from edgeseg.pipeline.builder.context import BuildContext
from edgeseg.pipeline.builder.convolutions import quantizable_convs_of
from edgeseg.pipeline.builder.request import BuildRequest
from edgeseg.pipeline.evaluator.validation import ValidationSet, spread
from edgeseg.progress import SILENT


@given(st.integers(0, 300), st.integers(1, 140))
def test_images_are_spread_over_the_split_and_taken_once(total: int, most: int) -> None:
    chosen = spread(range(total), most)
    assert len(set(chosen)) == len(chosen) == min(total, most)
    if total >= 16 and most >= 16:
        # The first eight do not all come from one half.
        assert 2 <= sum(one < total / 2 for one in chosen[:8]) <= 6


def validation_of(data: Path, folder: Path, weights: Path) -> ValidationSet:
    request = BuildRequest(
        "egeunet", "onnxruntime", "auto", folder, weights=weights, data=data, size=(64, 64)
    )
    return ValidationSet(BuildContext(request, SILENT), folder, SILENT)


@needs("torch", "onnx", "onnxscript", "onnxruntime")
@pytest.mark.parametrize("masks", [True, False])
def test_labels_are_judged_by_the_float_network_and_by_masks(
    make_data_folder: Callable[..., Path],
    tmp_path: Path,
    random_weights: Path,
    small_onnx: Path,  # the graph of these weights, from the cache
    masks: bool,
) -> None:
    data = make_data_folder(3, masks=masks)
    for split, names in (("train", "pair0"), ("val", "pair1\npair2"), ("test", "")):
        (data / f"{split}.txt").write_text(names)
    validation = validation_of(data, tmp_path, random_weights)
    assert validation.has_labels == masks
    assert sorted(pair.name for pair in validation.dataset) == ["pair1", "pair2"]
    own = validation.compare(validation.reference_labels)
    assert own.flips_per_10k == 0
    assert own.changes.get("dice_pooled") == (0 if masks else None)
    # Of one image each pixel flips: half of all.
    flipped = np.array(validation.reference_labels)
    flipped[0] = 1 - flipped[0]
    assert validation.compare(flipped).flips_per_10k == 5000
    assert validation.compare(flipped[:1]).flips_per_10k == 10_000
    validation.reference_labels[0, :16] = 1
    with pytest.raises(ParityError, match=r"in image [0-9a-f]{12}, .*it has collapsed"):
        validation.compare(np.zeros_like(validation.reference_labels))
    assert "hd95_px" not in validation.compare(flipped[:1]).changes
    if masks and all(map(is_installed, PACKAGES)):
        assert own.changes["hd95_px"] == 0
        exact = validation.compare(validation.truth)
        assert exact.changes["hd95_px"] == -1
    if masks:
        perfect = validation.compare(validation.truth)
        assert perfect.changes["dice_pooled"] >= 0
        assert "dice_pooled" in validation.compare(flipped[:1]).changes
    else:
        assert own.changes == {}


@needs("torch", "onnx", "onnxscript", "onnxruntime")
def test_the_sample_has_no_masks_for_other_classes(tmp_path: Path) -> None:
    for model, is_apt in (("egeunet", True), ("miniseg", False)):
        request = BuildRequest(model, "onnxruntime", "auto", tmp_path)
        assert ValidationSet(BuildContext(request, SILENT), tmp_path, SILENT).has_labels == is_apt


@needs("onnx")
def test_sites_tell_size_and_products(tmp_path: Path) -> None:
    import onnx

    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = [
        onnx.numpy_helper.from_array(np.ones(shape, np.float32), name)
        for name, shape in (("a", (4, 3, 3, 3)), ("b", (2, 4, 1, 1)))
    ]
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["first"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["first", "b"], ["last"]),
    ]
    inputs = [helper.make_tensor_value_info("x", kind, [1, 3, 8, 6])]
    outputs = [helper.make_tensor_value_info("last", kind, [1, 2, 4, 3])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    path = tmp_path / "model.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    (conv,) = quantizable_convs_of(path)  # the last convolution gives the logits
    assert (conv.name, conv.size, conv.products) == ("first", (4, 3), 4 * 3 * 9 * 12)
