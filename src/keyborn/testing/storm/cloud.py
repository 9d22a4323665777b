"""What stands between a device and its certificate: throttles, instances of the function, the shared line."""

import math
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from keyborn.adapters.memory.line import MemoryLine
from keyborn.domain.errors import Queued, RegistryUnavailable
from keyborn.domain.quota import Place, Slice
from keyborn.ports import AdmissionLine
from keyborn.service.quota import QuotaGate
from keyborn.testing.storm.model import Account, Storm

T = TypeVar("T")


class Throttle:
    """A token bucket of somebody else's."""

    def __init__(self, rate: float, burst: float) -> None:
        self._slot, self._span = 1 / rate, burst / rate
        self._free_at = -math.inf
        self.passed = self.refused = 0

    def passes(self, now: float) -> bool:
        """Count one call; whether it is let through."""
        begins = max(self._free_at, now - self._span)
        if begins > now - self._slot:
            self.refused += 1
            return False
        self._free_at = begins + self._slot
        self.passed += 1
        return True


class SharedLine:
    """The line as instances meet it: one DynamoDB item, so many writes a second, some time each."""

    def __init__(self, line: AdmissionLine, account: Account) -> None:
        self._line = line
        self.writes = Throttle(account.item_writes, account.item_writes)
        self.reads = 0
        self.calls = 0

    async def take(self, now: float, latest: float) -> Slice:
        """Take a slot: a write, also where its condition fails."""
        self._write(now)
        return await self._line.take(now, latest)

    async def find(self, who: str, now: float) -> float | None:
        """Find a place: a read of an item of the device's own."""
        self.calls += 1
        self.reads += 1
        return await self._line.find(who, now)

    async def join(self, who: str, now: float) -> Place:
        """Give a place: a write of the shared item, then one of the device's own."""
        self._write(now)
        self.calls += 1
        return await self._line.join(who, now)

    def _write(self, now: float) -> None:
        self.calls += 1
        if not self.writes.passes(now):
            raise RegistryUnavailable(seconds=1)


@dataclass(slots=True)
class Instance:
    """One environment of the function; requests come one at a time."""

    gate: QuotaGate
    born: float
    idle_since: float = 0.0


@dataclass(slots=True)
class Reply:
    """What the function did with one request: seconds of work, seconds of waiting for a slot, Retry-After."""

    instance: Instance
    took: float
    held: float
    retry_after: float | None = None


@dataclass(slots=True)
class Cloud:
    """The HTTP API and the function."""

    storm: Storm
    random: Random
    now: float = 0.0
    running: int = 0
    most_running: int = 0
    early: int = 0
    """Claims on credit whose caller had to come again."""
    line: SharedLine = field(init=False)
    places: MemoryLine = field(init=False)
    api: Throttle = field(init=False)
    _idle: deque[Instance] = field(default_factory=deque)
    _held: float = 0.0

    def __post_init__(self) -> None:
        account = self.storm.account
        self.places = MemoryLine(self.storm.effective)
        self.line = SharedLine(self.places, account)
        self.api = Throttle(account.api_rate, account.api_burst)

    def request(self, who: str) -> Reply | None:
        """One request, authenticated; None is a bare refusal by the API or for want of an instance."""
        if not self.api.passes(self.now):
            return None
        calls, self._held = self.line.calls, 0.0
        found = self._instance()
        if found is None:
            return None
        instance, started = found
        account = self.storm.account
        retry_after = self._admit(instance.gate, who)
        took = started + account.answer + (self.line.calls - calls) * account.table_call
        return Reply(instance, took, self._held, retry_after)

    def release(self, instance: Instance) -> None:
        """The instance waits for its next request."""
        if self.now - instance.born > self.storm.account.lifetime:
            self.running -= 1
            return
        instance.idle_since = self.now
        self._idle.append(instance)

    def tidy(self) -> None:
        """Instances unused for long go."""
        oldest = self.now - self.storm.account.idle
        while self._idle and self._idle[0].idle_since < oldest:
            self._idle.popleft()
            self.running -= 1

    def _instance(self) -> tuple[Instance, float] | None:
        if self._idle:
            return self._idle.pop(), 0.0
        if self.running >= self.storm.account.concurrency:
            return None
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        return Instance(self._gate(), self.now), self.storm.account.cold_start

    def _gate(self) -> QuotaGate:
        return QuotaGate(
            self.line,
            self.storm.effective,
            seconds=lambda: self.now,
            fraction=self.random.random,
            sleep=self._hold,
        )

    async def _hold(self, seconds: float) -> None:
        self._held += seconds

    def _admit(self, gate: QuotaGate, who: str) -> float | None:
        """The claim is made as soon as there is a turn; on credit, the slot beside it."""
        claimed = False
        try:
            turn = finish(gate.admit(who, _known))
            claimed = True
            finish(turn.meanwhile())
            finish(turn.demand())
        except Queued as queued:
            self.early += claimed
            return queued.retry_after
        return None


async def _known() -> None:
    """Whose token it is was asked a moment ago, for somebody else of the fleet."""


def finish(work: Awaitable[T]) -> T:
    """Run to its end what never waits for anything outside."""
    try:
        next(work.__await__())
    except StopIteration as done:
        result: T = done.value
        return result
    raise RuntimeError("the simulated world has nothing to wait for")
