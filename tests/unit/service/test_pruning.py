"""Retention: how long is asked for, and everything that is due goes in bounded steps."""

from datetime import timedelta
from pathlib import Path

import pytest

from keyborn.adapters.memory import MemoryRegistry
from keyborn.adapters.sql import SqliteRegistry
from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import InvalidSetting
from keyborn.domain.pruning import Pruned
from keyborn.domain.thing import ThingStatus
from keyborn.service.pruning import PruneOffice
from support.office import TurnedClock
from support.registry_cases import LIFETIME, Desk


async def office(registry: MemoryRegistry | SqliteRegistry, days: int = 0, revoked: int = 3) -> PruneOffice:
    """Some things are revoked, and their certificates expired a day and a half ago."""
    desk = Desk(registry)
    token = await desk.token("secret", ttl=LIFETIME)
    for number in range(revoked):
        await desk.enroll(token, f"a-{number}", f"k-{number}")
        await desk.order(f"a-{number}", ThingStatus.REVOKED)
    clock = TurnedClock(desk.now + LIFETIME + timedelta(days=1, hours=12))
    return PruneOffice(registry, clock, days=days, pause=0, at_once=2)


@pytest.mark.parametrize("days", [0, -1, 36_501])
async def test_a_retention_that_makes_no_sense_is_refused(days: int) -> None:
    with pytest.raises(InvalidSetting, match="1 to 36500 days"):
        await (await office(MemoryRegistry())).stretch(days)


async def test_who_says_no_days_gets_the_services_own_or_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="retention_days"):
        await (await office(MemoryRegistry())).stretch()
    assert (await (await office(MemoryRegistry(), days=1)).stretch()).certificates == 3


async def test_what_ended_more_recently_stays() -> None:
    made = await office(MemoryRegistry())
    assert await made.stretch(2) == Pruned()
    assert (await made.stretch(1)).certificates == 3


async def test_a_dry_run_counts_and_removes_nothing(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        made = await office(registry)
        before = await registry.records()
        dry = await made.stretch(1, dry=True)
        assert (dry.certificates, dry.redemptions, dry.after) == (3, 3, None)
        assert await registry.records() == before
        assert await made.stretch(1) == dry


async def test_a_service_without_retention_forgets_nothing_by_itself(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        made = await office(registry)
        before = await registry.records()
        assert await made.run() == Pruned()
        assert await registry.records() == before


async def test_a_service_with_one_forgets_all_in_the_end_and_says_who(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        made = await office(registry, days=1, revoked=9)
        before = await registry.records()
        done = await made.run()
        assert (done.certificates, done.redemptions, done.after) == (9, 9, None)
        told = [one.event for one in await registry.records(after=len(before))]
        assert len(told) == 10  # five steps of certificates, five of redemptions
        assert {(one.action, one.actor, one.outcome) for one in told} == {("prune", "sweeper", "done")}
        assert all("before" in one.details for one in told)


async def test_a_stretch_ends_and_says_where_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyborn.service.pruning._STEPS", 2)
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        made = await office(registry, revoked=5)
        first = await made.stretch(1)
        assert first.certificates == 4
        assert first.after is not None
        total = first
        while total.after is not None:
            total += await made.stretch(1, after=total.after)
        assert (total.certificates, total.redemptions) == (5, 5)


async def test_what_came_into_use_since_it_was_looked_up_stays(tmp_path: Path) -> None:
    from keyborn.adapters.sql import pruning, rows

    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        desk = Desk(registry)
        token = await desk.token("secret", ttl=LIFETIME)
        kept = await desk.enroll(token, "a-1", "k-1")
        step = pruning.Step(rows.to_ms(kept.not_after + timedelta(days=1)), 10, certificates=[1])
        event = AuditEvent(desk.now, "prune", "done", "registry", "sweeper")
        done = await registry._writer.run(lambda session: pruning.remove(session, step, event))
        assert done.total == 0
        assert await registry.certificate(kept.id) is not None
