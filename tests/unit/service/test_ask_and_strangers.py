"""Those who prove nothing: they stand in nobody's way, and the trail says what they tried."""

from datetime import timedelta
from pathlib import Path

import pytest

from keyborn.domain import errors
from keyborn.domain.names import NameScope
from keyborn.domain.quota import place_name
from keyborn.domain.thing import ThingStatus
from keyborn.ports import Asked, Credential
from keyborn.service.admission import FailureBudget
from keyborn.service.things import Order
from keyborn.service.tokens import FreshToken, TokenWish
from support.csr_make import make_csr
from support.office import SOURCE
from support.turns import Quota
from support.waiting_stage import ASKING, LINE, REGISTERING, WaitingWorld

PERSON = ASKING + 'taken = "person"\n'
EITHER = ASKING.replace('["ask"]', '["token + ask", "ask"]')


@pytest.fixture
def world(tmp_path: Path) -> WaitingWorld:
    return WaitingWorld(tmp_path)


def request(name: str) -> str:
    return make_csr(name)[1]


async def line_token(world: WaitingWorld) -> FreshToken:
    return await world.tokens.create(TokenWish(NameScope("*"), 9, timedelta(hours=1), group=LINE))


# ── a lost answer ──


async def test_a_lost_answer_to_a_replacement_of_a_revoked_key_needs_no_second_word(
    world: WaitingWorld,
) -> None:
    """The claim has given the name to the new key: what a person approved as a replacement stays approved."""
    await world.put(PERSON)
    first, second = request("sensor-1"), request("sensor-1")
    await world.approvals.say_yes(str((await world.waits("sensor-1", first)).facts["approval"]))
    await world.ask("sensor-1", first)
    await world.things().carry_out(Order("sensor-1", ThingStatus.REVOKED))
    await world.approvals.say_yes(str((await world.waits("sensor-1", second)).facts["approval"]))
    given = await world.ask("sensor-1", second)
    again = await world.ask("sensor-1", second)
    assert again.repeated
    assert again.certificate == given.certificate
    assert await world.pending() == []


async def test_a_replacement_that_was_refused_is_no_answer_for_a_key_that_has_the_name(
    world: WaitingWorld,
) -> None:
    await world.put(PERSON)
    first, second = request("sensor-1"), request("sensor-1")
    await world.approvals.say_yes(str((await world.waits("sensor-1", first)).facts["approval"]))
    await world.ask("sensor-1", first)
    await world.approvals.say_no(str((await world.waits("sensor-1", second)).facts["approval"]))
    with pytest.raises(errors.ApprovalRefused):
        await world.ask("sensor-1", second)
    assert (await world.ask("sensor-1", first)).repeated


# ── the trail ──


async def test_a_stranger_who_names_a_group_is_recorded_with_it_and_with_what_it_showed(
    world: WaitingWorld,
) -> None:
    await world.put(ASKING.replace('["ask"]', '["token"]'))
    credential = Credential("no-token-of-ours", SOURCE, asked=Asked("sensor-1", "csr", LINE))
    with pytest.raises(errors.CredentialRefused):
        await world.present(credential, "sensor-1", "csr")
    with pytest.raises(errors.MethodNotAccepted):
        await world.ask("sensor-1", request("sensor-1"))
    shown, nothing = [record.event for record in await world.trail("enroll")]
    assert (shown.subject, shown.actor) == ("sensor-1", "unproved")
    assert dict(shown.details) == {"method": "token", "group": LINE}
    assert dict(nothing.details) == {"method": "nothing", "group": LINE}


async def test_what_a_stranger_names_is_cut_and_cleaned(world: WaitingWorld) -> None:
    asked = Asked("x" * 500, "csr", "ä\n" + "y" * 500)
    with pytest.raises(errors.GroupUnknown):
        await world.present(Credential(None, SOURCE, asked=asked), "x" * 500, "csr")
    [record] = await world.trail("enroll")
    assert len(record.event.subject) == 64
    assert record.event.details["group"].startswith("\\xe4\\n")
    assert len(record.event.details["group"]) < 80


async def test_who_is_refused_by_a_condition_is_recorded_with_group_method_and_name(
    world: WaitingWorld,
) -> None:
    await world.put(REGISTERING)
    with pytest.raises(errors.KeyNotRegistered):
        await world.ask("sensor-1", request("sensor-1"))
    [record] = await world.trail("enroll")
    assert (record.event.subject, record.event.actor) == ("sensor-1", "unproved")
    assert dict(record.event.details) == {"method": "registered", "group": LINE}


# ── others ──


async def test_who_has_proved_nothing_yet_stands_in_no_line(world: WaitingWorld) -> None:
    """Places in line are for those who may enroll: a stranger takes none, whatever names it thinks of."""
    quota = Quota()
    world.queue(quota)
    await world.put()
    csr = request("sensor-1")
    pending = await world.waits("sensor-1", csr)
    assert quota.asked == []
    await world.approvals.say_yes(str(pending.facts["approval"]))
    await world.ask("sensor-1", csr)
    [enrolled] = await world.trail("enroll")
    own = place_name(enrolled.event.actor, "sensor-1")
    assert quota.asked == [own, "meanwhile", "demand"]


async def test_strangers_behind_the_same_address_do_not_use_up_what_a_token_may_ask(tmp_path: Path) -> None:
    world = WaitingWorld(tmp_path, budget=FailureBudget(burst=2, per_minute=1))
    await world.put(EITHER)
    for _ in range(2):
        await world.waits("sensor-1", request("sensor-1"))
    with pytest.raises(errors.Throttled):
        await world.ask("sensor-1", request("sensor-1"))
    await world.waits("sensor-2", request("sensor-2"), token=await line_token(world))
