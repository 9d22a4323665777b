"""How an enrolment is counted that was refused, waits, or met a fault of ours."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from keyborn.adapters.memory import MemoryRegistry
from keyborn.domain import errors
from keyborn.domain.applicant import Applicant
from keyborn.domain.issuance import ApprovedRequest
from keyborn.domain.method import Method
from keyborn.domain.names import NameScope
from keyborn.domain.token import TokenId
from keyborn.ports import Credential
from keyborn.service import figures
from keyborn.service.counting import CountingRegistration
from keyborn.service.enroll import EnrollmentRequest
from keyborn.service.figures import COUNTED, REFUSED, UNAVAILABLE, WAITING
from keyborn.service.meter import Meter
from keyborn.testing.time import SeededEntropy, VirtualClock

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ENDS = [
    (errors.CredentialRefused(), "credential_refused", REFUSED),
    (errors.Throttled(seconds=1), "too_many_failures", REFUSED),
    (errors.Queued(seconds=1), "queued", WAITING),
    (errors.RegistryUnavailable(), errors.RegistryUnavailable.code, UNAVAILABLE),
    (errors.Overloaded(seconds=1), errors.Overloaded.code, UNAVAILABLE),
    (LookupError("canary"), "internal", UNAVAILABLE),
    (asyncio.CancelledError(), "unavailable", UNAVAILABLE),
]


class Door:
    """Lets everybody in as the holder of a token, or raises."""

    def __init__(self, raises: BaseException | None = None) -> None:
        self._raises = raises

    async def authenticate(self, credential: Credential) -> Applicant:
        if self._raises is not None:
            raise self._raises
        end = NOW + timedelta(hours=1)
        return Applicant(Method.OIDC, TokenId("t0"), NameScope("*"), uses=None, expires_at=end)


class NoAuthority:
    async def issue(self, approved: ApprovedRequest) -> bytes:
        raise AssertionError

    def chain_pem(self, der: bytes | None = None) -> str:
        return ""

    def roots_pem(self) -> str:
        return ""


def registration(meter: Meter, door: Door) -> CountingRegistration:
    registry = MemoryRegistry()
    return CountingRegistration(
        meter,
        authenticator=door,
        enrollments=registry,
        authority=NoAuthority(),
        audit=registry,
        clock=VirtualClock(NOW),
        entropy=SeededEntropy(1),
    )


@pytest.mark.parametrize(("raised", "outcome", "result"), ENDS, ids=[each[1] for each in ENDS])
async def test_what_a_stranger_is_told_is_counted_by_what_it_showed(
    raised: BaseException, outcome: str, result: str
) -> None:
    meter = Meter(COUNTED)
    with pytest.raises(type(raised)):
        await registration(meter, Door(raised)).authenticate(Credential("x", "192.0.2.7"))
    told = meter.snapshot()
    assert told[figures.ENROLLMENTS] == {f"token {outcome}": [1]}
    assert list(told[figures.ENROLLMENT_SECONDS]) == [result]


async def test_what_is_refused_after_the_proof_counts_for_the_method_that_was_proved() -> None:
    meter = Meter(COUNTED)
    authority = registration(meter, Door())
    applicant = await authority.authenticate(Credential("a.b.c", "192.0.2.7"))
    assert meter.snapshot() == {}, "nobody has been answered yet"
    with pytest.raises(errors.CsrRefused):
        await authority.enroll(applicant, EnrollmentRequest("lamp-1", "no CSR", "192.0.2.7"))
    ((labels, count),) = meter.snapshot()[figures.ENROLLMENTS].items()
    assert labels.startswith("oidc csr_")
    assert count == [1]


@pytest.mark.parametrize(
    ("credential", "method"),
    [
        (Credential(None, ""), "nothing"),
        (Credential("secret", ""), "token"),
        (Credential("a.b.c", ""), "oidc"),
    ],
)
async def test_a_stranger_is_known_by_what_it_shows(credential: Credential, method: str) -> None:
    meter = Meter(COUNTED)
    with pytest.raises(errors.CredentialRefused):
        await registration(meter, Door(errors.CredentialRefused())).authenticate(credential)
    assert meter.snapshot()[figures.ENROLLMENTS] == {f"{method} credential_refused": [1]}
