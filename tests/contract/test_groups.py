"""Group documents, tokens of a group, and what an operator changes of a thing: the same everywhere."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.errors import NotFound, PolicyInUse, ThingRevoked
from keyborn.domain.group import MAX_DOCUMENT, GroupDocument, GroupUse
from keyborn.domain.names import GroupName, NameScope, ThingName
from keyborn.domain.thing import ThingStatus
from keyborn.domain.token import EnrollmentToken, TokenId, TokenUse, digest
from support.grouping_cases import LINE, OTHER, GroupingDesk, Two
from support.registry_cases import HOUR, START, event, make_token

# ── documents ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_group_is_kept_as_it_was_put_and_is_version_1(line: GroupingDesk) -> None:
    text = 'name = "l.7-a_0"\n# Zähler ⚙\r\n\t[give]\n'
    offered = GroupDocument(GroupName("l.7-a_0"), text, line.now, 77, (PolicyName("fleet"),), b"\0s" * 16)

    kept = await line.grouping.put_group(offered, event("group.put"))

    assert kept == replace(offered, version=1)
    assert await line.grouping.group(offered.name) == kept
    assert await line.grouping.groups() == [GroupUse(kept, 0)]
    assert await line.told() == ["group.put"]


async def test_another_text_counts_the_version_up_and_keeps_the_webhook_s_secret(line: GroupingDesk) -> None:
    await line.put_group(secret=b"first")
    line.pass_time(HOUR)

    second = await line.put_group(text="changed", policies=["fleet"], secret=b"second")

    assert (second.version, second.updated_at, second.webhook_secret) == (2, line.now, b"first")
    assert (second.policies, await line.grouping.group(LINE)) == ((PolicyName("fleet"),), second)
    assert (await line.put_group()).version == 3, "going back is a change, too"
    assert await line.told() == ["group.put"] * 3


async def test_the_first_version_with_a_webhook_brings_its_secret(line: GroupingDesk) -> None:
    assert (await line.put_group()).webhook_secret is None
    assert (await line.put_group(text="with", secret=b"first")).webhook_secret == b"first"
    assert (await line.put_group(text="without")).webhook_secret == b"first"


async def test_the_same_text_again_changes_and_appends_nothing(line: GroupingDesk) -> None:
    first = await line.put_group(secret=b"first")
    line.pass_time(HOUR)
    assert await line.put_group(secret=b"second") == first
    assert await line.grouping.group(LINE) == first
    assert await line.told() == ["group.put"]


async def test_the_largest_document_is_kept(line: GroupingDesk) -> None:
    offered = GroupDocument(LINE, "x" * MAX_DOCUMENT, line.now)
    await line.grouping.put_group(offered, event("group.put"))
    assert await line.grouping.group(LINE) == offered


async def test_groups_come_in_pages_in_byte_order(line: GroupingDesk) -> None:
    names = ["b", "a-1", "a.1", "a_1", "a", "0", "z" * 64]
    for name in names:
        await line.put_group(name)
    ordered = sorted(names, key=str.encode)
    first = await line.grouping.groups(limit=3)
    assert [one.document.name for one in first] == ordered[:3]
    rest = await line.grouping.groups(after=first[-1].document.name)
    assert [one.document.name for one in rest] == ordered[3:]
    assert await line.grouping.groups(limit=0) == []
    assert await line.grouping.groups(after=GroupName("z" * 64)) == []


async def test_a_removed_group_is_gone_and_comes_back_as_version_1(line: GroupingDesk) -> None:
    await line.put_group(secret=b"first")
    await line.put_group(text="changed")

    await line.remove_group()

    assert await line.grouping.group(LINE) is None
    assert await line.grouping.groups() == []
    with pytest.raises(NotFound, match="no group called line-7"):
        await line.remove_group()
    assert await line.told() == ["group.put", "group.put", "group.remove"]
    again = await line.put_group()
    assert (again.version, again.webhook_secret) == (1, None)


async def test_a_removed_group_leaves_its_things_and_tokens(line: GroupingDesk) -> None:
    await line.put_group()
    token = make_token("member", group=LINE)
    await line.registry.add(token, event("token.create"))
    await line.join(token, "lamp-1", "k1")

    await line.remove_group()

    assert (await line.thing("lamp-1")).group == LINE
    assert await line.registry.find(token.id) == token


async def test_of_two_texts_put_at_once_each_is_a_version(two: Two, line: GroupingDesk) -> None:
    def document(number: int) -> GroupDocument:
        return GroupDocument(LINE, f"# {number}", line.now, webhook_secret=bytes([number]))

    puts = (two[each % 2].put_group(document(each), event("group.put")) for each in range(6))
    kept = await asyncio.gather(*puts)

    assert sorted(one.version for one in kept) == [1, 2, 3, 4, 5, 6]
    assert len({one.webhook_secret for one in kept}) == 1, "one secret for all"
    last = max(kept, key=lambda one: one.version)
    assert await line.grouping.group(LINE) == last


# ── its policies ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_policy_that_a_group_gives_cannot_be_removed(line: GroupingDesk) -> None:
    for name in ("fleet", "fleet-2"):
        await line.put(name)
    await line.put_group(policies=["fleet-2"])
    await line.remove("fleet")
    with pytest.raises(PolicyInUse, match="fleet-2 cannot be removed: the group line-7 would give it"):
        await line.remove("fleet-2")

    await line.put_group(policies=[])

    await line.remove("fleet-2")


async def test_a_removed_group_keeps_no_policy(line: GroupingDesk) -> None:
    await line.put("fleet")
    await line.put_group(policies=["other", "fleet"])
    with pytest.raises(PolicyInUse):
        await line.remove("fleet")
    await line.remove_group()
    await line.remove("fleet")


# ── tokens of a group ─────────────────────────────────────────────────────────────────────────────────


def group_key(secret: bytes = b"k" * 32) -> EnrollmentToken:
    """A group key, as it is kept."""
    hashed = digest(secret)
    identity = TokenId("k" + hashed.hex()[:16])
    return EnrollmentToken(
        identity, hashed, NameScope("lamp-*"), 2, START, START + HOUR, group=LINE, key=secret
    )


async def test_a_token_keeps_its_group_and_a_group_key_its_key(line: GroupingDesk) -> None:
    tokens = [group_key(), make_token("member", group=LINE), make_token("plain")]
    for token in tokens:
        await line.registry.add(token, event("token.create"))

    for token in tokens:
        assert await line.registry.find(token.id) == token
    listed = await line.registry.tokens()
    assert sorted(listed, key=lambda use: use.token.id) == sorted(
        (TokenUse(token.listed(), 0) for token in tokens), key=lambda use: use.token.id
    )
    withdrawn = replace(tokens[0], withdrawn_at=line.now)
    assert await line.registry.withdraw(tokens[0].id, event(at=line.now)) == withdrawn.listed()
    assert await line.registry.find(tokens[0].id) == withdrawn
    assert withdrawn.listed().key == b"", "there is one, and nobody sees it"


async def test_a_group_key_counts_and_ends_as_a_token_does(line: GroupingDesk) -> None:
    await line.put_group()
    held = group_key()
    await line.registry.add(held, event("key.create"))
    await line.join(held, "lamp-1", "k1")
    assert (await line.uses_taken(held), await line.taken()) == (1, 1)


async def test_no_secret_of_a_group_is_shown_by_accident(line: GroupingDesk) -> None:
    kept = await line.put_group(secret=b"shown-nowhere")
    assert "shown" not in repr(kept)
    assert "kkkk" not in repr(group_key())


# ── a thing's group ───────────────────────────────────────────────────────────────────────────────────


async def lamp(line: GroupingDesk) -> None:
    """lamp-1 of line-7, beside which there is line-8."""
    await line.put_group()
    await line.put_group(OTHER)
    await line.join(await line.token("secret"), "lamp-1", "k1")


async def test_a_thing_moves_to_another_group_and_out_of_all(line: GroupingDesk) -> None:
    await lamp(line)
    before = await line.thing("lamp-1")

    moved = await line.move("lamp-1", OTHER)

    assert moved == replace(before, group=OTHER) == await line.thing("lamp-1")
    assert (await line.taken(LINE), await line.taken(OTHER)) == (1, 0), "it has enrolled where it has"
    assert (await line.move("lamp-1", None)).group is None
    assert (await line.thing("lamp-1")).group is None
    assert (await line.told())[-2:] == ["thing.move"] * 2


async def test_moving_where_it_is_changes_and_appends_nothing(line: GroupingDesk) -> None:
    await lamp(line)
    before = await line.told()
    assert await line.move("lamp-1", LINE) == await line.thing("lamp-1")
    await line.move("lamp-1", None)
    await line.move("lamp-1", None)
    assert len(await line.told()) == len(before) + 1


async def test_moving_needs_a_thing_and_a_group(line: GroupingDesk) -> None:
    await lamp(line)
    before = (await line.told(), await line.thing("lamp-1"))
    with pytest.raises(NotFound, match="no thing called lamp-2"):
        await line.move("lamp-2", OTHER)
    with pytest.raises(NotFound, match="no group called line-9"):
        await line.move("lamp-1", "line-9")
    await line.remove_group(OTHER)
    with pytest.raises(NotFound, match="no group called line-8"):
        await line.move("lamp-1", OTHER)
    assert (await line.told())[:-1] == before[0]
    assert await line.thing("lamp-1") == before[1]


async def test_a_suspended_thing_moves_and_keeps_its_group_when_it_is_back(line: GroupingDesk) -> None:
    await lamp(line)
    await line.order("lamp-1", ThingStatus.SUSPENDED)
    await line.move("lamp-1", OTHER)
    back = await line.order("lamp-1", ThingStatus.ACTIVE)
    assert (back.group, back) == (OTHER, await line.thing("lamp-1"))


async def test_the_badge_shows_group_type_and_attributes(line: GroupingDesk) -> None:
    await lamp(line)
    await line.describe("lamp-1", {"line": "7"})
    await line.release("lamp-1")
    [certificate] = await line.active("lamp-1")
    badge = await line.registry.badge(certificate.id)
    assert badge is not None
    assert badge.thing == await line.thing("lamp-1")
    assert list(await line.registry.things()) == [badge.thing]


# ── its attributes ────────────────────────────────────────────────────────────────────────────────────


async def test_attributes_are_set_whole(line: GroupingDesk) -> None:
    await lamp(line)
    before = await line.thing("lamp-1")
    first = await line.describe("lamp-1", {"line": "7", "room": "4"})
    assert first == replace(before, attributes={"line": "7", "room": "4"}) == await line.thing("lamp-1")

    assert (await line.describe("lamp-1", {"room": "5"})).attributes == {"room": "5"}
    assert (await line.describe("lamp-1", {})).attributes == {}

    assert await line.thing("lamp-1") == before
    assert (await line.told())[-3:] == ["thing.set"] * 3


async def test_setting_the_same_attributes_changes_and_appends_nothing(line: GroupingDesk) -> None:
    await lamp(line)
    await line.describe("lamp-1", {"a": "1", "b": "2"})
    before = await line.told()
    assert (await line.describe("lamp-1", {"b": "2", "a": "1"})).attributes == {"a": "1", "b": "2"}
    assert await line.told() == before


async def test_attributes_need_a_thing(line: GroupingDesk) -> None:
    with pytest.raises(NotFound, match="no thing called lamp-1"):
        await line.describe("lamp-1", {"a": "1"})
    assert await line.told() == []


async def test_a_replaced_thing_keeps_group_and_attributes(line: GroupingDesk) -> None:
    await lamp(line)
    await line.describe("lamp-1", {"a": "1"})
    await line.move("lamp-1", OTHER)
    swap = await line.token("swap", "lamp-1", replaces=True)
    await line.connect(await line.join(swap, "lamp-1", "k2"))
    kept = await line.thing("lamp-1")
    assert (kept.group, kept.attributes) == (OTHER, {"a": "1"})


# ── its release ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_release_is_set_moved_and_ended(line: GroupingDesk) -> None:
    await lamp(line)
    before = await line.thing("lamp-1")
    assert await line.release("lamp-1") == replace(before, release_until=START + HOUR)
    assert (await line.release("lamp-1", 2 * HOUR)).release_until == START + 2 * HOUR
    assert (await line.thing("lamp-1")).release_until == START + 2 * HOUR
    assert await line.release("lamp-1", None) == before == await line.thing("lamp-1")
    assert (await line.told())[-3:] == ["thing.release"] * 3


async def test_a_repeated_release_changes_and_appends_nothing(line: GroupingDesk) -> None:
    await lamp(line)
    await line.release("lamp-1", None)
    once = await line.release("lamp-1")
    before = await line.told()
    assert await line.release("lamp-1") == once
    assert await line.told() == before
    assert before.count("thing.release") == 1


@pytest.mark.parametrize("status", [ThingStatus.REVOKED, ThingStatus.RETIRED])
async def test_what_is_gone_is_not_released(line: GroupingDesk, status: ThingStatus) -> None:
    await lamp(line)
    await line.release("lamp-1")
    gone = await line.order("lamp-1", status)
    assert gone.release_until is None
    before = await line.told()
    with pytest.raises(ThingRevoked):
        await line.release("lamp-1")
    with pytest.raises(NotFound):
        await line.release("lamp-2")
    assert (await line.told(), await line.thing("lamp-1")) == (before, gone)


async def test_a_release_outlasts_a_suspension(line: GroupingDesk) -> None:
    await lamp(line)
    released = await line.release("lamp-1")
    await line.order("lamp-1", ThingStatus.SUSPENDED)
    assert await line.order("lamp-1", ThingStatus.ACTIVE) == released


async def test_orders_about_one_thing_at_once_all_count(two: Two, line: GroupingDesk) -> None:
    await lamp(line)
    lamp_1, until = ThingName("lamp-1"), line.now + timedelta(minutes=5)
    orders: list[Coroutine[Any, Any, object]] = [
        two[0].set_release(lamp_1, until, event("release")),
        two[1].set_group(lamp_1, OTHER, event("move")),
        two[0].set_attributes(lamp_1, {"a": "1"}, event("set")),
        two[1].set_grace(lamp_1, until, event("grace")),
    ]
    await asyncio.gather(*orders)
    thing = await line.thing("lamp-1")
    assert (thing.release_until, thing.group, thing.attributes, thing.grace_until) == (
        until,
        OTHER,
        {"a": "1"},
        until,
    )
    assert sorted((await line.told())[-4:]) == ["grace", "move", "release", "set"]


async def test_of_a_move_and_a_removal_at_once_no_thing_comes_into_a_group_that_is_gone_before(
    two: Two, line: GroupingDesk
) -> None:
    await lamp(line)
    moved, removed = await asyncio.gather(
        two[0].set_group(ThingName("lamp-1"), OTHER, event("move")),
        two[1].remove_group(OTHER, event("group.remove")),
        return_exceptions=True,
    )
    assert removed is None
    trail = (await line.told())[-2:]
    if isinstance(moved, BaseException):
        assert isinstance(moved, NotFound)
        assert trail[-1] == "group.remove"
    else:
        assert trail == ["move", "group.remove"]
