"""Devices and services in one name space, and the policies that a claim brings: the same everywhere."""

from dataclasses import replace

import pytest

from keyborn.domain.access_policy.document import DEFAULT_POLICY, PolicyName
from keyborn.domain.enrollment import Issue, Repeat
from keyborn.domain.errors import KeyInUse, KeyRevoked, ThingNameCase, ThingNameTaken, ThingRevoked
from keyborn.domain.names import ThingName
from keyborn.domain.thing import ThingKind, ThingStatus
from support.registry_cases import Desk, event, policy_names

DEVICE, SERVICE = ThingKind.DEVICE, ThingKind.SERVICE

# ── tokens ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ThingKind)
@pytest.mark.parametrize("policies", [None, [], ["fleet"], ["b", "a", "p+=,.@-_9"]])
async def test_a_token_keeps_its_kind_and_policies(
    desk: Desk, kind: ThingKind, policies: list[str] | None
) -> None:
    token = await desk.token("secret", kind=kind, policies=policies)

    assert await desk.registry.find(token.id) == token
    assert [use.token for use in await desk.registry.tokens()] == [token]
    withdrawn = await desk.registry.withdraw(token.id, event(at=desk.now))
    assert withdrawn == replace(token, withdrawn_at=desk.now)


# ── a new name ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ThingKind)
@pytest.mark.parametrize("policies", [None, [], ["fleet", "other"]])
async def test_a_claim_gives_kind_and_policies_of_the_token(
    desk: Desk, kind: ThingKind, policies: list[str] | None
) -> None:
    token = await desk.token("secret", kind=kind, policies=policies)
    await desk.claim(token, "lamp-1", "k1")

    claimed = await desk.thing("lamp-1")

    assert (claimed.kind, claimed.policies) == (kind, token.policies)
    await desk.enroll(token, "lamp-1", "k1")
    assert await desk.thing("lamp-1") == replace(claimed, status=ThingStatus.ACTIVE)


async def test_a_service_has_a_badge_with_its_own_policies(desk: Desk) -> None:
    await desk.put(DEFAULT_POLICY)
    kept = await desk.put("backend", "Subscribe")
    token = await desk.token("secret", "collector", uses=1, kind=SERVICE, policies=["backend"])

    certificate = await desk.enroll(token, "collector", "k1")

    badge = await desk.registry.badge(certificate.id)
    assert badge is not None
    assert (badge.thing.kind, badge.policies) == (SERVICE, (kept,))
    assert badge.certificate == certificate
    assert await desk.registry.users(PolicyName("backend")) == ["collector"]


async def test_a_service_is_suspended_and_revoked_like_a_device(desk: Desk) -> None:
    token = await desk.token("secret", kind=SERVICE, policies=["backend"])
    await desk.enroll(token, "collector", "k1")

    suspended = await desk.order("collector", ThingStatus.SUSPENDED)
    active = await desk.order("collector", ThingStatus.ACTIVE)
    revoked = await desk.order("collector", ThingStatus.REVOKED)

    for thing in (suspended, active, revoked):
        assert (thing.kind, thing.policies) == (SERVICE, ("backend",))
    assert await desk.thing("collector") == revoked


async def test_an_existing_record_keeps_its_policies(desk: Desk) -> None:
    first = await desk.enroll(await desk.token("first", policies=["a"]), "lamp-1", "k1")

    again = await desk.registry.claim(
        desk.attempt(await desk.token("second", policies=["b"]), "lamp-1", "k1")
    )

    assert again == Repeat(first)
    assert (await desk.thing("lamp-1")).policies == ("a",)


async def test_a_resumed_claim_keeps_the_policies_it_was_claimed_with(desk: Desk) -> None:
    await desk.claim(await desk.token("first", policies=["a"]), "lamp-1", "k1")

    resumed = await desk.claim(await desk.token("second", policies=["b"]), "lamp-1", "k1")

    assert resumed.resumed
    assert (await desk.thing("lamp-1")).policies == ("a",)


async def test_a_dropped_claim_leaves_the_name_to_any_kind(desk: Desk) -> None:
    issue = await desk.claim(await desk.token("device", policies=["a"]), "lamp-1", "k1")
    await desk.drop(issue)

    await desk.claim(await desk.token("service", kind=SERVICE), "lamp-1", "k1")

    thing = await desk.thing("lamp-1")
    assert (thing.kind, thing.policies) == (SERVICE, None)


# ── one name space ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("first", "second"), [(DEVICE, SERVICE), (SERVICE, DEVICE)])
@pytest.mark.parametrize("status", [None, ThingStatus.SUSPENDED, ThingStatus.REVOKED])
@pytest.mark.parametrize("key_name", ["k1", "k2"])
async def test_a_name_never_changes_its_kind(
    desk: Desk, first: ThingKind, second: ThingKind, status: ThingStatus | None, key_name: str
) -> None:
    """Not with the same key, not as a replacement, not after the first one is gone."""
    await desk.enroll(await desk.token("first", kind=first), "lamp-1", "k1")
    if status is not None:
        await desk.order("lamp-1", status)
    swap = await desk.token("swap", "lamp-1", replaces=True, kind=second, policies=["a"])
    before = (await desk.thing("lamp-1"), await desk.registry.records(), await desk.registry.tokens())

    of_a_gone_key = status is ThingStatus.REVOKED and key_name == "k1"
    with pytest.raises(KeyRevoked if of_a_gone_key else ThingNameTaken):
        await desk.registry.claim(desk.attempt(swap, "lamp-1", key_name))

    after = (await desk.thing("lamp-1"), await desk.registry.records(), await desk.registry.tokens())
    assert after == before


async def test_devices_and_services_share_names_and_keys(desk: Desk) -> None:
    await desk.enroll(await desk.token("service", kind=SERVICE), "collector", "k1")
    token = await desk.token("device")

    with pytest.raises(ThingNameCase):
        await desk.registry.claim(desk.attempt(token, "Collector", "k2"))
    with pytest.raises(KeyInUse):
        await desk.registry.claim(desk.attempt(token, "lamp-1", "k1"))


async def test_devices_and_services_are_listed_apart(desk: Desk) -> None:
    device, service = await desk.token("device"), await desk.token("service", kind=SERVICE)
    for number, name in enumerate(["b", "D", "f", "h"]):
        await desk.claim(device, name, f"device {number}")
    for number, name in enumerate(["a", "C", "e", "g"]):
        await desk.claim(service, name, f"service {number}")

    async def names(**page: object) -> list[str]:
        return [one.name for one in await desk.registry.things(**page)]  # type: ignore[arg-type] # a page

    assert await names() == await names(kind=DEVICE) == ["D", "b", "f", "h"]
    assert await names(kind=SERVICE) == ["C", "a", "e", "g"]
    assert await names(kind=SERVICE, limit=2) == ["C", "a"]
    assert await names(kind=SERVICE, after=ThingName("a"), limit=1) == ["e"]
    assert await names(kind=DEVICE, after=ThingName("C"), limit=2) == ["D", "b"]
    assert await names(kind=SERVICE, limit=0) == []
    assert {one.kind for one in await desk.registry.things(kind=SERVICE)} == {SERVICE}


# ── a name that a replacement freed ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("policies", "kept"), [(None, ["old"]), ([], []), (["new"], ["new"])])
async def test_a_freed_name_takes_the_policies_of_its_new_claim_and_never_widens_without_any(
    desk: Desk, policies: list[str] | None, kept: list[str]
) -> None:
    await desk.enroll(await desk.token("first", policies=["old"]), "lamp-1", "k1")
    await desk.order("lamp-1", ThingStatus.REVOKED)
    swap = await desk.token("swap", "lamp-1", replaces=True, policies=policies)

    await desk.enroll(swap, "lamp-1", "k2")

    thing = await desk.thing("lamp-1")
    assert (thing.status, thing.policies, thing.kind) == (ThingStatus.ACTIVE, tuple(kept), DEVICE)
    assert await desk.registry.users(PolicyName("old")) == (["lamp-1"] if "old" in kept else [])


@pytest.mark.parametrize("old", [None, [], ["old", "older"]])
@pytest.mark.parametrize("kind", ThingKind)
async def test_the_old_record_comes_back_with_its_policies(
    desk: Desk, old: list[str] | None, kind: ThingKind
) -> None:
    await desk.enroll(await desk.token("first", kind=kind, policies=old), "lamp-1", "k1")
    ended = await desk.order("lamp-1", ThingStatus.RETIRED)
    swap = await desk.token("swap", "lamp-1", replaces=True, kind=kind, policies=["new"])
    issue = await desk.stored(swap, "lamp-1", "k2")
    assert (await desk.thing("lamp-1")).policies == ("new",)

    await desk.drop(issue)

    assert await desk.thing("lamp-1") == ended
    assert await desk.registry.users(PolicyName("new")) == []


async def test_what_was_attached_to_a_tombstone_comes_back_with_it(desk: Desk) -> None:
    await desk.put("late")
    await desk.put("early")
    await desk.enroll(await desk.token("first"), "lamp-1", "k1")
    await desk.order("lamp-1", ThingStatus.REVOKED)
    ended = await desk.attach("lamp-1", "late")
    issue = await desk.stored(await desk.token("swap", "lamp-1", replaces=True), "lamp-1", "k2")
    await desk.attach("lamp-1", "early")

    await desk.drop(issue)

    assert await desk.thing("lamp-1") == ended
    assert ended.policies == policy_names(DEFAULT_POLICY, "late")


async def test_a_second_end_has_a_tombstone_of_its_own(desk: Desk) -> None:
    """Freed, claimed, ended again before it came to anything: the newest record is what comes back."""
    await desk.enroll(await desk.token("first", policies=["first"]), "lamp-1", "k1")
    await desk.order("lamp-1", ThingStatus.REVOKED)
    await desk.claim(await desk.token("second", "lamp-1", replaces=True, policies=["second"]), "lamp-1", "k2")
    ended = await desk.order("lamp-1", ThingStatus.RETIRED)
    third = await desk.token("third", "lamp-1", replaces=True, policies=["third"])
    issue = await desk.claim(third, "lamp-1", "k3")

    await desk.drop(issue)

    assert await desk.thing("lamp-1") == ended
    assert ended.policies == ("second",)


async def test_only_a_replacement_frees_a_gone_service(desk: Desk) -> None:
    token = await desk.token("secret", kind=SERVICE)
    await desk.enroll(token, "collector", "k1")
    await desk.order("collector", ThingStatus.REVOKED)

    with pytest.raises(ThingRevoked):
        await desk.registry.claim(desk.attempt(token, "collector", "k2"))
    swap = await desk.token("swap", "collector", replaces=True, kind=SERVICE)
    assert isinstance(await desk.registry.claim(desk.attempt(swap, "collector", "k2")), Issue)
