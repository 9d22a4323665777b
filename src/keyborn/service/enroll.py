"""The registration authority: who may have which certificate. It decides; it never signs.

Order (design PROTOCOL "Enroll"): authenticate, admission slot, turn under a quota (or credit, which is paid
before anything is signed), parse, decide and record the intent, sign, store, activate and audit, answer.
Each is one durable effect; a crash between any two leaves at most an inactive leftover that the next attempt
or the sweeper settles. A registry that has a signer takes all from the decision to the audit in one effect.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from keyborn.domain.applicant import Applicant
from keyborn.domain.attributes import parse_attributes
from keyborn.domain.audit import AuditEvent
from keyborn.domain.certificate import Certificate
from keyborn.domain.csr import CertificateRequest, parse_csr
from keyborn.domain.enrollment import Attempt, Granted, Issue, Outcome, Repeat
from keyborn.domain.errors import (
    ApprovalsFull,
    AwaitsApproval,
    CredentialRefused,
    IssuerUnavailable,
    KeybornError,
    Queued,
    ThingNameTaken,
    ThingRevoked,
    Unavailable,
    WebhookUnavailable,
)
from keyborn.domain.granting import enrolled
from keyborn.domain.group import TakenRule
from keyborn.domain.intent import Intent
from keyborn.domain.issuance import require_own_name
from keyborn.domain.names import MAX_THING_NAME, ThingName, parse_thing_name
from keyborn.domain.profile import CertificateProfile
from keyborn.domain.quota import place_name
from keyborn.domain.thing import ThingKind, ThingStatus
from keyborn.ports import (
    AuditTrail,
    Authenticator,
    CertificateAuthority,
    Clock,
    Conditions,
    Credential,
    Enrollments,
    Entropy,
    Leases,
    Request,
    StrangerBook,
)
from keyborn.service.admission import Admission, FailureBudget, LateRefusals
from keyborn.service.gate import told
from keyborn.service.issuing import Issuing, Permission, propose
from keyborn.service.quota import Quota, Turn
from keyborn.service.saga import SagaStep, StepListener, ignore
from keyborn.service.sealing import LateProof, NothingLate
from keyborn.service.strangers import Strangers
from keyborn.service.together import beside
from keyborn.service.turns import Claimed, Turns

_SHOWN = 128
_GONE = frozenset({ThingStatus.REVOKED.value, ThingStatus.RETIRED.value})


@dataclass(frozen=True, slots=True)
class EnrollmentRequest:
    """What one caller sent, unparsed; ``generic`` is true at the compatibility door."""

    thing_name: object
    csr: object = field(repr=False)
    source: str
    """Network address of the caller."""
    attributes: Mapping[str, str] | None = None
    generic: bool = False


@dataclass(frozen=True, slots=True)
class Enrollment:
    """The answer: the thing's certificate, and whether it had been given before."""

    certificate: Certificate
    repeated: bool


@dataclass(slots=True)
class _Case:
    """One request on its way, and who asks: conditions add to what is known of that."""

    request: EnrollmentRequest
    applicant: Applicant


_Wish = tuple[Request, CertificateRequest]
"""What is asked for, parsed."""


class RegistrationAuthority:
    """Authenticates, decides, and has the certificate authority sign what it approved."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        enrollments: Enrollments,
        authority: CertificateAuthority,
        audit: AuditTrail,
        clock: Clock,
        entropy: Entropy,
        profile: CertificateProfile | None = None,
        reserved_names: frozenset[str] = frozenset(),
        admission: Admission | None = None,
        quota: Quota | None = None,
        leases: Leases | None = None,
        failures: FailureBudget | None = None,
        refusals: FailureBudget | None = None,
        late: LateProof | None = None,
        conditions: Conditions | None = None,
        slow: LateRefusals | None = None,
        strangers: StrangerBook | None = None,
        on_step: StepListener = ignore,
    ) -> None:
        """``failures`` of each address to prove itself; ``refusals`` of what each token asks for.

        ``quota``: whose turn it is where a quota of somebody else bounds enrolments; None: nobody waits.
        ``leases``: where claims have one. ``late``: where an authenticator leaves the look-up to the claim.
        ``conditions``: what groups demand beside credentials; None: there are no groups. ``slow``: how those
        are told to wait who fail too often; None: at once. ``strangers``: where they are counted and
        recorded; None: here, with ``failures`` and ``slow``.
        """
        self._authenticator = authenticator
        self._enrollments = enrollments
        self._audit = audit
        self._clock = clock
        self._entropy = entropy
        self._profile = profile or CertificateProfile()
        self._reserved = reserved_names
        self._admission = admission or Admission()
        self._turns = Turns(quota, leases)
        self._late = late or NothingLate()
        self._conditions = conditions or Unconditional()
        self._refusals = refusals or FailureBudget(burst=100, per_minute=60)
        self._strangers = strangers or Strangers(audit, clock, failures, slow)
        self._issuing = Issuing(enrollments, authority, on_step)
        self._on_step = on_step

    async def authenticate(self, credential: Credential) -> Applicant:
        """Prove the caller, before anything it sent is parsed.

        Raises a leaf of Unauthenticated or Forbidden, Throttled after too many of those, or Unavailable.
        """
        try:
            applicant = await self._authenticator.authenticate(credential)
        except IssuerUnavailable as trouble:
            now, why = self._clock.now(), _trouble(trouble)
            await self._strangers.troubled(
                AuditEvent(now, "enroll", trouble.code, "", "unproved", credential.source, why)
            )
            raise
        except Unavailable:
            raise
        except KeybornError as refusal:
            await self._strangers.refused("enroll", credential.source, refusal, *told(credential))
            raise
        self._on_step(SagaStep.AUTHENTICATED)
        return applicant

    async def enroll(self, applicant: Applicant, request: EnrollmentRequest) -> Enrollment:
        """Give the applicant the one certificate of this thing and key.

        Raises a leaf of Unauthenticated, Forbidden, InputError, Conflict or Unavailable, Throttled after too
        many of those with one token, or Queued; whatever it raises, no new certificate is active.
        """
        case = _Case(request, applicant)
        try:
            async with self._admission.slot():
                self._on_step(SagaStep.ADMITTED)
                return await self._decide(case)
        except (WebhookUnavailable, ApprovalsFull) as trouble:
            event = self._refusal(request, case.applicant, trouble)
            await self._strangers.troubled(replace(event, details={**event.details, **_trouble(trouble)}))
            raise
        except (Unavailable, Queued, AwaitsApproval):
            raise  # the registry could not write: there is nowhere to record it; a turn will come
        except CredentialRefused as refusal:  # whoever is told so late stands in nobody's way
            self._late.end(applicant.token)
            await self._turn_away(refusal, case)
            raise
        except KeybornError as refusal:
            await self._note(refusal, case)
            raise

    async def _note(self, refusal: KeybornError, case: _Case) -> None:
        """Record a refusal: a stranger's as one, anybody else's with what was proved. Raises Throttled."""
        if not case.applicant.is_proved:
            await self._turn_away(refusal, case)
            return
        self._refusals.charge(case.applicant.token, self._clock.now())
        await self._audit.append(self._refusal(case.request, case.applicant, refusal))

    async def _turn_away(self, refusal: KeybornError, case: _Case) -> None:
        """Record the refusal of a stranger: under a group with that, and with the name that it asked for."""
        why = _grounds(case.applicant)
        subject = _subject(case.request) if why else ""
        await self._strangers.refused("enroll", case.request.source, refusal, subject, why)

    async def _decide(self, case: _Case) -> Enrollment:
        verdict, csr = await self._at_its_turn(case)
        if isinstance(verdict, Repeat):
            return Enrollment(verdict.certificate, repeated=True)
        if isinstance(verdict, Granted):
            return self._granted(verdict)
        self._on_step(SagaStep.CLAIMED)
        return await self._issue(verdict, csr, case)

    def _granted(self, verdict: Granted) -> Enrollment:
        """The registry has taken the steps that are left, and told of them (``domain.granting``)."""
        if not verdict.repeated:
            self._on_step(SagaStep.ACTIVATED)
        return Enrollment(verdict.certificate, verdict.repeated)

    async def _at_its_turn(self, case: _Case) -> Claimed[Outcome]:
        """A stranger stands in no line: first a condition confirms it, or makes it wait."""
        wish = None if case.applicant.is_proved else await self._wish(case)
        return await self._turns.claim(
            lambda: _place(case.applicant, case.request.thing_name, self._clock.now()),
            partial(self._late.confirm, case.applicant),
            lambda turn: self._claim(case, wish, turn),
        )

    async def _wish(self, case: _Case) -> _Wish:
        """What is asked for, once all that its group demands beside a credential is met."""
        try:
            parsed, csr = self._parse(case.request, case.applicant)
        except KeybornError:
            await self._late.confirm(case.applicant)  # no claim asks: a withdrawn token hears nothing else
            raise
        self._on_step(SagaStep.PARSED)
        if _may_be_refused(case.applicant, parsed):
            await self._late.confirm(case.applicant)  # before a person, or another service, is bothered
        case.applicant = await self._conditions.met(case.applicant, parsed)
        return parsed, csr

    async def _claim(self, case: _Case, wish: _Wish | None, turn: Turn) -> Claimed[Outcome]:
        parsed, csr = wish or await self._wish(case)
        try:
            return await self._attempt(case, parsed, csr, turn), csr
        except (ThingNameTaken, ThingRevoked) as refusal:
            if not _is_for_a_person(refusal, case.applicant):
                raise
        case.applicant = await self._conditions.met(case.applicant, replace(parsed, taken=True))
        return await self._attempt(case, parsed, csr, turn), csr

    async def _attempt(self, case: _Case, parsed: Request, csr: CertificateRequest, turn: Turn) -> Outcome:
        attempt = self._drafted(case.applicant, parsed, csr)
        return await beside(self._enrollments.claim(attempt), turn.meanwhile())

    def _drafted(self, applicant: Applicant, request: Request, csr: CertificateRequest) -> Attempt:
        given = {} if applicant.terms is None else applicant.terms.attributes
        now = self._clock.now()
        return Attempt(
            applicant=applicant,
            proposal=self._propose(request.thing, csr, applicant, now),
            now=now,
            attributes=parse_attributes({**request.attributes, **given}),
            request=csr,
            source=request.source,
            proof=_grounds(applicant),
        )

    def _parse(self, request: EnrollmentRequest, applicant: Applicant) -> _Wish:
        own = applicant.bound_to if applicant.kind is ThingKind.SERVICE else None
        name = parse_thing_name(request.thing_name, reserved=self._reserved, granted=own)
        csr = parse_csr(request.csr)
        require_own_name(csr, name, applicant, generic=request.generic)
        return Request(name, csr.key_hash, request.source, parse_attributes(request.attributes)), csr

    def _propose(
        self, name: ThingName, csr: CertificateRequest, applicant: Applicant, now: datetime
    ) -> Intent:
        permission = Permission(applicant.token)
        terms, profile = applicant.terms, self._profile
        if terms is not None and terms.lifetime is not None:
            profile = replace(profile, lifetime=terms.lifetime)
        return propose(name, csr, permission, now, profile=profile, entropy=self._entropy)

    async def _issue(self, verdict: Issue, csr: CertificateRequest, case: _Case) -> Enrollment:
        intent = verdict.intent
        active, repeated = await self._issuing.issue(
            verdict, csr, lambda kept: self._success(intent, kept, case)
        )
        return Enrollment(active, repeated)

    def _success(self, intent: Intent, certificate: Certificate, case: _Case) -> AuditEvent:
        return enrolled(intent, certificate, self._clock.now(), case.request.source, _grounds(case.applicant))

    def _refusal(self, request: EnrollmentRequest, applicant: Applicant, refusal: KeybornError) -> AuditEvent:
        now, subject, why = self._clock.now(), _subject(request), _grounds(applicant)
        return AuditEvent(now, "enroll", refusal.code, subject, applicant.token, request.source, why)


class Unconditional:
    """Implements ``ports.Conditions`` where there are no groups."""

    async def met(self, applicant: Applicant, request: Request) -> Applicant:  # noqa: ARG002 - as the port
        """Return the applicant."""
        return applicant


def _subject(request: EnrollmentRequest) -> str:
    """The name that was asked for, as far as a record has room for it."""
    asked = request.thing_name
    if not isinstance(asked, str):
        return type(asked).__name__
    return ascii(asked)[1 : _SHOWN + 1].removesuffix("'")


def _grounds(applicant: Applicant) -> dict[str, str]:
    """What the audit trail says of the permission: under which group, by which methods, on what proof."""
    if applicant.terms is None:
        return {}
    return {"method": applicant.method.value, **applicant.details, "group": applicant.terms.group}


def _trouble(trouble: KeybornError) -> dict[str, str]:
    """What the operator is to know of it; callers are not told."""
    return {name: str(trouble.facts[name]) for name in ("issuer", "detail") if name in trouble.facts}


def _may_be_refused(applicant: Applicant, request: Request) -> bool:
    """Whether the rules of a group decide before the claim does."""
    terms = applicant.terms
    return terms is not None and (bool(request.attributes) or any(way.conditions for way in terms.ways))


def _is_for_a_person(refusal: KeybornError, applicant: Applicant) -> bool:
    """Whether the group leaves it to a person that another key has the name, or had it."""
    if applicant.terms is None or applicant.terms.taken is not TakenRule.PERSON:
        return False
    return isinstance(refusal, ThingNameTaken) or refusal.facts.get("status") in _GONE


def _place(applicant: Applicant, asked: object, now: datetime) -> str:
    """In line a token has a place for each name that it is good for, and one for all others together.

    It is good for none once it has expired: then an answer is repeated at most.
    """
    likely = isinstance(asked, str) and len(asked) <= MAX_THING_NAME and applicant.fresh(now)
    good = likely and applicant.scope.covers(ThingName(str(asked)))
    return place_name(applicant.token, asked if good else None)
