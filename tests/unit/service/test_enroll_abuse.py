"""A clock that was wrong, and the holder of a good token with a thousand bad requests."""

from datetime import timedelta

import pytest

from keyborn.domain.errors import CaDates, ThingNameTaken, Throttled
from keyborn.domain.names import NameScope
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
