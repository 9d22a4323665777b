"""Claim, store, activate: what every registry promises the registration authority."""

import asyncio
from dataclasses import replace

import pytest

from keyborn.domain.certificate import CertificateStatus, Slot
from keyborn.domain.enrollment import Attempt, Issue, Repeat
from keyborn.domain.errors import (
    Conflict,
    CredentialRefused,
    EnrollmentInterrupted,
    KeybornError,
    KeyInUse,
    KeyRevoked,
    NameNotPermitted,
    RegistryUnavailable,
    ReplacementPending,
    ThingNameCase,
    ThingNameTaken,
    ThingRevoked,
    TokenExhausted,
    TokenExpired,
)
from keyborn.domain.intent import IntentId
from keyborn.domain.names import ThingName
from keyborn.domain.thing import Thing, ThingStatus
from keyborn.ports import Registry
from support.registry_cases import LIFETIME, Desk, applicant, certificate_for, event, key, make_token

# ── new name, new key ─────────────────────────────────────────────────────────────────────────────────


async def test_a_claim_records_intent_thing_key_and_redemption(desk: Desk) -> None:
    token = await desk.token("secret", uses=2)
    attempt = replace(desk.attempt(token, "lamp-1", "k1"), attributes={"room": "4", "floor": "ü"})

    verdict = await desk.registry.claim(attempt)

    assert verdict == Issue(attempt.proposal)
    claimed = Thing(
        ThingName("lamp-1"), ThingStatus.CLAIMED, key("k1"), desk.now, {"room": "4", "floor": "ü"}
    )
    assert await desk.thing("lamp-1") == claimed
    assert await desk.registry.leftovers(before=desk.now + LIFETIME) == [attempt.proposal]
    assert await desk.uses_taken(token) == 1


async def test_a_stored_certificate_is_inactive_and_known_by_its_id(desk: Desk) -> None:
    token = await desk.token("secret")
    issue = await desk.claim(token, "lamp-1", "k1")
    signed = replace(
        certificate_for(issue.intent),
        status=CertificateStatus.ACTIVE,
        slot=Slot.SUCCESSOR,
        connected_at=desk.now,
    )

    kept = await desk.registry.store(issue.intent, signed)

    assert kept == certificate_for(issue.intent)
    assert kept.status is CertificateStatus.INACTIVE
    assert await desk.registry.certificate(kept.id) == kept
    assert await desk.registry.certificates(ThingName("lamp-1")) == [kept]
    assert (await desk.thing("lamp-1")).status is ThingStatus.CLAIMED


async def test_activating_makes_thing_and_certificate_active_and_closes_the_intent(desk: Desk) -> None:
    token = await desk.token("secret")
    issue = await desk.stored(token, "lamp-1", "k1")

    active = await desk.registry.activate(issue.intent.id, desk.done("lamp-1"))

    assert active == replace(certificate_for(issue.intent), status=CertificateStatus.ACTIVE)
    assert await desk.registry.certificate(active.id) == active
    assert (await desk.thing("lamp-1")).status is ThingStatus.ACTIVE
    assert await desk.registry.leftovers(before=desk.now + LIFETIME) == []


async def test_activating_again_returns_the_same_and_appends_nothing(desk: Desk) -> None:
    token = await desk.token("secret")
    issue = await desk.stored(token, "lamp-1", "k1")
    first = await desk.registry.activate(issue.intent.id, desk.done("lamp-1"))
    records = await desk.registry.records()

    assert await desk.registry.activate(issue.intent.id, desk.done("lamp-1")) == first
    assert await desk.registry.records() == records


async def test_the_first_certificate_stored_for_an_intent_wins(desk: Desk) -> None:
    token = await desk.token("secret")
    issue = await desk.claim(token, "lamp-1", "k1")
    first = await desk.registry.store(issue.intent, certificate_for(issue.intent, "first"))

    assert await desk.registry.store(issue.intent, certificate_for(issue.intent, "second")) == first

    active = await desk.registry.activate(issue.intent.id, desk.done("lamp-1"))
    assert await desk.registry.store(issue.intent, certificate_for(issue.intent, "third")) == active
    assert await desk.registry.certificates(ThingName("lamp-1")) == [active]


async def test_a_certificate_that_is_not_what_the_intent_says_is_never_kept(desk: Desk) -> None:
    token = await desk.token("secret")
    issue = await desk.claim(token, "lamp-1", "k1")
    good = certificate_for(issue.intent)
    forgeries = [
        replace(good, thing=ThingName("lamp-2")),
        replace(good, key_hash=key("k2")),
        replace(good, not_after=good.not_after + LIFETIME),
        replace(good, not_before=good.not_before - LIFETIME),
    ]

    for forgery in forgeries:
        with pytest.raises(ValueError, match="not what its intent says"):
            await desk.registry.store(issue.intent, forgery)
    assert await desk.registry.certificates(ThingName("lamp-1")) == []


async def test_activating_what_was_never_stored_says_try_again(desk: Desk) -> None:
    token = await desk.token("secret")
    issue = await desk.claim(token, "lamp-1", "k1")

    with pytest.raises(EnrollmentInterrupted):
        await desk.registry.activate(issue.intent.id, desk.done("lamp-1"))
    with pytest.raises(EnrollmentInterrupted):
        await desk.registry.activate(IntentId("unheard-of"), desk.done("lamp-1"))
    assert (await desk.thing("lamp-1")).status is ThingStatus.CLAIMED


# ── the same request again ────────────────────────────────────────────────────────────────────────────


async def test_the_same_request_resumes_the_recorded_intent(desk: Desk) -> None:
    token = await desk.token("secret", uses=1)
    first = await desk.claim(token, "lamp-1", "k1")

    again = await desk.claim(token, "lamp-1", "k1")

    assert again == Issue(first.intent, resumed=True)
    assert await desk.uses_taken(token) == 1


async def test_a_live_certificate_is_repeated_past_expiry_until_the_first_connection(desk: Desk) -> None:
    token = await desk.token("secret", uses=1)
    certificate = await desk.enroll(token, "lamp-1", "k1")
    desk.pass_time(LIFETIME / 2)

    assert await desk.registry.claim(desk.attempt(token, "lamp-1", "k1")) == Repeat(certificate)

    await desk.connect(certificate)
    with pytest.raises(TokenExpired):
        await desk.registry.claim(desk.attempt(token, "lamp-1", "k1"))


async def test_after_withdrawal_nothing_of_the_token_works(desk: Desk) -> None:
    token = await desk.token("secret")
    await desk.enroll(token, "lamp-1", "k1")
    await desk.claim(token, "lamp-2", "k2")
    await desk.registry.withdraw(token.id, event("token.withdraw", token.id, desk.now))

    for thing, key_name in (("lamp-1", "k1"), ("lamp-2", "k2"), ("lamp-3", "k3")):
        with pytest.raises(CredentialRefused):
            await desk.registry.claim(desk.attempt(token, thing, key_name))


async def test_a_token_nobody_knows_permits_nothing(desk: Desk) -> None:
    stranger = make_token("never added")

    with pytest.raises(CredentialRefused):
        await desk.registry.claim(desk.attempt(stranger, "lamp-1", "k1"))
    assert await desk.registry.things() == []


async def test_an_expired_certificate_is_followed_by_a_new_one_of_the_same_key(desk: Desk) -> None:
    old = await desk.enroll(await desk.token("first"), "lamp-1", "k1")
    desk.pass_time(LIFETIME * 2)
    token = await desk.token("second")

    new = await desk.enroll(token, "lamp-1", "k1")

    assert new.id != old.id
    states = [(one.id, one.status) for one in await desk.registry.certificates(ThingName("lamp-1"))]
    assert states == [(old.id, CertificateStatus.REVOKED), (new.id, CertificateStatus.ACTIVE)]
    assert await desk.registry.claim(desk.attempt(token, "lamp-1", "k1")) == Repeat(new), (
        "the key is not revoked"
    )


async def test_a_second_token_that_resumes_an_intent_pays_for_it(desk: Desk) -> None:
    first, second = await desk.token("first", uses=1), await desk.token("second", uses=1)
    issue = await desk.claim(first, "lamp-1", "k1")

    assert await desk.claim(second, "lamp-1", "k1") == Issue(issue.intent, resumed=True)

    assert (await desk.uses_taken(first), await desk.uses_taken(second)) == (1, 1)
    with pytest.raises(TokenExhausted):
        await desk.registry.claim(desk.attempt(second, "lamp-2", "k2"))


async def test_a_lapsed_intent_is_superseded_and_what_it_stored_is_revoked(desk: Desk) -> None:
    token = await desk.token("first", uses=1)
    lapsed = await desk.stored(token, "lamp-1", "k1")
    desk.pass_time(LIFETIME * 2)

    fresh = await desk.claim(await desk.token("second", uses=1), "lamp-1", "k1")

    assert not fresh.resumed
    assert await desk.registry.leftovers(before=desk.now + LIFETIME) == [fresh.intent]
    stale = await desk.registry.certificate(certificate_for(lapsed.intent).id)
    assert stale is not None
    assert stale.status is CertificateStatus.REVOKED
    with pytest.raises(EnrollmentInterrupted):
        await desk.registry.activate(lapsed.intent.id, desk.done("lamp-1"))
    with pytest.raises(EnrollmentInterrupted):
        await desk.registry.store(lapsed.intent, certificate_for(lapsed.intent))
    assert await desk.uses_taken(token) == 1, "the same key keeps its redemption"
    await desk.drop(fresh)
    assert await desk.uses_taken(token) == 0, "and gives it back with the intent that took over"


# ── refusals write nothing ────────────────────────────────────────────────────────────────────────────


async def test_each_refusal_is_told_apart_and_writes_nothing(desk: Desk) -> None:
    token = await desk.token("any")
    narrow = await desk.token("narrow", "lamp-?", uses=1)
    await desk.enroll(token, "lamp-1", "k1")
    await desk.enroll(narrow, "lamp-2", "k2")
    await desk.enroll(token, "gone", "k-gone")
    await desk.order("gone", ThingStatus.REVOKED)
    before = (await desk.registry.things(), await desk.registry.records(), await desk.registry.tokens())

    cases: list[tuple[Attempt, type[KeybornError]]] = [
        (desk.attempt(token, "lamp-1", "k9"), ThingNameTaken),
        (desk.attempt(token, "LAMP-1", "k9"), ThingNameCase),
        (desk.attempt(token, "lamp-9", "k1"), KeyInUse),
        (desk.attempt(token, "gone", "k9"), ThingRevoked),
        (desk.attempt(token, "GONE", "k9"), ThingNameCase),
        (desk.attempt(token, "lamp-9", "k-gone"), KeyRevoked),
        (desk.attempt(narrow, "heater", "k9"), NameNotPermitted),
        (desk.attempt(narrow, "lamp-9", "k9"), TokenExhausted),
        (replace(desk.attempt(token, "lamp-9", "k9"), now=desk.now + LIFETIME), TokenExpired),
    ]
    for attempt, refusal in cases:
        with pytest.raises(refusal):
            await desk.registry.claim(attempt)

    assert before == (
        await desk.registry.things(),
        await desk.registry.records(),
        await desk.registry.tokens(),
    )
    assert await desk.registry.leftovers(before=desk.now + LIFETIME) == []


async def test_the_name_of_a_claim_is_held_before_its_certificate_exists(desk: Desk) -> None:
    token = await desk.token("secret")
    await desk.claim(token, "lamp-1", "k1")

    for thing, key_name in (("lamp-1", "k2"), ("Lamp-1", "k2"), ("lamp-2", "k1")):
        with pytest.raises(Conflict):
            await desk.registry.claim(desk.attempt(token, thing, key_name))


async def test_two_certificates_never_share_a_serial(desk: Desk) -> None:
    token = await desk.token("secret")
    first = await desk.claim(token, "lamp-1", "k1")
    attempt = desk.attempt(token, "lamp-2", "k2")
    clash = replace(attempt, proposal=replace(attempt.proposal, serial=first.intent.serial))

    with pytest.raises(RegistryUnavailable):
        await desk.registry.claim(clash)
    assert await desk.registry.thing(ThingName("lamp-2")) is None

    assert isinstance(await desk.registry.claim(desk.attempt(token, "lamp-2", "k2")), Issue)


async def test_ids_are_never_used_twice(desk: Desk) -> None:
    token = await desk.token("secret")
    done = await desk.stored(token, "lamp-1", "k1")
    await desk.registry.activate(done.intent.id, desk.done("lamp-1"))
    first, second = await desk.claim(token, "lamp-2", "k2"), await desk.claim(token, "lamp-3", "k3")
    await desk.registry.store(first.intent, certificate_for(first.intent))

    attempt = desk.attempt(token, "lamp-4", "k4")
    with pytest.raises(RegistryUnavailable):
        await desk.registry.claim(replace(attempt, proposal=replace(attempt.proposal, id=first.intent.id)))
    same_id = replace(certificate_for(second.intent), id=certificate_for(first.intent).id)
    with pytest.raises(RegistryUnavailable):
        await desk.registry.store(second.intent, same_id)
    assert await desk.registry.certificates(ThingName("lamp-3")) == []


async def test_the_largest_serial_survives(desk: Desk) -> None:
    token = await desk.token("secret")
    attempt = desk.attempt(token, "lamp-1", "k1")
    largest = (1 << 159) - 1

    await desk.registry.claim(replace(attempt, proposal=replace(attempt.proposal, serial=largest)))

    (leftover,) = await desk.registry.leftovers(before=desk.now + LIFETIME)
    assert leftover.serial == largest


# ── many at once ──────────────────────────────────────────────────────────────────────────────────────


async def test_fifty_equal_claims_are_one_intent(registry: Registry, desk: Desk) -> None:
    token = await desk.token("secret", uses=1)
    attempts = [desk.attempt(token, "lamp-1", "k1") for _ in range(50)]

    verdicts = await asyncio.gather(*(registry.claim(attempt) for attempt in attempts))

    issues = [verdict for verdict in verdicts if isinstance(verdict, Issue)]
    assert len(issues) == 50
    assert len({issue.intent.id for issue in issues}) == 1
    assert sum(not issue.resumed for issue in issues) == 1
    assert await desk.uses_taken(token) == 1


async def test_fifty_equal_enrollments_are_one_certificate(desk: Desk) -> None:
    token = await desk.token("secret", uses=1)

    certificates = await asyncio.gather(*(desk.enroll(token, "lamp-1", "k1") for _ in range(50)))

    assert len({certificate.der for certificate in certificates}) == 1
    assert list(await desk.registry.certificates(ThingName("lamp-1"))) == certificates[:1]


async def test_fifty_keys_for_one_name_have_one_winner(registry: Registry, desk: Desk) -> None:
    token = await desk.token("secret", uses=None)
    attempts = [desk.attempt(token, "lamp-1", f"k{number}") for number in range(50)]

    outcomes = await asyncio.gather(*(registry.claim(one) for one in attempts), return_exceptions=True)

    (winner,) = [outcome for outcome in outcomes if isinstance(outcome, Issue)]
    assert sum(isinstance(outcome, ThingNameTaken) for outcome in outcomes) == 49
    assert (await desk.thing("lamp-1")).key_hash == winner.intent.key_hash
    assert await desk.uses_taken(token) == 1


async def test_a_token_of_five_uses_serves_five_of_fifty(registry: Registry, desk: Desk) -> None:
    token = await desk.token("secret", uses=5)
    attempts = [desk.attempt(token, f"lamp-{number}", f"k{number}") for number in range(50)]

    outcomes = await asyncio.gather(*(registry.claim(one) for one in attempts), return_exceptions=True)

    assert sum(isinstance(outcome, Issue) for outcome in outcomes) == 5
    assert sum(isinstance(outcome, TokenExhausted) for outcome in outcomes) == 45
    assert len(await registry.things()) == 5
    assert await desk.uses_taken(token) == 5


async def test_fifty_replacements_of_one_key_have_one_winner(registry: Registry, desk: Desk) -> None:
    await desk.enroll(await desk.token("first"), "lamp-1", "k0")
    token = await desk.token("swap", "lamp-1", uses=None, replaces=True)
    attempts = [desk.attempt(token, "lamp-1", f"k{number}") for number in range(1, 51)]

    outcomes = await asyncio.gather(*(registry.claim(one) for one in attempts), return_exceptions=True)

    assert sum(isinstance(outcome, Issue) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, ReplacementPending) for outcome in outcomes) == 49


async def test_an_applicant_of_a_glob_never_replaces(desk: Desk) -> None:
    await desk.enroll(await desk.token("first"), "lamp-1", "k1")
    glob = await desk.token("glob", "lamp-*", replaces=True)
    assert applicant(glob).may_replace

    with pytest.raises(ThingNameTaken):
        await desk.registry.claim(desk.attempt(glob, "lamp-1", "k2"))
