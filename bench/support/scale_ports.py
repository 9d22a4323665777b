"""Each question and order of the registry, through its ports, on several registries in turn."""

import asyncio
import itertools
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

from bench.support import fleet

from keyborn.adapters.sql import SqliteRegistry
from keyborn.domain.applicant import Applicant
from keyborn.domain.audit import AuditEvent
from keyborn.domain.certificate import Certificate
from keyborn.domain.enrollment import Attempt, Issue
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.method import Method
from keyborn.domain.names import CertificateId, KeyHash, ThingName, certificate_id
from keyborn.domain.search import Search
from keyborn.domain.thing import ThingStatus

NOW = fleet.BORN + timedelta(days=31)
PAGE = 100
_DRAWN = 2_000
CROWD = 32


@dataclass
class Bench:
    """One open registry, and who is in it."""

    registry: SqliteRegistry
    count: int
    chance: random.Random = field(default_factory=lambda: random.Random(7))
    fresh: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    spare: "itertools.count[int]" = field(default_factory=itertools.count)

    known: "itertools.cycle[fleet.Record]" = field(init=False)

    def __post_init__(self) -> None:
        """Whom to ask for is drawn before anything is measured."""
        drawn = self.chance.choices(range(self.count), k=_DRAWN)
        self.known = itertools.cycle([fleet.record(number) for number in drawn])

    def anyone(self) -> fleet.Record:
        """Any of them."""
        return next(self.known)

    async def find_token(self) -> None:
        """As every enrolment does first."""
        assert await self.registry.find(fleet.token().id)

    async def enroll(self) -> None:
        """One device: claim, store, activate."""
        number = next(self.fresh)
        name = f"sensor-{self.chance.randrange(10**8):08}-{number}"
        await self._saga(ThingName(name), number)

    async def _saga(self, name: ThingName, number: int) -> None:
        token = fleet.token()
        who = Applicant(
            Method.TOKEN, token.id, token.scope, token.uses, token.expires_at, token.replace, token.kind, None
        )
        key = KeyHash(sha256(name.encode()).hexdigest())
        intent = Intent(
            IntentId(sha256(f"{name} intent".encode()).hexdigest()[:32]),
            *(name, key, token.id, NOW),
            int.from_bytes(self.chance.randbytes(19)),
            *(NOW, NOW + fleet.LIFE),
        )
        verdict = await self.registry.claim(Attempt(who, intent, NOW))
        assert isinstance(verdict, Issue), number
        der = self.chance.randbytes(fleet.DER_BYTES)
        signed = Certificate(certificate_id(der), name, key, der, intent.not_before, intent.not_after)
        await self.registry.store(verdict.intent, signed)
        details = {"certificate": signed.id, "keyHash": key}
        event = AuditEvent(NOW, "enroll", "done", name, token.id, "192.0.2.7", details)
        await self.registry.activate(verdict.intent.id, event)

    async def enroll_many(self) -> None:
        """A crowd at once."""
        await asyncio.gather(*(self.enroll() for _ in range(CROWD)))

    async def revoke(self) -> None:
        """One thing, for good: each time another one."""
        one = fleet.record(next(self.spare))
        event = AuditEvent(NOW, "thing.revoke", "done", one.name, "operator")
        await self.registry.set_status(ThingName(one.name), ThingStatus.REVOKED, event)

    async def page(self, after: str, search: Search) -> None:
        """A page of things."""
        start = ThingName(after) if after else None
        if search.is_open:
            found = await self.registry.things(after=start, limit=PAGE)
        else:
            found = await self.registry.find_things(search, after=start, limit=PAGE)
        assert len(found) == PAGE


Call = Callable[[Bench], Awaitable[object]]
CALLS: dict[str, Call] = {
    "a token, by id": lambda one: one.find_token(),
    "a thing, by name": lambda one: one.registry.thing(ThingName(one.anyone().name)),
    "a certificate, by id": lambda one: one.registry.certificate(CertificateId(one.anyone().id)),
    "a badge: certificate, thing and policies": lambda one: one.registry.badge(
        CertificateId(one.anyone().id)
    ),
    "a page of 100 things, the first": lambda one: one.page("", Search()),
    "the same, in the middle": lambda one: one.page("sensor-02", Search()),
    "a search by prefix, a page of 100": lambda one: one.page("sensor-02", Search("sensor-0")),
    "a search by attribute, a page of 100": lambda one: one.page("", Search(where={"model": "m3"})),
    "the census": lambda one: one.registry.census(NOW),
    "a step of pruning that finds nothing": lambda one: one.registry.due(before=NOW, limit=PAGE),
    "an enrolment, alone": Bench.enroll,
    f"{CROWD} enrolments at once": Bench.enroll_many,
    "a revoke": Bench.revoke,
}
_LONG = {f"{CROWD} enrolments at once": 8}
"""Calls that are repeated so many times less."""


def measure(places: Sequence[Path], counts: Sequence[int], repeats: int) -> list[tuple[str, float, float]]:
    """Medians in microseconds: what was called, on the first registry, on the last."""
    return asyncio.run(_measure(places, counts, repeats))


async def _measure(
    places: Sequence[Path], counts: Sequence[int], repeats: int
) -> list[tuple[str, float, float]]:
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(SqliteRegistry(place)) for place in places]
        benches = [Bench(one, count) for one, count in zip(opened, counts, strict=True)]
        found = []
        for name, call in CALLS.items():
            medians = await _medians(benches, call, max(3, repeats // _LONG.get(name, 1)))
            found.append((name, medians[0], medians[-1]))
        return found


async def _medians(benches: Sequence[Bench], call: Call, repeats: int) -> list[float]:
    spans: list[list[float]] = [[] for _ in benches]
    for _ in range(repeats):
        for bench, times in zip(benches, spans, strict=True):
            begun = time.perf_counter()
            await call(bench)
            times.append((time.perf_counter() - begun) * 1e6)
    return [statistics.median(times[len(times) // 10 :]) for times in spans]
