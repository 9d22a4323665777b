"""Short words for the registry's tests: tokens, applicants, attempts, and the saga without signing."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count

from keyborn.domain.access_policy.document import AccessPolicy, PolicyDocument, PolicyName
from keyborn.domain.access_policy.parse import parse_document
from keyborn.domain.applicant import Applicant
from keyborn.domain.audit import AuditEvent
from keyborn.domain.certificate import Certificate
from keyborn.domain.csr import CertificateRequest
from keyborn.domain.enrollment import Attempt, Granted, Issue, Repeat
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.method import Method
from keyborn.domain.names import CertificateId, GroupName, KeyHash, NameScope, ThingName
from keyborn.domain.thing import Thing, ThingKind, ThingStatus
from keyborn.domain.token import EnrollmentToken, digest, token_id
from keyborn.ports import Registry

START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
LIFETIME = timedelta(days=90)


def key(name: str) -> KeyHash:
    """A key hash that ``name`` stands for."""
    return KeyHash(hashlib.sha256(name.encode()).hexdigest())


def event(action: str = "test", subject: str = "", at: datetime = START) -> AuditEvent:
    """An audit event that says little."""
    return AuditEvent(at, action, "done", subject, "tester", "127.0.0.1")


def make_token(
    secret: str,
    pattern: str = "*",
    uses: int | None = None,
    *,
    ttl: timedelta = HOUR,
    replaces: bool = False,
    now: datetime = START,
    kind: ThingKind = ThingKind.DEVICE,
    policies: Sequence[str] | None = None,
    group: str | None = None,
) -> EnrollmentToken:
    """A token of the secret that ``secret`` stands for."""
    raw = hashlib.sha256(secret.encode()).digest()
    return EnrollmentToken(
        token_id(raw),
        digest(raw),
        NameScope(pattern),
        uses,
        now,
        now + ttl,
        replace=replaces,
        kind=kind,
        policies=None if policies is None else policy_names(*policies),
        group=None if group is None else GroupName(group),
    )


def policy_names(*names: str) -> tuple[PolicyName, ...]:
    """Policy names, as a record holds them."""
    return tuple(map(PolicyName, names))


def document(action: str = "*") -> PolicyDocument:
    """A document whose text says ``action``."""
    statement = {"Effect": "Allow", "Action": f"iot:{action}" if action != "*" else "*", "Resource": "*"}
    return parse_document(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))


def applicant(token: EnrollmentToken) -> Applicant:
    """Who holds ``token``."""
    return Applicant(
        Method.TOKEN,
        token.id,
        token.scope,
        token.uses,
        token.expires_at,
        token.replace,
        token.kind,
        token.policies,
    )


def certificate_for(intent: Intent, variant: str = "") -> Certificate:
    """What a certificate authority would sign for ``intent``; ``variant`` makes other bytes of it."""
    der = f"der of {intent.id} {intent.serial} {variant}".encode()
    return Certificate(
        CertificateId(hashlib.sha256(der).hexdigest()),
        intent.thing,
        intent.key_hash,
        der,
        intent.not_before,
        intent.not_after,
        slot=intent.slot,
    )


@dataclass(slots=True)
class Desk:
    """A registry with a clock hand and counters for ids and serials."""

    registry: Registry
    now: datetime = START
    numbers: "count[int]" = field(default_factory=lambda: count(1))
    request: Callable[[str, str], CertificateRequest] | None = None
    """What proves a key for a thing: given, a registry with a signer has it signed at once."""

    def pass_time(self, span: timedelta) -> None:
        """Move the hand."""
        self.now += span

    async def token(
        self,
        secret: str,
        pattern: str = "*",
        uses: int | None = None,
        *,
        replaces: bool = False,
        ttl: timedelta = HOUR,
        kind: ThingKind = ThingKind.DEVICE,
        policies: Sequence[str] | None = None,
    ) -> EnrollmentToken:
        """A new token at rest, good for ``ttl`` from now."""
        token = make_token(
            secret, pattern, uses, ttl=ttl, replaces=replaces, now=self.now, kind=kind, policies=policies
        )
        await self.registry.add(token, event("token.create", token.id, self.now))
        return token

    def attempt(self, token: EnrollmentToken, thing: str, key_name: str) -> Attempt:
        """An attempt now, with a fresh proposal."""
        number = next(self.numbers)
        second = self.now.replace(microsecond=0)
        proposal = Intent(
            IntentId(f"intent-{number:06}"),
            ThingName(thing),
            key(key_name),
            token.id,
            self.now,
            number,
            second,
            second + LIFETIME,
        )
        request = self.request(thing, key_name) if self.request is not None else None
        return Attempt(applicant(token), proposal, self.now, request=request, source="127.0.0.1")

    async def claim(self, token: EnrollmentToken, thing: str, key_name: str) -> Issue:
        """Claim something that must be issued."""
        verdict = await self.registry.claim(self.attempt(token, thing, key_name))
        assert isinstance(verdict, Issue)
        return verdict

    async def stored(self, token: EnrollmentToken, thing: str, key_name: str) -> Issue:
        """Claim and store, as if the process died before activating."""
        issue = await self.claim(token, thing, key_name)
        await self.registry.store(issue.intent, certificate_for(issue.intent))
        return issue

    async def enroll(self, token: EnrollmentToken, thing: str, key_name: str) -> Certificate:
        """The whole saga."""
        verdict = await self.registry.claim(self.attempt(token, thing, key_name))
        if isinstance(verdict, Repeat | Granted):
            return verdict.certificate
        await self.registry.store(verdict.intent, certificate_for(verdict.intent))
        return await self.registry.activate(verdict.intent.id, self.done(thing))

    async def order(self, thing: str, status: ThingStatus) -> Thing:
        """The operator's order."""
        return await self.registry.set_status(
            ThingName(thing), status, event(f"thing.{status}", thing, self.now)
        )

    async def connect(self, certificate: Certificate) -> Certificate:
        """The device connects now."""
        return await self.registry.connected(certificate.id, self.now)

    async def put(self, name: str, action: str = "*", *, shipped: bool = False) -> AccessPolicy:
        """Put a policy that allows one action, or all."""
        offered = AccessPolicy(PolicyName(name), document(action), self.now, shipped=shipped)
        return await self.registry.put_policy(offered, event("policy.put", name, self.now))

    async def remove(self, name: str) -> None:
        """Forget a policy."""
        await self.registry.remove_policy(PolicyName(name), event("policy.remove", name, self.now))

    async def attach(self, thing: str, policy: str) -> Thing:
        """Give a thing one more policy."""
        told = event("policy.attach", thing, self.now)
        return await self.registry.attach_policy(ThingName(thing), PolicyName(policy), told)

    async def detach(self, thing: str, policy: str) -> Thing:
        """Take a policy away."""
        told = event("policy.detach", thing, self.now)
        return await self.registry.detach_policy(ThingName(thing), PolicyName(policy), told)

    async def drop(self, issue: Issue) -> bool:
        """The sweeper drops what ``issue`` recorded."""
        return await self.registry.drop(issue.intent.id, event("sweep", issue.intent.thing, self.now))

    async def thing(self, name: str) -> Thing:
        """A thing that must exist."""
        found = await self.registry.thing(ThingName(name))
        assert found is not None
        return found

    async def uses_taken(self, token: EnrollmentToken) -> int:
        """How often ``token`` has been redeemed."""
        return next(use.uses_taken for use in await self.registry.tokens() if use.token.id == token.id)

    def done(self, thing: str) -> AuditEvent:
        """The saga's last word."""
        return event("enroll", thing, self.now)


def as_expired(token: EnrollmentToken) -> EnrollmentToken:
    """The same token, seen after its end."""
    return replace(token, expires_at=token.issued_at)
