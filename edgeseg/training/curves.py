"""The course of a run as a picture: losses and val scores by epoch."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from ..storage.atomic import write_bytes

WIDTH, HEIGHT = 640, 260  # pixels of one panel
LEFT, RIGHT, TOP, BOTTOM = 64, 150, 28, 28  # margins; the names of the curves stand at the right
TICKS = 5
GREY = (160, 160, 160)
# Chosen to differ for colour-blind eyes too.
COLORS = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (213, 94, 0),
    (0, 0, 0),
)


def draw_curves(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Write one PNG with two panels: everything called `loss...`, and the scores on val.

    Args:
        history: One record an epoch, as `TrainingResult` has them.
    """
    names = [name for name in history[0] if name != "epoch"]
    losses = [name for name in names if name.startswith("loss")]
    scores = [name for name in names if name not in losses]
    canvas = Image.new("RGB", (WIDTH, 2 * HEIGHT), "white")
    draw = ImageDraw.Draw(canvas)
    epochs = [row["epoch"] for row in history]
    for place, (title, group) in enumerate((("loss", losses), ("val", scores))):
        series = {name: [row[name] for row in history] for name in group}
        _draw_panel(draw, place * HEIGHT, f"{title} by epoch", epochs, series)
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())


def _draw_panel(
    draw: ImageDraw.ImageDraw,
    top: int,
    title: str,
    epochs: Sequence[float],
    series: Mapping[str, Sequence[float]],
) -> None:
    values = [value for curve in series.values() for value in curve]
    low, high = min(values), max(values)
    if high == low:
        low, high = low - 0.5, high + 0.5
    last = max(epochs[-1], epochs[0] + 1)

    def place(epoch: float, value: float) -> tuple[float, float]:
        across = (epoch - epochs[0]) / (last - epochs[0])
        up = (value - low) / (high - low)
        return (
            LEFT + across * (WIDTH - LEFT - RIGHT),
            top + HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM),
        )

    draw.text((LEFT, top + 8), title, fill="black")
    for tick in range(TICKS):
        value = low + (high - low) * tick / (TICKS - 1)
        start, end = place(epochs[0], value), place(last, value)
        draw.line((start, end), fill=GREY)
        draw.text((4, start[1] - 6), f"{value:.4g}", fill="black")
    for epoch in sorted({epochs[0], last}):
        draw.text((place(epoch, low)[0] - 4, top + HEIGHT - BOTTOM + 6), f"{epoch:g}", fill="black")
    for index, (name, curve) in enumerate(series.items()):
        color = COLORS[index % len(COLORS)]
        points = [place(epoch, value) for epoch, value in zip(epochs, curve, strict=True)]
        draw.line(points, fill=color, width=2)
        if len(points) == 1:
            x, y = points[0]
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=color)
        draw.text((WIDTH - RIGHT + 8, top + TOP + 16 * index), name, fill=color)
