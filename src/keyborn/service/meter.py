"""What a process counts of its own work: plain whole numbers in memory, which can be added up.

One meter for each process. A snapshot is dicts and lists of numbers alone, so that a process can send it to
another one, and ``merged`` adds several up. No label ever holds what a caller chose: values come from the
closed sets of ``service.figures``, and whatever is none of them is counted as ``other``.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from keyborn.service.figures import OTHER, Figure

Snapshot: TypeAlias = dict[str, dict[str, list[int]]]
"""By figure, then by label values (a space between two, for no value has one): one number for a counter; for
a histogram how many in each bucket, how many beyond the last one, and the sum in nanoseconds."""


class Meter:
    """Counts and observes. A call costs less than a microsecond; it takes no lock, for one event loop."""

    def __init__(self, figures: Iterable[Figure]) -> None:
        self._figures = {each.name: each for each in figures}
        self._cells: dict[tuple[str, ...], list[int]] = {}
        self._kept: Snapshot = {}

    def count(self, *place: str) -> None:
        """One more: the name of the figure, then a value for each of its labels."""
        cell = self._cells.get(place)
        if cell is None:
            cell = self._cell(place)
        cell[0] += 1

    def observe(self, nanoseconds: int, *place: str) -> None:
        """It took so long: the name of the figure, then a value for each of its labels."""
        cell = self._cells.get(place)
        if cell is None:
            cell = self._cell(place)
        cell[bisect_left(self._figures[place[0]].bounds, nanoseconds)] += 1
        cell[-1] += nanoseconds

    def snapshot(self) -> Snapshot:
        """A copy of all numbers, as they are now."""
        return merged([self._kept])

    def _cell(self, place: tuple[str, ...]) -> list[int]:
        """Where these labels are counted. Raises KeyError for a figure that nobody has declared."""
        name, *values = place
        figure = self._figures[name]
        known = tuple(
            value if value in label.values else OTHER
            for value, label in zip(values, figure.labels, strict=True)
        )
        size = len(figure.bounds) + 2 if figure.bounds else 1
        cell = self._kept.setdefault(name, {}).setdefault(" ".join(known), [0] * size)
        if known == tuple(values):  # what is unknown is looked at each time: it must not fill the memory
            self._cells[place] = cell
        return cell


def merged(snapshots: Iterable[Mapping[str, Mapping[str, list[int]]]]) -> Snapshot:
    """All of them added up, number by number."""
    total: Snapshot = {}
    for snapshot in snapshots:
        for name, cells in snapshot.items():
            kept = total.setdefault(name, {})
            for labels, numbers in cells.items():
                old = kept.get(labels)
                kept[labels] = list(numbers) if old is None else list(map(int.__add__, old, numbers))
    return total
