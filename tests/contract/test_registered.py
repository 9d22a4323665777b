"""Keys that were announced before their devices came: the same everywhere."""

import asyncio

import pytest

from keyborn.domain.errors import NotFound
from keyborn.domain.registered import Registered
from keyborn.ports import MAX_PAGE
from support.grouping_cases import LINE, OTHER, GroupingDesk, Two, registered
from support.registry_cases import event, key


async def test_announced_keys_are_found_by_their_hash(line: GroupingDesk) -> None:
    keys = [registered("k1"), registered("k2", group=OTHER)]

    assert await line.register(*keys) == Registered(2, 0, ())

    for one in keys:
        assert await line.grouping.registered(one.key_hash) == one
    assert await line.grouping.registered(key("k3")) is None
    assert await line.told() == ["registered.import"]


async def test_announcing_again_changes_and_appends_nothing(line: GroupingDesk) -> None:
    await line.register(registered("k1"), registered("k2"))
    assert await line.register(registered("k2"), registered("k1")) == Registered(0, 2, ())
    assert await line.register() == Registered(0, 0, ())
    assert await line.told() == ["registered.import"]


async def test_a_batch_adds_what_is_new_and_says_the_rest(line: GroupingDesk) -> None:
    kept = registered("k1")
    await line.register(kept)
    other_name, other_group = registered("k1", "lamp-9"), registered("k1", group=OTHER)

    told = await line.register(registered("k2"), other_name, kept, other_group, registered("k3"))

    assert told == Registered(2, 1, (other_name, other_group))
    assert await line.grouping.registered(kept.key_hash) == kept
    assert await line.told() == ["registered.import"] * 2


async def test_of_a_key_that_a_batch_has_twice_the_first_counts(line: GroupingDesk) -> None:
    first, other = registered("k1"), registered("k1", "lamp-9")
    assert await line.register(first, first, other) == Registered(1, 1, (other,))
    assert await line.grouping.registered(first.key_hash) == first


async def test_two_keys_may_have_one_name(line: GroupingDesk) -> None:
    """A device whose board was changed comes with another key, and is announced under its old name."""
    keys = [registered("k1", "lamp-1"), registered("k2", "lamp-1")]
    assert (await line.register(*keys)).added == 2
    assert sorted(await line.grouping.registered_in(LINE), key=str) == sorted(keys, key=str)


async def test_a_whole_page_is_announced_at_once_and_no_more(line: GroupingDesk) -> None:
    keys = [registered(f"k{number}") for number in range(MAX_PAGE + 1)]
    with pytest.raises(ValueError, match="1000"):
        await line.register(*keys)
    assert await line.grouping.registered_in(LINE) == []

    assert await line.register(*keys[1:]) == Registered(MAX_PAGE, 0, ())

    ordered = sorted(keys[1:], key=lambda one: one.key_hash)
    assert await line.grouping.registered_in(LINE, limit=MAX_PAGE) == ordered
    assert (await line.told()).count("registered.import") == 1


async def test_a_group_s_keys_come_in_pages_by_hash(line: GroupingDesk) -> None:
    mine = [registered(f"k{number}") for number in range(7)]
    await line.register(*mine, *(registered(f"o{number}", group=OTHER) for number in range(5)))
    ordered = sorted(mine, key=lambda one: one.key_hash)

    first = await line.grouping.registered_in(LINE, limit=3)
    rest = await line.grouping.registered_in(LINE, after=first[-1].key_hash)

    assert (first, rest) == (ordered[:3], ordered[3:])
    assert len(await line.grouping.registered_in(OTHER)) == 5
    assert await line.grouping.registered_in(LINE, limit=0) == []


async def test_an_announcement_is_taken_back(line: GroupingDesk) -> None:
    await line.register(registered("k1"), registered("k2"))

    await line.unregister("k1")

    assert await line.grouping.registered(key("k1")) is None
    assert await line.grouping.registered_in(LINE) == [registered("k2")]
    with pytest.raises(NotFound, match="is not registered"):
        await line.unregister("k1")
    assert await line.told() == ["registered.import", "registered.remove"]
    assert (await line.register(registered("k1", group=OTHER))).added == 1


async def test_what_has_enrolled_stays_when_its_announcement_goes(line: GroupingDesk) -> None:
    await line.put_group()
    await line.register(registered("k1", "lamp-1"))
    certificate = await line.join(await line.token("secret"), "lamp-1", "k1")
    await line.unregister("k1")
    assert await line.active("lamp-1") == [certificate]


async def test_of_two_announcements_of_one_key_at_once_one_counts(two: Two, line: GroupingDesk) -> None:
    here = [registered(f"k{number}", group=LINE) for number in range(20)]
    there = [registered(f"k{number}", group=OTHER) for number in reversed(range(20))]

    told = await asyncio.gather(two[0].register(here, event("a")), two[1].register(there, event("b")))

    assert sum(one.added for one in told) == 20
    assert sum(len(one.refused) for one in told) == 20
    listed = [*await line.grouping.registered_in(LINE), *await line.grouping.registered_in(OTHER)]
    assert len(listed) == 20
    assert len(await line.told()) == sum(one.added > 0 for one in told)
