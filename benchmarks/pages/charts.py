"""Charts as SVG text. Colours come from the page's style sheet, by the classes s0, s1, ..."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

COLORS = 8  # that the style sheet has
WIDTH, HEIGHT = 440, 300
LEFT, RIGHT, TOP, BOTTOM = 74, 12, 12, 42


@dataclass(frozen=True)
class Axis:
    """One axis of a chart.

    Attributes:
        title: With its unit.
        low, high: Ends.
        is_log: Whether equal ratios are equally far apart; `low` is above 0 then.
    """

    title: str
    low: float
    high: float
    is_log: bool = False

    def share(self, value: float) -> float:
        """Where a value lies, 0 at the low and 1 at the high end."""
        if self.is_log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round values between the ends, at most eight."""
        if self.is_log and len(round_ticks := _log_ticks(self.low, self.high)) > 2:
            return round_ticks
        step = 10 ** math.floor(math.log10((self.high - self.low) / 4))
        step *= next(size for size in (1, 2, 5, 10) if (self.high - self.low) / step / size <= 6)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    ticks = []
    for exponent in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        ticks += [digit * 10.0**exponent for digit in (1, 2, 5)]
    inner = [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]
    return inner if len(inner) <= 8 else inner[:: math.ceil(len(inner) / 8)]


def axis_around(
    title: str, values: Sequence[float], *, is_log: bool = False, least: float = 0.0
) -> Axis:
    """An axis that holds all values with a little room.

    Args:
        least: What it reaches beyond them at least where they are all equal.
    """
    low, high = min(values), max(values)
    if is_log:
        return Axis(title, low / 1.15, high * 1.15, is_log=True)
    room = (high - low) * 0.06 or least or abs(high) * 0.1 or 1.0
    return Axis(title, low - room, high + room)


@dataclass(frozen=True)
class Point:
    """A point of a scatter chart with the interval of its height.

    Attributes:
        title: Shown where the pointer rests.
        series: Number of its colour.
    """

    x: float
    y: float
    low: float
    high: float
    title: str
    series: int


@dataclass(frozen=True)
class Line:
    """Points that are joined, in order."""

    points: Sequence[tuple[float, float]]
    title: str
    series: int


class Frame:
    """A chart with two axes, in the making.

    Args:
        label: What it shows, in words, for those who do not see it.
    """

    def __init__(self, x: Axis, y: Axis, label: str, height: int = HEIGHT) -> None:
        self.x, self.y, self.height = x, y, height
        self.parts = [
            f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label, True)}">'
        ]
        self._draw_axes()

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Of a point, in the picture."""
        across = LEFT + self.x.share(x) * (WIDTH - LEFT - RIGHT)
        down = self.height - BOTTOM - self.y.share(y) * (self.height - TOP - BOTTOM)
        return round(across, 1), round(down, 1)

    def _draw_axes(self) -> None:
        bottom = self.height - BOTTOM
        for tick in self.y.ticks():
            _, y = self.place(self.x.low, tick)
            self.parts.append(f'<path class="grid" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>')
            self.parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" class="end">{_short(tick)}</text>')
        for tick in self.x.ticks():
            x, _ = self.place(tick, self.y.low)
            self.parts.append(f'<path class="grid" d="M{x} {TOP}V{bottom}"/>')
            self.parts.append(f'<text x="{x}" y="{bottom + 18}" class="mid">{_short(tick)}</text>')
        middle = (LEFT + WIDTH - RIGHT) / 2
        self.parts.append(
            f'<text x="{middle}" y="{self.height - 6}" class="mid axis">'
            f"{escape(self.x.title)}</text>"
        )
        self.parts.append(
            f'<text transform="translate(14 {(TOP + bottom) / 2}) rotate(-90)" class="mid axis">'
            f"{escape(self.y.title)}</text>"
        )

    def add_line(self, line: Line, kind: str = "line") -> None:
        places = " ".join(f"{x},{y}" for x, y in (self.place(*point) for point in line.points))
        self.parts.append(
            f'<polyline class="{kind} {series_class(line.series)}" points="{places}">'
            f"<title>{escape(line.title)}</title></polyline>"
        )

    def add_point(self, point: Point) -> None:
        x, y = self.place(point.x, point.y)
        _, low = self.place(point.x, max(point.low, self.y.low))
        _, high = self.place(point.x, min(point.high, self.y.high))
        self.parts.append(
            f'<g class="{series_class(point.series)}"><title>{escape(point.title)}</title>'
            f'<path class="bar" d="M{x} {low}V{high}M{x - 4} {low}h8M{x - 4} {high}h8"/>'
            f'<circle cx="{x}" cy="{y}" r="5"/></g>'
        )

    def finish(self) -> str:
        return "".join((*self.parts, "</svg>"))


def series_class(series: int) -> str:
    """Colours come again, for dashed lines."""
    return f"s{series % COLORS} turn{min(series // COLORS, 2)}"


def _short(value: float) -> str:
    """A tick's number in few characters."""
    return f"{value:.4g}" if value else "0"


def scatter(x: Axis, y: Axis, points: Sequence[Point], label: str) -> str:
    """Points with intervals, and the front of those that none beats in both ways.

    To the left and above is better.
    """
    frame = Frame(x, y, label)
    front = front_of(points)
    if len(front) > 1:
        frame.add_line(Line([(one.x, one.y) for one in front], "the front", 0), "front")
    for point in points:
        frame.add_point(point)
    return frame.finish()


def front_of(points: Sequence[Point]) -> list[Point]:
    """Those than which none is both faster and better, the fastest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda one: (one.x, -one.y)):
        if not front or point.y > front[-1].y:
            front.append(point)
    return front


def lines(x: Axis, y: Axis, drawn: Sequence[Line], label: str) -> str:
    """Lines over two axes."""
    frame = Frame(x, y, label, 260)
    for line in drawn:
        frame.add_line(line)
    return frame.finish()


def bars(values: Sequence[tuple[str, float]], unit: str, label: str) -> str:
    """Horizontal bars with names, the values as they come."""
    row, left = 22, 140
    height = row * len(values) + 8
    most = max((value for _, value in values), default=0.0) or 1.0
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label, True)}">']
    for index, (name, value) in enumerate(values):
        y = 4 + row * index
        width = round((WIDTH - left - 80) * value / most, 1)
        shown = name if len(name) <= 20 else f"{name[:19]}…"
        parts.append(
            f"<g><title>{escape(name)}</title>"
            f'<text x="{left - 8}" y="{y + 15}" class="end">{escape(shown)}</text>'
            f'<rect class="s0 solid" x="{left}" y="{y + 3}" width="{max(width, 1)}" height="16" '
            f'rx="3"/><text x="{left + width + 8}" y="{y + 15}">{value:.3g} {unit}</text></g>'
        )
    return "".join((*parts, "</svg>"))
