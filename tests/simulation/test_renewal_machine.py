"""Random walks of renewals, in memory and on SQLite side by side: whatever happens, both say the same.

Enrolments, replacements, renewals that stop half way and wake up later, confirmations, connections, orders,
grace, the sweeper, months that pass. After every step the two hold the same, and what must never happen has
not happened in either.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from keyborn.adapters.memory import MemoryRegistry
from keyborn.adapters.sql import SqliteRegistry
from keyborn.domain.audit import AuditEvent, verify
from keyborn.domain.certificate import Certificate, CertificateStatus, Slot
from keyborn.domain.enrollment import Issue
from keyborn.domain.errors import KeybornError
from keyborn.domain.intent import Intent
from keyborn.domain.names import CertificateId, KeyHash, ThingName
from keyborn.domain.renewal import OVERLAP, Confirmation
from keyborn.domain.thing import ThingStatus
from keyborn.ports import RenewingRegistry
from support.registry_cases import LIFETIME, certificate_for, event, make_token
from support.renewing_cases import RenewingDesk

NAMES = ["lamp-1", "lamp-2"]
KEYS = [f"k{number}" for number in range(1, 10)]
STAGES = ["claimed", "stored", "activated", "activated"]
"""How far a saga comes before its process dies."""
SPANS = [timedelta(seconds=1), timedelta(minutes=20), OVERLAP, LIFETIME / 3, LIFETIME]
ORDERS = [one for one in ThingStatus if one is not ThingStatus.CLAIMED]
PICK = st.integers(0, 999)

T = TypeVar("T")

Act = Callable[[RenewingRegistry], Awaitable[object]]


class Twins(RuleBasedStateMachine):
    """Two registries of different kinds, taken through the same steps."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        self.memory = MemoryRegistry()
        self.sqlite = SqliteRegistry(self.folder / "registry.db")
        self.runner.run(self.sqlite.open())
        self.desk = RenewingDesk(self.memory)
        self.enroller, self.replacers = make_token("enroll", ttl=10 * LIFETIME), {}
        self.both(lambda registry: registry.add(self.enroller, event("token.create")))
        for name in NAMES:
            token = make_token(f"replace {name}", name, replaces=True, ttl=10 * LIFETIME)
            self.replacers[name] = token
            self.both(lambda registry, token=token: registry.add(token, event("token.create")))  # type: ignore[misc] # bound now
        self.sagas: list[Intent] = []
        self.buried: set[KeyHash] = set()

    def teardown(self) -> None:
        self.runner.run(self.sqlite.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    def both(self, act: Act) -> object:
        """The same step on both: the same result, or the same refusal in the same words."""
        outcomes = []
        for registry in (self.memory, self.sqlite):
            try:
                outcomes.append(self.runner.run(_answer(act(registry))))
            except KeybornError as refusal:
                outcomes.append((refusal.code, str(refusal)))
        assert outcomes[0] == outcomes[1]
        return outcomes[0]

    def certificates(self) -> list[Certificate]:
        return list(self.memory._state.certificates.values())

    # ── sagas ─────────────────────────────────────────────────────────────────────────────────────────

    @rule(name=st.sampled_from(NAMES), key=st.sampled_from(KEYS), stage=st.sampled_from(STAGES))
    def enroll(self, name: str, key: str, stage: str) -> None:
        attempt = self.desk.attempt(self.enroller, name, key)
        self._go_on(self.both(lambda registry: registry.claim(attempt)), stage)

    @rule(name=st.sampled_from(NAMES), key=st.sampled_from(KEYS), stage=st.sampled_from(STAGES))
    def replace(self, name: str, key: str, stage: str) -> None:
        attempt = self.desk.attempt(self.replacers[name], name, key)
        self._go_on(self.both(lambda registry: registry.claim(attempt)), stage)

    @rule(pick=PICK, key=st.sampled_from(KEYS), stage=st.sampled_from(STAGES))
    def renew(self, pick: int, key: str, stage: str) -> None:
        known = self.certificates()
        if known:
            attempt = self.desk.renewal(known[-1 - pick % len(known)], key)
            self._go_on(self.both(lambda registry: registry.renew(attempt)), stage)

    @rule(pick=PICK, stage=st.sampled_from(STAGES[1:]))
    def wake_a_saga(self, pick: int, stage: str) -> None:
        if self.sagas:
            self._finish(self.sagas[pick % len(self.sagas)], stage)

    def _go_on(self, verdict: object, stage: str) -> None:
        if isinstance(verdict, Issue):
            self.sagas.append(verdict.intent)
            self._finish(verdict.intent, stage)

    def _finish(self, intent: Intent, stage: str) -> None:
        if stage == "claimed":
            return
        self.both(lambda registry: registry.store(intent, certificate_for(intent)))
        if stage == "activated":
            told = event("activate", intent.thing, self.desk.now)
            self.both(lambda registry: registry.activate(intent.id, told))

    # ── everything else ───────────────────────────────────────────────────────────────────────────────

    @rule(pick=PICK)
    def confirm(self, pick: int) -> None:
        known = self.certificates()
        if known:
            asked = Confirmation(known[-1 - pick % len(known)].id, self.desk.now)
            self.both(lambda registry: registry.confirm(asked))

    @rule(pick=PICK)
    def connect(self, pick: int) -> None:
        known = self.certificates()
        if known:
            certificate, now = known[-1 - pick % len(known)].id, self.desk.now
            self.both(lambda registry: registry.connected(certificate, now))

    @rule(name=st.sampled_from(NAMES), status=st.sampled_from(ORDERS))
    def order(self, name: str, status: ThingStatus) -> None:
        told = event("order", name, self.desk.now)
        self.both(lambda registry: registry.set_status(ThingName(name), status, told))

    @rule(name=st.sampled_from(NAMES), span=st.none() | st.sampled_from(SPANS))
    def grace(self, name: str, span: timedelta | None) -> None:
        until = None if span is None else self.desk.now + span
        told = event("thing.grace", name, self.desk.now)
        self.both(lambda registry: registry.set_grace(ThingName(name), until, told))

    @rule()
    def sweep(self) -> None:
        now = self.desk.now
        for intent in self.runner.run(_list(self.memory.leftovers(before=now - timedelta(minutes=15)))):
            self.both(lambda registry, one=intent.id: registry.drop(one, event("sweep", at=now)))  # type: ignore[misc] # bound now
        for late in self.runner.run(_list(self.memory.overdue(before=now - OVERLAP, at=now))):
            told = event("renew.withdraw", late.thing, now)
            self._withdraw(late.id, told)

    def _withdraw(self, late: CertificateId, told: AuditEvent) -> None:
        self.both(lambda registry: registry.withdraw_successor(late, told))

    @rule(span=st.sampled_from(SPANS))
    def pass_time(self, span: timedelta) -> None:
        self.desk.pass_time(span)

    # ── what holds ────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def both_hold_the_same(self) -> None:
        now = self.desk.now
        self.both(lambda registry: registry.things())
        for name in NAMES:
            self.both(lambda registry, name=name: registry.certificates(ThingName(name)))  # type: ignore[misc] # bound now
        self.both(lambda registry: registry.leftovers(before=now + LIFETIME))
        self.both(lambda registry: registry.overdue(before=now, at=now))
        self.both(lambda registry: registry.records(limit=1000))
        self.both(lambda registry: registry.tokens())

    @invariant()
    def what_must_never_happen_has_not(self) -> None:
        state = self.memory._state
        assert self.buried <= state.key_tombstones, "no key comes back"
        self.buried = set(state.key_tombstones)
        live = [one for one in self.certificates() if one.status is CertificateStatus.ACTIVE]
        assert len({(one.thing, one.slot) for one in live}) == len(live), "one for each slot"
        for one in live:
            assert one.key_hash not in self.buried
            assert state.keys[one.key_hash].thing == one.thing
            thing = state.things[one.thing]
            assert thing.status is ThingStatus.ACTIVE
            if one.slot is Slot.CURRENT:
                assert thing.key_hash == one.key_hash, "the name belongs to the current key"
            else:
                assert thing.key_hash != one.key_hash
                assert one.renews is not None or one.connected_at is None, "a replacement waits unconnected"

    def end(self) -> None:
        """The trails hold, and nothing is lost over a restart."""
        self.runner.run(self.sqlite.close())
        self.sqlite = SqliteRegistry(self.folder / "registry.db")
        self.runner.run(self.sqlite.open())
        self.both_hold_the_same()
        verify(self.runner.run(_list(self.memory.records(limit=1000))))


async def _answer(asked: Awaitable[object]) -> object:
    return await asked


async def _list(asked: Awaitable[Iterable[T]]) -> list[T]:
    return list(await asked)


TestTwins = Twins.TestCase
TestTwins.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

WEIGHTS = {
    "enroll": 4, "replace": 2, "renew": 12, "wake": 3, "confirm": 6, "connect": 6,
    "order": 2, "grace": 2, "sweep": 2, "time": 5,
}  # fmt: skip


def stride(twins: Twins, random: Random) -> str:  # noqa: C901 - a table, one row for each rule
    """One step, in proportions in which devices grow old; its name."""
    pick, name = min(random.randrange(4), random.randrange(4)), random.choice(["lamp-1", *NAMES])
    key, stage = random.choice(KEYS), random.choice([*STAGES, "activated"])
    step = random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    match step:
        case "enroll":
            twins.enroll(name, key, stage)
        case "replace":
            twins.replace(name, key, stage)
        case "renew":
            twins.renew(pick, key, stage)
        case "wake":
            twins.wake_a_saga(random.randrange(1000), random.choice(STAGES[1:]))
        case "confirm":
            twins.confirm(pick)
        case "connect":
            twins.connect(pick)
        case "order":
            twins.order(name, random.choice([ThingStatus.SUSPENDED, *[ThingStatus.ACTIVE] * 3, *ORDERS]))
        case "grace":
            twins.grace(name, random.choice([None, *SPANS]))
        case "sweep":
            twins.sweep()
        case "time":
            twins.pass_time(random.choice(SPANS))
    return step


@pytest.mark.parametrize("seed", range(12))
def test_a_long_walk_of_twins(seed: int) -> None:
    twins, random = Twins(), Random(seed)
    try:
        for _ in range(100):
            stride(twins, random)
            twins.both_hold_the_same()
            twins.what_must_never_happen_has_not()
        twins.end()
    finally:
        twins.teardown()
