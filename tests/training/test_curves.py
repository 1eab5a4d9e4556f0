from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeseg.training.curves import COLORS, HEIGHT, WIDTH, draw_curves


def row(epoch: int, loss: float, dice: float) -> dict[str, float]:
    return {"epoch": epoch, "loss": loss, "loss_task": loss / 2, "dice_pooled": dice}


def pixels_of(path: Path, color: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of a colour left of the names."""
    image = np.asarray(Image.open(path))[:, : WIDTH - 150]
    return np.nonzero((image == color).all(-1))


def test_curves_go_where_the_values_go(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    draw_curves([row(1, 4.0, 0.2), row(2, 2.0, 0.6), row(3, 1.0, 0.9)], path)
    assert Image.open(path).size == (WIDTH, 2 * HEIGHT)
    rows, columns = pixels_of(path, COLORS[0])
    upper = rows < HEIGHT
    for part, falls in ((upper, True), (~upper, False)):
        left = rows[part][columns[part] == columns[part].min()].mean()
        right = rows[part][columns[part] == columns[part].max()].mean()
        assert bool(right > left) == falls  # rows count downwards
    assert len(pixels_of(path, COLORS[1])[0]) > 0  # the term, in the upper panel


@pytest.mark.parametrize("epochs", [1, 2])
def test_equal_values_and_a_single_epoch_are_drawn(tmp_path: Path, epochs: int) -> None:
    path = tmp_path / "curves.png"
    draw_curves([row(epoch + 1, 1.0, 0.5) for epoch in range(epochs)], path)
    assert len(pixels_of(path, COLORS[0])[0]) > 0
