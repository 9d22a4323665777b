"""Nonces of a stack: one key for all instances, once in the table, and nothing written for strangers."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import pytest

from keyborn.adapters.aws.calls import Patience
from keyborn.adapters.aws.nonces import TableNonces
from keyborn.adapters.aws.table import DynamoRegistry
from keyborn.adapters.system import SystemEntropy
from keyborn.domain.errors import BadNonce, Unavailable
from keyborn.domain.nonce import LIFETIME, make_nonce, nonce_key
from keyborn.testing import VirtualClock
from support.aws_faults import ENDLESS, Fault, Faults, Plan
from support.aws_stage import Stage
from support.seals import KEY

TICK = timedelta(milliseconds=1)


@dataclass
class Hand:
    """A monotonic clock that is moved."""

    seconds: float = 100.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class Instance:
    """One of a stack's, with a clock of its own."""

    nonces: TableNonces
    clock: VirtualClock
    hand: Hand

    async def takes(self, nonce: str) -> bool:
        try:
            await self.nonces.spend(nonce)
        except BadNonce:
            return False
        return True


@pytest.fixture
async def registry(stage: Stage, faults: Faults) -> AsyncIterator[DynamoRegistry]:
    patience = Patience(whole=0.3, first=0.01, longest=0.02)
    async with DynamoRegistry(faults.client, stage.table, patience=patience) as opened:
        yield opened


def instance(registry: DynamoRegistry) -> Instance:
    clock, hand = VirtualClock(), Hand()
    return Instance(TableNonces(registry, clock, SystemEntropy(), seconds=hand), clock, hand)


@pytest.fixture
async def one(registry: DynamoRegistry) -> Instance:
    await registry.make_seal_key(KEY)
    return instance(registry)


async def test_what_one_instance_gives_another_one_takes_once(
    one: Instance, registry: DynamoRegistry
) -> None:
    two, nonce = instance(registry), await one.nonces.issue()
    assert await two.takes(nonce)
    assert not await one.takes(nonce)
    assert not await two.takes(nonce)


async def test_handing_one_out_asks_nothing_once_the_key_is_known(one: Instance, faults: Faults) -> None:
    with faults.listening() as calls:
        given = [await one.nonces.issue() for _ in range(100)]
    assert [call.operation for call in calls] == ["GetItem"]
    assert len(set(given)) == 100


async def test_what_is_made_up_costs_no_call(one: Instance, faults: Faults) -> None:
    await one.nonces.issue()
    now = 1_795_000_000_000
    made_up = [
        make_nonce(nonce_key(bytes(32)), now, bytes(16)),
        make_nonce(KEY, now, bytes(16)),
        "",
        "é",
        "A" * 54,
    ]
    with faults.listening() as calls:
        assert not any([await one.takes(nonce) for nonce in made_up])
    assert calls == []


@pytest.mark.parametrize("ahead", [timedelta(0), LIFETIME / 2, -LIFETIME / 2])
async def test_five_minutes_by_the_clock_of_whoever_is_asked(
    one: Instance, registry: DynamoRegistry, ahead: timedelta
) -> None:
    """Two instances need not have the same time."""
    giver = instance(registry)
    one.clock.advance(LIFETIME)
    giver.clock.advance(LIFETIME + ahead)
    early, late = await giver.nonces.issue(), await giver.nonces.issue()
    one.clock.advance(LIFETIME + ahead - TICK)
    assert await one.takes(early)
    one.clock.advance(TICK)
    assert not await one.takes(late)


async def test_one_of_the_far_future_is_not_taken(one: Instance, registry: DynamoRegistry) -> None:
    """A clock was wrong: it would be good for longer than it is remembered."""
    giver = instance(registry)
    giver.clock.advance(LIFETIME)
    assert not await one.takes(await giver.nonces.issue())


async def test_before_there_is_a_key_a_nonce_is_good_for_nothing_and_the_table_is_left_alone(
    registry: DynamoRegistry, faults: Faults
) -> None:
    new = instance(registry)
    with faults.listening() as calls:
        given = [await new.nonces.issue() for _ in range(20)]
        assert not await new.takes(given[0])
    assert len(calls) == 1
    await registry.make_seal_key(KEY)
    new.hand.seconds += 1
    assert not await new.takes(given[1])
    assert await new.takes(await new.nonces.issue())


async def test_where_the_table_is_silent_no_nonce_is_spent_or_believed(one: Instance, faults: Faults) -> None:
    nonce = await one.nonces.issue()
    with faults.planned(Plan(Fault.BROKEN, times=ENDLESS)), pytest.raises(Unavailable):
        await one.takes(nonce)
    assert await one.takes(nonce)


async def test_where_the_answer_is_lost_it_counts_as_spent(one: Instance, faults: Faults) -> None:
    nonce = await one.nonces.issue()
    with faults.planned(Plan(Fault.UNHEARD, times=1)):
        assert not await one.takes(nonce), "the repeat met its own note"
    assert not await one.takes(nonce)


async def test_without_its_key_an_instance_says_so(registry: DynamoRegistry, faults: Faults) -> None:
    new = instance(registry)
    with faults.planned(Plan(Fault.BROKEN, times=ENDLESS)), pytest.raises(Unavailable):
        await new.nonces.issue()
    await registry.make_seal_key(KEY)
    assert await new.takes(await new.nonces.issue()), "it asks again at once"
