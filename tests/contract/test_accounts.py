"""What a claim under a group pays for: its credential, its group, the group's hour. The same everywhere."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from keyborn.domain.enrollment import Attempt, Outcome, Repeat
from keyborn.domain.errors import (
    CredentialRefused,
    GroupFull,
    GroupRateExceeded,
    GroupUnknown,
    NotFound,
    RegistryUnavailable,
    ReplacementPending,
    ThingNameTaken,
    TokenExhausted,
)
from keyborn.domain.group import Rate, account_of
from keyborn.domain.intent import IntentId
from keyborn.domain.names import ThingName
from keyborn.domain.thing import ThingStatus
from keyborn.domain.token import EnrollmentToken
from support.grouping_cases import LINE, OTHER, GroupingDesk, Rule, Two, hourly, proving
from support.registry_cases import HOUR, LIFETIME, START, applicant

MONTHS = 3 * LIFETIME

# ── what is counted ───────────────────────────────────────────────────────────────────────────────────


async def test_a_claim_counts_its_pair_for_the_token_and_for_the_group(line: GroupingDesk) -> None:
    await line.put_group()
    token = await line.token("secret", uses=5)

    await line.begin(token, "lamp-1", "k1", Rule(thing_type="lamp"))
    await line.join(token, "lamp-2", "k2")

    assert (await line.uses_taken(token), await line.taken()) == (2, 2)
    thing = await line.thing("lamp-1")
    assert (thing.group, thing.thing_type) == (LINE, "lamp")
    assert (await line.thing("lamp-2")).thing_type is None


async def test_a_token_without_a_group_pays_for_itself_alone(line: GroupingDesk) -> None:
    await line.put_group()
    token = await line.token("secret")

    await line.enroll(token, "lamp-1", "k1")

    assert (await line.uses_taken(token), await line.taken()) == (1, 0)
    assert (await line.thing("lamp-1")).group is None


async def test_the_limit_is_kept_to_and_a_refusal_writes_nothing(line: GroupingDesk) -> None:
    await line.put_group()
    token = await line.token("secret")
    for number in range(2):
        await line.join(token, f"lamp-{number}", f"k{number}", Rule(limit=2))
    before = await line.told()

    with pytest.raises(GroupFull, match="line-7 has no place left"):
        await line.join(token, "lamp-2", "k2", Rule(limit=2))

    assert await line.registry.thing(ThingName("lamp-2")) is None
    assert (await line.uses_taken(token), await line.taken(), await line.told()) == (2, 2, before)
    await line.join(token, "lamp-2", "k2", Rule(limit=3))
    assert await line.taken() == 3


async def test_each_group_has_its_own_count(line: GroupingDesk) -> None:
    for group in (LINE, OTHER):
        await line.put_group(group)
    token = await line.token("secret")

    await line.join(token, "lamp-1", "k1", Rule(limit=1))
    await line.join(token, "lamp-2", "k2", Rule(limit=1, group=OTHER))

    assert (await line.taken(LINE), await line.taken(OTHER)) == (1, 1)


async def test_another_key_of_a_thing_is_another_pair(line: GroupingDesk) -> None:
    await line.put_group()
    await line.join(await line.token("secret"), "lamp-1", "k1", Rule(limit=2))
    swap = await line.token("swap", "lamp-1", replaces=True)

    await line.connect(await line.join(swap, "lamp-1", "k2", Rule(limit=2)))

    assert await line.taken() == 2


async def test_who_is_revoked_still_counts(line: GroupingDesk) -> None:
    await line.put_group()
    token = await line.token("secret")
    await line.join(token, "lamp-1", "k1", Rule(limit=1))
    await line.begin(await line.token("other"), "lamp-2", "k2", Rule(limit=2))

    for name in ("lamp-1", "lamp-2"):
        await line.order(name, ThingStatus.REVOKED)

    assert await line.taken() == 2
    with pytest.raises(GroupFull):
        await line.join(token, "lamp-3", "k3", Rule(limit=2))


# ── a repeat ──────────────────────────────────────────────────────────────────────────────────────────


async def test_repeating_pays_nothing_even_where_everything_is_full(line: GroupingDesk) -> None:
    await line.put_group()
    token, rule = await line.token("secret", uses=1), Rule(limit=1, rate=hourly(1))
    begun = await line.begin(token, "lamp-1", "k1", rule)

    again = await line.begin(token, "lamp-1", "k1", rule)
    assert (again.resumed, again.intent) == (True, begun.intent)
    certificate = await line.join(token, "lamp-1", "k1", rule)
    assert await line.join(token, "lamp-1", "k1", rule) == certificate
    line.pass_time(timedelta(minutes=1))
    verdict = await line.registry.claim(line.joining(token, "lamp-1", "k1", rule))
    assert verdict == Repeat(certificate)

    assert (await line.uses_taken(token), await line.taken()) == (1, 1)


async def test_two_credentials_of_one_group_for_one_pair_count_the_group_once(line: GroupingDesk) -> None:
    await line.put_group()
    first, second = await line.token("first"), await line.token("second")
    rule = Rule(limit=1, rate=hourly(1))
    begun = await line.begin(first, "lamp-1", "k1", rule)

    resumed = await line.begin(second, "lamp-1", "k1", rule)

    assert (resumed.resumed, resumed.intent) == (True, begun.intent)
    assert (await line.uses_taken(first), await line.uses_taken(second), await line.taken()) == (1, 1, 1)
    assert await line.drop(begun)
    assert (await line.uses_taken(first), await line.uses_taken(second), await line.taken()) == (0, 0, 0)


async def test_a_group_pays_for_what_a_token_without_one_began(line: GroupingDesk) -> None:
    await line.put_group()
    plain, member = await line.token("plain"), await line.token("member")
    begun = await line.claim(plain, "lamp-1", "k1")

    resumed = await line.begin(member, "lamp-1", "k1", Rule(limit=1))
    assert resumed.intent == begun.intent
    with pytest.raises(GroupFull):
        await line.begin(member, "lamp-2", "k2", Rule(limit=1))

    assert (await line.uses_taken(plain), await line.uses_taken(member), await line.taken()) == (1, 1, 1)


# ── the rate ──────────────────────────────────────────────────────────────────────────────────────────


async def test_a_rate_admits_so_many_in_each_period_and_says_when_the_next_begins(line: GroupingDesk) -> None:
    await line.put_group()
    token, rule = await line.token("secret", ttl=MONTHS), Rule(rate=hourly(2))
    line.pass_time(timedelta(minutes=50, milliseconds=1))
    for number in range(2):
        await line.join(token, f"lamp-{number}", f"k{number}", rule)

    with pytest.raises(GroupRateExceeded, match="in 600 s") as refused:
        await line.join(token, "lamp-2", "k2", rule)
    assert refused.value.retry_after == 600.0
    assert (await line.uses_taken(token), await line.taken()) == (2, 2)
    assert await line.registry.thing(ThingName("lamp-2")) is None

    line.pass_time(timedelta(minutes=10))
    for number in range(2, 4):
        await line.join(token, f"lamp-{number}", f"k{number}", rule)
    with pytest.raises(GroupRateExceeded):
        await line.join(token, "lamp-4", "k4", rule)
    assert await line.taken() == 4


async def test_another_rate_begins_to_count_anew(line: GroupingDesk) -> None:
    await line.put_group()
    token = await line.token("secret")
    await line.join(token, "lamp-1", "k1", Rule(rate=hourly(1)))

    await line.join(token, "lamp-2", "k2", Rule(rate=Rate(1, timedelta(minutes=1))))
    with pytest.raises(GroupRateExceeded):
        await line.join(token, "lamp-3", "k3", Rule(rate=Rate(1, timedelta(minutes=1))))


async def test_a_full_group_is_said_before_its_rate(line: GroupingDesk) -> None:
    await line.put_group()
    token, rule = await line.token("secret", uses=1), Rule(limit=1, rate=hourly(1))
    await line.join(token, "lamp-1", "k1", rule)

    with pytest.raises(TokenExhausted):
        await line.join(token, "lamp-2", "k2", rule)
    with pytest.raises(GroupFull):
        await line.join(await line.token("other"), "lamp-2", "k2", rule)


# ── the group goes ────────────────────────────────────────────────────────────────────────────────────


async def test_a_group_that_was_removed_meanwhile_lets_nobody_in(line: GroupingDesk) -> None:
    await line.put_group()
    token = await line.token("secret")
    await line.join(token, "lamp-1", "k1")
    attempt = line.joining(token, "lamp-2", "k2")
    await line.remove_group()

    with pytest.raises(GroupUnknown, match="no enrolment group called line-7"):
        await line.registry.claim(attempt)
    with pytest.raises(GroupUnknown):
        await line.join(token, "lamp-1", "k1")

    assert await line.uses_taken(token) == 1
    assert await line.registry.thing(ThingName("lamp-2")) is None


async def test_the_count_of_a_removed_group_stays(line: GroupingDesk) -> None:
    await line.put_group()
    token = await line.token("secret")
    await line.join(token, "lamp-1", "k1", Rule(limit=1))
    await line.remove_group()

    await line.put_group()

    assert await line.taken() == 1
    with pytest.raises(GroupFull):
        await line.join(token, "lamp-2", "k2", Rule(limit=1))


# ── undoing ───────────────────────────────────────────────────────────────────────────────────────────


async def test_an_undone_claim_gives_back_every_account(line: GroupingDesk) -> None:
    await line.put_group()
    token, rule = await line.token("secret", uses=1), Rule(limit=1, rate=hourly(1))
    begun = await line.begin(token, "lamp-1", "k1", rule)

    assert await line.drop(begun)

    assert (await line.uses_taken(token), await line.taken()) == (0, 0)
    await line.join(token, "lamp-2", "k2", rule)
    assert (await line.uses_taken(token), await line.taken()) == (1, 1)


async def test_an_undone_claim_of_a_credential_that_proves_itself_gives_it_back(line: GroupingDesk) -> None:
    await line.put_group()
    who = proving("chip", uses=1)
    begun = await line.begin(who, "lamp-1", "k1")
    with pytest.raises(TokenExhausted):
        await line.begin(who, "lamp-2", "k2")

    assert await line.drop(begun)

    assert await line.taken() == 0
    await line.join(who, "lamp-2", "k2")


async def test_what_took_the_place_of_an_older_claim_of_the_key_gives_back_for_both(
    line: GroupingDesk,
) -> None:
    """An intent whose dates have passed is superseded; what the first one paid for is the second one's."""
    await line.put_group()
    token, rule = await line.token("secret", uses=1, ttl=MONTHS), Rule(limit=1)
    old = await line.begin(token, "lamp-1", "k1", rule)
    line.pass_time(LIFETIME + HOUR)
    new = await line.begin(token, "lamp-1", "k1", rule)
    assert new.intent.id != old.intent.id
    assert (await line.uses_taken(token), await line.taken()) == (1, 1)

    assert not await line.drop(old)
    assert await line.drop(new)

    assert (await line.uses_taken(token), await line.taken()) == (0, 0)


async def test_what_is_active_is_not_given_back(line: GroupingDesk) -> None:
    await line.put_group()
    token = await line.token("secret")
    begun = await line.begin(token, "lamp-1", "k1")
    await line.join(token, "lamp-1", "k1")

    assert not await line.drop(begun)

    assert (await line.uses_taken(token), await line.taken()) == (1, 1)


async def test_an_undone_replacement_gives_back_its_pair_and_not_the_thing_s(line: GroupingDesk) -> None:
    await line.put_group()
    await line.join(await line.token("secret"), "lamp-1", "k1")
    swap = await line.token("swap", "lamp-1", uses=1, replaces=True)
    begun = await line.begin(swap, "lamp-1", "k2")
    assert await line.taken() == 2

    assert await line.drop(begun)

    assert (await line.taken(), await line.uses_taken(swap)) == (1, 0)


# ── credentials that prove themselves ─────────────────────────────────────────────────────────────────


async def test_a_credential_that_proves_itself_is_counted_though_nobody_knows_it(line: GroupingDesk) -> None:
    await line.put_group()
    who = proving("chip", uses=1)
    certificate = await line.join(who, "lamp-1", "k1")

    assert await line.join(who, "lamp-1", "k1") == certificate, "a repeat"
    with pytest.raises(TokenExhausted):
        await line.join(who, "lamp-2", "k2")
    await line.join(proving("another", uses=1), "lamp-2", "k2")

    assert await line.taken() == 2
    assert await line.registry.tokens() == []
    assert await line.registry.find(who.token) is None


async def test_a_credential_that_has_to_be_known_and_is_not_counts_as_withdrawn(line: GroupingDesk) -> None:
    await line.put_group()
    stranger = replace(proving("chip"), is_known=True)
    with pytest.raises(CredentialRefused):
        await line.join(stranger, "lamp-1", "k1")
    assert await line.taken() == 0


async def test_a_withdrawn_token_lets_nobody_in_under_a_group(line: GroupingDesk) -> None:
    await line.put_group()
    token = await line.token("secret")
    attempt = line.joining(token, "lamp-1", "k1")
    await line.registry.withdraw(token.id, line.done("token"))
    with pytest.raises(CredentialRefused):
        await line.registry.claim(attempt)
    assert await line.taken() == 0


# ── many at once ──────────────────────────────────────────────────────────────────────────────────────


async def _rush(two: Two, attempts: list[Attempt]) -> list[BaseException]:
    """All of them at once, half of them at each registry; what was refused. Who is not answered, repeats."""

    async def insist(number: int, attempt: Attempt) -> Outcome:
        for repeat in range(40):
            fresh = IntentId(f"{attempt.proposal.id}-{repeat}")
            serial = attempt.proposal.serial * 1000 + repeat
            proposal = replace(attempt.proposal, id=fresh, serial=serial)
            try:
                return await two[number % 2].claim(replace(attempt, proposal=proposal))
            except RegistryUnavailable:
                await asyncio.sleep(0)
        raise AssertionError("the registry never answered")

    answers = [insist(number, attempt) for number, attempt in enumerate(attempts)]
    outcomes = await asyncio.gather(*answers, return_exceptions=True)
    return [one for one in outcomes if isinstance(one, BaseException)]


async def test_of_many_at_once_exactly_the_limit_gets_in(two: Two, line: GroupingDesk) -> None:
    await line.put_group()
    token = await line.token("secret")
    rule = Rule(limit=5)

    refused = await _rush(two, [line.joining(token, f"lamp-{each}", f"k{each}", rule) for each in range(12)])

    assert [type(one) for one in refused] == [GroupFull] * 7
    assert (await line.taken(), await line.uses_taken(token)) == (5, 5)
    assert len(await line.registry.things()) == 5


async def test_of_many_at_once_exactly_the_rate_gets_in(two: Two, line: GroupingDesk) -> None:
    await line.put_group()
    rule = Rule(rate=hourly(4))
    crowd = [line.joining(proving(f"chip{each}"), f"lamp-{each}", f"k{each}", rule) for each in range(10)]

    refused = await _rush(two, crowd)

    assert [type(one) for one in refused] == [GroupRateExceeded] * 6
    assert await line.taken() == 4


async def test_of_many_at_once_a_credential_that_proves_itself_serves_its_uses(
    two: Two, line: GroupingDesk
) -> None:
    await line.put_group()
    who = proving("chip", uses=3)

    refused = await _rush(two, [line.joining(who, f"lamp-{each}", f"k{each}") for each in range(8)])

    assert [type(one) for one in refused] == [TokenExhausted] * 5
    assert await line.taken() == 3


async def test_one_pair_asked_for_many_times_at_once_is_counted_once(two: Two, line: GroupingDesk) -> None:
    await line.put_group()
    tokens = [await line.token(f"secret {each}") for each in range(6)]
    rule = Rule(limit=1, rate=hourly(1))

    refused = await _rush(two, [line.joining(each, "lamp-1", "k1", rule) for each in tokens])

    assert refused == []
    assert await line.taken() == 1
    assert [await line.uses_taken(each) for each in tokens] == [1] * 6


async def test_a_group_removed_while_many_claim_lets_in_only_who_came_before(
    two: Two, line: GroupingDesk
) -> None:
    await line.put_group()
    token = await line.token("secret")
    crowd = [line.joining(token, f"lamp-{each}", f"k{each}") for each in range(8)]

    refused, _ = await asyncio.gather(_rush(two, crowd), line.remove_group())

    assert {type(one) for one in refused} <= {GroupUnknown}
    assert await line.uses_taken(token) == 8 - len(refused)
    await line.put_group()
    assert await line.taken() == 8 - len(refused)


# ── a released name ───────────────────────────────────────────────────────────────────────────────────


async def member(line: GroupingDesk) -> EnrollmentToken:
    """A group, a token of it without power to replace, and lamp-1 with k1."""
    await line.put_group()
    token = await line.token("secret", ttl=MONTHS)
    await line.join(token, "lamp-1", "k1")
    return token


async def test_a_released_name_takes_another_key_once(line: GroupingDesk) -> None:
    token = await member(line)
    with pytest.raises(ThingNameTaken):
        await line.join(token, "lamp-1", "k2")
    released = await line.release("lamp-1")
    assert released.release_until == START + HOUR

    successor = await line.join(token, "lamp-1", "k2")

    thing = await line.thing("lamp-1")
    assert (thing.release_until, thing.status) == (None, ThingStatus.ACTIVE)
    with pytest.raises(ThingNameTaken):
        await line.join(token, "lamp-1", "k3")
    await line.connect(successor)
    assert (await line.thing("lamp-1")).key_hash == successor.key_hash
    with pytest.raises(ThingNameTaken):
        await line.join(token, "lamp-1", "k3")


async def test_a_lost_answer_to_a_released_name_costs_no_second_release(line: GroupingDesk) -> None:
    token = await member(line)
    await line.release("lamp-1")
    begun = await line.begin(token, "lamp-1", "k2")

    resumed = await line.begin(token, "lamp-1", "k2")
    assert (resumed.resumed, resumed.intent) == (True, begun.intent)
    successor = await line.join(token, "lamp-1", "k2")
    assert await line.join(token, "lamp-1", "k2") == successor

    assert await line.taken() == 2
    with pytest.raises(ThingNameTaken):
        await line.join(await line.token("stranger"), "lamp-1", "k3")


async def test_who_has_not_begun_a_replacement_cannot_go_on_with_it(line: GroupingDesk) -> None:
    await line.put_group(OTHER)
    token = await member(line)
    await line.release("lamp-1")
    await line.begin(token, "lamp-1", "k2")
    elsewhere = await line.token("elsewhere")
    with pytest.raises(ThingNameTaken):
        await line.begin(elsewhere, "lamp-1", "k2", Rule(group=OTHER))
    with pytest.raises(ThingNameTaken):
        await line.enroll(elsewhere, "lamp-1", "k2")


async def test_a_released_name_for_which_a_key_waits_takes_no_third_one(line: GroupingDesk) -> None:
    token = await member(line)
    swap = await line.token("swap", "lamp-1", replaces=True)
    await line.begin(swap, "lamp-1", "k2")
    await line.release("lamp-1")

    with pytest.raises(ReplacementPending):
        await line.join(token, "lamp-1", "k3")

    assert (await line.thing("lamp-1")).release_until is not None, "a refusal ends nothing"


async def test_a_release_ends_with_its_hour(line: GroupingDesk) -> None:
    token = await member(line)
    await line.release("lamp-1")
    line.pass_time(HOUR - timedelta(milliseconds=1))
    assert (await line.thing("lamp-1")).is_released(line.now)
    line.pass_time(timedelta(milliseconds=1))
    with pytest.raises(ThingNameTaken):
        await line.join(token, "lamp-1", "k2")


async def test_a_release_of_any_token_is_ended_by_a_replacement_token_too(line: GroupingDesk) -> None:
    await member(line)
    await line.release("lamp-1")
    await line.join(await line.token("swap", "lamp-1", replaces=True), "lamp-1", "k2")
    assert (await line.thing("lamp-1")).release_until is None


async def test_the_thing_s_own_key_leaves_a_release_as_it_is(line: GroupingDesk) -> None:
    token = await member(line)
    released = await line.release("lamp-1")

    await line.join(token, "lamp-1", "k1")
    line.pass_time(LIFETIME - HOUR)
    [certificate] = await line.active("lamp-1")
    await line.release("lamp-1", span=3 * HOUR)
    await line.confirm(await line.renew(certificate, "k9"))

    assert (await line.thing("lamp-1")).release_until == line.now + 3 * HOUR
    assert released.release_until is not None


async def test_an_undone_replacement_leaves_the_release_spent(line: GroupingDesk) -> None:
    token = await member(line)
    await line.release("lamp-1")
    begun = await line.begin(token, "lamp-1", "k2")

    assert await line.drop(begun)

    assert await line.taken() == 1
    assert (await line.thing("lamp-1")).release_until is None
    with pytest.raises(ThingNameTaken):
        await line.join(token, "lamp-1", "k2")


async def test_a_release_frees_no_suspended_and_no_gone_name(line: GroupingDesk) -> None:
    token = await member(line)
    await line.release("lamp-1")
    await line.order("lamp-1", ThingStatus.SUSPENDED)
    with pytest.raises(Exception, match="lamp-1"):
        await line.join(token, "lamp-1", "k2")
    assert (await line.thing("lamp-1")).release_until is not None

    gone = await line.order("lamp-1", ThingStatus.REVOKED)
    assert gone.release_until is None
    assert await line.thing("lamp-1") == gone


async def test_a_freed_name_whose_claim_came_to_nothing_is_gone_as_before(line: GroupingDesk) -> None:
    await member(line)
    gone = await line.order("lamp-1", ThingStatus.RETIRED)
    swap = await line.token("swap", "lamp-1", replaces=True)
    begun = await line.begin(swap, "lamp-1", "k2")
    claimed = await line.release("lamp-1")
    assert (claimed.status, claimed.group) == (ThingStatus.CLAIMED, LINE)

    assert await line.drop(begun)

    assert await line.thing("lamp-1") == gone
    assert await line.taken() == 1


async def test_nobody_can_have_a_group_s_account_as_a_token(line: GroupingDesk) -> None:
    await line.put_group()
    posing = replace(applicant(await line.token("secret")), token=account_of(LINE))
    with pytest.raises(CredentialRefused):
        await line.join(posing, "lamp-1", "k1")
    with pytest.raises(NotFound):
        await line.registry.withdraw(account_of(LINE), line.done("token"))
