"""Access policies, who has them, and the badge that the broker reads: the same everywhere."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keyborn.domain.access import Badge
from keyborn.domain.access_policy.document import DEFAULT_POLICY, MAX_ATTACHED, AccessPolicy, PolicyName
from keyborn.domain.audit import verify
from keyborn.domain.certificate import Certificate, CertificateStatus
from keyborn.domain.errors import NotFound, PolicyInUse, TooManyPolicies
from keyborn.domain.names import CertificateId, ThingName
from keyborn.domain.thing import Thing, ThingStatus
from keyborn.ports import MAX_PAGE
from support.registry_cases import HOUR, Desk, certificate_for, document, event, policy_names


async def told(desk: Desk) -> list[str]:
    """What the trail says, oldest first; its chain is whole."""
    records = await desk.registry.records()
    verify(records)
    return [record.event.action for record in records]


async def badge_of(desk: Desk, certificate: Certificate) -> Badge:
    found = await desk.registry.badge(certificate.id)
    assert found is not None
    return found


async def in_force(desk: Desk, certificate: Certificate) -> list[tuple[str, int]]:
    """Names and versions of the policies on a badge."""
    return [(one.name, one.version) for one in (await badge_of(desk, certificate)).policies]


async def lamp(desk: Desk, name: str = "lamp-1") -> Certificate:
    """A device with the default policy by default, which is there."""
    await desk.put(DEFAULT_POLICY)
    return await desk.enroll(await desk.token(f"for {name}"), name, f"key of {name}")


# ── put ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_policy_is_kept_as_it_was_put_and_is_version_1(desk: Desk) -> None:
    offered = AccessPolicy(PolicyName("p+=,.@-_9"), document("Connect"), desk.now, version=77, shipped=True)

    kept = await desk.registry.put_policy(offered, event("policy.put"))

    assert kept == replace(offered, version=1)
    assert await desk.registry.policy(offered.name) == kept
    assert await desk.registry.policies() == [kept]
    assert await told(desk) == ["policy.put"]


async def test_another_text_counts_the_version_up(desk: Desk) -> None:
    await desk.put("fleet", "Connect")
    desk.pass_time(HOUR)

    second = await desk.put("fleet", "Publish")

    assert (second.version, second.updated_at, second.document) == (2, desk.now, document("Publish"))
    assert await desk.registry.policy(PolicyName("fleet")) == second
    third = await desk.put("fleet", "Connect")
    assert third.version == 3, "going back is a change, too"
    assert await told(desk) == ["policy.put"] * 3


async def test_the_same_text_again_changes_and_appends_nothing(desk: Desk) -> None:
    first = await desk.put("fleet", "Connect", shipped=True)
    desk.pass_time(HOUR)

    assert await desk.put("fleet", "Connect", shipped=True) == first

    assert await desk.registry.policy(PolicyName("fleet")) == first
    assert await told(desk) == ["policy.put"]


async def test_an_operator_who_puts_the_shipped_text_makes_it_his_own(desk: Desk) -> None:
    await desk.put("fleet", "Connect", shipped=True)

    kept = await desk.put("fleet", "Connect")

    assert (kept.shipped, kept.version) == (False, 2)
    assert await desk.registry.policy(PolicyName("fleet")) == kept


async def test_white_space_is_part_of_the_text(desk: Desk) -> None:
    first = await desk.put("fleet")
    spaced = replace(first, document=replace(first.document, text=first.document.text + "\n  "))

    kept = await desk.registry.put_policy(spaced, event("policy.put"))

    assert kept.version == 2
    found = await desk.registry.policy(kept.name)
    assert found is not None
    assert found.document.text == first.document.text + "\n  "


async def test_names_that_differ_by_case_are_two_policies(desk: Desk) -> None:
    small, large = await desk.put("fleet", "Connect"), await desk.put("FLEET", "Publish")
    assert await desk.registry.policy(PolicyName("fleet")) == small
    assert await desk.registry.policies() == [large, small]


async def test_policies_come_in_pages_in_byte_order(desk: Desk) -> None:
    names = ["b_x", "b-x", "Zebra", "a.1", "0", "a@b", "_", "+", "=", ","]
    for name in names:
        await desk.put(name)

    first = await desk.registry.policies(limit=4)
    rest = await desk.registry.policies(after=first[-1].name, limit=100)

    assert [one.name for one in (*first, *rest)] == sorted(names, key=str.encode)
    assert len(first) == 4
    assert await desk.registry.policies(after=PolicyName("zzz")) == []
    assert await desk.registry.policies(limit=0) == await desk.registry.policies(limit=-1) == []


async def test_twenty_puts_at_once_are_twenty_versions(desk: Desk) -> None:
    texts = [document("Connect" if number % 2 else "Publish") for number in range(20)]
    puts = [
        AccessPolicy(PolicyName("fleet"), replace(one, text=one.text + " " * number), desk.now)
        for number, one in enumerate(texts)
    ]

    kept = await asyncio.gather(*(desk.registry.put_policy(one, event("policy.put")) for one in puts))

    assert sorted(one.version for one in kept) == list(range(1, 21))
    assert await told(desk) == ["policy.put"] * 20


# ── remove ────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_removed_policy_is_gone_and_its_name_begins_anew(desk: Desk) -> None:
    await desk.put("fleet", "Connect")
    await desk.put("fleet", "Publish")

    await desk.remove("fleet")

    assert await desk.registry.policy(PolicyName("fleet")) is None
    assert await desk.registry.policies() == []
    assert (await desk.put("fleet", "Connect")).version == 1
    assert await told(desk) == ["policy.put", "policy.put", "policy.remove", "policy.put"]


async def test_what_is_not_there_cannot_be_removed(desk: Desk) -> None:
    with pytest.raises(NotFound, match="no policy called fleet"):
        await desk.remove("fleet")
    assert await told(desk) == []


async def test_the_default_policy_is_always_in_use(desk: Desk) -> None:
    with pytest.raises(PolicyInUse, match="keyborn-default cannot be removed"):
        await desk.remove(DEFAULT_POLICY)

    kept = await desk.put(DEFAULT_POLICY)

    with pytest.raises(PolicyInUse):
        await desk.remove(DEFAULT_POLICY)
    assert await desk.registry.policy(DEFAULT_POLICY) == kept


@pytest.mark.parametrize("status", [None, ThingStatus.SUSPENDED, ThingStatus.REVOKED])
async def test_a_policy_that_a_thing_has_cannot_be_removed(desk: Desk, status: ThingStatus | None) -> None:
    await lamp(desk)
    kept = await desk.put("fleet")
    await desk.attach("lamp-1", "fleet")
    if status is not None:
        await desk.order("lamp-1", status)
    before = await told(desk)

    with pytest.raises(PolicyInUse, match="fleet cannot be removed: lamp-1 has it"):
        await desk.remove("fleet")
    assert await desk.registry.policy(kept.name) == kept
    assert await told(desk) == before

    await desk.detach("lamp-1", "fleet")
    await desk.remove("fleet")


async def test_a_name_that_is_part_of_another_is_not_in_use(desk: Desk) -> None:
    await lamp(desk)
    for name in ("fleet", "fleet-2", "a,fleet", "FLEET", "fl_et"):
        await desk.put(name)
    for name in ("fleet-2", "a,fleet", "FLEET"):
        await desk.attach("lamp-1", name)

    await desk.remove("fleet")
    await desk.remove("fl_et")

    assert await desk.registry.users(PolicyName("fleet")) == []
    with pytest.raises(PolicyInUse):
        await desk.remove("FLEET")


@pytest.mark.parametrize("uses", [2, None])
async def test_a_policy_that_a_token_may_still_give_cannot_be_removed(desk: Desk, uses: int | None) -> None:
    await desk.put("fleet")
    token = await desk.token("secret", uses=uses, policies=["other", "fleet"])

    with pytest.raises(PolicyInUse, match=f"the token {token.id}"):
        await desk.remove("fleet")
    assert await desk.registry.policy(PolicyName("fleet")) is not None

    await desk.registry.withdraw(token.id, event(at=desk.now))
    await desk.remove("fleet")


async def test_an_expired_token_keeps_no_policy(desk: Desk) -> None:
    await desk.put("fleet")
    await desk.token("secret", policies=["fleet"])
    desk.pass_time(HOUR - timedelta(milliseconds=1))
    with pytest.raises(PolicyInUse):
        await desk.remove("fleet")

    desk.pass_time(timedelta(milliseconds=1))

    await desk.remove("fleet")


async def test_a_spent_token_keeps_no_policy_but_what_it_enrolled_does(desk: Desk) -> None:
    await desk.put("fleet")
    token = await desk.token("secret", uses=1, policies=["fleet"])
    await desk.enroll(token, "lamp-1", "k1")
    with pytest.raises(PolicyInUse, match="lamp-1 has it"):
        await desk.remove("fleet")

    await desk.detach("lamp-1", "fleet")

    await desk.remove("fleet")


async def test_removing_and_attaching_at_once_never_leave_a_policy_that_is_not_there(desk: Desk) -> None:
    await lamp(desk)
    names = [f"p{number}" for number in range(9)]
    for name in names:
        await desk.put(name)

    async def race(number: int, name: str) -> list[object]:
        orders: list[Coroutine[Any, Any, object]] = [desk.remove(name), desk.attach("lamp-1", name)]
        return await asyncio.gather(*orders[:: 1 if number % 2 else -1], return_exceptions=True)

    outcomes = await asyncio.gather(*(race(number, name) for number, name in enumerate(names)))

    for outcome in outcomes:
        assert sum(isinstance(one, PolicyInUse | NotFound) for one in outcome) == 1, "one of the two wins"
    held = (await desk.thing("lamp-1")).policies or ()
    assert set(held) == {one.name for one in await desk.registry.policies()}


# ── attach ────────────────────────────────────────────────────────────────────────────────────────────


async def test_who_has_the_default_policy_by_default_keeps_it_by_name(desk: Desk) -> None:
    certificate = await lamp(desk)
    await desk.put("fleet")
    before = await desk.thing("lamp-1")
    assert before.policies is None

    changed = await desk.attach("lamp-1", "fleet")

    assert changed == replace(before, policies=policy_names(DEFAULT_POLICY, "fleet"))
    assert await desk.thing("lamp-1") == changed
    assert await in_force(desk, certificate) == [(DEFAULT_POLICY, 1), ("fleet", 1)]
    assert (await told(desk))[-1] == "policy.attach"


async def test_attaching_again_changes_and_appends_nothing(desk: Desk) -> None:
    await lamp(desk)
    await desk.put("fleet")
    changed = await desk.attach("lamp-1", "fleet")
    before = await told(desk)

    assert await desk.attach("lamp-1", "fleet") == changed
    assert await desk.attach("lamp-1", DEFAULT_POLICY) == changed

    assert await told(desk) == before


async def test_the_default_policy_by_name_is_more_than_by_default(desk: Desk) -> None:
    await lamp(desk)

    assert (await desk.attach("lamp-1", DEFAULT_POLICY)).policies == (DEFAULT_POLICY,)

    assert (await told(desk))[-1] == "policy.attach"
    assert await desk.registry.users(DEFAULT_POLICY) == ["lamp-1"]


async def test_attaching_needs_a_thing_and_a_policy(desk: Desk) -> None:
    await lamp(desk)
    await desk.put("fleet")
    before = (await told(desk), await desk.thing("lamp-1"))

    with pytest.raises(NotFound, match="no thing called lamp-2"):
        await desk.attach("lamp-2", "fleet")
    with pytest.raises(NotFound, match="no thing called LAMP-1"):
        await desk.attach("LAMP-1", "fleet")
    with pytest.raises(NotFound, match="no policy called fleet-2"):
        await desk.attach("lamp-1", "fleet-2")

    assert (await told(desk), await desk.thing("lamp-1")) == before


async def test_the_eleventh_policy_is_one_too_many(desk: Desk) -> None:
    await lamp(desk)
    names = [f"p{number}" for number in range(MAX_ATTACHED)]
    for name in names:
        await desk.put(name)
    for name in names[:-1]:
        await desk.attach("lamp-1", name)
    full = await desk.thing("lamp-1")
    before = await told(desk)

    with pytest.raises(TooManyPolicies, match="lamp-1 has 10 policies"):
        await desk.attach("lamp-1", names[-1])
    assert await desk.attach("lamp-1", names[0]) == full, "a repeat is no eleventh"
    assert await told(desk) == before

    await desk.detach("lamp-1", DEFAULT_POLICY)
    assert (await desk.attach("lamp-1", names[-1])).policies == policy_names(*names)


async def test_of_twenty_attached_at_once_a_thing_gets_ten(desk: Desk) -> None:
    await lamp(desk)
    for number in range(20):
        await desk.put(f"p{number}")

    outcomes = await asyncio.gather(
        *(desk.attach("lamp-1", f"p{number}") for number in range(20)), return_exceptions=True
    )

    assert sum(isinstance(one, TooManyPolicies) for one in outcomes) == 11
    assert len((await desk.thing("lamp-1")).policies or ()) == MAX_ATTACHED
    assert (await told(desk)).count("policy.attach") == 9


async def test_policies_keep_the_order_in_which_they_were_attached(desk: Desk) -> None:
    certificate = await lamp(desk)
    for name in ("zebra", "ant", "mole"):
        await desk.put(name)
        await desk.attach("lamp-1", name)
    await desk.detach("lamp-1", "zebra")
    await desk.attach("lamp-1", "zebra")

    names = [name for name, _ in await in_force(desk, certificate)]

    assert names == [DEFAULT_POLICY, "ant", "mole", "zebra"]


# ── detach ────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_last_policy_leaves_none_and_not_the_default(desk: Desk) -> None:
    certificate = await lamp(desk)
    await desk.put("fleet")
    await desk.attach("lamp-1", "fleet")

    assert (await desk.detach("lamp-1", DEFAULT_POLICY)).policies == ("fleet",)
    assert await in_force(desk, certificate) == [("fleet", 1)]
    assert (await desk.detach("lamp-1", "fleet")).policies == ()

    assert (await desk.thing("lamp-1")).policies == ()
    assert await in_force(desk, certificate) == []
    assert (await told(desk))[-2:] == ["policy.detach"] * 2
    assert (await desk.attach("lamp-1", "fleet")).policies == ("fleet",), "the default does not come back"


async def test_detaching_again_changes_and_appends_nothing(desk: Desk) -> None:
    await lamp(desk)
    await desk.put("fleet")
    await desk.attach("lamp-1", "fleet")
    changed = await desk.detach("lamp-1", "fleet")
    before = await told(desk)

    assert await desk.detach("lamp-1", "fleet") == changed
    assert await desk.detach("lamp-1", "never-heard-of") == changed

    assert await told(desk) == before


async def test_detaching_what_a_thing_never_had_leaves_it_its_default(desk: Desk) -> None:
    await lamp(desk)
    before = await told(desk)

    assert (await desk.detach("lamp-1", "fleet")).policies is None

    assert await told(desk) == before


async def test_the_default_policy_can_be_taken_from_who_has_it_by_default(desk: Desk) -> None:
    certificate = await lamp(desk)

    assert (await desk.detach("lamp-1", DEFAULT_POLICY)).policies == ()

    assert await in_force(desk, certificate) == []


async def test_detaching_needs_a_thing(desk: Desk) -> None:
    with pytest.raises(NotFound, match="no thing called lamp-1"):
        await desk.detach("lamp-1", "fleet")
    assert await told(desk) == []


# ── who has it ────────────────────────────────────────────────────────────────────────────────────────


async def test_users_come_in_pages_in_byte_order(desk: Desk) -> None:
    token = await desk.token("secret", policies=["fleet", "other"])
    names = ["lamp_b", "lamp-a", "Zebra", "a:1", "0", "_"]
    for number, name in enumerate(names):
        await desk.claim(token, name, f"k{number}")
    await desk.claim(await desk.token("default"), "lamp-c", "k-c")
    await desk.claim(await desk.token("others", policies=["other"]), "lamp-d", "k-d")

    first = await desk.registry.users(PolicyName("fleet"), limit=4)
    rest = await desk.registry.users(PolicyName("fleet"), after=first[-1], limit=MAX_PAGE)

    assert len(first) == 4
    assert [*first, *rest] == sorted(names, key=str.encode)
    assert await desk.registry.users(PolicyName("fleet"), limit=0) == []
    assert await desk.registry.users(DEFAULT_POLICY) == [], "by default is not by name"
    assert await desk.registry.users(PolicyName("never-heard-of")) == []


async def test_users_follow_what_is_attached_and_detached(desk: Desk) -> None:
    await lamp(desk)
    await lamp(desk, "lamp-2")
    await desk.put("fleet")
    await desk.attach("lamp-1", "fleet")
    await desk.attach("lamp-2", "fleet")
    await desk.detach("lamp-1", "fleet")

    assert await desk.registry.users(PolicyName("fleet")) == ["lamp-2"]
    assert await desk.registry.users(DEFAULT_POLICY) == ["lamp-1", "lamp-2"]


# ── the badge ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_badge_is_certificate_record_and_policies(desk: Desk) -> None:
    certificate = await lamp(desk)
    default = await desk.registry.policy(DEFAULT_POLICY)
    assert default is not None

    assert await badge_of(desk, certificate) == Badge(certificate, await desk.thing("lamp-1"), (default,))


async def test_a_badge_without_any_document_has_no_policies(desk: Desk) -> None:
    certificate = await desk.enroll(await desk.token("secret"), "lamp-1", "k1")
    assert await in_force(desk, certificate) == []


async def test_a_named_policy_that_is_not_there_is_left_out(desk: Desk) -> None:
    await desk.put("fleet")
    token = await desk.token("secret", policies=["missing", "fleet", "gone"])
    certificate = await desk.enroll(token, "lamp-1", "k1")

    assert await in_force(desk, certificate) == [("fleet", 1)]

    await desk.put("missing")
    assert await in_force(desk, certificate) == [("missing", 1), ("fleet", 1)]


async def test_a_changed_document_is_on_the_next_badge(desk: Desk) -> None:
    certificate = await lamp(desk)

    changed = await desk.put(DEFAULT_POLICY, "Connect")

    assert (await badge_of(desk, certificate)).policies == (changed,)


async def test_the_badge_of_a_stranger_is_none(desk: Desk) -> None:
    await lamp(desk)
    assert await desk.registry.badge(CertificateId("0" * 64)) is None


async def test_the_badge_of_an_undone_claim_is_none(desk: Desk) -> None:
    issue = await desk.stored(await desk.token("secret"), "lamp-1", "k1")
    certificate = certificate_for(issue.intent)
    assert (await badge_of(desk, certificate)).thing.status is ThingStatus.CLAIMED

    await desk.drop(issue)

    assert await desk.registry.badge(certificate.id) is None
    assert await desk.registry.certificate(certificate.id) is not None


@pytest.mark.parametrize(
    ("order", "certificates"),
    [(ThingStatus.SUSPENDED, CertificateStatus.INACTIVE), (ThingStatus.REVOKED, CertificateStatus.REVOKED)],
)
async def test_a_badge_shows_the_status_of_now(
    desk: Desk, order: ThingStatus, certificates: CertificateStatus
) -> None:
    certificate = await lamp(desk)
    await desk.order("lamp-1", order)

    badge = await badge_of(desk, certificate)

    assert (badge.certificate.status, badge.thing.status) == (certificates, order)


async def test_both_certificates_of_a_thing_carry_its_policies(desk: Desk) -> None:
    old = await lamp(desk)
    swap = await desk.token("swap", "lamp-1", replaces=True, policies=["of-the-token"])
    new = await desk.enroll(swap, "lamp-1", "k2")
    await desk.put("fleet")
    await desk.attach("lamp-1", "fleet")

    expected = [(DEFAULT_POLICY, 1), ("fleet", 1)]
    assert await in_force(desk, old) == await in_force(desk, new) == expected
    await desk.connect(new)
    assert (await desk.thing("lamp-1")).policies == policy_names(DEFAULT_POLICY, "fleet"), (
        "an existing record keeps its own"
    )


async def test_each_order_about_policies_is_chained_once(desk: Desk) -> None:
    await lamp(desk)
    await desk.put("fleet")
    await desk.attach("lamp-1", "fleet")
    await desk.detach("lamp-1", "fleet")
    await desk.remove("fleet")

    assert (await told(desk))[-4:] == ["policy.put", "policy.attach", "policy.detach", "policy.remove"]


async def test_attaching_touches_nothing_but_the_policies(desk: Desk) -> None:
    certificate = await lamp(desk)
    other: Thing = await desk.thing("lamp-1")
    await desk.put("fleet")

    await desk.attach("lamp-1", "fleet")
    await desk.detach("lamp-1", "fleet")

    thing = await desk.thing("lamp-1")
    assert replace(thing, policies=None) == other
    assert await desk.registry.certificates(ThingName("lamp-1")) == [certificate]
