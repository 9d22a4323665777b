"""What a claim under a group is held to, and what it pays for, on plain values."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, strategies as st

from keyborn.domain.applicant import Applicant
from keyborn.domain.certificate import CertificateStatus, Slot
from keyborn.domain.enrollment import (
    Account,
    Attempt,
    Issue,
    Repeat,
    Standing,
    Verdict,
    claimed,
    decide,
    owed,
)
from keyborn.domain.errors import (
    CredentialRefused,
    GroupClosed,
    GroupFull,
    GroupKeyExpired,
    GroupKeyUsedUp,
    GroupRateExceeded,
    GroupUnknown,
    IdTokenExpired,
    IdTokenUsed,
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
from keyborn.domain.group import RateWindow, Terms, account_of
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.method import Method
from keyborn.domain.names import GroupName, NameScope, ThingName
from keyborn.domain.thing import Thing, ThingKind, ThingStatus
from keyborn.domain.token import TokenId
from support.registry_cases import HOUR, LIFETIME, START, certificate_for, key

LAMP, OTHER, LINE = ThingName("lamp-1"), ThingName("lamp-2"), GroupName("line-7")
MINE, THEIRS, THIRD = key("mine"), key("theirs"), key("third")
TICK = timedelta(milliseconds=1)
TOKEN = TokenId("t1")
WINDOW = RateWindow(TokenId("g:line-7:3600:1"), 2, START + HOUR)
TERMS = Terms(LINE, account_of(LINE), limit=3, rate=WINDOW, closes=START + HOUR)


def intent(number: int = 1, **changes: object) -> Intent:
    plain = Intent(IntentId(f"i{number}"), LAMP, MINE, TOKEN, START, number, START, START + LIFETIME)
    return replace(plain, **changes)  # type: ignore[arg-type] # the tests name real fields


def attempt(terms: Terms | None = TERMS, **changes: object) -> Attempt:
    """By a token of two uses for lamps, good for an hour."""
    plain = Applicant(Method.TOKEN, TOKEN, NameScope("lamp-*"), 2, START + HOUR, terms=terms)
    return Attempt(replace(plain, **changes), intent(99), START)  # type: ignore[arg-type] # real fields


def held(slot: Slot = Slot.CURRENT, owner: str = MINE) -> Standing:
    """The name's certificate, which the attempt's key or another one has."""
    mine = owner == MINE
    key_hash = MINE if mine else THEIRS
    certificate = replace(
        certificate_for(intent(key_hash=key_hash)), status=CertificateStatus.ACTIVE, slot=slot
    )
    thing = Thing(LAMP, ThingStatus.ACTIVE, key_hash, START)
    return Standing(thing=thing, key_owner=LAMP if mine else None, current=certificate)


FULL = Standing(uses_taken=2, group_taken=3, rate_taken=2)

# ── the order of refusals ─────────────────────────────────────────────────────────────────────────────

ORDER: list[tuple[type[KeybornError], dict[str, object]]] = [
    (CredentialRefused, {"token_withdrawn": True}),
    (GroupUnknown, {"group_removed": True}),
    (GroupClosed, {}),
    (TokenExpired, {}),
    (NameNotPermitted, {}),
    (KeyRevoked, {"key_revoked": True}),
    (KeyInUse, {"key_owner": OTHER}),
    (ThingNameCase, {"case_twin": ThingName("LAMP-1")}),
    (ThingRevoked, {}),
    (TokenExhausted, {"uses_taken": 2}),
    (GroupFull, {"group_taken": 3}),
    (GroupRateExceeded, {"rate_taken": 2}),
]
"""Every refusal that a claim of a new name can meet, in the order in which they are said."""
GONE = Thing(LAMP, ThingStatus.REVOKED, THEIRS, START)


def wrong(broken: set[type[KeybornError]]) -> tuple[Standing, Attempt]:
    """A standing and an attempt that break just these rules."""
    facts: dict[str, object] = {}
    for refusal, more in ORDER:
        if refusal in broken:
            facts |= more
    standing = replace(Standing(), **facts)  # type: ignore[arg-type] # real fields
    if ThingRevoked in broken:
        standing = replace(standing, thing=GONE)
    terms = replace(TERMS, closes=START if GroupClosed in broken else None)
    one = attempt(terms)
    if TokenExpired in broken:
        one = attempt(terms, expires_at=START)
    if NameNotPermitted in broken:
        one = replace(one, applicant=replace(one.applicant, scope=NameScope("heater-*")))
    return standing, one


@given(st.sets(st.sampled_from([refusal for refusal, _ in ORDER]), min_size=1))
def test_of_all_that_is_wrong_the_first_in_the_order_is_said(broken: set[type[KeybornError]]) -> None:
    first = next(refusal for refusal, _ in ORDER if refusal in broken)
    with pytest.raises(first) as refused:
        decide(*wrong(broken))
    assert type(refused.value) is first


def test_where_nothing_is_wrong_it_is_issued() -> None:
    standing, one = wrong(set())
    assert decide(standing, one) == Issue(one.proposal)


@pytest.mark.parametrize(
    ("change", "refusal", "sentence"),
    [
        ({"group_removed": True}, GroupUnknown, "no enrolment group called line-7"),
        ({"group_taken": 3}, GroupFull, "line-7 has no place left"),
        ({"rate_taken": 2}, GroupRateExceeded, "in 3600 s"),
    ],
)
def test_a_refusal_says_the_group(
    change: dict[str, object], refusal: type[KeybornError], sentence: str
) -> None:
    with pytest.raises(refusal, match=sentence):
        decide(replace(Standing(), **change), attempt())  # type: ignore[arg-type] # real fields


@pytest.mark.parametrize(
    ("method", "over", "used_up"),
    [
        (Method.TOKEN, TokenExpired, TokenExhausted),
        (Method.GROUP_KEY, GroupKeyExpired, GroupKeyUsedUp),
        (Method.OIDC, IdTokenExpired, IdTokenUsed),
        (Method.ASK, TokenExpired, TokenExhausted),
    ],
)
def test_each_credential_that_is_over_is_called_what_it_is(
    method: Method, over: type[KeybornError], used_up: type[KeybornError]
) -> None:
    terms = replace(TERMS, closes=None)
    with pytest.raises(over) as refused:
        decide(Standing(), attempt(terms, method=method, expires_at=START))
    assert type(refused.value) is over
    with pytest.raises(used_up) as refused:
        decide(Standing(uses_taken=2), attempt(terms, method=method))
    assert type(refused.value) is used_up


@pytest.mark.parametrize(
    ("before", "seconds"), [(HOUR, 3600), (timedelta(seconds=1.5), 2), (TICK, 1), (-HOUR, 1)]
)
def test_a_rate_says_when_its_period_ends_and_at_least_a_second(before: timedelta, seconds: int) -> None:
    """Beyond the end, too: the clock of the claim may have moved on since the terms were made."""
    late = replace(attempt(replace(TERMS, closes=None), expires_at=None), now=WINDOW.ends_at - before)
    with pytest.raises(GroupRateExceeded) as refused:
        decide(Standing(rate_taken=2), late)
    assert refused.value.retry_after == seconds


def test_without_terms_no_group_is_asked() -> None:
    crowded = replace(FULL, uses_taken=0, group_removed=True)
    assert isinstance(decide(crowded, attempt(None)), Issue)
    assert owed(crowded, attempt(None)) == (Account(TOKEN, 2),)


def test_without_limit_and_rate_everybody_gets_in() -> None:
    free = Terms(LINE, account_of(LINE))
    assert isinstance(decide(replace(FULL, uses_taken=0), attempt(free)), Issue)


# ── what has been paid for ────────────────────────────────────────────────────────────────────────────


def test_who_has_paid_repeats_where_all_is_full_closed_and_expired() -> None:
    standing = replace(held(), redeemed=True, group_redeemed=True, uses_taken=2, group_taken=3, rate_taken=2)
    late = replace(attempt(), now=START + 2 * HOUR)
    assert standing.current is not None
    assert decide(standing, late) == Repeat(standing.current)


def test_a_closed_group_repeats_no_answer_that_has_been_used() -> None:
    standing = replace(held(), redeemed=True, group_redeemed=True)
    assert standing.current is not None
    used = replace(standing, current=replace(standing.current, connected_at=START))
    closed = attempt(replace(TERMS, closes=START))
    with pytest.raises(GroupClosed):
        decide(used, closed)
    assert isinstance(decide(standing, closed), Repeat)


def test_a_second_credential_pays_for_itself_and_not_for_the_group() -> None:
    standing = Standing(
        thing=Thing(LAMP, ThingStatus.CLAIMED, MINE, START),
        key_owner=LAMP,
        open_intent=intent(),
        group_redeemed=True,
        group_taken=3,
        rate_taken=2,
    )
    assert decide(standing, attempt()) == Issue(intent(), resumed=True)
    assert owed(standing, attempt()) == (Account(TOKEN, 2),)


def test_a_first_claim_pays_credential_group_and_period() -> None:
    assert owed(Standing(), attempt()) == (
        Account(TOKEN, 2),
        Account(account_of(LINE), 3),
        Account(WINDOW.account, 2),
    )
    assert owed(Standing(redeemed=True), attempt()) == (
        Account(account_of(LINE), 3),
        Account(WINDOW.account, 2),
    )
    assert owed(Standing(), attempt(replace(TERMS, rate=None)))[-1] == Account(account_of(LINE), 3)
    assert owed(Standing(redeemed=True, group_redeemed=True), attempt()) == ()


def judge(standing: Standing, one: Attempt) -> Verdict | None:
    try:
        return decide(standing, one)
    except KeybornError:
        return None


@given(
    st.builds(
        Standing,
        redeemed=st.booleans(),
        uses_taken=st.integers(0, 3),
        group_removed=st.booleans(),
        group_redeemed=st.booleans(),
        group_taken=st.integers(0, 4),
        rate_taken=st.integers(0, 3),
    ),
    st.builds(
        Terms,
        st.just(LINE),
        st.just(account_of(LINE)),
        limit=st.none() | st.integers(1, 4),
        rate=st.none() | st.just(WINDOW),
    ),
)
def test_no_account_that_is_owed_is_ever_full(standing: Standing, terms: Terms) -> None:
    one = attempt(terms)
    if judge(standing, one) is None:
        return
    taken = {
        TOKEN: standing.uses_taken,
        terms.account: standing.group_taken,
        WINDOW.account: standing.rate_taken,
    }
    accounts = owed(standing, one)
    assert len({account.id for account in accounts}) == len(accounts)
    for account in accounts:
        assert account.limit is None or taken[account.id] < account.limit
    assert not standing.group_removed


# ── a released name ───────────────────────────────────────────────────────────────────────────────────


def released(until: timedelta = HOUR, **changes: object) -> Standing:
    """Another key has the name, and an operator has released it."""
    theirs = held(owner=THEIRS)
    assert theirs.thing is not None
    thing = replace(theirs.thing, release_until=START + until)
    return replace(theirs, thing=thing, **changes)  # type: ignore[arg-type] # real fields


def test_a_released_name_takes_another_key_as_successor() -> None:
    with pytest.raises(ThingNameTaken):
        decide(held(owner=THEIRS), attempt())
    assert decide(released(), attempt()) == Issue(intent(99, slot=Slot.SUCCESSOR))


def test_a_release_is_over_at_its_end() -> None:
    with pytest.raises(ThingNameTaken):
        decide(released(timedelta(0)), attempt())
    assert isinstance(decide(released(TICK), attempt()), Issue)


def test_a_release_makes_no_second_successor() -> None:
    waiting = replace(certificate_for(intent(key_hash=THIRD)), status=CertificateStatus.ACTIVE)
    for pending in (
        released(successor=replace(waiting, slot=Slot.SUCCESSOR)),
        released(open_intent=intent(key_hash=THIRD, slot=Slot.SUCCESSOR)),
    ):
        with pytest.raises(ReplacementPending):
            decide(pending, attempt())


@pytest.mark.parametrize(
    ("status", "kind", "refusal"),
    [
        (ThingStatus.SUSPENDED, ThingKind.DEVICE, ThingRevoked),
        (ThingStatus.REVOKED, ThingKind.DEVICE, ThingRevoked),
        (ThingStatus.RETIRED, ThingKind.DEVICE, ThingRevoked),
        (ThingStatus.ACTIVE, ThingKind.SERVICE, ThingNameTaken),
    ],
)
def test_a_release_frees_nothing_else(
    status: ThingStatus, kind: ThingKind, refusal: type[KeybornError]
) -> None:
    standing = released()
    assert standing.thing is not None
    with pytest.raises(refusal):
        decide(replace(standing, thing=replace(standing.thing, status=status, kind=kind)), attempt())


def test_a_release_gives_no_name_that_the_credential_does_not_cover() -> None:
    with pytest.raises(NameNotPermitted):
        decide(released(), attempt(scope=NameScope("lamp-2")))


@pytest.mark.parametrize("paid", ["redeemed", "group_redeemed"])
def test_a_replacement_that_has_begun_goes_on_when_its_release_has_ended(paid: str) -> None:
    begun = replace(
        held(owner=THEIRS),
        key_owner=LAMP,
        open_intent=intent(slot=Slot.SUCCESSOR),
        redeemed=paid == "redeemed",
        group_redeemed=paid == "group_redeemed",
    )
    assert decide(begun, attempt()) == Issue(intent(slot=Slot.SUCCESSOR), resumed=True)

    successor = replace(certificate_for(intent()), status=CertificateStatus.ACTIVE, slot=Slot.SUCCESSOR)
    done = replace(begun, open_intent=None, successor=successor)
    assert decide(done, attempt()) == Repeat(successor)


def test_who_has_not_paid_does_not_go_on_with_another_one_s_replacement() -> None:
    begun = replace(held(owner=THEIRS), key_owner=LAMP, open_intent=intent(slot=Slot.SUCCESSOR))
    with pytest.raises(ThingNameTaken):
        decide(begun, attempt())


def test_a_replacement_that_expired_unused_and_a_renewal_are_not_gone_on_with() -> None:
    paid = replace(held(owner=THEIRS), key_owner=LAMP, redeemed=True, group_redeemed=True)
    successor = replace(certificate_for(intent()), status=CertificateStatus.ACTIVE, slot=Slot.SUCCESSOR)
    assert paid.current is not None
    for standing in (
        paid,
        replace(paid, successor=replace(successor, not_after=START - TICK)),
        replace(paid, successor=replace(successor, renews=paid.current.id)),
        replace(paid, open_intent=intent(slot=Slot.SUCCESSOR, renews=paid.current.id)),
    ):
        with pytest.raises(ThingNameTaken):
            decide(standing, attempt())


# ── the record ────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_record_has_the_group_and_the_type_of_its_terms() -> None:
    made = claimed(attempt(replace(TERMS, thing_type="lamp")))
    assert (made.group, made.thing_type, made.status) == (LINE, "lamp", ThingStatus.CLAIMED)
    assert (claimed(attempt(None)).group, claimed(attempt(None)).thing_type) == (None, None)


def test_a_freed_record_keeps_what_it_was_and_loses_its_release() -> None:
    gone = replace(GONE, group=GroupName("old"), thing_type="old", release_until=START)
    made = claimed(attempt(), gone)
    assert (made.group, made.thing_type, made.release_until, made.key_hash) == ("old", "old", None, MINE)
