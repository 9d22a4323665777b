"""Measured series as a picture: panels in a grid, plain SVG, nothing but lines, points and words."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, TOP, GAP = 290, 150, 78, 34, 56
COLORS = ("#1b7837", "#b2182b", "#b35806", "#762a83", "#2166ac", "#4d4d4d")
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Series:
    """One line: its name, its place among the colours, its points (x, y)."""

    name: str
    color: int
    points: Points
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot. ``ticks`` names places on the x axis; without them its ends are named.

    ``log`` draws the y axis by its logarithm, from the power of ten below the smallest value.
    """

    title: str
    series: Sequence[Series]
    ticks: Sequence[tuple[float, str]] = ()
    log: bool = False
    unit: str = ""


def picture(rows: Sequence[Sequence[Panel]], title: str) -> str:
    """Panels in rows, and below them which colour is who."""
    columns = max(len(row) for row in rows)
    named = {series.name: series.color for row in rows for panel in row for series in panel.series}
    width = columns * (LEFT + WIDTH) + 24
    height = TOP + len(rows) * (HEIGHT + GAP) + 18 * math.ceil(len(named) / columns)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        _text(LEFT, 14, title, size=13),
    ]
    for number, row in enumerate(rows):
        for column, panel in enumerate(row):
            parts += _plot(LEFT + column * (LEFT + WIDTH), TOP + 12 + number * (HEIGHT + GAP), panel)
    bottom = TOP + len(rows) * (HEIGHT + GAP) + 6
    for number, (name, color) in enumerate(named.items()):
        x, y = LEFT + number % columns * (LEFT + WIDTH), bottom + 18 * (number // columns)
        parts.append(
            f'<rect x="{x}" y="{y - 8}" width="14" height="8" fill="{COLORS[color % len(COLORS)]}"/>'
        )
        parts.append(_text(x + 20, y, name))
    return "\n".join([*parts, "</svg>", ""])


def _plot(left: float, top: float, panel: Panel) -> Iterator[str]:
    values = [y for series in panel.series for _, y in series.points if math.isfinite(y)]
    places = [x for series in panel.series for x, _ in series.points] or [0.0]
    low, high = _bounds(values, log=panel.log)
    first, last = min(places), max(places)

    def across(x: float) -> float:
        return left + (x - first) / ((last - first) or 1.0) * WIDTH

    def up(y: float) -> float:
        share = math.log(max(y, low) / low) / math.log(high / low) if panel.log else (y - low) / (high - low)
        return top + HEIGHT - share * HEIGHT

    yield f'<rect x="{left}" y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#ccc"/>'
    yield _text(left + 4, top - 5, panel.title)
    for value in _marks(low, high, log=panel.log):
        yield f'<path d="M{left} {up(value):.1f}h{WIDTH}" stroke="#eee"/>'
        yield _text(left - 4, up(value) + 4, _short(value) + panel.unit, anchor="end")
    for x, name in panel.ticks or ((first, _short(first)), (last, _short(last))):
        yield _text(across(x), top + HEIGHT + 14, name, anchor="middle")
    for series in panel.series:
        color = COLORS[series.color % len(COLORS)]
        points = [(across(x), up(y)) for x, y in series.points if math.isfinite(y)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        yield f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="1.6"/>'
        if series.dots:
            yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{color}"/>' for x, y in points)


def _bounds(values: Sequence[float], *, log: bool) -> tuple[float, float]:
    most = max(values, default=1.0) or 1.0
    if not log:
        return 0.0, most
    low = 10.0 ** math.floor(math.log10(min((value for value in values if value > 0), default=1.0)))
    return low, max(most, low * 10)


def _marks(low: float, high: float, *, log: bool) -> Iterator[float]:
    if not log:
        yield from (low, high / 2, high)
        return
    while low <= high:
        yield low
        low *= 10


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 20 or number == int(number) else f"{number:.1f}"


def _text(x: float, y: float, text: str, *, size: int = 11, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">{escape(text)}</text>'
