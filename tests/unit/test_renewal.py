"""PROTOCOL "Renew" on plain values: who may renew, what becomes of whom waits, who may confirm."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from keyborn.domain.certificate import Certificate, CertificateStatus, Slot
from keyborn.domain.enrollment import Issue, Repeat, Verdict, staged
from keyborn.domain.errors import (
    CertificateExpired,
    CertificateNotActive,
    KeybornError,
    KeyInUse,
    KeyNotNew,
    KeyRevoked,
    RenewalPending,
    RenewalUnconfirmed,
    ReplacementPending,
    SignatureRefused,
    ThingRevoked,
)
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.names import ThingName
from keyborn.domain.renewal import (
    NO_TOKEN,
    RenewalAttempt,
    RenewalStanding,
    decide_renewal,
    displaced,
    is_spared,
    retires_predecessor,
)
from keyborn.domain.thing import Thing, ThingStatus
from support.registry_cases import HOUR, LIFETIME, START, certificate_for, key, make_token

LAMP, OTHER = ThingName("lamp-1"), ThingName("lamp-2")
OLD, NEW, THIRD = key("old"), key("new"), key("third")
TICK = timedelta(milliseconds=1)
END = START + LIFETIME
BARRED = [ThingStatus.SUSPENDED, ThingStatus.REVOKED, ThingStatus.RETIRED]


def enrolled(number: int = 1, **changes: object) -> Intent:
    plain = Intent(IntentId(f"i{number}"), LAMP, OLD, make_token("t").id, START, number, START, END)
    return replace(plain, **changes)  # type: ignore[arg-type] # the tests name real fields


def held(**changes: object) -> Certificate:
    live = replace(certificate_for(enrolled()), status=CertificateStatus.ACTIVE)
    return replace(live, **changes)  # type: ignore[arg-type] # the tests name real fields


SIGNER = held()


def renewal(number: int = 7, **changes: object) -> Intent:
    plain = Intent(
        IntentId(f"r{number}"), LAMP, NEW, NO_TOKEN, START, number, START, END, Slot.SUCCESSOR, SIGNER.id
    )
    return replace(plain, **changes)  # type: ignore[arg-type] # the tests name real fields


def successor(**changes: object) -> Certificate:
    live = replace(staged(renewal(), certificate_for(renewal())), status=CertificateStatus.ACTIVE)
    return replace(live, **changes)  # type: ignore[arg-type] # the tests name real fields


def replacement(**changes: object) -> Certificate:
    return successor(renews=None, key_hash=THIRD, **changes)


def thing(status: ThingStatus = ThingStatus.ACTIVE, grace_until: datetime | None = None) -> Thing:
    return Thing(LAMP, status, OLD, START, grace_until=grace_until)


def attempt(now: datetime = START + HOUR, **changes: object) -> RenewalAttempt:
    return RenewalAttempt(renewal(99, **changes), now)


def standing(**changes: object) -> RenewalStanding:
    return replace(RenewalStanding(SIGNER, thing()), **changes)  # type: ignore[arg-type] # real fields


def with_successor(waiting: Certificate, asked: RenewalAttempt) -> RenewalStanding:
    return standing(successor=waiting, key_owner=LAMP if waiting.key_hash == asked.key else None)


# ── who may ───────────────────────────────────────────────────────────────────────────────────────────


def test_the_current_certificate_gets_a_successor_with_a_new_key() -> None:
    asked = attempt()
    assert decide_renewal(standing(), asked) == Issue(asked.proposal)
    assert asked.signer == SIGNER.id
    assert asked.key == NEW


def test_a_certificate_that_nobody_knows_is_not_told_more() -> None:
    with pytest.raises(SignatureRefused):
        decide_renewal(RenewalStanding(), attempt())


@pytest.mark.parametrize("status", BARRED)
@pytest.mark.parametrize("certificate", CertificateStatus)
def test_a_barred_thing_does_not_renew_whatever_its_certificate_says(
    status: ThingStatus, certificate: CertificateStatus
) -> None:
    with pytest.raises(ThingRevoked, match=status.value):
        decide_renewal(standing(thing=thing(status), signer=held(status=certificate)), attempt())


@pytest.mark.parametrize("status", [CertificateStatus.REVOKED, CertificateStatus.INACTIVE])
def test_a_certificate_that_was_succeeded_or_withdrawn_does_not_renew(status: CertificateStatus) -> None:
    with pytest.raises(CertificateNotActive, match=status.value):
        decide_renewal(standing(signer=held(status=status)), attempt())


def test_a_certificate_whose_thing_is_no_more_does_not_renew() -> None:
    with pytest.raises(CertificateNotActive):
        decide_renewal(standing(thing=None, signer=held(status=CertificateStatus.REVOKED)), attempt())


def test_the_successor_does_not_renew_before_it_is_confirmed() -> None:
    with pytest.raises(RenewalUnconfirmed, match="confirm it first"):
        decide_renewal(standing(signer=successor()), attempt(key_hash=THIRD))


def test_a_replacement_does_not_renew_before_it_has_connected() -> None:
    with pytest.raises(RenewalUnconfirmed, match="connect to the broker"):
        decide_renewal(standing(signer=replacement()), attempt())


# ── dates and grace ───────────────────────────────────────────────────────────────────────────────────


def test_the_last_moment_of_validity_is_not_too_late() -> None:
    assert isinstance(decide_renewal(standing(), attempt(END)), Issue)


def test_an_expired_certificate_is_told_how_to_get_grace() -> None:
    with pytest.raises(CertificateExpired, match="keyborn thing grace lamp-1"):
        decide_renewal(standing(), attempt(END + TICK))


def test_grace_lasts_up_to_its_last_moment() -> None:
    until = END + 9 * HOUR
    gracious = standing(thing=thing(grace_until=until))
    assert isinstance(decide_renewal(gracious, attempt(until)), Issue)
    with pytest.raises(CertificateExpired):
        decide_renewal(gracious, attempt(until + TICK))


@pytest.mark.parametrize("status", BARRED)
def test_grace_does_not_bring_back_what_was_taken_away(status: ThingStatus) -> None:
    gracious = thing(status, END + 9 * HOUR)
    with pytest.raises(ThingRevoked):
        decide_renewal(standing(thing=gracious), attempt(END + HOUR))


def test_a_certificate_of_the_future_comes_from_a_clock_that_was_wrong() -> None:
    with pytest.raises(CertificateNotActive, match="not valid before 2026-11-01T12:00:00Z"):
        decide_renewal(standing(), attempt(START - TICK))


# ── the new key ───────────────────────────────────────────────────────────────────────────────────────


def test_the_same_key_again_is_no_renewal() -> None:
    with pytest.raises(KeyNotNew, match="new key"):
        decide_renewal(standing(key_owner=LAMP), attempt(key_hash=OLD))


def test_a_key_with_a_tombstone_never_returns() -> None:
    with pytest.raises(KeyRevoked):
        decide_renewal(standing(key_revoked=True), attempt())


def test_a_key_of_another_thing_is_refused() -> None:
    with pytest.raises(KeyInUse):
        decide_renewal(standing(key_owner=OTHER), attempt())


def test_a_key_that_this_thing_had_once_is_refused() -> None:
    with pytest.raises(KeyRevoked):
        decide_renewal(standing(key_owner=LAMP), attempt())


# ── what waits already ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("met", [None, START + HOUR])
def test_the_same_key_gets_the_same_successor(met: datetime | None) -> None:
    waiting = successor(connected_at=met)
    assert decide_renewal(with_successor(waiting, attempt()), attempt()) == Repeat(waiting)


def test_another_key_takes_the_place_of_a_successor_that_has_never_connected() -> None:
    waiting, asked = successor(), attempt(key_hash=THIRD)
    known = with_successor(waiting, asked)
    assert decide_renewal(known, asked) == Issue(asked.proposal)
    assert displaced(known, asked.proposal) == waiting


def test_another_key_waits_for_a_successor_that_has_connected() -> None:
    asked = attempt(key_hash=THIRD)
    with pytest.raises(RenewalPending, match="lamp-1 has connected"):
        decide_renewal(with_successor(successor(connected_at=START), asked), asked)


def test_a_successor_that_expired_unconfirmed_is_in_nobodys_way() -> None:
    waiting = successor(connected_at=START, not_after=START + HOUR)
    for asked in (attempt(START + 2 * HOUR), attempt(START + 2 * HOUR, key_hash=THIRD)):
        assert decide_renewal(with_successor(waiting, asked), asked) == Issue(asked.proposal)


def test_a_new_certificate_for_the_same_key_displaces_nobodys_key() -> None:
    for waiting in (successor(), None, replacement()):
        assert displaced(standing(successor=waiting), renewal()) is None


def test_a_pending_replacement_comes_first() -> None:
    ordered = enrolled(3, key_hash=THIRD, slot=Slot.SUCCESSOR)
    for known in (standing(successor=replacement()), standing(open_intent=ordered)):
        with pytest.raises(ReplacementPending):
            decide_renewal(known, attempt())


def test_a_replacement_that_expired_unused_is_in_nobodys_way() -> None:
    known = standing(successor=replacement(not_after=START))
    assert isinstance(decide_renewal(known, attempt()), Issue)


def test_an_attempt_that_came_half_way_is_resumed() -> None:
    recorded = renewal(3)
    known = standing(open_intent=recorded, key_owner=LAMP)
    assert decide_renewal(known, attempt()) == Issue(recorded, resumed=True)


def test_an_attempt_of_a_clock_that_was_wrong_is_not_resumed() -> None:
    recorded = renewal(3, not_before=START + 2 * HOUR)
    asked = attempt()
    known = standing(open_intent=recorded, key_owner=LAMP)
    assert decide_renewal(known, asked) == Issue(asked.proposal)


def test_an_attempt_with_another_key_and_an_open_enrolment_give_way() -> None:
    for recorded in (renewal(3, key_hash=THIRD), enrolled(3)):
        asked = attempt()
        assert decide_renewal(standing(open_intent=recorded), asked) == Issue(asked.proposal)


@pytest.mark.parametrize("proposal", [renewal(renews=None), renewal(slot=Slot.CURRENT)])
def test_an_intent_that_is_no_renewals_has_no_signer(proposal: Intent) -> None:
    with pytest.raises(ValueError, match="not a renewal"):
        _ = RenewalAttempt(proposal, START).signer


# ── confirmation ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("met", [None, START])
def test_the_successor_confirms_whether_or_not_the_broker_has_seen_it(met: datetime | None) -> None:
    assert retires_predecessor(thing(), successor(connected_at=met), START + HOUR)


@pytest.mark.parametrize("now", [START, END + HOUR])
def test_what_is_current_already_confirms_nothing_new(now: datetime) -> None:
    assert not retires_predecessor(thing(), SIGNER, now)
    assert not retires_predecessor(thing(), replace(successor(), slot=Slot.CURRENT), now)


def test_a_replacement_confirms_by_connecting() -> None:
    with pytest.raises(RenewalUnconfirmed, match="connect"):
        retires_predecessor(thing(), replacement(), START)


def test_a_withdrawn_successor_hears_that_it_is_one() -> None:
    with pytest.raises(CertificateNotActive, match="revoked"):
        retires_predecessor(thing(), successor(status=CertificateStatus.REVOKED), START)


@pytest.mark.parametrize("status", BARRED)
def test_a_barred_thing_confirms_nothing(status: ThingStatus) -> None:
    with pytest.raises(ThingRevoked):
        retires_predecessor(thing(status), successor(), START)


def test_an_expired_successor_confirms_nothing_and_grace_does_not_help() -> None:
    with pytest.raises(CertificateExpired):
        retires_predecessor(thing(grace_until=END + 9 * HOUR), successor(), END + TICK)


def test_an_unknown_certificate_confirms_nothing() -> None:
    with pytest.raises(SignatureRefused):
        retires_predecessor(None, None, START)


# ── withdrawal ────────────────────────────────────────────────────────────────────────────────────────


def test_a_successor_is_spared_only_where_it_is_the_devices_last() -> None:
    late, met = END + HOUR, START + HOUR
    fresh = successor(not_after=END + 9 * HOUR)
    assert is_spared(replace(fresh, connected_at=met), SIGNER, late)
    assert is_spared(replace(fresh, connected_at=met), None, START)
    assert not is_spared(fresh, SIGNER, late), "it has never connected: who knows whether it arrived"
    assert not is_spared(replace(fresh, connected_at=met), SIGNER, END), "its predecessor still works"
    assert not is_spared(replace(fresh, connected_at=met), SIGNER, END + 10 * HOUR), "it has expired, too"
    assert not is_spared(replacement(connected_at=met), SIGNER, late)


# ── all of it ─────────────────────────────────────────────────────────────────────────────────────────

KEYS = st.sampled_from([OLD, NEW, THIRD])
MOMENTS = st.sampled_from([START - TICK, START, START + HOUR, END, END + TICK, END + HOUR])
CERTIFICATES = st.builds(
    held,
    key_hash=KEYS,
    status=st.sampled_from(CertificateStatus),
    slot=st.sampled_from(Slot),
    renews=st.sampled_from([None, SIGNER.id]),
    connected_at=st.sampled_from([None, START]),
)
INTENTS = st.builds(
    renewal,
    number=st.just(5),
    key_hash=KEYS,
    slot=st.sampled_from(Slot),
    renews=st.sampled_from([None, SIGNER.id]),
)
STANDINGS = st.builds(
    RenewalStanding,
    signer=st.none() | CERTIFICATES,
    thing=st.none() | st.builds(thing, st.sampled_from(ThingStatus), st.none() | MOMENTS),
    key_owner=st.sampled_from([None, LAMP, OTHER]),
    key_revoked=st.booleans(),
    successor=st.none() | CERTIFICATES,
    open_intent=st.none() | INTENTS,
)


@given(STANDINGS, MOMENTS, st.sampled_from([NEW, THIRD, OLD]))
def test_whatever_the_registry_holds_a_yes_means_that_every_rule_held(
    known: RenewalStanding, now: datetime, new_key: str
) -> None:
    asked = attempt(now, key_hash=new_key)
    try:
        verdict: Verdict = decide_renewal(known, asked)
    except KeybornError:
        return
    assert known.signer is not None
    assert known.thing is not None
    assert known.signer.status is CertificateStatus.ACTIVE
    assert known.signer.slot is Slot.CURRENT
    assert known.thing.status in (ThingStatus.ACTIVE, ThingStatus.CLAIMED)
    assert known.key_owner != OTHER
    assert not known.key_revoked
    assert asked.key != known.signer.key_hash
    grace = known.thing.grace_until
    assert not known.signer.expired(now) or (grace is not None and now <= grace)
    if isinstance(verdict, Repeat):
        assert verdict.certificate is known.successor
        assert verdict.certificate.key_hash == asked.key
        assert verdict.certificate.renews is not None
    else:
        assert verdict.intent.key_hash == asked.key
        assert verdict.intent.renews is not None
        gone = displaced(known, verdict.intent)
        assert gone is None or gone.connected_at is None or gone.expired(now)


@given(STANDINGS, MOMENTS)
def test_a_confirmation_changes_something_only_for_a_live_renewal(
    known: RenewalStanding, now: datetime
) -> None:
    try:
        changes = retires_predecessor(known.thing, known.signer, now)
    except KeybornError:
        return
    assert known.signer is not None
    if changes:
        assert known.signer.live(now)
        assert known.signer.slot is Slot.SUCCESSOR
        assert known.signer.renews is not None
    else:
        assert known.signer.slot is Slot.CURRENT
