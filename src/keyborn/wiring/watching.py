"""What a running service tells of itself, and where it is told."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from keyborn.adapters.process import process_readings
from keyborn.adapters.sql import SqliteRegistry
from keyborn.adapters.workers.calls import Told
from keyborn.http.metrics import build_metrics
from keyborn.http.protocol import HttpLimits
from keyborn.http.server import HttpServer
from keyborn.ports import Clock
from keyborn.service.admission import Admission
from keyborn.service.figures import COUNTED, Readings
from keyborn.service.meter import Meter, Snapshot
from keyborn.service.watching import Reader, Watching
from keyborn.settings import Address
from keyborn.wiring.listening import listening

_SCRAPERS = HttpLimits(connections=32)


def new_meter() -> Meter:
    """For one process of a service."""
    return Meter(COUNTED)


@dataclass(frozen=True, slots=True)
class Here:
    """What this process counts by itself."""

    meter: Meter
    lines: Mapping[str, Admission]
    readers: Sequence[Reader]
    """Of its listeners."""


def watch(
    here: Here, registry: SqliteRegistry, clock: Clock, others: Callable[[], Awaitable[Sequence[Told]]]
) -> Watching:
    """All figures of a service; ``others``: what its workers have counted."""
    heard: list[Told] = []

    async def _snapshots() -> Iterable[Snapshot]:
        heard[:] = await others()
        return [here.meter.snapshot(), *(each.snapshot for each in heard)]

    def _added() -> Readings:
        own = [line_readings(here.lines), *(read() for read in here.readers)]
        return _sum([*own, *(each.readings for each in heard)])

    return Watching(
        _snapshots, [lambda: _registry_readings(registry), _added, process_readings], registry, clock
    )


def _sum(readings: Iterable[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """What several processes say of the same figures, added up."""
    total: dict[str, dict[str, float]] = {}
    for reading in readings:
        for name, numbers in reading.items():
            cells = total.setdefault(name, {})
            for label, number in numbers.items():
                cells[label] = cells.get(label, 0) + number
    return total


async def scraped(stack: AsyncExitStack, watching: Watching, wanted: Address | None) -> Address | None:
    """Listen for a scraper as long as ``stack`` lasts; where, or None where nobody wants that.

    Raises AddressUnavailable or InvalidSetting.
    """
    if wanted is None:
        return None
    server = HttpServer(build_metrics(watching), limits=_SCRAPERS)
    stack.push_async_callback(server.stop, 0.5)
    with listening(wanted):
        return Address(*await server.listen_loopback(wanted.host, wanted.port))


def line_readings(lines: Mapping[str, Admission]) -> dict[str, dict[str, float]]:
    """How many wait in each line."""
    return {"keyborn_admission_waiting": {name: line.waiting for name, line in lines.items()}}


def _registry_readings(registry: SqliteRegistry) -> Readings:
    counters = registry.counters
    numbers = {
        "queue_depth": registry.waiting,
        "commands_total": counters.commands,
        "commits_total": counters.commits,
        "failures_total": counters.failures,
        "largest_batch": counters.largest_batch,
    }
    return {f"keyborn_registry_{name}": {"": number} for name, number in numbers.items()}
