"""What AWS IoT's things say of group, type and attributes, whatever fails in between."""

import asyncio
from datetime import timedelta

import pytest

from keyborn.adapters.aws.iot import GROUP, TYPE
from keyborn.domain.errors import GroupFull, Unavailable
from keyborn.domain.group import GroupDocument, Terms, account_of
from keyborn.domain.names import GroupName
from keyborn.domain.thing import ThingStatus
from support.aws_faults import ENDLESS, Fault, Killed, Plan
from support.aws_saga import ACCOUNT, IMPATIENT, LAMP, LEASE, Process, Stage
from support.csr_make import make_csr

LINE, OTHER = GroupName("line-7"), GroupName("line-8")
TERMS = Terms(LINE, account_of(LINE), limit=1, thing_type="lamp")


@pytest.fixture
async def stage(ground: Stage) -> Stage:
    """An account with two groups."""
    await ground.prepare()
    async with ground.process() as office:
        for name in (LINE, OTHER):
            document = GroupDocument(name, f'name = "{name}"', ground.clock.now())
            await office.registry.put_group(document, ground.event("group.put"))
    return ground


def said(stage: Stage, name: str = LAMP) -> dict[str, str]:
    """What AWS IoT's thing says."""
    attributes: dict[str, str] = stage.iot.client.describe_thing(thingName=name)["attributes"]
    return attributes


async def enrolled(stage: Stage) -> None:
    """The lamp is of line-7, with two attributes of its own."""
    async with stage.process() as one:
        await one.enroll(stage.csr, {"room": "4", "floor": "1"}, terms=TERMS)


async def order(one: Process, stage: Stage, attributes: dict[str, str]) -> None:
    """What an operator sets."""
    await one.registry.set_attributes(LAMP, attributes, stage.event("thing.set"))


async def test_a_new_thing_says_its_group_and_its_type(stage: Stage) -> None:
    await enrolled(stage)
    known = stage.iot.client.describe_thing(thingName=LAMP)
    assert known["attributes"] == {"room": "4", "floor": "1", GROUP: LINE, TYPE: "lamp"}
    assert known["thingTypeName"] == ACCOUNT.thing_type, "the stack's: it says whose the thing is"


async def test_a_thing_without_a_group_says_nothing_of_that(stage: Stage) -> None:
    async with stage.process() as one:
        await one.enroll(stage.csr, {"room": "4"})
    assert said(stage) == {"room": "4"}


async def test_a_repeated_request_finds_the_thing_as_its_own(stage: Stage) -> None:
    async with stage.process() as one:
        dies = Plan(Fault.KILLED, times=ENDLESS, operations=["AttachPolicy"])
        with stage.iot.planned(dies), pytest.raises(Killed):
            await one.enroll(stage.csr, terms=TERMS)
    await stage.settle(LEASE)
    async with stage.process() as other:
        certificate = (await other.enroll(stage.csr, terms=TERMS)).certificate
    stage.assert_enrolled(certificate.id)
    assert said(stage) == {GROUP: LINE, TYPE: "lamp"}


async def test_a_full_group_leaves_nothing_in_aws_iot(stage: Stage) -> None:
    await enrolled(stage)
    async with stage.process() as one:
        with pytest.raises(GroupFull):
            await one.enroll(make_csr("lamp-2")[1], name="lamp-2", terms=TERMS)
    assert stage.thing_names() == [LAMP]
    assert len(stage.certificates()) == 1


async def test_what_came_to_nothing_gives_its_place_in_the_group_back(stage: Stage) -> None:
    async with stage.process() as one:
        dies = Plan(Fault.KILLED, times=ENDLESS, operations=["CreateCertificateFromCsr"])
        with stage.iot.planned(dies), pytest.raises(Killed):
            await one.enroll(stage.csr, terms=TERMS)
    for _ in range(2):
        assert (await stage.settle(timedelta(minutes=20))).troubles == []
    async with stage.process() as other:
        [use, _] = await other.registry.groups()
        assert use.taken == 0
        await other.enroll(make_csr("lamp-2")[1], name="lamp-2", terms=TERMS)


# ── an operator's changes ─────────────────────────────────────────────────────────────────────────────


async def test_a_move_and_other_attributes_reach_aws_iot_with_the_next_sweep(stage: Stage) -> None:
    await enrolled(stage)
    async with stage.process() as office:
        await office.registry.set_group(LAMP, OTHER, stage.event("thing.move"))
        await order(office, stage, {"floor": "2", "line": "8"})
    assert said(stage)[GROUP] == LINE, "no operator needs a permission for it"

    done = await stage.settle()

    assert (done.told, done.troubles) == (2, [])
    assert said(stage) == {"floor": "2", "line": "8", GROUP: OTHER, TYPE: "lamp"}
    async with stage.process() as office:
        await office.registry.set_group(LAMP, None, stage.event("thing.move"))
    assert (await stage.settle()).told == 1
    assert GROUP not in said(stage)
    assert (await stage.settle()).told == 0


async def test_what_an_administrator_added_stays(stage: Stage) -> None:
    await enrolled(stage)
    added = {"attributes": {"rack": "9"}, "merge": True}
    stage.iot.client.update_thing(thingName=LAMP, attributePayload=added)
    async with stage.process() as office:
        await order(office, stage, {"room": "5"})
    await stage.settle()
    assert said(stage) == {"room": "5", "rack": "9", GROUP: LINE, TYPE: "lamp"}


async def test_somebody_else_s_thing_of_that_name_is_left_alone(stage: Stage) -> None:
    await enrolled(stage)
    stage.iot.client.update_thing(thingName=LAMP, removeThingType=True)
    before = said(stage)
    async with stage.process() as office:
        await order(office, stage, {"room": "5"})
    done = await stage.settle()
    assert (done.told, done.troubles, said(stage)) == (1, [], before)


async def test_a_thing_that_nobody_has_made_needs_no_telling(stage: Stage) -> None:
    async with stage.process(patience=IMPATIENT) as one:
        with stage.iot.planned(Plan(Fault.UNSENT, times=ENDLESS)), pytest.raises(Unavailable):
            await one.enroll(stage.csr, terms=TERMS)
        await order(one, stage, {"room": "5"})
    done = await stage.settle()
    assert (done.told, done.troubles, stage.thing_names()) == (1, [], [])
    async with stage.process() as other:
        await other.enroll(stage.csr, terms=TERMS)
    assert said(stage) == {"room": "5", GROUP: LINE, TYPE: "lamp"}


async def test_who_makes_the_thing_meanwhile_as_it_was_is_made_good(stage: Stage) -> None:
    """Between the claim and the thing an operator sets attributes: the function knows the older ones."""
    async with stage.process() as one, stage.process() as office:
        with stage.held("before-send.iot.CreateThing") as (came, go):
            device = asyncio.create_task(one.enroll(stage.csr, {"room": "4"}, terms=TERMS))
            await came.wait()
            await order(office, stage, {"room": "5"})
            assert (await stage.settle()).told == 1
            go.set()
            await device
        assert said(stage) == {GROUP: LINE, TYPE: "lamp", "room": "4"}

    assert (await stage.settle(LEASE)).told == 1

    assert said(stage) == {GROUP: LINE, TYPE: "lamp", "room": "5"}


@pytest.mark.parametrize(
    ("operation", "fault"),
    [
        ("UpdateThing", Fault.UNHEARD),
        ("UpdateThing", Fault.KILLED),
        *(
            pytest.param(operation, fault, marks=pytest.mark.whole)
            for operation in ("DescribeThing", "UpdateThing")
            for fault in (Fault.THROTTLED, Fault.UNSENT)
        ),
    ],
)
async def test_what_fails_is_told_by_the_next_sweep(stage: Stage, operation: str, fault: Fault) -> None:
    await enrolled(stage)
    async with stage.process() as office:
        await order(office, stage, {"room": "5"})
    with stage.iot.planned(Plan(fault, times=ENDLESS, operations=[operation])):
        try:
            assert (await stage.settle(patience=IMPATIENT)).troubles
        except Killed:
            assert fault is Fault.KILLED
    assert (await stage.settle()).troubles == []
    assert said(stage) == {"room": "5", GROUP: LINE, TYPE: "lamp"}


async def test_an_order_that_takes_rights_away_is_not_kept_waiting_by_attributes(stage: Stage) -> None:
    await enrolled(stage)
    async with stage.process() as office:
        await order(office, stage, {"room": "5"})
        with stage.iot.planned(Plan(Fault.THROTTLED, times=ENDLESS, operations=["DescribeThing"])):
            await office.registry.set_status(LAMP, ThingStatus.SUSPENDED, stage.event("thing.suspend"))
    assert stage.active() == []


async def test_a_release_is_the_table_s_alone(stage: Stage) -> None:
    await enrolled(stage)
    async with stage.process() as office:
        with stage.iot.listening() as calls:
            until = stage.clock.now() + timedelta(hours=1)
            await office.registry.set_release(LAMP, until, stage.event("thing.release"))
        assert calls == []
    assert (await stage.settle()).told == 0
