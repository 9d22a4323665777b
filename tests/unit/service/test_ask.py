"""Ask first: what waits, what a decision is good for, and what it never is."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from keyborn.domain import errors
from keyborn.domain.approval import ApprovalState, approval_code, key_words
from keyborn.domain.csr import parse_csr
from keyborn.domain.errors import KeybornError
from keyborn.domain.group import EnrollmentGroup
from keyborn.domain.method import Method, Way
from keyborn.domain.names import KeyHash, NameScope, ThingName
from keyborn.ports import Request
from keyborn.service.admission import FailureBudget
from keyborn.service.methods.ask import LATEST, SOONEST, AskMethod, pause_after
from keyborn.service.tokens import TokenWish
from support.csr_make import make_csr
from support.office import SOURCE, TurnedClock
from support.registry_cases import applicant, key, make_token
from support.waiting_stage import ASKING, LINE, WaitingWorld, later

PERSON = ASKING + 'taken = "person"\n'
WITH_TOKEN = ASKING.replace('["ask"]', '["token + ask"]')


@pytest.fixture
def world(tmp_path: Path) -> WaitingWorld:
    return WaitingWorld(tmp_path)


def request(name: str) -> str:
    return make_csr(name)[1]


def hash_of(csr: str) -> KeyHash:
    return parse_csr(csr).key_hash


@contextmanager
def refused(leaf: type[KeybornError]) -> Iterator[None]:
    with pytest.raises(leaf):
        yield


# ── waiting ──


async def test_a_device_is_told_the_code_and_the_words_of_its_own_key(world: WaitingWorld) -> None:
    await world.put()
    csr = request("sensor-1")
    pending = await world.waits("sensor-1", csr)
    assert pending.facts["approval"] == approval_code(LINE, ThingName("sensor-1"), hash_of(csr))
    assert pending.facts["words"] == key_words(hash_of(csr))
    assert pending.retry_after == SOONEST


async def test_a_request_that_waits_reserves_nothing(world: WaitingWorld) -> None:
    await world.put()
    csr = request("sensor-1")
    await world.waits("sensor-1", csr)
    assert await world.names_taken() == 0
    assert await world.kept.leftovers(before=world.clock.now() + timedelta(days=1)) == []
    other = request("sensor-1")
    await world.waits("sensor-1", other)
    await world.waits("sensor-2", request("sensor-2"))


async def test_looking_again_writes_nothing(world: WaitingWorld) -> None:
    await world.put()
    csr = request("sensor-1")
    for _ in range(5):
        await world.waits("sensor-1", csr)
        later(world, seconds=30)
    [asked] = await world.trail("approval.ask")
    assert asked.event.subject == "sensor-1"
    assert asked.event.source == SOURCE
    assert asked.event.details["keyHash"] == hash_of(csr)
    assert await world.trail("enroll") == []


@pytest.mark.parametrize(
    ("waited", "seconds"), [(0, 5), (90, 5), (100, 5), (600, 30), (3600, 180), (86400, 300)]
)
def test_the_longer_it_waits_the_more_seldom_it_looks(waited: int, seconds: int) -> None:
    assert pause_after(timedelta(seconds=waited)) == seconds
    assert SOONEST <= seconds <= LATEST


def test_a_clock_that_was_turned_back_makes_no_pause_shorter() -> None:
    assert pause_after(timedelta(days=-1)) == SOONEST


# ── deciding ──


async def test_who_was_approved_gets_a_certificate_and_gets_it_again(world: WaitingWorld) -> None:
    await world.put()
    csr = request("sensor-1")
    pending = await world.waits("sensor-1", csr)
    done = await world.approvals.say_yes(str(pending.facts["approval"]), actor="ann")
    assert done.state is ApprovalState.APPROVED
    first = await world.ask("sensor-1", csr)
    assert not first.repeated
    assert (await world.ask("sensor-1", csr)).certificate == first.certificate
    [enrolled] = await world.trail("enroll")
    assert enrolled.event.actor == done.id
    assert enrolled.event.details["approvedBy"] == "ann"


async def test_an_approval_is_good_for_the_key_that_was_compared_and_no_other(world: WaitingWorld) -> None:
    """A request swapped after the code was shown is another request, with other words, and still waits."""
    await world.put()
    shown, swapped = request("sensor-1"), request("sensor-1")
    pending = await world.waits("sensor-1", shown)
    await world.approvals.say_yes(str(pending.facts["approval"]))
    other = await world.waits("sensor-1", swapped)
    assert other.facts["words"] != pending.facts["words"]
    assert other.facts["approval"] != pending.facts["approval"]
    assert (await world.ask("sensor-1", shown)).certificate.key_hash == hash_of(shown)


async def test_a_request_swapped_before_it_arrived_has_other_words_than_the_device(
    world: WaitingWorld,
) -> None:
    await world.put()
    device, swapped = request("sensor-1"), request("sensor-1")
    await world.waits("sensor-1", swapped)
    [found] = await world.pending()
    with refused(errors.KeyWordsDiffer):
        await world.approvals.say_yes(found.code, words=key_words(hash_of(device)))
    assert (await world.pending())[0].state is ApprovalState.PENDING
    assert await world.trail("approval.approve") == []


async def test_an_approval_is_good_for_its_name_only(world: WaitingWorld) -> None:
    await world.put()
    pending = await world.waits("sensor-1", request("sensor-1"))
    await world.approvals.say_yes(str(pending.facts["approval"]))
    await world.waits("sensor-2", request("sensor-2"))


async def test_who_was_refused_hears_so_and_its_name_stays_free(world: WaitingWorld) -> None:
    await world.put()
    csr = request("sensor-1")
    pending = await world.waits("sensor-1", csr)
    await world.approvals.say_no(str(pending.facts["approval"]), reason="nobody stands there", actor="ann")
    with refused(errors.ApprovalRefused):
        await world.ask("sensor-1", csr)
    assert await world.names_taken() == 0
    await world.waits("sensor-1", request("sensor-1"))
    [told] = await world.trail("approval.refuse")
    assert (told.event.actor, told.event.details["reason"]) == ("ann", "nobody stands there")


async def test_an_approval_can_be_taken_back_before_it_is_used(world: WaitingWorld) -> None:
    await world.put()
    csr = request("sensor-1")
    code = str((await world.waits("sensor-1", csr)).facts["approval"])
    await world.approvals.say_yes(code)
    await world.approvals.say_no(code)
    with refused(errors.ApprovalRefused):
        await world.ask("sensor-1", csr)


async def test_two_that_want_one_name_are_both_approved_and_one_gets_it(world: WaitingWorld) -> None:
    await world.put()
    csrs = [request("sensor-1") for _ in range(2)]
    for csr in csrs:
        await world.approvals.say_yes(str((await world.waits("sensor-1", csr)).facts["approval"]))
    await world.ask("sensor-1", csrs[1])
    with refused(errors.ThingNameTaken):
        await world.ask("sensor-1", csrs[0])


async def test_one_approval_is_one_enrollment(world: WaitingWorld) -> None:
    """Its account takes one pair: the same key under the same name."""
    await world.put()
    csr = request("sensor-1")
    code = str((await world.waits("sensor-1", csr)).facts["approval"])
    await world.approvals.say_yes(code)
    await world.ask("sensor-1", csr)
    [use] = await world.kept.groups()
    assert use.taken == 1


# ── time ──


async def test_a_request_that_nobody_decides_is_asked_anew_when_it_has_expired(world: WaitingWorld) -> None:
    await world.put(ASKING + '[ask]\nwait = "1h"\n')
    csr = request("sensor-1")
    code = str((await world.waits("sensor-1", csr)).facts["approval"])
    later(world, hours=1)
    with refused(errors.NotFound):
        await world.approvals.say_yes(code)
    await world.waits("sensor-1", csr)
    assert len(await world.trail("approval.ask")) == 2
    await world.approvals.say_yes(code)
    assert not (await world.ask("sensor-1", csr)).repeated


async def test_an_approval_that_was_not_used_in_time_is_asked_for_anew(world: WaitingWorld) -> None:
    await world.put(ASKING + '[ask]\nwait = "1h"\n')
    csr = request("sensor-1")
    code = str((await world.waits("sensor-1", csr)).facts["approval"])
    later(world, minutes=50)
    assert (await world.approvals.say_yes(code)).expires_at == world.clock.now() + timedelta(hours=1)
    later(world, minutes=59)
    await world.ask("sensor-1", csr)
    later(world, minutes=1)
    await world.waits("sensor-1", csr)


# ── bounds ──


async def test_beyond_what_a_group_permits_nobody_waits(world: WaitingWorld) -> None:
    await world.put(ASKING + "[ask]\npending = 2\n")
    waiting = [request("sensor-1") for _ in range(2)]
    for csr in waiting:
        await world.waits("sensor-1", csr)
    with refused(errors.ApprovalsFull):
        await world.ask("sensor-1", request("sensor-1"))
    assert len(await world.trail("approval.ask")) == 2
    for csr in waiting:  # who waits already, goes on waiting
        await world.waits("sensor-1", csr)


async def test_one_address_brings_so_many_new_requests_and_others_are_unharmed(tmp_path: Path) -> None:
    world = WaitingWorld(tmp_path, budget=FailureBudget(burst=3, per_minute=1))
    await world.put()
    csrs = [request("sensor-1") for _ in range(3)]
    for csr in csrs:
        await world.waits("sensor-1", csr)
    with refused(errors.Throttled):
        await world.ask("sensor-1", request("sensor-1"))
    for csr in csrs:
        await world.waits("sensor-1", csr)
    await world.waits("sensor-1", request("sensor-1"), source="198.51.100.1")


# ── with something else, and where a name is taken ──


async def test_a_token_and_a_person_are_both_demanded_and_the_token_pays(world: WaitingWorld) -> None:
    await world.put(WITH_TOKEN)
    token = await world.tokens.create(TokenWish(NameScope("sensor-*"), 1, timedelta(hours=1), group=LINE))
    csr = request("sensor-1")
    with refused(errors.MethodNotAccepted):
        await world.ask("sensor-1", csr)
    pending = await world.waits("sensor-1", csr, token=token)
    await world.approvals.say_yes(str(pending.facts["approval"]))
    await world.ask("sensor-1", csr, token=token)
    [use] = await world.kept.tokens()
    assert use.uses_taken == 1
    with refused(errors.TokenExhausted):
        again = request("sensor-2")
        pending = await world.waits("sensor-2", again, token=token)
        await world.approvals.say_yes(str(pending.facts["approval"]))
        await world.ask("sensor-2", again, token=token)


async def test_a_person_never_leads_out_of_the_scope_of_a_credential() -> None:
    """Whatever the gate let through: a condition narrows, and nothing is asked beyond the scope."""
    registry = WaitingWorldParts()
    asking = AskMethod(registry.kept, registry.clock)
    group = EnrollmentGroup(LINE, NameScope("sensor-*"), (Way(frozenset({Method.TOKEN, Method.ASK})),))
    holder = applicant(make_token("secret", "sensor-1"))
    for name, who in (("sensor-2", holder), ("gateway-1", replace(holder, scope=NameScope("*")))):
        with refused(errors.NameNotPermitted):
            await asking.met(who, Request(ThingName(name), key("k"), SOURCE), group)
    assert await registry.kept.approvals(ApprovalState.PENDING) == []


class WaitingWorldParts:
    """A registry and a clock."""

    def __init__(self) -> None:
        from keyborn.adapters.memory import MemoryRegistry

        self.kept, self.clock = MemoryRegistry(), TurnedClock()


@pytest.mark.parametrize("looks", [True, False])
async def test_a_person_may_replace_a_key_and_knows_it(tmp_path: Path, looks: bool) -> None:  # noqa: FBT001 - a parameter
    world = WaitingWorld(tmp_path, looks=looks)
    await world.put(PERSON)
    first, second = request("sensor-1"), request("sensor-1")
    await world.approvals.say_yes(str((await world.waits("sensor-1", first)).facts["approval"]))
    await world.ask("sensor-1", first)
    code = str((await world.waits("sensor-1", second)).facts["approval"])
    if not looks:  # a first approval says nothing of the key that is there
        await world.approvals.say_yes(code)
        await world.waits("sensor-1", second)
    [found] = await world.pending()
    assert found.replaces
    assert found.code == code
    await world.approvals.say_yes(found.id)
    assert (await world.ask("sensor-1", second)).certificate.key_hash == hash_of(second)


async def test_an_approval_from_before_a_name_was_taken_replaces_nothing(world: WaitingWorld) -> None:
    await world.put(PERSON)
    first, second = request("sensor-1"), request("sensor-1")
    codes = [str((await world.waits("sensor-1", csr)).facts["approval"]) for csr in (first, second)]
    for code in codes:
        await world.approvals.say_yes(code)
    await world.ask("sensor-1", first)
    await world.waits("sensor-1", second)
    [found] = await world.pending()
    assert found.replaces


async def test_where_a_group_refuses_taken_names_no_person_can_replace_a_key(world: WaitingWorld) -> None:
    await world.put()
    first, second = request("sensor-1"), request("sensor-1")
    for csr in (first, second):
        await world.approvals.say_yes(str((await world.waits("sensor-1", csr)).facts["approval"]))
    await world.ask("sensor-1", first)
    with refused(errors.ThingNameTaken):
        await world.ask("sensor-1", second)


async def test_a_revoked_name_comes_back_by_a_person_and_its_key_never(world: WaitingWorld) -> None:
    from keyborn.domain.thing import ThingStatus
    from keyborn.service.things import Order

    await world.put(PERSON)
    first, second = request("sensor-1"), request("sensor-1")
    await world.approvals.say_yes(str((await world.waits("sensor-1", first)).facts["approval"]))
    await world.ask("sensor-1", first)
    await world.things().carry_out(Order("sensor-1", ThingStatus.REVOKED))
    await world.approvals.say_yes(str((await world.waits("sensor-1", second)).facts["approval"]))
    assert not (await world.ask("sensor-1", second)).repeated
    with refused(KeybornError):
        await world.ask("sensor-1", first)


# ── somebody whose request has the same id ──


async def test_what_merely_has_the_same_id_is_refused(world: WaitingWorld) -> None:
    """64 bits of a hash can be matched with much work: that gives nobody what another was approved for."""
    await world.put()
    pending = await world.waits("sensor-1", request("sensor-1"))
    done = await world.approvals.say_yes(str(pending.facts["approval"]))
    group = EnrollmentGroup(LINE, NameScope("*"), (Way(frozenset({Method.ASK})),))
    nobody = replace(applicant(make_token("x")), is_proved=False)
    world.kept._state.approvals[done.id] = replace(done, key_hash=key("another"))
    with refused(errors.ApprovalRefused):
        await world.asking.met(nobody, Request(done.thing, done.key_hash, SOURCE), group)


# ── credentials that are over ──


async def test_nobody_is_asked_for_a_token_that_has_expired(world: WaitingWorld) -> None:
    await world.put(WITH_TOKEN)
    token = await world.tokens.create(TokenWish(NameScope("*"), None, timedelta(hours=1), group=LINE))
    later(world, hours=2)
    with refused(errors.TokenExpired):
        await world.ask("sensor-1", request("sensor-1"), token=token)
    assert await world.pending() == []
    assert await world.trail("approval.ask") == []


async def test_who_was_approved_in_time_still_gets_its_lost_answer_with_an_expired_token(
    world: WaitingWorld,
) -> None:
    await world.put(WITH_TOKEN)
    token = await world.tokens.create(TokenWish(NameScope("*"), None, timedelta(hours=1), group=LINE))
    csr = request("sensor-1")
    pending = await world.waits("sensor-1", csr, token=token)
    await world.approvals.say_yes(str(pending.facts["approval"]), actor="ann")
    first = await world.ask("sensor-1", csr, token=token)
    later(world, hours=2)
    again = await world.ask("sensor-1", csr, token=token)
    assert again.repeated
    assert again.certificate == first.certificate


async def test_nobody_is_asked_after_the_window(world: WaitingWorld) -> None:
    await world.put(WITH_TOKEN.replace("methods", "closes = 2026-11-01T13:00:00Z\nmethods"))
    token = await world.tokens.create(TokenWish(NameScope("*"), None, timedelta(days=1), group=LINE))
    later(world, hours=2)
    with refused(errors.GroupClosed):
        await world.ask("sensor-1", request("sensor-1"), token=token)
    assert await world.pending() == []


async def test_a_full_list_is_recorded_with_who_found_it_full(world: WaitingWorld) -> None:
    await world.put(ASKING + "[ask]\npending = 1\n")
    await world.waits("sensor-1", request("sensor-1"))
    with refused(errors.ApprovalsFull):
        await world.ask("sensor-2", request("sensor-2"))
    [record] = await world.trail("enroll")
    assert (record.event.outcome, record.event.subject) == ("approvals_full", "sensor-2")
    assert record.event.source == SOURCE
