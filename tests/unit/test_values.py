"""Small values of the domain: applicants, things, certificates, lifecycle, access."""

from dataclasses import FrozenInstanceError, replace
from datetime import timedelta

import pytest

from keyborn.domain.applicant import Applicant
from keyborn.domain.certificate import Certificate, CertificateStatus
from keyborn.domain.errors import ThingRevoked
from keyborn.domain.lifecycle import moves
from keyborn.domain.method import Method
from keyborn.domain.names import CertificateId, NameScope, ThingName
from keyborn.domain.thing import Thing, ThingStatus
from keyborn.domain.token import TokenId
from support.registry_cases import START, key

TICK = timedelta(milliseconds=1)
LAMP = ThingName("lamp-1")
CERTIFICATE = Certificate(
    CertificateId("0" * 64),
    LAMP,
    key("k"),
    b"der",
    START,
    START + timedelta(days=1),
    CertificateStatus.ACTIVE,
)


# ── applicants ────────────────────────────────────────────────────────────────────────────────────────


def test_an_applicant_is_bound_only_by_an_exact_scope() -> None:
    bound = Applicant(Method.TOKEN, TokenId("t"), NameScope("lamp-1"))
    assert bound.bound_to == LAMP
    assert replace(bound, scope=NameScope("lamp-?")).bound_to is None


def test_an_applicant_is_fresh_until_its_credential_ends() -> None:
    applicant = Applicant(Method.TOKEN, TokenId("t"), NameScope("*"), expires_at=START)
    assert applicant.fresh(START - TICK)
    assert not applicant.fresh(START)
    assert replace(applicant, expires_at=None).fresh(START + timedelta(days=10**4))


def test_an_applicant_has_one_use_and_no_powers_unless_it_says_so() -> None:
    applicant = Applicant(Method.OPEN, TokenId("open"), NameScope("*"))
    assert (applicant.uses, applicant.may_replace) == (1, False)


# ── certificates ──────────────────────────────────────────────────────────────────────────────────────


def test_a_certificate_is_valid_through_its_last_moment() -> None:
    """RFC 5280 section 4.1.2.5: notAfter is inclusive."""
    assert CERTIFICATE.live(CERTIFICATE.not_after)
    assert not CERTIFICATE.live(CERTIFICATE.not_after + TICK)
    assert not CERTIFICATE.expired(CERTIFICATE.not_after)
    assert CERTIFICATE.expired(CERTIFICATE.not_after + TICK)


@pytest.mark.parametrize("status", CertificateStatus)
def test_only_an_active_certificate_is_live(status: CertificateStatus) -> None:
    assert replace(CERTIFICATE, status=status).live(START) == (status is CertificateStatus.ACTIVE)


def test_values_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        CERTIFICATE.status = CertificateStatus.REVOKED  # type: ignore[misc] # that is the point


# ── the lifecycle of a thing ──────────────────────────────────────────────────────────────────────────

CLAIMED, ACTIVE, SUSPENDED, REVOKED, RETIRED = ThingStatus
ALLOWED = {
    CLAIMED: {SUSPENDED, REVOKED, RETIRED},
    ACTIVE: {SUSPENDED, REVOKED, RETIRED},
    SUSPENDED: {ACTIVE, REVOKED, RETIRED},
    REVOKED: {RETIRED},
    RETIRED: {REVOKED},
}


@pytest.mark.parametrize("status", ThingStatus)
@pytest.mark.parametrize("target", [ACTIVE, SUSPENDED, REVOKED, RETIRED])
def test_every_move_of_a_thing_is_allowed_refused_or_nothing(
    status: ThingStatus, target: ThingStatus
) -> None:
    thing = Thing(LAMP, status, key("k"), START)
    if target is status or target in ALLOWED[status]:
        assert moves(thing, target) == (target is not status)
        return
    with pytest.raises(ThingRevoked, match=status.value):
        moves(thing, target)


@pytest.mark.parametrize("status", ThingStatus)
def test_nobody_orders_a_claim(status: ThingStatus) -> None:
    with pytest.raises(ValueError, match="enrolment alone"):
        moves(Thing(LAMP, status, key("k"), START), CLAIMED)


def test_revoked_and_retired_are_gone() -> None:
    assert [status for status in ThingStatus if status.is_gone] == [REVOKED, RETIRED]
