"""Registered keys: whose key it is, the operator said before the device came."""

from dataclasses import replace
from pathlib import Path

import pytest

from keyborn.domain import errors
from keyborn.domain.csr import parse_csr
from keyborn.domain.names import KeyHash
from keyborn.domain.registered import RegisteredKey
from keyborn.ports import MAX_PAGE
from support.csr_make import make_csr
from support.registry_cases import key
from support.waiting_stage import ASKING, LINE, REGISTERING, WaitingWorld, later


@pytest.fixture
def world(tmp_path: Path) -> WaitingWorld:
    return WaitingWorld(tmp_path)


def device(name: str) -> tuple[str, KeyHash]:
    """A request, and the hash of its key."""
    csr = make_csr(name)[1]
    return csr, parse_csr(csr).key_hash


async def registered(world: WaitingWorld, name: str, text: str = REGISTERING) -> tuple[str, KeyHash]:
    """A device whose key is announced under this name."""
    await world.put(text)
    csr, own = device(name)
    await world.registering.register(LINE, [(name, own)])
    return csr, own


# ── enrolling ──


async def test_a_registered_key_enrolls_under_its_name_and_pays_once(world: WaitingWorld) -> None:
    csr, own = await registered(world, "sensor-1")
    first = await world.ask("sensor-1", csr)
    assert (await world.ask("sensor-1", csr)).certificate == first.certificate
    [enrolled] = await world.trail("enroll")
    assert enrolled.event.actor == f"r{own[:16]}"
    assert enrolled.event.details["method"] == "registered"


async def test_keys_that_nobody_knows_and_those_of_another_name_hear_the_same(world: WaitingWorld) -> None:
    await registered(world, "sensor-1")
    stranger, _ = device("sensor-1")
    csr, own = device("sensor-1")
    await world.registering.register(LINE, [("sensor-2", own)])
    said = set()
    for each in (stranger, csr):
        with pytest.raises(errors.KeyNotRegistered) as refusal:
            await world.ask("sensor-1", each)
        said.add((type(refusal.value), str(refusal.value)))
    assert len(said) == 1
    assert await world.names_taken() == 0


async def test_a_key_of_another_group_is_not_registered_here(world: WaitingWorld) -> None:
    await world.put()
    csr, own = device("sensor-1")
    world.kept._state.registered[own] = RegisteredKey(own, LINE and "sensor-1", "line-8")  # type: ignore[arg-type]
    await world.put(REGISTERING)
    with pytest.raises(errors.KeyNotRegistered):
        await world.ask("sensor-1", csr)


async def test_what_was_taken_back_enrolls_no_more_and_what_enrolled_stays(world: WaitingWorld) -> None:
    csr, own = await registered(world, "sensor-1")
    await world.ask("sensor-1", csr)
    await world.registering.remove(own)
    with pytest.raises(errors.KeyNotRegistered):
        await world.ask("sensor-1", csr)
    assert [one.status.value for one in await world.active("sensor-1")] == ["active"]


async def test_a_name_that_is_taken_stays_with_its_key(world: WaitingWorld) -> None:
    csr, _ = await registered(world, "sensor-1")
    await world.ask("sensor-1", csr)
    second, _ = await registered(world, "sensor-1")
    with pytest.raises(errors.ThingNameTaken):
        await world.ask("sensor-1", second)


async def test_under_the_rule_replace_another_announced_key_takes_the_name(world: WaitingWorld) -> None:
    text = REGISTERING + 'taken = "replace"\n'
    csr, _ = await registered(world, "sensor-1", text)
    await world.ask("sensor-1", csr)
    second, own = await registered(world, "sensor-1", text)
    assert (await world.ask("sensor-1", second)).certificate.key_hash == own


async def test_who_is_not_registered_may_have_another_way(world: WaitingWorld) -> None:
    csr, _ = await registered(world, "sensor-1", ASKING.replace('["ask"]', '["registered", "ask"]'))
    await world.ask("sensor-1", csr)
    await world.waits("sensor-2", make_csr("sensor-2")[1])


async def test_where_both_are_demanded_a_person_still_decides(world: WaitingWorld) -> None:
    csr, own = await registered(world, "sensor-1", ASKING.replace('["ask"]', '["registered + ask"]'))
    pending = await world.waits("sensor-1", csr)
    await world.approvals.say_yes(str(pending.facts["approval"]))
    await world.ask("sensor-1", csr)
    [enrolled] = await world.trail("enroll")
    assert enrolled.event.actor == f"r{own[:16]}"


# ── the office ──


async def test_announcing_again_changes_nothing_and_is_not_recorded(world: WaitingWorld) -> None:
    await world.put(REGISTERING)
    rows = [(f"sensor-{number}", key(str(number))) for number in range(5)]
    first = await world.registering.register(LINE, rows)
    again = await world.registering.register(LINE, rows)
    assert (first.added, first.known, again.added, again.known) == (5, 0, 0, 5)
    [told] = await world.trail("registered.import")
    assert (told.event.subject, told.event.details["keys"]) == (LINE, "5")


async def test_another_name_for_a_known_key_is_named_and_left_alone(world: WaitingWorld) -> None:
    await world.put(REGISTERING)
    await world.registering.register(LINE, [("sensor-1", key("1"))])
    done = await world.registering.register(LINE, [("sensor-9", key("1")), ("sensor-2", key("2"))])
    assert (done.added, done.known) == (1, 0)
    assert [(one.thing, one.key_hash) for one in done.refused] == [("sensor-9", key("1"))]
    assert (await world.registering.find(key("1"))).thing == "sensor-1"


@pytest.mark.parametrize(
    ("name", "hashed", "leaf"),
    [
        ("sensor 1", key("1"), errors.InvalidThingName),
        ("keyborn-1", key("1"), errors.ReservedThingName),
        ("localhost", key("1"), errors.ReservedThingName),
        ("sensor-1", "12ab", errors.InvalidKeyHash),
        ("sensor-1", "g" * 64, errors.InvalidKeyHash),
        ("sensor-1", key("1") + "\n", errors.InvalidKeyHash),
    ],
)
async def test_one_bad_row_and_nothing_of_the_batch_is_announced(
    world: WaitingWorld, name: str, hashed: str, leaf: type[errors.KeybornError]
) -> None:
    await world.put(REGISTERING)
    with pytest.raises(leaf):
        await world.registering.register(LINE, [("sensor-2", key("2")), (name, hashed)])
    assert await world.registering.page(LINE) == []


async def test_a_hash_in_upper_case_is_the_same(world: WaitingWorld) -> None:
    await world.put(REGISTERING)
    await world.registering.register(LINE, [("sensor-1", key("1").upper())])
    assert (await world.registering.find(key("1").upper())).key_hash == key("1")


async def test_keys_are_announced_for_groups_that_there_are(world: WaitingWorld) -> None:
    with pytest.raises(errors.GroupUnknown):
        await world.registering.register(LINE, [("sensor-1", key("1"))])
    with pytest.raises(errors.InvalidGroupName):
        await world.registering.register("Line 7", [("sensor-1", key("1"))])


async def test_a_name_is_found_among_more_keys_than_a_page_has(world: WaitingWorld) -> None:
    await world.put(REGISTERING)
    for begin in (0, MAX_PAGE):
        rows = [(f"sensor-{number}", key(str(number))) for number in range(begin, begin + MAX_PAGE)]
        await world.registering.register(LINE, rows)
    assert [one.key_hash for one in await world.registering.named(LINE, "sensor-1500")] == [key("1500")]
    with pytest.raises(errors.NotRegistered):
        await world.registering.named(LINE, "sensor-9999")


async def test_what_nobody_announced_is_not_found(world: WaitingWorld) -> None:
    for act in (world.registering.find, world.registering.remove):
        with pytest.raises(errors.NotRegistered):
            await act(key("1"))


# ── the office of approvals ──


async def test_a_request_is_found_by_id_and_by_code_however_typed(world: WaitingWorld) -> None:
    await world.put()
    pending = await world.waits("sensor-1", make_csr("sensor-1")[1])
    [found] = await world.pending()
    code = str(pending.facts["approval"])
    for word in (found.id, code, code.lower(), code.replace("-", "")):
        assert await world.approvals.find(word) == found


@pytest.mark.parametrize("word", ["", "p", "p0123456789abcdef", "0000-0000", "nothing", "7K3M-9QXZ-1"])
async def test_what_there_is_not_is_not_found(world: WaitingWorld, word: str) -> None:
    await world.put()
    await world.waits("sensor-1", make_csr("sensor-1")[1])
    for act in (world.approvals.find, world.approvals.say_yes, world.approvals.say_no):
        with pytest.raises(errors.NotFound):
            await act(word)


async def test_a_code_with_two_open_requests_is_asked_for_by_id(world: WaitingWorld) -> None:
    await world.put()
    await world.waits("sensor-1", make_csr("sensor-1")[1])
    [plain] = await world.pending()
    twin = replace(plain, id=plain.id[:11] + "0" * 6, replaces=True)  # type: ignore[arg-type]
    world.kept._state.approvals[twin.id] = twin
    with pytest.raises(errors.ApprovalAmbiguous) as refused:
        await world.approvals.say_yes(plain.code)
    assert f"{plain.id} (sensor-1, replaces no key)" in str(refused.value)
    assert f"{twin.id} (sensor-1, replaces a key)" in str(refused.value)
    assert (await world.approvals.say_yes(twin.id)).replaces
    assert await world.approvals.find(plain.code) == plain, "the open one is meant"


async def test_a_reason_is_one_line_and_not_long(world: WaitingWorld) -> None:
    await world.put()
    pending = await world.waits("sensor-1", make_csr("sensor-1")[1])
    for reason in ("x" * 257, "two\nlines"):
        with pytest.raises(errors.InvalidSetting):
            await world.approvals.say_no(str(pending.facts["approval"]), reason=reason)


async def test_what_is_long_over_is_forgotten_and_the_rest_stays(world: WaitingWorld) -> None:
    from keyborn.service.approvals import ApprovalSweeper

    sweeper = ApprovalSweeper(listing=world.kept, clock=world.clock)
    await world.put()
    await world.waits("sensor-1", make_csr("sensor-1")[1])
    later(world, days=9)
    await world.waits("sensor-2", make_csr("sensor-2")[1])
    assert await sweeper.sweep() == 1
    assert await sweeper.sweep() == 0
    assert [one.thing for one in await world.pending()] == ["sensor-2"]
