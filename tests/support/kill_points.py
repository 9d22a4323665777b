"""Where real processes are killed: the grid of device or server, enroll or renew, one machine or AWS.

Every walk takes its points from here, and reports each kill here; the summary of a run prints one table. The
points themselves are enumerated by the code: an undisturbed run announces them.

- a device: every effect of its journey, and every write, name and sync of its files, before it happens;
- a server on one machine: every step of the saga, after it happened, as the product announces it;
- the function on AWS: every call to AWS, before it leaves and after it was answered.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product

PROPERTY = "kills"
"""The name under which a test's kills travel in pytest's reports."""


class Side(StrEnum):
    """Which process dies."""

    DEVICE = "device"
    SERVER = "server"


class Change(StrEnum):
    """What it was doing."""

    ENROLL = "enroll"
    RENEW = "renew"


class Backend(StrEnum):
    """Where the service is."""

    MACHINE = "one machine"
    AWS = "AWS"


@dataclass(frozen=True, slots=True)
class Quadrant:
    """One field of the grid."""

    side: Side
    change: Change
    backend: Backend

    def __str__(self) -> str:
        return f"{self.side}, {self.change}, {self.backend}"


QUADRANTS = tuple(Quadrant(*one) for one in product(Side, Change, Backend))

Death = tuple[str | int, ...]
"""How a process is told where to die: a step and its turn, or a call, its turn and the moment."""


def share(points: Sequence[Death], part: int, parts: int) -> list[Death]:
    """What one of several tests walks; all of them together walk every point, and none twice.

    Calls that are under way together come in any order.
    """
    return sorted(points, key=str)[part::parts]


def sample(points: Sequence[Death], count: int) -> list[Death]:
    """So many of them, from the middle of parts of the same length."""
    if count >= len(points):
        return list(points)
    return [points[(2 * number + 1) * len(points) // (2 * count)] for number in range(count)]


@dataclass(frozen=True, slots=True)
class Recorder:
    """Where a walk reports; ``record`` is pytest's ``record_property``."""

    record: Callable[[str, object], None]

    def enumerated(self, quadrant: Quadrant, points: Iterable[Death]) -> None:
        """These are all points of a quadrant, as this test found them."""
        self._tell(quadrant, "points", points)

    def killed(self, quadrant: Quadrant, point: Death) -> None:
        """A process died here, and all that must hold afterwards held."""
        self._tell(quadrant, "killed", [point])

    def _tell(self, quadrant: Quadrant, what: str, points: Iterable[Death]) -> None:
        self.record(PROPERTY, json.dumps([str(quadrant), what, [list(point) for point in points]]))


@dataclass(slots=True)
class Row:
    """What became known of one quadrant."""

    found: list[frozenset[Death]] = field(default_factory=list)
    """What each test that enumerated it found."""
    killed: set[Death] = field(default_factory=set)

    @property
    def points(self) -> frozenset[Death]:
        """Every point that anybody found."""
        return frozenset[Death]().union(*self.found)

    def troubles(self, *, whole: bool) -> list[str]:
        """What is wrong with it; ``whole``: every point was to be walked."""
        wrong = []
        if len(set(self.found)) > 1:
            wrong.append("two tests found different points")
        if self.killed - self.points:
            wrong.append(f"killed at {len(self.killed - self.points)} points that nobody enumerated")
        missing = self.points - self.killed
        if whole and (missing or not self.points):
            wrong.append(f"no kill at {sorted(map(str, missing)) or 'any point'}")
        return wrong


class Table:
    """What all tests of a run reported."""

    def __init__(self, told: Iterable[str]) -> None:
        """``told``: the values of ``PROPERTY`` in the reports."""
        self.rows = {str(quadrant): Row() for quadrant in QUADRANTS}
        self.empty = True
        for one in told:
            quadrant, what, listed = json.loads(one)
            points = frozenset(tuple(point) for point in listed)
            self.empty = False
            if what == "points":
                self.rows[quadrant].found.append(points)
            else:
                self.rows[quadrant].killed |= points

    def lines(self) -> list[str]:
        """One for each quadrant, and the sum."""
        counts = {name: (len(row.killed), len(row.points)) for name, row in self.rows.items()}
        width = max(map(len, counts))
        told = [f"{name:<{width}}  {killed:>3} of {points:>3}" for name, (killed, points) in counts.items()]
        killed, points = (sum(column) for column in zip(*counts.values(), strict=True))
        return [*told, f"{'killed at, of all points':<{width}}  {killed:>3} of {points:>3}"]

    def troubles(self, *, whole: bool) -> list[str]:
        """Every quadrant that lacks something; ``whole``: the long walks ran, and nothing was left out."""
        return [
            f"{name}: {wrong}"
            for name, row in self.rows.items()
            for wrong in row.troubles(whole=whole)
        ]  # fmt: skip
