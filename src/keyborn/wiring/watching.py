"""What a running service tells of itself, and where it is told."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack

from keyborn.adapters.process import process_readings
from keyborn.adapters.sql import SqliteRegistry
from keyborn.http.metrics import build_metrics
from keyborn.http.protocol import HttpLimits
from keyborn.http.server import HttpServer
from keyborn.ports import Clock
from keyborn.service.admission import Admission
from keyborn.service.figures import COUNTED, ENROLL, RENEW, Readings
from keyborn.service.meter import Meter, Snapshot
from keyborn.service.watching import Reader, Watching
from keyborn.settings import Address
from keyborn.wiring.listening import listening

_SCRAPERS = HttpLimits(connections=32)


def new_meter() -> Meter:
    """For one process of a service."""
    return Meter(COUNTED)


def new_lines() -> dict[str, Admission]:
    """Where enrolments and renewals wait, by ``keyborn_admission_waiting``'s label."""
    return {ENROLL: Admission(), RENEW: Admission()}


def watch(
    meter: Meter,
    registry: SqliteRegistry,
    lines: Mapping[str, Admission],
    readers: Sequence[Reader],
    clock: Clock,
) -> Watching:
    """All figures of one process; ``readers``: of its listeners."""

    async def _snapshots() -> Iterable[Snapshot]:
        return [meter.snapshot()]

    sources = [
        lambda: _registry_readings(registry),
        lambda: _line_readings(lines),
        *readers,
        process_readings,
    ]
    return Watching(_snapshots, sources, registry, clock)


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


def _line_readings(lines: Mapping[str, Admission]) -> Readings:
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
