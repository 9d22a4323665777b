"""What an operator changes of a thing's record, each change once and with its name."""

from collections.abc import Collection
from datetime import timedelta
from pathlib import Path

import pytest

from keyborn.adapters.memory import MemoryRegistry
from keyborn.adapters.system import SystemEntropy
from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import (
    InvalidGroupName,
    InvalidSetting,
    KindMismatch,
    NotFound,
    ThingNameTaken,
    ThingRevoked,
)
from keyborn.domain.names import ThingName
from keyborn.domain.thing import ThingKind, ThingStatus
from keyborn.http.admin_rows import thing_row
from keyborn.service.groups import GroupOffice, GroupPorts
from keyborn.service.regroup import RegroupOffice
from keyborn.service.things import Order
from support.csr_make import make_csr
from support.group_stage import text
from support.office import OfficeWorld, folder
from support.registry_cases import Desk

HOUR = timedelta(hours=1)


class Reviewed:
    """Sessions that remember whose badges were to be read again."""

    def __init__(self) -> None:
        self.names: list[Collection[ThingName] | None] = []

    async def evict(self, name: ThingName, reason: str) -> int:
        raise AssertionError(f"{name} was evicted: {reason}")

    async def review(self, names: Collection[ThingName] | None = None) -> None:
        self.names.append(names)


class World(OfficeWorld):
    """An office with two groups and one thing."""

    def __init__(self, path: Path) -> None:
        memory = MemoryRegistry()
        super().__init__(path, memory)
        self.sessions = Reviewed()
        self.groups = GroupOffice(
            GroupPorts(memory, memory, memory), clock=self.clock, entropy=SystemEntropy()
        )
        self.regroup = RegroupOffice(
            fleet=memory, regrouping=memory, sessions=self.sessions, clock=self.clock
        )

    async def last(self) -> AuditEvent:
        return (await self.registry.records())[-1].event


@pytest.fixture
async def world(tmp_path: Path) -> World:
    world = World(folder(tmp_path))
    await world.enrolled("sensor-1")
    for name in ("line-7", "line-8"):
        await world.groups.put(name, text(name=name))
    return world


# ── another key ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_released_name_takes_another_key_within_its_time(world: World) -> None:
    other = make_csr("sensor-1")[1]
    with pytest.raises(ThingNameTaken):
        await world.enroll("sensor-1", other, await world.token("sensor-1"))
    thing = await world.regroup.release("sensor-1", HOUR, actor="somebody")
    assert thing.release_until == world.clock.now() + HOUR
    event = await world.last()
    assert (event.action, event.subject, event.actor) == ("thing.release-key", "sensor-1", "somebody")
    assert event.details == {"keyHash": thing.key_hash, "until": "2026-11-01T13:00:00Z"}
    assert thing_row(thing)["releaseUntil"] == "2026-11-01T13:00:00Z"
    assert await world.enroll("sensor-1", other, await world.token("sensor-1"))
    third = make_csr("sensor-1")[1]
    with pytest.raises(ThingNameTaken):
        await world.enroll("sensor-1", third, await world.token("sensor-*"))


async def test_a_release_is_over_when_its_time_is(world: World) -> None:
    await world.regroup.release("sensor-1", HOUR)
    world.clock.turn(HOUR)
    with pytest.raises(ThingNameTaken):
        await world.enroll("sensor-1", make_csr("sensor-1")[1], await world.token("sensor-1"))


async def test_a_release_ends_at_will_and_once(world: World) -> None:
    await world.regroup.release("sensor-1", HOUR)
    assert (await world.regroup.release("sensor-1", None)).release_until is None
    before = await world.registry.records()
    assert set(before[-1].event.details) == {"keyHash"}
    await world.regroup.release("sensor-1", None)
    assert await world.registry.records() == before


@pytest.mark.parametrize(
    "span", [timedelta(0), timedelta(days=-1), timedelta(days=7, seconds=1), timedelta.max]
)
async def test_a_span_that_is_nothing_or_too_much_is_refused(world: World, span: timedelta) -> None:
    with pytest.raises(InvalidSetting, match="one second to 7 days"):
        await world.regroup.release("sensor-1", span)


async def test_what_is_gone_is_not_released(world: World) -> None:
    await world.things().carry_out(Order("sensor-1", ThingStatus.REVOKED))
    with pytest.raises(ThingRevoked):
        await world.regroup.release("sensor-1", HOUR)


# ── another group ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_thing_moves_and_says_from_where(world: World) -> None:
    assert (await world.regroup.move("sensor-1", "line-7", actor="somebody")).group == "line-7"
    moved = await world.regroup.move("sensor-1", "line-8", actor="somebody")
    event = await world.last()
    assert (event.action, event.actor, event.details) == (
        "thing.move", "somebody", {"from": "line-7", "to": "line-8"},
    )  # fmt: skip
    assert thing_row(moved)["group"] == "line-8"
    assert (await world.regroup.move("sensor-1", None)).group is None
    assert (await world.last()).details == {"from": "line-8", "to": "none"}


async def test_a_move_to_where_a_thing_is_records_nothing(world: World) -> None:
    await world.regroup.move("sensor-1", "line-7")
    before = await world.registry.records()
    await world.regroup.move("sensor-1", "line-7")
    assert await world.registry.records() == before


async def test_a_group_that_is_not_there_takes_nobody(world: World) -> None:
    with pytest.raises(NotFound, match="keyborn group list"):
        await world.regroup.move("sensor-1", "line-9")
    with pytest.raises(InvalidGroupName):
        await world.regroup.move("sensor-1", "Line 9")


# ── attributes ────────────────────────────────────────────────────────────────────────────────────────


async def test_attributes_are_set_and_taken_away_and_the_rest_stays(world: World) -> None:
    await world.regroup.set_attributes("sensor-1", {"line": "7", "hall": "2"})
    thing = await world.regroup.set_attributes(
        "sensor-1", {"line": "8", "row": "a"}, ["hall"], actor="somebody"
    )
    assert thing.attributes == {"line": "8", "row": "a"}
    event = await world.last()
    assert (event.action, event.subject, event.actor) == ("thing.set", "sensor-1", "somebody")
    assert event.details == {"set": "line=8, row=a", "unset": "hall"}
    assert world.sessions.names == [["sensor-1"], ["sensor-1"]], "policies may depend on them"


@pytest.mark.parametrize(
    ("given", "gone", "detail"),
    [
        ({"a b": "1"}, [], "another character"),
        ({"a": "b c"}, [], "another character"),
        ({"a": "1", "b": "2", "c": "3", "d": "4"}, [], "more than 3"),
        ({}, ["hall"], "has no 'hall'"),
        ({"a": "1"}, ["a"], "set and taken away"),
    ],
)
async def test_attributes_that_no_thing_has_are_refused(
    world: World, given: dict[str, str], gone: list[str], detail: str
) -> None:
    before = await world.registry.records()
    with pytest.raises(InvalidSetting, match=detail):
        await world.regroup.set_attributes("sensor-1", given, gone)
    assert await world.registry.records() == before
    assert world.sessions.names == []


# ── who ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_not_there_or_no_device_is_changed_in_nothing(world: World) -> None:
    desk = Desk(world.registry, now=world.clock.now())
    await desk.enroll(await desk.token("program", kind=ThingKind.SERVICE), "program-1", "k1")
    for name, refusal in (("sensor-9", NotFound), ("program-1", KindMismatch)):
        with pytest.raises(refusal):
            await world.regroup.release(name, HOUR)
        with pytest.raises(refusal):
            await world.regroup.move(name, None)
        with pytest.raises(refusal):
            await world.regroup.set_attributes(name, {"a": "1"})
