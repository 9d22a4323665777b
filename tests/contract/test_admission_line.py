"""One line, wherever it is kept: slots by the quota, places in order, many instances at once."""

import asyncio
from collections.abc import Callable

import pytest

from keyborn.adapters.aws.admission import DynamoLine
from keyborn.adapters.memory.line import MemoryLine
from keyborn.domain.quota import AHEAD, Pacing
from keyborn.ports import AdmissionLine
from support import ministack

PACING = Pacing(rate=10.0, burst=0.4, slack=1.5)
NOON = 1_795_000_000.0
Opener = Callable[[], AdmissionLine]


def _dynamodb() -> AdmissionLine:
    return DynamoLine(ministack.dynamodb, ministack.new_table(), PACING)


def _memory() -> AdmissionLine:
    return MemoryLine(PACING)


@pytest.fixture(params=[_memory, _dynamodb], ids=["memory", "dynamodb"])
def line(request: pytest.FixtureRequest) -> AdmissionLine:
    opened: AdmissionLine = request.param()
    return opened


async def test_the_first_slot_of_all_is_one_that_was_kept(line: AdmissionLine) -> None:
    first = await line.take(NOON, NOON)
    assert first.begins == pytest.approx(NOON - 0.4)
    assert first.free_at == pytest.approx(NOON - 0.3)


async def test_after_the_burst_slots_come_at_the_rate(line: AdmissionLine) -> None:
    begins = [(await line.take(NOON, NOON + 1)).begins for _ in range(15)]
    assert begins == pytest.approx([NOON - 0.4 + 0.1 * number for number in range(15)])


async def test_a_slot_that_begins_too_late_is_not_taken(line: AdmissionLine) -> None:
    for _ in range(5):
        assert (await line.take(NOON, NOON)).begins is not None
    for _ in range(3):
        refused = await line.take(NOON, NOON)
        assert refused.begins is None
        assert refused.free_at == pytest.approx(NOON + 0.1)
    assert (await line.take(NOON, NOON + 0.1)).begins == pytest.approx(NOON + 0.1)


async def test_nobody_can_ask_for_a_slot_that_is_never_kept(line: AdmissionLine) -> None:
    with pytest.raises(ValueError, match="is not kept"):
        await line.take(NOON, NOON - 1)


async def test_slots_left_unused_are_lost_beyond_the_burst(line: AdmissionLine) -> None:
    await line.take(NOON, NOON)
    much_later = NOON + 3600
    taken = [(await line.take(much_later, much_later)).begins for _ in range(6)]
    assert taken[0] == pytest.approx(much_later - 0.4)
    assert taken[4] == pytest.approx(much_later)
    assert taken[5] is None


async def test_a_clock_that_is_behind_takes_later_slots_and_no_earlier_ones(line: AdmissionLine) -> None:
    await line.take(NOON + 5, NOON + 5)
    assert (await line.take(NOON, NOON)).begins is None
    assert (await line.take(NOON, NOON + 10)).begins == pytest.approx(NOON + 4.7)


async def test_a_slot_far_ahead_is_a_wrong_clock_s_and_counts_as_none(line: AdmissionLine) -> None:
    await line.take(NOON + 3600, NOON + 3600)
    again = [await line.take(NOON, NOON) for _ in range(6)]
    assert again[0].begins == pytest.approx(NOON - 0.4)
    assert again[0].free_at == pytest.approx(NOON - 0.3)
    assert [one.begins is None for one in again] == [False] * 5 + [True]


async def test_a_slot_a_little_ahead_is_kept_to(line: AdmissionLine) -> None:
    await line.take(NOON + AHEAD - 1, NOON + AHEAD - 1)
    refused = await line.take(NOON, NOON)
    assert refused.begins is None
    assert refused.free_at == pytest.approx(NOON + AHEAD - 1.3)


async def test_an_end_of_the_line_far_ahead_is_kept_to(line: AdmissionLine) -> None:
    await line.join("a", NOON + 3 * 3600)
    assert (await line.join("b", NOON)).due == pytest.approx(NOON + 3 * 3600 + 0.15)


async def test_who_never_joined_has_no_place(line: AdmissionLine) -> None:
    assert await line.find("a", NOON) is None


async def test_places_follow_each_other_a_little_slower_than_slots(line: AdmissionLine) -> None:
    places = [await line.join(who, NOON) for who in "abc"]
    assert [place.due for place in places] == pytest.approx([NOON, NOON + 0.15, NOON + 0.3])
    assert places[-1].end == pytest.approx(NOON + 0.45)
    assert [await line.find(who, NOON) for who in "abc"] == pytest.approx([place.due for place in places])


async def test_a_line_that_has_run_dry_begins_anew_now(line: AdmissionLine) -> None:
    await line.join("a", NOON)
    assert (await line.join("b", NOON + 60)).due == pytest.approx(NOON + 60)


async def test_who_joins_again_stands_at_the_end(line: AdmissionLine) -> None:
    for who in "aba":
        await line.join(who, NOON)
    assert await line.find("a", NOON) == pytest.approx(NOON + 0.3)


async def test_a_place_is_kept_for_the_grace_and_no_longer(line: AdmissionLine) -> None:
    await line.join("a", NOON)
    assert await line.find("a", NOON + PACING.grace - 1) == pytest.approx(NOON)
    assert await line.find("a", NOON + PACING.grace + 1) is None


async def test_a_slice_tells_where_the_line_ends(line: AdmissionLine) -> None:
    await line.take(NOON, NOON)
    end = (await line.join("a", NOON)).end
    assert (await line.take(NOON, NOON)).end == pytest.approx(end)
    for _ in range(4):
        await line.take(NOON, NOON)
    refused = await line.take(NOON, NOON)
    assert refused.begins is None
    assert refused.end == pytest.approx(end)


async def test_of_many_at_once_no_two_get_the_same_slot(line: AdmissionLine) -> None:
    slices = await asyncio.gather(*(line.take(NOON, NOON + 1) for _ in range(40)))
    begins = sorted(one.begins for one in slices if one.begins is not None)
    assert begins == pytest.approx([NOON - 0.4 + 0.1 * number for number in range(15)])


async def test_of_many_at_once_no_two_get_the_same_place(line: AdmissionLine) -> None:
    places = await asyncio.gather(*(line.join(f"device-{number}", NOON) for number in range(40)))
    assert sorted(place.due for place in places) == pytest.approx([NOON + 0.15 * each for each in range(40)])
