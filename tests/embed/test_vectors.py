"""Every language prepares pictures and restores masks as Python does."""

from __future__ import annotations

from pathlib import Path

import pytest
from vectors import (
    CONTRACTS,
    FOLDER,
    check_mask,
    check_tensor,
    contracts_of,
    image_names,
    probabilities_of,
    vectors_of,
)


def test_the_vectors_hold_what_apps_meet() -> None:
    names = {Path(name).stem for name in image_names()}
    assert names >= {"turned", "grey", "alpha", "deep", "cmyk", "large", "column", "row", "odd"}
    assert len(list((FOLDER / "tensors").iterdir())) == len(names) * len(CONTRACTS)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_python(contract: str) -> None:
    inputs, outputs = contracts_of(contract)
    for vector in vectors_of(contract):
        check_tensor(vector, inputs.prepare(vector.pixels)[0])
        height, width = vector.pixels.shape[:2]
        check_mask(vector, outputs.restore(probabilities_of(contract)[None], height, width))
