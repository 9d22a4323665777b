"""Storms as a picture: one column for each, one row for each curve, plain SVG."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from xml.sax.saxutils import escape

from keyborn.testing.storm import Report
from keyborn.testing.storm.report import Sample

WIDTH, HEIGHT, LEFT, TOP, GAP = 270, 110, 70, 58, 44
_POINTS = 150
Curve = list[tuple[float, float]]


def picture(reports: Sequence[Report]) -> str:
    """The whole picture."""
    width = LEFT + len(reports) * (WIDTH + LEFT) - LEFT + 30
    height = TOP + len(_ROWS) * (HEIGHT + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for column, report in enumerate(reports):
        x = LEFT + column * (WIDTH + LEFT)
        head = f"{report.expected:,} devices, {report.seconds:,.0f} s"
        parts.append(_text(x, 18, head, size=14))
        kept = f"{report.slowdown:.3f} of devices ÷ quota, {report.rejected_share:.2%} of AWS calls throttled"
        parts.append(_text(x, 34, kept))
        for row, (title, color, curve) in enumerate(_ROWS):
            y = TOP + row * (HEIGHT + GAP)
            parts += _plot(x, y, title, color, curve(report))
    return "\n".join([*parts, "</svg>", ""])


def _plot(x: float, y: float, title: str, color: str, curve: Curve) -> Iterator[str]:
    most = max((value for _, value in curve), default=0.0) or 1.0
    end = curve[-1][0] or 1.0
    points = " ".join(
        f"{x + at / end * WIDTH:.1f},{y + HEIGHT - value / most * HEIGHT:.1f}" for at, value in curve
    )
    yield f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#ccc"/>'
    yield f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.5"/>'
    yield _text(x + 4, y - 4, title)
    yield _text(x - 4, y + 10, _short(most), anchor="end")
    yield _text(x - 4, y + HEIGHT, "0", anchor="end")
    yield _text(x + WIDTH, y + HEIGHT + 12, _span(end), anchor="end")


def _text(x: float, y: float, text: str, *, size: int = 11, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}">{escape(text)}</text>'


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 20 else f"{number:.1f}"


def _span(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds > 7200 else f"{seconds:.0f} s"


def _thin(samples: Sequence[Sample]) -> list[Sample]:
    step = max(1, len(samples) // _POINTS)
    thin = [Sample(0.0, 0, samples[0].waiting, 0, 0, 0), *samples[step - 1 :: step]]
    return thin if thin[-1] is samples[-1] else [*thin, samples[-1]]


def _rate(of: Callable[[Sample], int]) -> Callable[[Report], Curve]:
    """A counter as a rate, each value drawn over its own span."""

    def curve(report: Report) -> Curve:
        points: Curve = []
        for before, after in pairwise(_thin(report.samples)):
            rate = (of(after) - of(before)) / max(1e-9, after.at - before.at)
            points += [(before.at, rate), (after.at, rate)]
        return points

    return curve


def _waiting(report: Report) -> Curve:
    return [(sample.at, float(sample.waiting)) for sample in _thin(report.samples)]


_ROWS: Sequence[tuple[str, str, Callable[[Report], Curve]]] = (
    ("enrolled per second", "#1b7837", _rate(lambda sample: sample.enrolled)),
    ("waiting", "#2166ac", _waiting),
    ("429 with Retry-After, per second", "#b35806", _rate(lambda sample: sample.queued)),
    ("429 and 503 of the platform, per second", "#762a83", _rate(lambda sample: sample.bare)),
    ("AWS IoT calls throttled, per second", "#b2182b", _rate(lambda sample: sample.rejected)),
)
