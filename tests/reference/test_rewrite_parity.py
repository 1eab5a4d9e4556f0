"""What each rewrite changes of a graph's result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import needs

from edgeseg.bundle.bundle import open_bundle
from edgeseg.errors import UnknownNameError
from edgeseg.lower import rewrites
from edgeseg.lower.rewrite import Rewrite
from edgeseg.reference.rewrite_parity import measure_rewrites

pytestmark = needs("torch", "onnx", "onnx_ir", "onnxruntime")


def measured(folder: Path, applied: dict[str, int]) -> list[tuple[str, int, float, float]]:
    bundle = open_bundle(folder)
    image, _ = bundle.golden_pair()
    path = folder / "source/model.onnx"
    prepared = bundle.inputs.prepare(image)
    found = measure_rewrites(path, applied, prepared, bundle.inputs, bundle.outputs)
    assert len({one.onnx_sha256 for one in found}) == len(found)
    return [(one.name, one.places, one.max_abs_diff, one.flips_per_10k) for one in found]


def test_rewrites_of_a_bundle_change_nothing_but_rounding(small_bundles: dict[str, Path]) -> None:
    folder = small_bundles["fp32"]
    applied = open_bundle(folder).manifest.lowering
    found = measured(folder, applied)
    assert {name: places for name, places, *_ in found} == {
        name: places for name, places in applied.items() if places
    }
    assert len(found) >= 3
    assert all(difference <= 1e-5 and flips == 0 for *_, difference, flips in found)


def test_a_rewrite_that_is_not_exact_is_seen(
    small_bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx_ir as ir

    def double_weights(model: ir.Model) -> int:
        for value in model.graph.initializers.values():
            tensor = value.const_value
            if tensor is not None and value.name and len(tensor.shape) == 4:
                value.const_value = ir.tensor(2 * np.asarray(tensor.numpy()), name=value.name)
        return 1

    wrong = Rewrite("fold-constants", double_weights)
    monkeypatch.setattr("edgeseg.reference.rewrite_parity.find_rewrite", lambda name: wrong)
    ((name, places, difference, _),) = measured(small_bundles["fp32"], {"fold-constants": 3})
    assert (name, places) == ("fold-constants", 1)
    assert difference > 1e-3


def test_one_that_is_not_installed_is_named(small_bundles: dict[str, Path]) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean fold-constants"):
        measured(small_bundles["fp32"], {"fold-constant": 1})
    assert measured(small_bundles["fp32"], dict.fromkeys(rewrites.BUILT_IN, 0)) == []
