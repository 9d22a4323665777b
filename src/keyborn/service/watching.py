"""What a service tells of itself: what was counted, what is read now, and the registry's census."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from keyborn.domain.census import Census
from keyborn.domain.certificate import CertificateStatus
from keyborn.domain.errors import KeybornError
from keyborn.domain.thing import ThingStatus
from keyborn.ports import Censuses, Clock
from keyborn.service.figures import COUNTED, DAYS_LEFT, READ, Figure, Kind, Readings
from keyborn.service.meter import Snapshot, merged

_SECOND = 1_000_000_000
_READABLE = "keyborn_registry_readable"
_KEEP = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Sample:
    """One number; ``suffix`` is what its name has behind that of the figure."""

    labels: Mapping[str, str]
    value: float
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """A figure with its numbers."""

    name: str
    kind: Kind
    says: str
    samples: Sequence[Sample]


Snapshots = Callable[[], Awaitable[Iterable[Snapshot]]]
"""What the processes of a service have counted, one snapshot for each."""
Reader = Callable[[], Readings]


class Watching:
    """Gathers all figures when somebody asks.

    The census looks at every record, so it is kept for ``keep``, and who asks meanwhile shares it.
    """

    def __init__(
        self,
        snapshots: Snapshots,
        readers: Sequence[Reader],
        censuses: Censuses,
        clock: Clock,
        *,
        keep: timedelta = _KEEP,
    ) -> None:
        self._snapshots = snapshots
        self._readers = readers
        self._censuses = censuses
        self._clock = clock
        self._keep = keep
        self._taken: tuple[datetime, Readings] | None = None
        self._turn = asyncio.Lock()

    async def families(self) -> list[Family]:
        """Every figure that there is, in the order of the list; one that cannot be read has no numbers."""
        counted = merged(await self._snapshots())
        readings: dict[str, Mapping[str, float]] = dict(await self._census())
        for read in self._readers:
            readings |= read()
        return [_counted(each, counted.get(each.name, {})) for each in COUNTED] + [
            _read(each, readings.get(each.name, {})) for each in READ
        ]

    async def _census(self) -> Readings:
        async with self._turn:
            now = self._clock.now()
            if self._taken is None or not timedelta() <= now - self._taken[0] < self._keep:
                self._taken = now, await self._take(now)
            return self._taken[1]

    async def _take(self, now: datetime) -> Readings:
        try:
            census = await self._censuses.census(now)
        except KeybornError:
            return {_READABLE: {"": 0}}
        return _numbers(census)


def _numbers(census: Census) -> Readings:
    return {
        _READABLE: {"": 1},
        "keyborn_things": {str(status): census.things.get(status, 0) for status in ThingStatus},
        "keyborn_certificates": {
            str(status): census.certificates.get(status, 0) for status in CertificateStatus
        },
        "keyborn_certificates_expiring": {str(days): census.within(days) for days in DAYS_LEFT},
    }


def _read(figure: Figure, numbers: Mapping[str, float]) -> Family:
    return _family(figure, [Sample(_labels(figure, key), value) for key, value in numbers.items()])


def _counted(figure: Figure, cells: Mapping[str, Sequence[int]]) -> Family:
    if not figure.bounds:
        return _read(figure, {key: numbers[0] for key, numbers in cells.items()})
    return _family(figure, [each for key, cell in cells.items() for each in _histogram(figure, key, cell)])


def _histogram(figure: Figure, key: str, cell: Sequence[int]) -> Iterator[Sample]:
    """Each bucket includes those below it (Prometheus, "Histogram")."""
    labels, total = _labels(figure, key), 0
    for bound, number in zip(
        [*(f"{each / _SECOND:g}" for each in figure.bounds), "+Inf"], cell, strict=False
    ):
        total += number
        yield Sample({**labels, "le": bound}, total, "_bucket")
    yield Sample(labels, cell[-1] / _SECOND, "_sum")
    yield Sample(labels, total, "_count")


def _labels(figure: Figure, key: str) -> dict[str, str]:
    return dict(zip((each.name for each in figure.labels), key.split(" ") if key else (), strict=True))


def _family(figure: Figure, samples: Sequence[Sample]) -> Family:
    return Family(figure.name, figure.kind, figure.says, samples)
