"""Nonces: used once, soon, and only if they are ours; whatever the clock does, and within bounded memory."""

from datetime import timedelta

import pytest
from hypothesis import given, settings, strategies as st

from keyborn.domain.errors import BadNonce
from keyborn.domain.jws import decode, encode
from keyborn.domain.nonce import LIFETIME
from keyborn.service.nonces import MemoryNonces
from keyborn.testing import SeededEntropy, SkewedClock, VirtualClock, run

TICK = timedelta(milliseconds=1)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def nonces(clock: VirtualClock) -> MemoryNonces:
    return MemoryNonces(clock, SeededEntropy(1))


async def is_taken(nonces: MemoryNonces, nonce: str) -> bool:
    try:
        await nonces.spend(nonce)
    except BadNonce:
        return False
    return True


async def test_a_nonce_is_good_for_once(nonces: MemoryNonces) -> None:
    nonce = await nonces.issue()
    assert await is_taken(nonces, nonce)
    assert not await is_taken(nonces, nonce)


async def test_no_two_nonces_are_alike(nonces: MemoryNonces) -> None:
    assert len({await nonces.issue() for _ in range(1000)}) == 1000


async def test_a_nonce_fits_into_a_header_and_says_nothing(nonces: MemoryNonces) -> None:
    nonce = await nonces.issue()
    assert len(nonce) == 54
    assert set(nonce) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


async def test_a_nonce_is_good_for_five_minutes(nonces: MemoryNonces, clock: VirtualClock) -> None:
    early, late = await nonces.issue(), await nonces.issue()
    clock.advance(LIFETIME - TICK)
    assert await is_taken(nonces, early)
    clock.advance(TICK)
    assert not await is_taken(nonces, late)
    assert timedelta(minutes=5) == LIFETIME


async def test_nobody_makes_one_up(nonces: MemoryNonces) -> None:
    raw = decode(await nonces.issue(), "nonce")
    for place in range(len(raw)):
        forged = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        assert not await is_taken(nonces, encode(forged)), place
    for other in (
        "",
        "x",
        "=",
        encode(raw[:-1]),
        encode(raw + b"\0"),
        encode(bytes(40)),
        "\ud800",
        "a" * 999,
    ):
        assert not await is_taken(nonces, other)
    assert await is_taken(nonces, encode(raw))


async def test_another_process_and_the_next_one_do_not_know_it(clock: VirtualClock) -> None:
    nonce = await MemoryNonces(clock, SeededEntropy(1)).issue()
    assert not await is_taken(MemoryNonces(clock, SeededEntropy(2)), nonce)


async def test_what_is_too_old_is_forgotten(nonces: MemoryNonces, clock: VirtualClock) -> None:
    for _ in range(50):
        assert await is_taken(nonces, await nonces.issue())
        clock.advance(timedelta(seconds=20))
    assert nonces.remembered <= 16


async def test_memory_is_bounded_and_what_is_forgotten_is_never_taken_again(clock: VirtualClock) -> None:
    nonces = MemoryNonces(clock, SeededEntropy(1), most=10)
    spent = []
    for _ in range(100):
        spent.append(await nonces.issue())
        assert await is_taken(nonces, spent[-1])
        assert nonces.remembered <= 10
    assert not any([await is_taken(nonces, nonce) for nonce in spent])
    assert await is_taken(nonces, await nonces.issue()), "a fresh one is taken all the same"


async def test_handing_out_keeps_nothing(nonces: MemoryNonces) -> None:
    for _ in range(1000):
        await nonces.issue()
    assert nonces.remembered == 0


async def test_a_clock_that_is_set_back_makes_no_old_nonce_good(clock: VirtualClock) -> None:
    hand = SkewedClock(clock, timedelta(0))
    nonces = MemoryNonces(hand, SeededEntropy(1))
    used, unused = await nonces.issue(), await nonces.issue()
    assert await is_taken(nonces, used)
    clock.advance(2 * LIFETIME)
    assert await is_taken(nonces, await nonces.issue())
    hand.skew = -2 * LIFETIME
    assert not await is_taken(nonces, used)
    assert not await is_taken(nonces, unused)
    assert await is_taken(nonces, await nonces.issue()), "and fresh ones are good at once"


STEPS = st.lists(
    st.one_of(st.just("issue"), st.tuples(st.just("spend"), st.integers(0, 40)), st.integers(-400, 400)),
    max_size=60,
)


@settings(max_examples=200)
@given(STEPS, st.integers(1, 5))
def test_whatever_happens_no_nonce_is_taken_twice_or_late(steps: list[object], most: int) -> None:
    clock = VirtualClock()
    hand = SkewedClock(clock, timedelta(0))
    nonces = MemoryNonces(hand, SeededEntropy(3), most=most)
    issued: list[str] = []
    taken: list[str] = []
    for step in steps:
        if step == "issue":
            issued.append(run(nonces.issue()))
        elif isinstance(step, int):
            hand.skew += timedelta(seconds=step)
        elif isinstance(step, tuple) and issued:
            nonce = issued[step[1] % len(issued)]
            if run(is_taken(nonces, nonce)):
                taken.append(nonce)
        assert nonces.remembered <= most
    assert len(set(taken)) == len(taken)
    assert run(is_taken(nonces, run(nonces.issue())))
