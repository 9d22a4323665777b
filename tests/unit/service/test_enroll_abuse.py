"""A clock that was wrong, and the holder of a good token with a thousand bad requests."""

from datetime import timedelta

import pytest

from keyborn.domain.errors import CaDates, CredentialMissing, ThingNameTaken, Throttled
from keyborn.domain.names import NameScope
from keyborn.ports import Credential
from keyborn.service.tokens import TokenWish
from support.csr_make import make_csr
from support.office import OfficeWorld

YEARS = timedelta(days=365 * 9.95)
MONTH = timedelta(days=30)


async def test_what_was_issued_under_a_clock_that_ran_ahead_is_issued_again_when_it_is_right(
    world: OfficeWorld,
) -> None:
    token = await world.tokens.create(TokenWish(NameScope("plug-1"), 1, 2 * MONTH))
    _, csr = make_csr("plug-1")
    world.clock.turn(MONTH)
    early = (await world.enroll("plug-1", csr, token)).certificate
    world.clock.turn(-MONTH)
    again = (await world.enroll("plug-1", csr, token)).certificate
    assert again.not_before <= world.clock.now() <= again.not_after
    assert [held.id for held in await world.active("plug-1")] == [again.id] != [early.id]


async def test_an_intent_recorded_under_a_clock_that_ran_ahead_does_not_squat_its_name(
    world: OfficeWorld,
) -> None:
    token = await world.tokens.create(TokenWish(NameScope("plug-2"), 1, timedelta(days=3650)))
    _, csr = make_csr("plug-2")
    world.clock.turn(YEARS)
    with pytest.raises(CaDates):
        await world.enroll("plug-2", csr, token)
    world.clock.turn(-YEARS)
    assert (await world.enroll("plug-2", csr, token)).certificate.live(world.clock.now())


async def test_a_clock_that_steps_back_a_little_changes_nothing(world: OfficeWorld) -> None:
    csr, token, first = await world.enrolled("plug-3")
    world.clock.turn(-timedelta(minutes=4))
    assert (await world.enroll("plug-3", csr, token)).certificate == first


async def test_a_token_s_refusals_are_throttled_and_recorded_no_further(world: OfficeWorld) -> None:
    await world.enrolled("taken")
    token = await world.token("*", uses=None)
    _, csr = make_csr("taken")
    for _ in range(100):
        with pytest.raises(ThingNameTaken):
            await world.enroll("taken", csr, token)
    recorded = len(await world.outcomes())
    with pytest.raises(Throttled) as throttled:
        await world.enroll("taken", csr, token)
    assert throttled.value.retry_after == 1
    assert len(await world.outcomes()) == recorded


async def test_a_throttled_token_still_enrolls_who_is_in_order_and_so_do_others(world: OfficeWorld) -> None:
    await world.enrolled("taken")
    token, other = await world.token("*", uses=None), await world.token("*", uses=None)
    _, csr = make_csr("taken")
    for _ in range(105):
        with pytest.raises((ThingNameTaken, Throttled)):
            await world.enroll("taken", csr, token)
    assert (await world.enroll("fine", make_csr("fine")[1], token)).certificate
    with pytest.raises(ThingNameTaken):
        await world.enroll("taken", make_csr("taken")[1], other)


async def test_strangers_from_everywhere_fill_the_trail_no_faster_than_a_trickle(world: OfficeWorld) -> None:
    for number in range(1000):
        with pytest.raises(CredentialMissing):
            await world.authority.authenticate(Credential(None, f"2001:db8:{number:x}::1"))
    assert await world.outcomes() == ["credential_missing"] * 10

    world.clock.turn(timedelta(seconds=10))
    with pytest.raises(CredentialMissing):
        await world.authority.authenticate(Credential(None, "192.0.2.9"))
    records = await world.registry.records()
    assert len(records) == 11
    assert records[-1].event.details == {"more": "990"}
    assert records[0].event.details == {}


async def test_who_is_known_is_recorded_whatever_strangers_do(world: OfficeWorld) -> None:
    for number in range(50):
        with pytest.raises(CredentialMissing):
            await world.authority.authenticate(Credential(None, f"2001:db8:{number:x}::1"))
    before = len(await world.outcomes())
    await world.enrolled("lamp")
    token = await world.token("*", uses=None)
    with pytest.raises(ThingNameTaken):
        await world.enroll("lamp", make_csr("lamp")[1], token)
    assert (await world.outcomes())[before:] == ["done", "done", "done", "thing_name_taken"]
