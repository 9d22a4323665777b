"""The change of a root at the operator's desk: refused while it would lock somebody out, and recorded."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from keyborn.adapters.memory import MemoryRegistry
from keyborn.domain.errors import (
    CaFileTrouble,
    NoNextRoot,
    NoOldRoot,
    OldRootInUse,
    OldRootThere,
    RootsLacking,
)
from keyborn.domain.names import ThingName
from keyborn.domain.roots import RootSet
from keyborn.service.roots import RootsOffice, RootsPorts
from support.roots_office import BOTH, ISSUER, NEW, OLD, StillRoots

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


@dataclass
class Fleet:
    """Beliefs and holders, set by hand."""

    sets: dict[RootSet | None, int] = field(default_factory=dict)
    under_old: tuple[str, ...] = ()

    async def root_sets(self) -> list[tuple[RootSet | None, int]]:
        return list(self.sets.items())

    async def count_holders(self, issuer: bytes, _at: datetime) -> int:
        assert issuer == ISSUER
        return len(self.under_old)

    async def holders(
        self, issuer: bytes, _at: datetime, *, after: ThingName | None = None, limit: int = 100
    ) -> list[ThingName]:
        assert issuer == ISSUER
        return [ThingName(name) for name in self.under_old if name > (after or "")][:limit]


@dataclass
class Desk:
    fleet: Fleet = field(default_factory=Fleet)
    keeper: StillRoots = field(default_factory=StillRoots)
    registry: MemoryRegistry = field(default_factory=MemoryRegistry)

    @property
    def office(self) -> RootsOffice:
        ports = RootsPorts(self.fleet, self.fleet, self.keeper, self.registry, self, self._names)  # type: ignore[arg-type] # beliefs as far as they are asked
        return RootsOffice(ports)

    def _names(self) -> object:
        return self.keeper.names

    def now(self) -> datetime:
        return NOON

    async def trail(self) -> list[tuple[str, str, str]]:
        records = await self.registry.records()
        return [(each.event.action, each.event.outcome, each.event.subject) for each in records]


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_the_whole_change_step_by_step(desk: Desk) -> None:
    desk.fleet.sets = {OLD: 3}
    report = await desk.office.introduce()
    assert (report.names.following, report.lacking, report.may_switch) == ("Second", 3, False)
    desk.fleet.sets = {BOTH: 3}
    assert (await desk.office.report()).may_switch
    desk.fleet.under_old = ("a", "b")
    report = await desk.office.switch()
    assert (report.names.old, report.under_old, report.may_retire) == ("First", 2, False)
    assert await desk.office.under_old(after="a") == ["b"]
    desk.fleet.under_old = ()
    assert (await desk.office.report()).may_retire
    report = await desk.office.retire()
    assert (report.names.newest, report.names.old, report.may_retire) == (NEW, None, False)
    assert desk.keeper.orders == ["introduce", "switch", "retire"]


async def test_every_step_is_in_the_trail_before_and_after(desk: Desk) -> None:
    await desk.office.introduce(actor="ann")
    await desk.office.switch(actor="ann")
    await desk.office.retire(actor="ann")
    assert await desk.trail() == [
        ("ca.renew-root", "ordered", "First"),
        ("ca.renew-root", "done", "First"),
        ("ca.switch-root", "ordered", "First"),
        ("ca.switch-root", "done", "Second"),
        ("ca.retire-root", "ordered", "Second"),
        ("ca.retire-root", "done", "Second"),
    ]
    assert {each.event.actor for each in await desk.registry.records()} == {"ann"}


async def test_a_step_that_fails_is_ordered_and_not_done(desk: Desk) -> None:
    desk.keeper.trouble = CaFileTrouble(path="ca", reason="No space left on device")
    with pytest.raises(CaFileTrouble):
        await desk.office.introduce()
    assert [outcome for _action, outcome, _subject in await desk.trail()] == ["ordered"]


@pytest.mark.parametrize("sets", [{OLD: 1, BOTH: 9}, {None: 1}])
async def test_a_switch_waits_for_everybody(desk: Desk, sets: dict[RootSet | None, int]) -> None:
    await desk.office.introduce()
    desk.fleet.sets = sets
    with pytest.raises(RootsLacking, match="have said: 1"):
        await desk.office.switch()
    assert desk.keeper.orders == ["introduce"]
    await desk.office.switch(force=True)
    assert (await desk.registry.records())[-1].event.details == {"lacking": "1"}


async def test_the_way_back_is_open_and_brings_back_who_was_left_behind(desk: Desk) -> None:
    await desk.office.introduce()
    desk.fleet.sets = {OLD: 1}
    await desk.office.switch(force=True)
    assert (await desk.office.switch(back=True)).names.following == "Second"
    assert (await desk.trail())[-1] == ("ca.switch-root.back", "done", "First")


async def test_an_old_root_stays_while_somebody_needs_it(desk: Desk) -> None:
    await desk.office.introduce()
    await desk.office.switch()
    desk.fleet.sets, desk.fleet.under_old = {BOTH: 1}, ("a",)
    with pytest.raises(OldRootInUse, match="old root: 1"):
        await desk.office.retire()
    desk.fleet.sets = {OLD: 1}
    with pytest.raises(RootsLacking):
        await desk.office.retire()
    await desk.office.retire(force=True)
    assert (await desk.registry.records())[-1].event.details == {"lacking": "1", "underOld": "1"}


async def test_steps_out_of_order_are_refused_and_leave_no_trace(desk: Desk) -> None:
    with pytest.raises(NoNextRoot):
        await desk.office.switch()
    for refused in (desk.office.switch(back=True), desk.office.retire()):
        with pytest.raises(NoOldRoot):
            await refused
    assert await desk.office.under_old() == ()
    assert await desk.trail() == []
    await desk.office.introduce()
    assert (await desk.office.introduce()).names.following == "Second"
    await desk.office.switch()
    with pytest.raises(OldRootThere):
        await desk.office.introduce()
    assert desk.keeper.orders == ["introduce", "switch"]
