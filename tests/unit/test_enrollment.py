"""PROTOCOL "Enroll", rules 1 to 6, rule by rule, on plain values."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from keyborn.domain.certificate import Certificate, CertificateStatus, Slot
from keyborn.domain.enrollment import Attempt, Issue, Repeat, Standing, Verdict, decide, staged
from keyborn.domain.errors import (
    CredentialRefused,
    KeybornError,
    KeyInUse,
    KeyRevoked,
    NameNotPermitted,
    ReplacementPending,
    ThingNameCase,
    ThingNameTaken,
    ThingRevoked,
    TokenExhausted,
    TokenExpired,
)
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.names import NameScope, ThingName
from keyborn.domain.thing import Thing, ThingStatus
from support.registry_cases import HOUR, LIFETIME, START, applicant, certificate_for, key, make_token

LAMP = ThingName("lamp-1")
OTHER = ThingName("lamp-2")
MINE, THEIRS, THIRD = key("mine"), key("theirs"), key("third")
TICK = timedelta(milliseconds=1)
GONE = [ThingStatus.REVOKED, ThingStatus.RETIRED]


def intent(number: int = 1, **changes: object) -> Intent:
    plain = Intent(
        IntentId(f"i{number}"), LAMP, MINE, make_token("t").id, START, number, START, START + LIFETIME
    )
    return replace(plain, **changes)  # type: ignore[arg-type] # the tests name real fields


def attempt(now: datetime = START, *, pattern: str = "*", uses: int | None = None, **powers: bool) -> Attempt:
    token = make_token("t", pattern, uses, replaces=powers.get("replaces", False))
    return Attempt(applicant(token), intent(99, created_at=now), now)


def swap(now: datetime = START) -> Attempt:
    return attempt(now, pattern=LAMP, replaces=True)


def thing(status: ThingStatus = ThingStatus.ACTIVE, owner: str = MINE) -> Thing:
    return Thing(LAMP, status, key("mine") if owner == MINE else THEIRS, START)


def held(**changes: object) -> Certificate:
    live = replace(certificate_for(intent()), status=CertificateStatus.ACTIVE)
    return replace(live, **changes)  # type: ignore[arg-type] # the tests name real fields


def mine(**more: object) -> Standing:
    """The thing exists and this key owns it."""
    plain = Standing(thing=thing(), key_owner=LAMP, current=held(), redeemed=True, uses_taken=1)
    return replace(plain, **more)  # type: ignore[arg-type] # the tests name real fields


def theirs(**more: object) -> Standing:
    """The thing exists and another key owns it."""
    plain = Standing(thing=thing(owner=THEIRS), current=held(key_hash=THEIRS))
    return replace(plain, **more)  # type: ignore[arg-type] # the tests name real fields


def issued(slot: Slot = Slot.CURRENT, now: datetime = START) -> Issue:
    return Issue(intent(99, created_at=now, slot=slot))


# ── rule 1: new name, new key ─────────────────────────────────────────────────────────────────────────


def test_a_new_name_with_a_new_key_is_issued_as_proposed() -> None:
    assert decide(Standing(), attempt()) == issued()


def test_the_last_use_is_a_use_and_the_next_is_not() -> None:
    assert decide(Standing(uses_taken=2), attempt(uses=3)) == issued()
    with pytest.raises(TokenExhausted):
        decide(Standing(uses_taken=3), attempt(uses=3))


def test_unlimited_is_unlimited() -> None:
    assert decide(Standing(uses_taken=10**9), attempt()) == issued()


def test_a_token_permits_until_its_end_and_not_at_it() -> None:
    assert decide(Standing(), attempt(START + HOUR - TICK)) == issued(now=START + HOUR - TICK)
    with pytest.raises(TokenExpired, match="2026-11-01T13:00:00"):
        decide(Standing(), attempt(START + HOUR))


def test_a_credential_without_an_end_never_expires() -> None:
    endless = attempt(START + LIFETIME)
    endless = replace(endless, applicant=replace(endless.applicant, expires_at=None))
    assert isinstance(decide(Standing(), endless), Issue)


@pytest.mark.parametrize("pattern", ["lamp-2", "heater-*", "LAMP-1", "lamp"])
def test_a_token_for_other_names_is_refused(pattern: str) -> None:
    with pytest.raises(NameNotPermitted, match="lamp-1"):
        decide(Standing(), attempt(pattern=pattern))


def test_a_withdrawn_token_is_refused_whatever_it_has_earned() -> None:
    for standing in (Standing(), mine(), mine(current=None, open_intent=intent())):
        with pytest.raises(CredentialRefused):
            decide(replace(standing, token_withdrawn=True), attempt())


# ── rule 2: the same request again ────────────────────────────────────────────────────────────────────


def test_the_same_name_and_key_get_the_same_certificate() -> None:
    assert decide(mine(), attempt()) == Repeat(held())


def test_a_lost_answer_is_repeated_past_the_token_s_end_until_the_device_has_connected() -> None:
    late = attempt(START + LIFETIME / 2)
    assert decide(mine(), late) == Repeat(held())
    with pytest.raises(TokenExpired):
        decide(mine(current=held(connected_at=START)), late)


def test_a_fresh_token_repeats_after_the_first_connection_too() -> None:
    connected = held(connected_at=START)
    assert decide(mine(current=connected), attempt()) == Repeat(connected)


def test_an_expired_token_repeats_only_what_it_paid_for() -> None:
    with pytest.raises(TokenExpired):
        decide(mine(redeemed=False), attempt(START + HOUR))


def test_a_used_up_token_repeats_only_what_it_paid_for() -> None:
    assert decide(mine(uses_taken=1), attempt(uses=1)) == Repeat(held())
    with pytest.raises(TokenExhausted):
        decide(mine(redeemed=False, uses_taken=1), attempt(uses=1))


@pytest.mark.parametrize("status", [CertificateStatus.INACTIVE, CertificateStatus.REVOKED])
def test_a_certificate_that_is_not_active_is_never_repeated(status: CertificateStatus) -> None:
    assert decide(mine(current=held(status=status)), attempt()) == issued()


# ── a recorded intent is resumed ──────────────────────────────────────────────────────────────────────


def test_a_recorded_intent_is_resumed_with_its_own_contents() -> None:
    waiting = intent()
    claimed = mine(thing=thing(ThingStatus.CLAIMED), current=None, open_intent=waiting)
    assert decide(claimed, attempt()) == Issue(waiting, resumed=True)
    assert decide(claimed, attempt(START + 2 * HOUR)) == Issue(waiting, resumed=True), "past the token's end"


def test_an_intent_that_lapsed_is_replaced_by_the_proposal() -> None:
    claimed = mine(thing=thing(ThingStatus.CLAIMED), current=None, open_intent=intent(not_after=START))
    assert decide(claimed, attempt()) == issued()
    with pytest.raises(TokenExpired):
        decide(claimed, attempt(START + HOUR))


def test_another_token_may_resume_if_it_is_fresh_and_has_a_use_left() -> None:
    claimed = mine(
        thing=thing(ThingStatus.CLAIMED), current=None, open_intent=intent(), redeemed=False, uses_taken=1
    )
    assert decide(claimed, attempt(uses=2)) == Issue(intent(), resumed=True)
    with pytest.raises(TokenExhausted):
        decide(claimed, attempt(uses=1))
    with pytest.raises(TokenExpired):
        decide(claimed, attempt(START + HOUR, uses=2))


# ── rule 3: the certificate expired ───────────────────────────────────────────────────────────────────


def test_an_expired_certificate_is_followed_by_a_new_one_on_a_valid_token() -> None:
    expired = held(not_after=START - TICK)
    assert decide(mine(current=expired, redeemed=False), attempt()) == issued()
    assert decide(mine(current=held(not_after=START)), attempt()) == Repeat(held(not_after=START))


def test_an_expired_token_follows_nothing() -> None:
    with pytest.raises(TokenExpired):
        decide(mine(current=held(not_after=START)), attempt(START + HOUR))


# ── rule 4: another key ───────────────────────────────────────────────────────────────────────────────


def test_another_key_does_not_get_a_taken_name() -> None:
    with pytest.raises(ThingNameTaken, match="--replace"):
        decide(theirs(), attempt())


@pytest.mark.parametrize("pattern", ["*", "lamp-*", "lamp-?"])
def test_a_glob_replaces_nothing_even_if_its_token_says_so(pattern: str) -> None:
    with pytest.raises(ThingNameTaken):
        decide(theirs(), attempt(pattern=pattern, replaces=True))


def test_a_replacement_is_issued_into_the_successor_slot() -> None:
    assert decide(theirs(), swap()) == issued(Slot.SUCCESSOR)


def test_a_replacement_is_resumed_and_repeated_like_any_other() -> None:
    waiting = intent(slot=Slot.SUCCESSOR)
    under_way = theirs(open_intent=waiting, redeemed=True, key_owner=LAMP)
    assert decide(under_way, swap(START + 2 * HOUR)) == Issue(waiting, resumed=True)

    successor = held(slot=Slot.SUCCESSOR)
    done = theirs(successor=successor, redeemed=True, key_owner=LAMP)
    assert decide(done, swap(START + 2 * HOUR)) == Repeat(successor)


def test_one_replacement_at_a_time() -> None:
    for pending in (
        theirs(successor=held(key_hash=THIRD, slot=Slot.SUCCESSOR)),
        theirs(open_intent=intent(key_hash=THIRD, slot=Slot.SUCCESSOR)),
        theirs(open_intent=intent(key_hash=THEIRS)),
        theirs(open_intent=intent(key_hash=THIRD, not_after=START)),
    ):
        with pytest.raises(ReplacementPending):
            decide(pending, swap())


def test_a_successor_that_expired_unused_makes_room() -> None:
    unused = held(key_hash=THIRD, slot=Slot.SUCCESSOR, not_after=START - TICK)
    assert decide(theirs(successor=unused), swap()) == issued(Slot.SUCCESSOR)
    with pytest.raises(ReplacementPending):
        decide(theirs(successor=replace(unused, not_after=START)), swap())


def test_an_expired_successor_of_the_same_key_is_issued_again() -> None:
    unused = held(slot=Slot.SUCCESSOR, not_after=START - TICK)
    assert decide(theirs(successor=unused, key_owner=LAMP), swap()) == issued(Slot.SUCCESSOR)


def test_the_owner_is_not_held_up_by_a_replacement_under_way() -> None:
    under_way = mine(current=held(not_after=START - TICK), open_intent=intent(key_hash=THIRD))
    assert decide(under_way, attempt()) == issued()


def test_a_replacement_takes_the_place_of_a_renewal_that_is_under_way() -> None:
    """A person ordered it, perhaps because the device that was renewing is broken."""
    signed_by = held(key_hash=THEIRS).id
    waiting = held(key_hash=THIRD, slot=Slot.SUCCESSOR, renews=signed_by)
    recorded = intent(3, key_hash=THIRD, slot=Slot.SUCCESSOR, renews=signed_by)
    for standing in (theirs(successor=waiting), theirs(open_intent=recorded)):
        assert decide(standing, swap()) == issued(Slot.SUCCESSOR)


def test_a_renewal_is_neither_repeated_nor_resumed_as_an_enrolment() -> None:
    signed_by = held(key_hash=THEIRS).id
    waiting = held(slot=Slot.SUCCESSOR, renews=signed_by)
    recorded = intent(3, slot=Slot.SUCCESSOR, renews=signed_by)
    for standing in (theirs(successor=waiting, key_owner=LAMP), theirs(open_intent=recorded, key_owner=LAMP)):
        assert decide(standing, swap()) == issued(Slot.SUCCESSOR)


# ── rule 5: revoked, retired, suspended ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [*GONE, ThingStatus.SUSPENDED])
@pytest.mark.parametrize("owner", [MINE, THEIRS])
def test_a_thing_that_is_gone_or_suspended_is_refused(status: ThingStatus, owner: str) -> None:
    standing = replace(mine(), thing=thing(status, owner), open_intent=intent())
    with pytest.raises(ThingRevoked, match=status.value):
        decide(standing, attempt())


@pytest.mark.parametrize("status", GONE)
def test_only_a_replacement_for_that_name_frees_it(status: ThingStatus) -> None:
    standing = Standing(thing=thing(status, THEIRS))
    assert decide(standing, swap()) == issued()
    with pytest.raises(ThingRevoked):
        decide(standing, attempt(pattern="lamp-*", replaces=True))


def test_nothing_lifts_a_suspension_here() -> None:
    with pytest.raises(ThingRevoked):
        decide(theirs(thing=thing(ThingStatus.SUSPENDED, THEIRS)), swap())


@pytest.mark.parametrize("standing", [Standing(), Standing(thing=thing(ThingStatus.REVOKED)), mine()])
def test_nothing_frees_a_revoked_key(standing: Standing) -> None:
    for one in (attempt(), swap()):
        with pytest.raises(KeyRevoked):
            decide(replace(standing, key_revoked=True), one)


# ── rule 6 and names alike ────────────────────────────────────────────────────────────────────────────


def test_a_key_belongs_to_one_thing() -> None:
    with pytest.raises(KeyInUse):
        decide(Standing(key_owner=OTHER), attempt())
    with pytest.raises(KeyInUse):
        decide(theirs(key_owner=OTHER), swap())


def test_a_name_that_differs_by_case_alone_is_refused() -> None:
    for one in (attempt(), swap()):
        with pytest.raises(ThingNameCase):
            decide(Standing(case_twin=ThingName("LAMP-1")), one)


# ── the order of refusals ─────────────────────────────────────────────────────────────────────────────


def test_an_expired_token_learns_nothing_about_names_and_keys() -> None:
    late = attempt(START + HOUR, pattern="heater")
    for standing in (
        Standing(),
        theirs(),
        Standing(key_owner=OTHER),
        Standing(key_revoked=True),
        Standing(case_twin=OTHER),
        mine(redeemed=False),
    ):
        with pytest.raises(TokenExpired):
            decide(standing, late)


def test_a_taken_name_is_told_before_a_used_up_token() -> None:
    """The sentence about the name says what to do; a device that lost its key comes here."""
    with pytest.raises(ThingNameTaken):
        decide(theirs(uses_taken=1), attempt(uses=1))


# ── whatever the registry knows ───────────────────────────────────────────────────────────────────────

keys = st.sampled_from([MINE, THEIRS, THIRD])
certificates = st.builds(
    held,
    key_hash=keys,
    status=st.sampled_from(CertificateStatus),
    slot=st.sampled_from(Slot),
    not_after=st.sampled_from([START - TICK, START, START + LIFETIME]),
    connected_at=st.none() | st.just(START),
)
standings = st.builds(
    Standing,
    thing=st.none()
    | st.builds(
        Thing,
        st.just(LAMP),
        st.sampled_from(ThingStatus),
        keys,
        st.just(START),
        release_until=st.sampled_from([None, START, START + HOUR]),
    ),
    case_twin=st.none() | st.just(ThingName("LAMP-1")),
    key_owner=st.none() | st.sampled_from([LAMP, OTHER]),
    key_revoked=st.booleans(),
    current=st.none() | certificates,
    successor=st.none() | certificates,
    open_intent=st.none() | st.builds(intent, key_hash=keys, slot=st.sampled_from(Slot)),
    redeemed=st.booleans(),
    uses_taken=st.integers(0, 3),
    token_withdrawn=st.booleans(),
)
attempts = st.builds(
    attempt,
    st.sampled_from([START, START + HOUR, START + LIFETIME]),
    pattern=st.sampled_from(["*", "lamp-1", "lamp-2", "lamp-?"]),
    uses=st.sampled_from([None, 1, 2]),
    replaces=st.booleans(),
)


def judge(standing: Standing, one: Attempt) -> Verdict | None:
    try:
        return decide(standing, one)
    except KeybornError:
        return None


@given(standings, attempts)
def test_no_verdict_ever_breaks_a_law(standing: Standing, one: Attempt) -> None:
    verdict = judge(standing, one)
    if verdict is None:
        return
    assert not standing.token_withdrawn
    assert not standing.key_revoked
    assert standing.key_owner in (None, one.thing)
    assert standing.case_twin is None
    assert one.applicant.scope.covers(one.thing)
    assert standing.redeemed or one.applicant.uses is None or standing.uses_taken < one.applicant.uses
    assert standing.redeemed or one.applicant.fresh(one.now)
    named = standing.thing
    if named is not None:
        assert named.status is not ThingStatus.SUSPENDED
        takes = named.status.is_gone or named.key_hash != one.key
        ordered = one.applicant.may_replace and one.applicant.scope == NameScope(one.thing)
        released = named.is_released(one.now) and not named.status.is_gone
        waits = one.key in {each.key_hash for each in (standing.successor, standing.open_intent) if each}
        assert not takes or ordered or released or (standing.redeemed and waits)
    if isinstance(verdict, Repeat):
        assert verdict.certificate.live(one.now)
        assert verdict.certificate.key_hash == one.key
        assert named is not None
        assert not named.status.is_gone
    else:
        assert (verdict.intent.thing, verdict.intent.key_hash) == (one.thing, one.key)
        assert verdict.resumed == (verdict.intent is standing.open_intent)
        assert one.now < verdict.intent.not_after


@given(standings, attempts)
def test_a_verdict_depends_on_its_arguments_alone(standing: Standing, one: Attempt) -> None:
    assert judge(standing, one) == judge(standing, one)


# ── what is kept of a signed certificate ──────────────────────────────────────────────────────────────


def test_a_signed_certificate_is_kept_inactive_in_its_intent_s_slot() -> None:
    signed = held(connected_at=START, slot=Slot.CURRENT)
    kept = staged(intent(slot=Slot.SUCCESSOR), signed)
    assert (kept.status, kept.slot, kept.connected_at) == (CertificateStatus.INACTIVE, Slot.SUCCESSOR, None)
    assert (kept.id, kept.der) == (signed.id, signed.der)


@pytest.mark.parametrize(
    "change", [{"thing": OTHER}, {"key_hash": THEIRS}, {"not_before": START + TICK}, {"not_after": START}]
)
def test_a_certificate_of_another_intent_is_a_fault(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not what its intent says"):
        staged(intent(), held(**change))
