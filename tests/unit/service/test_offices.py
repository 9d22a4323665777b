"""Tokens, fleet view and sweeper as use cases."""

from datetime import timedelta

import pytest

from keyborn.adapters.memory import MemoryRegistry
from keyborn.domain.errors import InvalidSetting, InvalidThingName, NotFound
from keyborn.domain.names import NameScope, ThingName
from keyborn.domain.token import EnrollmentCode, TokenId
from keyborn.service.fleet import FleetView
from keyborn.service.saga import SagaStep
from keyborn.service.sweep import HORIZON, Sweeper
from keyborn.service.tokens import TokenWish
from support.csr_make import make_csr
from support.office import Crash, OfficeWorld


async def test_a_code_carries_trust_and_permission_and_the_registry_keeps_no_secret(
    world: OfficeWorld,
) -> None:
    fresh = await world.token("sensor-1")
    code = EnrollmentCode.decode(fresh.code.encode())
    assert code.fingerprint == world.ca.root_fingerprint()
    assert code.expires_at - code.issued_at == timedelta(hours=1)
    kept = await world.registry.find(fresh.token.id)
    assert kept is not None
    assert code.secret not in (kept.digest, kept.id.encode())
    assert kept.proves(code.secret)


async def test_no_two_tokens_share_a_secret(world: OfficeWorld) -> None:
    secrets = {(await world.token()).code.secret for _ in range(20)}
    assert len(secrets) == 20


@pytest.mark.parametrize(
    "wish",
    [
        {"uses": 0},
        {"uses": -1},
        {"uses": 10_000_001},
        {"ttl": timedelta(0)},
        {"ttl": timedelta(days=4000)},
        {"replace": True},
    ],
)
def test_wishes_that_make_no_sense_are_refused(wish: dict[str, object]) -> None:
    with pytest.raises(InvalidSetting):
        TokenWish(NameScope("sensor-*"), **wish)  # type: ignore[arg-type]  # the point of the test


@pytest.mark.parametrize("pattern", ["", "a/b", "sensor #", "x" * 65, "a[bc]"])
def test_a_pattern_that_no_name_could_match_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidThingName):
        NameScope(pattern)


async def test_tokens_are_listed_page_by_page_with_their_uses(world: OfficeWorld) -> None:
    made = sorted([(await world.token("sensor-*", uses=2)).token.id for _ in range(5)])
    first = await world.tokens.page(limit=3)
    rest = await world.tokens.page(after=first[-1].token.id, limit=3)
    assert [use.token.id for use in [*first, *rest]] == made
    assert {use.uses_taken for use in first} == {0}


async def test_withdrawing_what_is_not_there_says_so(world: OfficeWorld) -> None:
    with pytest.raises(NotFound):
        await world.tokens.withdraw(TokenId("t0000000000000000"))


async def test_the_fleet_view_shows_things_and_their_certificates(world: OfficeWorld) -> None:
    registry = world.registry
    assert isinstance(registry, MemoryRegistry)
    view = FleetView(fleet=registry, trail=registry, searches=registry)
    _, _, certificate = await world.enrolled("sensor-1")
    await world.enrolled("sensor-2")
    assert [thing.name for thing in await view.page()] == ["sensor-1", "sensor-2"]
    assert [thing.name for thing in await view.page(after="sensor-1")] == ["sensor-2"]
    assert [c.id for c in (await view.report("sensor-1")).certificates] == [certificate.id]
    with pytest.raises(NotFound):
        await view.report("sensor-3\n")
    assert len(await view.audit()) == 4


@pytest.mark.parametrize("step", [SagaStep.CLAIMED, SagaStep.SIGNED, SagaStep.STORED])
async def test_the_sweeper_frees_what_a_crash_left_once_the_horizon_is_past(
    world: OfficeWorld, step: SagaStep
) -> None:
    token, (_, csr) = await world.token("sensor-1"), make_csr("sensor-1")
    world.crash_at = step
    with pytest.raises(Crash):
        await world.enroll("sensor-1", csr, token)
    world.crash_at = None
    sweeper = Sweeper(leftovers=world.registry, clock=world.clock)
    assert await sweeper.sweep() == 0, "an attempt may still be under way"
    world.clock.turn(HORIZON + timedelta(seconds=1))
    assert await sweeper.sweep() == 1
    assert await sweeper.sweep() == 0
    assert await world.registry.thing(ThingName("sensor-1")) is None
    await world.enroll("sensor-1", make_csr("sensor-1")[1], token)
    assert len(await world.active("sensor-1")) == 1


async def test_the_sweeper_leaves_what_is_active_alone(world: OfficeWorld) -> None:
    await world.enrolled("sensor-1")
    world.clock.turn(HORIZON * 2)
    assert await Sweeper(leftovers=world.registry, clock=world.clock).sweep() == 0
    assert len(await world.active("sensor-1")) == 1
