"""Renewal: a device's own key asks for the next certificate, and the next key confirms it.

Order (design PROTOCOL "Signed requests" and "Renew"): read the JWS, its address, the signature, then the
nonce; admission slot; turn under a quota (or credit, which is paid before anything is signed); parse; decide
and record the intent; sign, store, activate and audit. A nonce is spent last of what proves the caller, so
that only who holds a key of ours can use one up. Each step is one durable effect; a crash between any two
leaves at most an inactive leftover, and a lost answer is asked for again.
"""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from cryptography import x509

from keyborn.domain.audit import AuditEvent
from keyborn.domain.certificate import Certificate, CertificateStatus, Slot
from keyborn.domain.csr import CertificateRequest, parse_csr
from keyborn.domain.enrollment import Repeat, Verdict
from keyborn.domain.errors import (
    BadNonce,
    KeybornError,
    Queued,
    SignatureRefused,
    SignedForElsewhere,
    Unavailable,
)
from keyborn.domain.intent import Intent
from keyborn.domain.issuance import require_name
from keyborn.domain.jws import SignedRequest, parse_jws
from keyborn.domain.jws_signature import verify
from keyborn.domain.profile import CertificateProfile
from keyborn.domain.quota import place_name
from keyborn.domain.renewal import NO_TOKEN, Confirmation, RenewalAttempt
from keyborn.domain.roots import RootSet
from keyborn.ports import (
    AuditTrail,
    CertificateAuthority,
    Clock,
    DeviceDirectory,
    Enrollments,
    Entropy,
    Leases,
    Nonces,
    Renewals,
    Sessions,
    StrangerBook,
    TrustReports,
)
from keyborn.service.admission import Admission, FailureBudget, LateRefusals
from keyborn.service.enroll import Enrollment
from keyborn.service.issuing import Issuing, Permission, propose
from keyborn.service.lifetimes import Lifetimes, profile_of
from keyborn.service.quota import Quota, Turn
from keyborn.service.saga import SagaStep, StepListener, ignore
from keyborn.service.strangers import Strangers
from keyborn.service.together import beside
from keyborn.service.turns import Claimed, Turns


@dataclass(frozen=True, slots=True)
class SignedCaller:
    """Whoever holds the key of a certificate of ours; what the registry thinks of that, it says itself."""

    certificate: Certificate
    """As it was when the signature was verified; of any status, thing and dates."""
    payload: bytes = field(repr=False)
    source: str
    """Network address of the caller."""


@dataclass(frozen=True, slots=True)
class RenewalPorts:
    """What renewal needs of the registry: its sides are one registry's."""

    directory: DeviceDirectory
    renewals: Renewals
    enrollments: Enrollments
    audit: AuditTrail
    reports: TrustReports | None = None
    """None where nobody asks what things believe."""


class RenewalAuthority:
    """Proves who signed, decides, and has the certificate authority sign what it approved."""

    def __init__(
        self,
        ports: RenewalPorts,
        *,
        authority: CertificateAuthority,
        nonces: Nonces,
        clock: Clock,
        entropy: Entropy,
        profile: CertificateProfile | None = None,
        sessions: Sessions | None = None,
        admission: Admission | None = None,
        quota: Quota | None = None,
        leases: Leases | None = None,
        failures: FailureBudget | None = None,
        refusals: FailureBudget | None = None,
        pace: FailureBudget | None = None,
        lifetimes: Lifetimes | None = None,
        late: LateRefusals | None = None,
        strangers: StrangerBook | None = None,
        on_step: StepListener = ignore,
    ) -> None:
        """``failures`` of each address to prove itself; ``refusals`` of what each certificate asks for.

        A refusal's record stays for ever, and nobody can take a revoked key from who has it: few are kept.
        ``pace``: how often one thing may ask for a successor; each new key stays known for ever.
        ``sessions`` is None where no broker runs beside: then nothing is open. ``quota`` and ``leases`` as
        in ``RegistrationAuthority``: a renewal is signed under the same quota. ``lifetimes`` is None where
        every thing has the profile's. ``late`` as in ``Strangers``; ``strangers`` as in
        ``RegistrationAuthority``.
        """
        self._ports = ports
        self._nonces = nonces
        self._clock = clock
        self._entropy = entropy
        self._profile = profile or CertificateProfile()
        self._sessions = sessions
        self._admission = admission or Admission()
        self._turns = Turns(quota, leases)
        self._refusals = refusals or FailureBudget(burst=60, per_minute=1)
        self._pace = pace or FailureBudget(burst=60, per_minute=1)
        self._lifetimes = lifetimes
        self._strangers = strangers or Strangers(ports.audit, clock, failures, late)
        self._issuing = Issuing(ports.enrollments, authority, on_step)
        self._on_step = on_step

    async def nonce(self) -> str:
        """A fresh one, for the next signed request of whomever."""
        return await self._nonces.issue()

    async def authenticate(self, body: bytes, addresses: Collection[str], source: str) -> SignedCaller:
        """Prove the caller; ``addresses`` are the URLs under which this very route may be known, ours first.

        Raises JwsMalformed, SignedForElsewhere, SignatureRefused, BadNonce, Throttled after too many of
        those, or a leaf of Unavailable.
        """
        try:
            caller = await self._prove(body, addresses, source)
        except BadNonce:
            await self._strangers.failed(source)  # no stranger, but whoever replays comes here
            raise
        except Unavailable:
            raise
        except KeybornError as refusal:
            await self._strangers.refused("renew", source, refusal)
            raise
        self._on_step(SagaStep.AUTHENTICATED)
        return caller

    async def _prove(self, body: bytes, addresses: Collection[str], source: str) -> SignedCaller:
        request = parse_jws(body)
        if request.protected.url not in addresses:
            raise SignedForElsewhere(expected=next(iter(addresses)))
        certificate = await self._ports.directory.certificate(request.protected.kid)
        if certificate is None:
            raise SignatureRefused
        _require_signature(request, certificate)
        await self._nonces.spend(request.protected.nonce)
        return SignedCaller(certificate, request.payload, source)

    async def renew(self, caller: SignedCaller, csr: object) -> Enrollment:
        """Give the caller's thing one successor with the key of ``csr``.

        Raises what ``decide_renewal`` raises, a leaf of CsrRefused, Throttled, Queued, or a leaf of
        Unavailable.
        """
        self._pace.charge(_payer(caller.certificate), self._clock.now())
        async with self._admitted("renew", caller):
            verdict, request = await self._turns.claim(
                lambda: place_name(caller.certificate.id, None),
                _proved,
                lambda turn: self._claim(caller, csr, turn),
            )
            if isinstance(verdict, Repeat):
                return Enrollment(verdict.certificate, repeated=True)
            self._on_step(SagaStep.CLAIMED)
            intent = verdict.intent
            active, repeated = await self._issuing.issue(
                verdict, request, lambda kept: self._success(caller, intent, kept)
            )
            return Enrollment(active, repeated)

    async def _claim(self, caller: SignedCaller, csr: object, turn: Turn) -> Claimed[Verdict]:
        request = parse_csr(csr)
        require_name(request, caller.certificate.thing)
        self._on_step(SagaStep.PARSED)
        attempt = await self._attempt(caller, request)
        return await beside(self._ports.renewals.renew(attempt), turn.meanwhile()), request

    async def confirm(self, caller: SignedCaller) -> Certificate:
        """Retire the predecessor of the caller's certificate, and end what is open with it.

        Raises what ``retires_predecessor`` raises, Throttled, or a leaf of Unavailable.
        """
        async with self._admitted("renew.confirm", caller):
            confirmation = Confirmation(caller.certificate.id, self._clock.now(), caller.source)
            confirmed = await self._ports.renewals.confirm(confirmation)
            self._on_step(SagaStep.ACTIVATED)
            if self._sessions is not None:
                await self._sessions.review({confirmed.thing})
            return confirmed

    @property
    def takes_reports(self) -> bool:
        """Whether things may tell which roots they believe."""
        return self._ports.reports is not None

    async def note_roots(self, caller: SignedCaller, roots: RootSet) -> None:
        """Keep which roots the caller's thing believes, where anybody asks.

        Raises what ``require_reporter`` raises, Throttled, or a leaf of Unavailable.
        """
        if self._ports.reports is None:
            return
        self._pace.charge(_payer(caller.certificate), self._clock.now())
        async with self._admitted("roots", caller):
            await self._ports.reports.note_roots(caller.certificate.id, roots, self._clock.now())

    @asynccontextmanager
    async def _admitted(self, action: str, caller: SignedCaller) -> AsyncIterator[None]:
        """Hold a slot; a refusal is counted, and recorded with the caller's certificate."""
        async with self._admission.slot():
            self._on_step(SagaStep.ADMITTED)
            try:
                yield
            except (Unavailable, Queued):
                raise  # the registry could not write: there is nowhere to record it; a turn will come
            except KeybornError as refusal:
                now, certificate = self._clock.now(), caller.certificate
                self._refusals.charge(certificate.id, now)
                event = AuditEvent(
                    now, action, refusal.code, certificate.thing, certificate.id, caller.source
                )
                await self._ports.audit.append(event)
                raise

    async def _attempt(self, caller: SignedCaller, request: CertificateRequest) -> RenewalAttempt:
        signer = caller.certificate
        profile = await profile_of(signer.thing, self._profile, self._lifetimes)
        now = self._clock.now()
        permission = Permission(NO_TOKEN, renews=signer.id)
        proposal = propose(signer.thing, request, permission, now, profile=profile, entropy=self._entropy)
        return RenewalAttempt(proposal, now, caller.source)

    def _success(self, caller: SignedCaller, intent: Intent, kept: Certificate) -> AuditEvent:
        details = {"certificateId": kept.id, "keyHash": intent.key_hash, "slot": intent.slot.value}
        actor = intent.renews or caller.certificate.id
        return AuditEvent(self._clock.now(), "renew", "done", intent.thing, actor, caller.source, details)


async def _proved() -> None:
    """Who signed has been looked up: it may stand in line."""


def _payer(certificate: Certificate) -> str:
    """Against whom a request is counted: the thing, for each renewal brings it another certificate.

    What is not in force counts for itself, so that who holds a former key uses nothing up of the thing's.
    """
    is_in_force = certificate.status is CertificateStatus.ACTIVE and certificate.slot is Slot.CURRENT
    return f"thing {certificate.thing}" if is_in_force else certificate.id


def _require_signature(request: SignedRequest, certificate: Certificate) -> None:
    """Verify with the key in the certificate; raises SignatureRefused."""
    try:
        key = x509.load_der_x509_certificate(certificate.der).public_key()
    except ValueError:
        raise SignatureRefused from None  # another authority's odd bytes: nobody can prove anything by them
    verify(request, key)
