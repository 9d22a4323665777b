"""The office of the audit trail: bounded turns, exports that break off, one signature at a time."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from keyborn.adapters.memory import MemoryRegistry
from keyborn.domain.audit import AuditRecord, ChainHead
from keyborn.domain.audit_export import check_export
from keyborn.domain.errors import AuditBroken, KeybornError
from keyborn.ports import MAX_PAGE
from keyborn.service.audit import AuditOffice, AuditPorts
from keyborn.testing import Crash, Rudeness, World, run
from support.exports import NOON, SERVICE, URL, Notary, happened, lines_of
from support.office import TurnedClock


class Place:
    """An office with all that it stands on."""

    def __init__(self, records: int = 0) -> None:
        self.registry = MemoryRegistry()
        self.notary = Notary()
        self.clock = TurnedClock(NOON)
        ports = AuditPorts(self.registry, self.registry, self.notary, self.clock)
        self.office = AuditOffice(ports, lambda: URL)
        self.happens(records)

    def happens(self, count: int) -> None:
        for _ in range(count):
            self.registry._state.append(happened(len(self.trail) + 1))

    @property
    def trail(self) -> list[AuditRecord]:
        return self.registry._state.audit

    async def signed(self) -> list[int]:
        return [one.head.sequence for one in await self.registry.checkpoints()]


async def test_a_turn_looks_through_so_many_pages_and_the_next_one_goes_on() -> None:
    place = Place(2 * MAX_PAGE + 5)
    for expected in (MAX_PAGE, 2 * MAX_PAGE, 2 * MAX_PAGE + 5, 2 * MAX_PAGE + 5):
        checkpoint = await place.office.vouch(1)
        assert checkpoint is not None
        assert checkpoint.head.sequence == expected
    assert await place.signed() == [MAX_PAGE, 2 * MAX_PAGE, 2 * MAX_PAGE + 5]


async def test_an_export_is_whole_however_much_nobody_has_signed_yet() -> None:
    place = Place(12 * MAX_PAGE + 1)
    raw = b"".join([piece async for piece in await place.office.export()])
    report = check_export(lines_of(raw))
    assert (report.end.count, report.end.checkpoints) == (12 * MAX_PAGE + 1, 1)
    assert (report.header.service, report.header.url) == (SERVICE, URL)


async def test_an_export_of_an_empty_trail_names_the_key_that_signs_it() -> None:
    raw = b"".join([piece async for piece in await Place().office.export()])
    report = check_export(lines_of(raw))
    assert (report.end.count, report.end.head) == (0, ChainHead())


async def test_an_export_ends_where_it_began_whatever_happens_meanwhile() -> None:
    place = Place(3)
    pieces = await place.office.export()
    raw = await anext(pieces)
    place.happens(2)
    await place.office.vouch()
    raw += b"".join([piece async for piece in pieces])
    assert check_export(lines_of(raw)).end.head.sequence == 3


async def test_two_that_would_sign_at_once_sign_once() -> None:
    place = Place(3)
    first, second = await asyncio.gather(place.office.vouch(), place.office.vouch())
    assert first == second
    assert len(place.notary.signed) == 1


async def test_a_checkpoint_tells_when_it_was_signed() -> None:
    place = Place(1)
    place.clock.turn(timedelta(hours=1))
    checkpoint = await place.office.vouch()
    assert checkpoint is not None
    assert checkpoint.at == NOON + timedelta(hours=1)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
async def test_a_record_that_changed_since_the_last_checkpoint_is_not_signed(number: int) -> None:
    place = Place(2)
    await place.office.vouch()
    place.happens(2)
    good = place.trail[number - 1]
    place.trail[number - 1] = replace(good, hash="f" * 64)
    if number == 1:
        assert await place.office.vouch() is not None, "what was signed is for who verifies all of it"
        return
    with pytest.raises(AuditBroken) as broken:
        await place.office.vouch()
    assert broken.value.facts["sequence"] == number
    assert await place.signed() == [2]


async def test_a_trail_that_is_cut_off_behind_its_checkpoint_is_not_signed_when_it_has_grown_again() -> None:
    place = Place(5)
    await place.office.vouch()
    del place.trail[3:]
    with pytest.raises(AuditBroken, match="record 5: it is not the one that was signed, or is gone"):
        await place.office.vouch()
    place.happens(1)
    with pytest.raises(AuditBroken, match="record 5"):
        await place.office.vouch()
    with pytest.raises(AuditBroken, match="record 5"):
        await place.office.export()


async def test_an_export_of_records_that_do_not_follow_breaks_off() -> None:
    place = Place(5)
    await place.office.vouch()
    place.trail[1] = replace(place.trail[1], event=replace(place.trail[1].event, actor="somebody else"))
    pieces = await place.office.export()
    assert (await anext(pieces)).startswith(b'{"header":')
    with pytest.raises(AuditBroken, match="record 2"):
        await anext(pieces)


async def test_records_that_go_while_they_are_exported_are_missed() -> None:
    place = Place(5)
    pieces = await place.office.export()
    await anext(pieces)
    place.trail.clear()
    with pytest.raises(AuditBroken, match="record 1: it is gone"):
        await anext(pieces)


@pytest.mark.parametrize("seed", range(20))
def test_in_a_rude_world_whatever_is_signed_holds_and_the_end_is_signed_at_last(seed: int) -> None:
    """Refusals, lost and doubled answers, crashes: each new process goes on where the last signature is."""
    rude = Rudeness(latency=0.3, refusal=0.2, lost_reply=0.2, duplicate=0.2, crash=0.1)
    real, notary = MemoryRegistry(), Notary()
    for turn in range(12):
        world = World(seed * 100 + turn, rude)
        ports = AuditPorts(world.registry(real), world.checkpoints(real), notary, world.clock)
        real._state.append(happened(turn))
        with suppress(KeybornError, Crash):
            run(AuditOffice(ports).vouch())
    office = AuditOffice(AuditPorts(real, real, notary, TurnedClock(NOON)))
    last = run(office.vouch())
    assert last is not None
    assert last.head.sequence == 12
    raw = b"".join(run(_whole(office)))
    assert check_export(lines_of(raw)).end.checkpoints == len(real._state.checkpoints)


async def _whole(office: AuditOffice) -> list[bytes]:
    return [piece async for piece in await office.export()]
