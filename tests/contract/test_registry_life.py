"""Tokens, the operator's orders, replacement, the sweeper, pages and the audit trail: the same everywhere."""

from dataclasses import replace
from datetime import timedelta

import pytest

from keyborn.domain.audit import ChainHead, verify
from keyborn.domain.certificate import Certificate, CertificateStatus, Slot
from keyborn.domain.enrollment import Attempt, Issue, Repeat
from keyborn.domain.errors import (
    CredentialRefused,
    EnrollmentInterrupted,
    KeyInUse,
    KeyRevoked,
    NotFound,
    RegistryUnavailable,
    ReplacementPending,
    ThingRevoked,
    TokenExhausted,
)
from keyborn.domain.intent import IntentId
from keyborn.domain.names import CertificateId, ThingName
from keyborn.domain.thing import ThingStatus
from keyborn.domain.token import TokenId, TokenUse
from keyborn.ports import MAX_PAGE
from support.registry_cases import HOUR, LIFETIME, START, Desk, certificate_for, event, key, make_token


async def status_of(desk: Desk, certificate: Certificate) -> CertificateStatus:
    found = await desk.registry.certificate(certificate.id)
    assert found is not None
    return found.status


# ── tokens ────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_token_is_found_as_it_was_added(desk: Desk) -> None:
    tokens = [
        await desk.token("plain"),
        await desk.token("narrow", "lamp-??", uses=7),
        await desk.token("swap", "lamp-1", uses=1, replaces=True),
    ]

    assert [await desk.registry.find(token.id) for token in tokens] == tokens
    assert await desk.registry.find(TokenId("tffffffffffffffff")) is None


async def test_adding_the_same_token_again_changes_nothing(desk: Desk) -> None:
    token = await desk.token("secret", uses=3)
    await desk.claim(token, "lamp-1", "k1")
    records = await desk.registry.records()

    await desk.registry.add(token, event("token.create", token.id))

    assert await desk.registry.records() == records
    assert await desk.uses_taken(token) == 1


async def test_another_secret_under_a_known_id_is_refused(desk: Desk) -> None:
    token = await desk.token("secret")
    impostor = make_token("other")
    twin = type(impostor)(token.id, impostor.digest, impostor.scope, None, START, START + HOUR)

    with pytest.raises(RegistryUnavailable):
        await desk.registry.add(twin, event())
    assert await desk.registry.find(token.id) == token


async def test_withdrawing_keeps_the_first_time(desk: Desk) -> None:
    token = await desk.token("secret")
    first = await desk.registry.withdraw(token.id, event(at=START + HOUR))
    records = await desk.registry.records()

    assert first.withdrawn_at == START + HOUR
    assert await desk.registry.withdraw(token.id, event(at=START + 2 * HOUR)) == first
    assert await desk.registry.find(token.id) == first
    assert await desk.registry.records() == records


async def test_withdrawing_what_does_not_exist_is_not_found(desk: Desk) -> None:
    with pytest.raises(NotFound):
        await desk.registry.withdraw(TokenId("t0000000000000000"), event())
    assert await desk.registry.records() == []


def showing(attempt: Attempt, digest: bytes) -> Attempt:
    """The same attempt by somebody whose secret nobody has looked up yet."""
    return replace(attempt, applicant=replace(attempt.applicant, digest=digest))


async def test_who_has_not_been_looked_up_yet_claims_with_the_secret_of_the_token(desk: Desk) -> None:
    token = await desk.token("secret", uses=1)
    verdict = await desk.registry.claim(showing(desk.attempt(token, "lamp-1", "k1"), token.digest))
    assert isinstance(verdict, Issue)
    assert await desk.uses_taken(token) == 1

    await desk.registry.store(verdict.intent, certificate_for(verdict.intent))
    active = await desk.registry.activate(verdict.intent.id, desk.done("lamp-1"))
    again = await desk.registry.claim(showing(desk.attempt(token, "lamp-1", "k1"), token.digest))
    assert again == Repeat(active)
    with pytest.raises(TokenExhausted):
        await desk.registry.claim(showing(desk.attempt(token, "lamp-2", "k2"), token.digest))


@pytest.mark.parametrize("state", ["nothing", "recorded", "stored", "active"])
async def test_another_secret_claims_resumes_and_repeats_nothing_whatever_its_id(
    desk: Desk, state: str
) -> None:
    """The id holds 64 bits of the digest; the digest decides."""
    token = await desk.token("secret")
    if state == "recorded":
        await desk.claim(token, "lamp-1", "k1")
    elif state == "stored":
        await desk.stored(token, "lamp-1", "k1")
    elif state == "active":
        await desk.enroll(token, "lamp-1", "k1")
    before = await desk.registry.things(), await desk.uses_taken(token), await desk.registry.records()

    for other in (bytes(32), token.digest[:-1] + bytes([token.digest[-1] ^ 1]), b""):
        for thing, key_name in (("lamp-1", "k1"), ("lamp-1", "k2"), ("lamp-2", "k2")):
            with pytest.raises(CredentialRefused):
                await desk.registry.claim(showing(desk.attempt(token, thing, key_name), other))
    unknown = make_token("nobody's")
    with pytest.raises(CredentialRefused):
        await desk.registry.claim(showing(desk.attempt(unknown, "lamp-2", "k2"), unknown.digest))
    after = await desk.registry.things(), await desk.uses_taken(token), await desk.registry.records()
    assert after == before


async def test_tokens_come_in_pages_by_id_with_the_uses_taken(desk: Desk) -> None:
    tokens = sorted([await desk.token(f"secret {number}") for number in range(5)], key=lambda one: one.id)
    await desk.claim(tokens[3], "lamp-1", "k1")

    first = await desk.registry.tokens(limit=3)
    rest = await desk.registry.tokens(after=first[-1].token.id, limit=3)

    assert list(first) == [TokenUse(token, 0) for token in tokens[:3]]
    assert list(rest) == [TokenUse(tokens[3], 1), TokenUse(tokens[4], 0)]


# ── suspend, activate ─────────────────────────────────────────────────────────────────────────────────


async def test_suspending_takes_the_certificates_back_and_activating_returns_them(desk: Desk) -> None:
    token = await desk.token("secret")
    certificate = await desk.enroll(token, "lamp-1", "k1")

    assert (await desk.order("lamp-1", ThingStatus.SUSPENDED)).status is ThingStatus.SUSPENDED
    assert await status_of(desk, certificate) is CertificateStatus.INACTIVE
    with pytest.raises(ThingRevoked, match="suspended"):
        await desk.registry.claim(desk.attempt(token, "lamp-1", "k1"))

    assert (await desk.order("lamp-1", ThingStatus.ACTIVE)).status is ThingStatus.ACTIVE
    assert await status_of(desk, certificate) is CertificateStatus.ACTIVE
    assert await desk.registry.claim(desk.attempt(token, "lamp-1", "k1")) == Repeat(certificate)


async def test_a_thing_suspended_meanwhile_is_not_activated_by_its_saga(desk: Desk) -> None:
    token = await desk.token("secret")
    issue = await desk.stored(token, "lamp-1", "k1")
    await desk.order("lamp-1", ThingStatus.SUSPENDED)

    with pytest.raises(ThingRevoked):
        await desk.registry.activate(issue.intent.id, desk.done("lamp-1"))
    assert await status_of(desk, certificate_for(issue.intent)) is CertificateStatus.INACTIVE

    await desk.order("lamp-1", ThingStatus.ACTIVE)
    assert (await desk.thing("lamp-1")).status is ThingStatus.CLAIMED, "it has never had a certificate"
    assert await status_of(desk, certificate_for(issue.intent)) is CertificateStatus.INACTIVE
    active = await desk.registry.activate(issue.intent.id, desk.done("lamp-1"))
    assert active.status is CertificateStatus.ACTIVE


async def test_a_saga_that_repeats_its_last_step_on_a_suspended_thing_hears_so(desk: Desk) -> None:
    issue = await desk.stored(await desk.token("secret"), "lamp-1", "k1")
    await desk.registry.activate(issue.intent.id, desk.done("lamp-1"))
    await desk.order("lamp-1", ThingStatus.SUSPENDED)

    with pytest.raises(ThingRevoked):
        await desk.registry.activate(issue.intent.id, desk.done("lamp-1"))


async def test_only_a_suspended_thing_is_activated(desk: Desk) -> None:
    token = await desk.token("secret")
    await desk.claim(token, "claimed", "k1")
    await desk.enroll(token, "gone", "k2")
    await desk.order("gone", ThingStatus.RETIRED)

    for name in ("claimed", "gone"):
        with pytest.raises(ThingRevoked):
            await desk.order(name, ThingStatus.ACTIVE)
    with pytest.raises(ThingRevoked):
        await desk.order("gone", ThingStatus.SUSPENDED)


async def test_repeated_orders_change_and_append_nothing(desk: Desk) -> None:
    await desk.enroll(await desk.token("secret"), "lamp-1", "k1")
    for status in (ThingStatus.SUSPENDED, ThingStatus.ACTIVE, ThingStatus.REVOKED, ThingStatus.RETIRED):
        first = await desk.order("lamp-1", status)
        records = await desk.registry.records()
        assert await desk.order("lamp-1", status) == first
        assert await desk.registry.records() == records


async def test_orders_that_make_no_sense_are_refused(desk: Desk) -> None:
    with pytest.raises(NotFound):
        await desk.order("nobody", ThingStatus.REVOKED)
    await desk.claim(await desk.token("secret"), "lamp-1", "k1")
    with pytest.raises(ValueError, match="claimed"):
        await desk.order("lamp-1", ThingStatus.CLAIMED)


# ── revoke, retire, and free the name again ───────────────────────────────────────────────────────────


@pytest.mark.parametrize("end", [ThingStatus.REVOKED, ThingStatus.RETIRED])
async def test_an_end_takes_certificates_keys_and_name(desk: Desk, end: ThingStatus) -> None:
    token = await desk.token("secret")
    certificate = await desk.enroll(token, "lamp-1", "k1")
    swap = await desk.token("swap", "lamp-1", replaces=True)
    successor = await desk.enroll(swap, "lamp-1", "k2")

    assert (await desk.order("lamp-1", end)).status is end

    assert await status_of(desk, certificate) is CertificateStatus.REVOKED
    assert await status_of(desk, successor) is CertificateStatus.REVOKED
    with pytest.raises(ThingRevoked, match=end.value):
        await desk.registry.claim(desk.attempt(token, "lamp-1", "k3"))
    for key_name in ("k1", "k2"):
        with pytest.raises(KeyRevoked):
            await desk.registry.claim(desk.attempt(token, "lamp-2", key_name))
        with pytest.raises(KeyRevoked):
            await desk.registry.claim(desk.attempt(swap, "lamp-1", key_name))


async def test_revoking_drops_the_open_intent_and_its_saga_ends_with_nothing_active(desk: Desk) -> None:
    token = await desk.token("secret")
    claimed = await desk.claim(token, "lamp-1", "k1")
    stored = await desk.stored(token, "lamp-2", "k2")
    await desk.order("lamp-1", ThingStatus.REVOKED)
    await desk.order("lamp-2", ThingStatus.REVOKED)

    with pytest.raises(ThingRevoked):
        await desk.registry.store(claimed.intent, certificate_for(claimed.intent))
    with pytest.raises(ThingRevoked):
        await desk.registry.activate(stored.intent.id, desk.done("lamp-2"))
    assert await status_of(desk, certificate_for(stored.intent)) is CertificateStatus.REVOKED
    assert await desk.registry.leftovers(before=desk.now + LIFETIME) == []


async def test_a_replacement_token_frees_the_name_for_a_new_key(desk: Desk) -> None:
    await desk.enroll(await desk.token("secret"), "lamp-1", "k1")
    await desk.order("lamp-1", ThingStatus.REVOKED)
    born = (await desk.thing("lamp-1")).created_at
    desk.pass_time(HOUR)
    swap = await desk.token("swap", "lamp-1", replaces=True)

    certificate = await desk.enroll(swap, "lamp-1", "k2")

    thing = await desk.thing("lamp-1")
    assert (thing.status, thing.key_hash, thing.created_at) == (ThingStatus.ACTIVE, key("k2"), born)
    assert certificate.slot is Slot.CURRENT
    with pytest.raises(KeyRevoked):
        await desk.registry.claim(desk.attempt(swap, "lamp-1", "k1"))
    await desk.order("lamp-1", ThingStatus.REVOKED)
    with pytest.raises(KeyRevoked):
        await desk.registry.claim(desk.attempt(swap, "lamp-1", "k2"))


@pytest.mark.parametrize("end", [ThingStatus.REVOKED, ThingStatus.RETIRED])
async def test_a_freed_name_whose_claim_came_to_nothing_is_a_tombstone_again(
    desk: Desk, end: ThingStatus
) -> None:
    token = await desk.token("secret")
    await desk.enroll(token, "lamp-1", "k1")
    ended = await desk.order("lamp-1", end)
    swap = await desk.token("swap", "lamp-1", uses=1, replaces=True)
    issue = await desk.stored(swap, "lamp-1", "k2")

    assert await desk.drop(issue)

    assert await desk.thing("lamp-1") == ended
    with pytest.raises(ThingRevoked):
        await desk.registry.claim(desk.attempt(token, "lamp-1", "k3"))
    with pytest.raises(KeyRevoked):
        await desk.registry.claim(desk.attempt(swap, "lamp-1", "k1"))
    assert await desk.uses_taken(swap) == 0
    assert (await desk.enroll(swap, "lamp-1", "k2")).status is CertificateStatus.ACTIVE


# ── a key is replaced ─────────────────────────────────────────────────────────────────────────────────


async def test_a_successor_takes_over_when_it_connects(desk: Desk) -> None:
    token = await desk.token("secret")
    old = await desk.enroll(token, "lamp-1", "k1")
    swap = await desk.token("swap", "lamp-1", replaces=True)

    new = await desk.enroll(swap, "lamp-1", "k2")

    assert (new.slot, await status_of(desk, old)) == (Slot.SUCCESSOR, CertificateStatus.ACTIVE)
    assert (await desk.thing("lamp-1")).key_hash == key("k1")

    met = await desk.connect(new)

    assert (met.slot, met.connected_at, met.status) == (Slot.CURRENT, desk.now, CertificateStatus.ACTIVE)
    assert await desk.registry.certificate(new.id) == met
    assert await status_of(desk, old) is CertificateStatus.REVOKED
    assert (await desk.thing("lamp-1")).key_hash == key("k2")
    with pytest.raises(KeyRevoked):
        await desk.registry.claim(desk.attempt(token, "lamp-1", "k1"))
    assert await desk.registry.claim(desk.attempt(token, "lamp-1", "k2")) == Repeat(met)


async def test_the_first_connection_is_recorded_once(desk: Desk) -> None:
    certificate = await desk.enroll(await desk.token("secret"), "lamp-1", "k1")
    met = await desk.connect(certificate)
    desk.pass_time(HOUR)

    assert await desk.connect(certificate) == met
    assert met.connected_at == START


async def test_a_certificate_that_is_not_live_is_returned_as_it_is(desk: Desk) -> None:
    token = await desk.token("secret")
    suspended = await desk.enroll(token, "lamp-1", "k1")
    await desk.order("lamp-1", ThingStatus.SUSPENDED)
    expired = await desk.enroll(token, "lamp-2", "k2")
    desk.pass_time(LIFETIME * 2)

    for certificate in (suspended, expired):
        seen = await desk.connect(certificate)
        assert not seen.live(desk.now)
        assert seen.connected_at is None
    with pytest.raises(NotFound):
        await desk.registry.connected(CertificateId("0" * 64), desk.now)


async def test_the_takeover_is_in_the_trail_once(desk: Desk) -> None:
    await desk.enroll(await desk.token("first"), "lamp-1", "k1")
    successor = await desk.enroll(await desk.token("swap", "lamp-1", replaces=True), "lamp-1", "k2")
    for _ in range(2):
        await desk.connect(successor)

    records = await desk.registry.records(limit=MAX_PAGE)
    taken = [record.event for record in records if record.event.action == "replace"]
    assert [(event.subject, event.actor) for event in taken] == [("lamp-1", successor.id)]
    assert taken[0].details == {"keyHash": key("k2"), "retiredKeyHash": key("k1")}
    verify(records)


async def test_a_suspended_successor_does_not_take_over(desk: Desk) -> None:
    old = await desk.enroll(await desk.token("secret"), "lamp-1", "k1")
    new = await desk.enroll(await desk.token("swap", "lamp-1", replaces=True), "lamp-1", "k2")
    await desk.order("lamp-1", ThingStatus.SUSPENDED)

    await desk.connect(new)

    assert (await desk.thing("lamp-1")).key_hash == key("k1")
    await desk.order("lamp-1", ThingStatus.ACTIVE)
    assert await status_of(desk, old) is CertificateStatus.ACTIVE
    assert await status_of(desk, new) is CertificateStatus.ACTIVE


async def test_one_successor_at_a_time_until_it_expires_unused(desk: Desk) -> None:
    await desk.enroll(await desk.token("secret"), "lamp-1", "k1")
    unused = await desk.enroll(await desk.token("swap", "lamp-1", replaces=True), "lamp-1", "k2")
    other = await desk.token("other", "lamp-1", replaces=True)
    with pytest.raises(ReplacementPending):
        await desk.registry.claim(desk.attempt(other, "lamp-1", "k3"))

    desk.pass_time(LIFETIME * 2)
    later = await desk.token("later", "lamp-1", replaces=True)
    new = await desk.enroll(later, "lamp-1", "k3")

    assert new.slot is Slot.SUCCESSOR
    assert await status_of(desk, unused) is CertificateStatus.REVOKED
    with pytest.raises(KeyInUse):
        await desk.registry.claim(desk.attempt(await desk.token("any"), "lamp-2", "k2"))


async def test_a_replacement_that_came_to_nothing_leaves_the_thing_as_it_was(desk: Desk) -> None:
    token = await desk.token("secret")
    old = await desk.enroll(token, "lamp-1", "k1")
    before = await desk.thing("lamp-1")
    swap = await desk.token("swap", "lamp-1", uses=1, replaces=True)
    issue = await desk.stored(swap, "lamp-1", "k2")
    with pytest.raises(KeyInUse):
        await desk.registry.claim(desk.attempt(token, "lamp-2", "k2"))

    assert await desk.drop(issue)

    assert await desk.thing("lamp-1") == before
    assert await status_of(desk, old) is CertificateStatus.ACTIVE
    assert await desk.uses_taken(swap) == 0
    assert (await desk.enroll(token, "lamp-2", "k2")).thing == "lamp-2", "the key was freed"


async def test_the_owner_of_an_expired_certificate_supersedes_a_replacement_under_way(desk: Desk) -> None:
    await desk.enroll(await desk.token("secret"), "lamp-1", "k1")
    desk.pass_time(LIFETIME * 2)
    swap = await desk.token("swap", "lamp-1", uses=1, replaces=True)
    issue = await desk.stored(swap, "lamp-1", "k2")
    token = await desk.token("again")

    renewed = await desk.enroll(token, "lamp-1", "k1")

    assert (renewed.slot, renewed.status) == (Slot.CURRENT, CertificateStatus.ACTIVE)
    assert await status_of(desk, certificate_for(issue.intent)) is CertificateStatus.REVOKED
    assert await desk.uses_taken(swap) == 0
    with pytest.raises(EnrollmentInterrupted):
        await desk.registry.activate(issue.intent.id, desk.done("lamp-1"))


@pytest.mark.parametrize("ending", ["superseded", "dropped"])
async def test_a_key_that_once_had_a_certificate_stays_bound(desk: Desk, ending: str) -> None:
    """Only the intent that brought a key takes it away again."""
    await desk.enroll(await desk.token("secret"), "lamp-1", "k1")
    await desk.enroll(await desk.token("swap", "lamp-1", replaces=True), "lamp-1", "k2")
    desk.pass_time(LIFETIME * 2)
    again = await desk.claim(await desk.token("again", "lamp-1", replaces=True), "lamp-1", "k2")
    token = await desk.token("any")

    if ending == "superseded":
        await desk.enroll(token, "lamp-1", "k1")
    else:
        assert await desk.drop(again)

    with pytest.raises(KeyInUse):
        await desk.registry.claim(desk.attempt(token, "lamp-2", "k2"))


async def test_a_connecting_successor_ends_what_its_predecessor_had_under_way(desk: Desk) -> None:
    await desk.enroll(await desk.token("secret"), "lamp-1", "k1")
    desk.pass_time(LIFETIME - HOUR)
    successor = await desk.enroll(await desk.token("swap", "lamp-1", replaces=True), "lamp-1", "k2")
    desk.pass_time(2 * HOUR)
    under_way = await desk.stored(await desk.token("again", uses=1), "lamp-1", "k1")

    await desk.connect(successor)

    with pytest.raises(EnrollmentInterrupted):
        await desk.registry.activate(under_way.intent.id, desk.done("lamp-1"))
    assert await status_of(desk, certificate_for(under_way.intent)) is CertificateStatus.REVOKED
    assert (await desk.thing("lamp-1")).key_hash == key("k2")


# ── the sweeper ───────────────────────────────────────────────────────────────────────────────────────


async def test_dropping_a_claim_forgets_thing_key_and_redemption(desk: Desk) -> None:
    token = await desk.token("secret", uses=1)
    issue = await desk.stored(token, "lamp-1", "k1")

    assert await desk.drop(issue)

    assert await desk.registry.thing(ThingName("lamp-1")) is None
    assert await status_of(desk, certificate_for(issue.intent)) is CertificateStatus.REVOKED
    assert await desk.uses_taken(token) == 0
    with pytest.raises(EnrollmentInterrupted):
        await desk.registry.activate(issue.intent.id, desk.done("lamp-1"))
    assert not await desk.drop(issue)
    assert (await desk.enroll(token, "Lamp-1", "k1")).thing == "Lamp-1", "name and key are free again"


async def test_dropping_what_is_not_open_appends_nothing(desk: Desk) -> None:
    issue = await desk.stored(await desk.token("secret"), "lamp-1", "k1")
    await desk.registry.activate(issue.intent.id, desk.done("lamp-1"))
    records = await desk.registry.records()

    assert not await desk.drop(issue)
    assert not await desk.registry.drop(IntentId("unheard-of"), event())
    assert await desk.registry.records() == records


async def test_dropping_a_second_intent_keeps_the_first_redemption(desk: Desk) -> None:
    token = await desk.token("secret", uses=1)
    await desk.enroll(token, "lamp-1", "k1")
    desk.pass_time(LIFETIME * 2)
    later = await desk.token("later", uses=1)
    issue = await desk.stored(later, "lamp-1", "k1")

    await desk.drop(issue)

    assert (await desk.uses_taken(token), await desk.uses_taken(later)) == (1, 0)
    assert (await desk.thing("lamp-1")).status is ThingStatus.ACTIVE
    assert (await desk.enroll(later, "lamp-1", "k1")).status is CertificateStatus.ACTIVE


async def test_a_token_that_outlives_a_certificate_pays_once_and_keeps_having_paid(desk: Desk) -> None:
    token = await desk.token("secret", uses=1, ttl=LIFETIME * 4)
    await desk.enroll(token, "lamp-1", "k1")
    desk.pass_time(LIFETIME * 2)
    issue = await desk.claim(token, "lamp-1", "k1")
    assert not issue.resumed

    await desk.drop(issue)

    assert await desk.uses_taken(token) == 1
    assert (await desk.enroll(token, "lamp-1", "k1")).status is CertificateStatus.ACTIVE


async def test_a_suspended_claim_that_is_dropped_stays_with_its_key(desk: Desk) -> None:
    token = await desk.token("secret", uses=1)
    issue = await desk.claim(token, "lamp-1", "k1")
    await desk.order("lamp-1", ThingStatus.SUSPENDED)

    await desk.drop(issue)

    assert (await desk.thing("lamp-1")).status is ThingStatus.SUSPENDED
    with pytest.raises(KeyInUse):
        await desk.registry.claim(desk.attempt(token, "lamp-2", "k1"))
    await desk.order("lamp-1", ThingStatus.ACTIVE)
    assert (await desk.enroll(token, "lamp-1", "k1")).status is CertificateStatus.ACTIVE


async def test_leftovers_are_the_open_intents_of_before_oldest_first(desk: Desk) -> None:
    token = await desk.token("secret")
    issues = []
    for number in range(4):
        issues.append(await desk.claim(token, f"lamp-{number}", f"k{number}"))
        desk.pass_time(timedelta(minutes=1))
    await desk.enroll(token, "done", "k-done")

    before = START + timedelta(minutes=3)
    assert list(await desk.registry.leftovers(before=before)) == [issue.intent for issue in issues[:3]]
    assert list(await desk.registry.leftovers(before=before, limit=1)) == [issues[0].intent]


# ── the fleet and the trail ───────────────────────────────────────────────────────────────────────────


async def test_things_come_in_pages_in_byte_order(desk: Desk) -> None:
    token = await desk.token("secret")
    names = ["lamp_b", "lamp-a", "Zebra", "a:1", "0", "lamp-a2", "_"]
    for number, name in enumerate(names):
        await desk.claim(token, name, f"k{number}")

    first = await desk.registry.things(limit=4)
    rest = await desk.registry.things(after=first[-1].name, limit=4)

    assert [thing.name for thing in (*first, *rest)] == sorted(names, key=str.encode)
    assert await desk.registry.things(after=ThingName("zzz")) == []


async def test_a_page_is_never_longer_than_promised(desk: Desk) -> None:
    for _ in range(MAX_PAGE + 1):
        await desk.registry.append(event())
    await desk.claim(await desk.token("secret"), "lamp-1", "k1")

    assert len(await desk.registry.records(limit=10**9)) == MAX_PAGE
    for limit in (0, -1):
        pages = [
            await desk.registry.records(limit=limit),
            await desk.registry.things(limit=limit),
            await desk.registry.tokens(limit=limit),
            await desk.registry.leftovers(before=desk.now + HOUR, limit=limit),
        ]
        assert pages == [[], [], [], []]


async def test_every_effect_is_chained_in_the_order_it_happened(desk: Desk) -> None:
    token = await desk.token("secret")
    await desk.enroll(token, "lamp-1", "k1")
    issue = await desk.claim(token, "lamp-2", "k2")
    await desk.drop(issue)
    await desk.order("lamp-1", ThingStatus.SUSPENDED)
    await desk.registry.withdraw(token.id, event("token.withdraw"))
    await desk.registry.append(event("enroll", "nobody ü \ud800"))

    records = await desk.registry.records()

    actions = [record.event.action for record in records]
    assert actions == ["token.create", "enroll", "sweep", "thing.suspended", "token.withdraw", "enroll"]
    assert verify(records).sequence == 6
    page = await desk.registry.records(after=2, limit=3)
    assert list(page) == list(records[2:5])
    assert verify(page, ChainHead(2, records[1].hash)) == ChainHead(5, records[4].hash)


async def test_a_write_that_was_awaited_is_read_by_the_next_question(desk: Desk) -> None:
    token = await desk.token("secret")
    for number in range(50):
        certificate = await desk.enroll(token, f"lamp-{number}", f"k{number}")
        assert await desk.registry.certificate(certificate.id) == certificate
        assert (await desk.thing(f"lamp-{number}")).status is ThingStatus.ACTIVE
