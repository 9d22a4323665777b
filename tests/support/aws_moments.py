"""An operator's order in the middle of something else: before or after any one call of it."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from keyborn.domain.errors import NotFound
from keyborn.domain.thing import ThingStatus
from support.aws_faults import Call, Killed
from support.aws_saga import LAMP, Process, Stage


@dataclass(frozen=True, slots=True)
class Moment:
    """Before or after one call; ``nth`` of its name."""

    service: str
    operation: str
    nth: int
    when: str

    @property
    def hook(self) -> str:
        """Where botocore tells of it."""
        return f"{self.when}.{self.service}.{self.operation}"


def moments_of(calls: Iterable[Call]) -> list[Moment]:
    """Before and after each of these calls."""
    seen: dict[tuple[str, str], int] = {}
    found = []
    for call in calls:
        name = (call.service, call.operation)
        nth = seen[name] = seen.get(name, -1) + 1
        found += [Moment(*name, nth, when) for when in ("before-send", "after-call")]
    return found


@contextmanager
def inserted(
    stage: Stage, moment: Moment, order: Callable[[], Awaitable[None]], *, dies: bool
) -> Iterator[None]:
    """The order is given at that moment, once, while the call is held up."""
    loop, lock = asyncio.get_running_loop(), threading.Lock()
    client = stage.dynamodb.client if moment.service == "dynamodb" else stage.iot.client
    before = iter(range(moment.nth))

    def give(**_: object) -> None:
        with lock:
            if next(before, None) is not None or given.is_set():
                return
            given.set()
        asyncio.run_coroutine_threadsafe(_as_coroutine(order), loop).result(30)
        if dies:
            raise Killed

    given = threading.Event()
    client.meta.events.register_first(moment.hook, give)
    try:
        yield
    finally:
        client.meta.events.unregister(moment.hook, give)
    assert given.is_set()


async def _as_coroutine(order: Callable[[], Awaitable[None]]) -> None:
    await order()


@dataclass(slots=True)
class Operator:
    """Gives one order; it may come too early, when nobody has heard of the device."""

    stage: Stage
    process: Process
    status: ThingStatus
    obeyed: bool = False

    async def order(self) -> None:
        """Now."""
        with suppress(NotFound):
            await self.process.registry.set_status(LAMP, self.status, self.stage.event("order"))
            self.obeyed = True
