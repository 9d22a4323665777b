"""The sides of the registry: what use cases and the broker ask of what is kept.

A call that returns has made its effect durable. They raise leaves of the error tree, ``RegistryUnavailable``
among them; after that error the effect may or may not have happened, and repeating the call is safe
(``append`` may then stand in the trail twice). An event is recorded in the same effect as what it tells of:
it is never lost. It joins the hash chain in that effect, too, or, on AWS, within a minute and before anybody
reads it.
Pages hold at most ``MAX_PAGE`` entries, whatever was asked for.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from keyborn.domain.access import Badge
from keyborn.domain.access_policy.document import AccessPolicy, PolicyName
from keyborn.domain.audit import AuditEvent, AuditRecord
from keyborn.domain.certificate import Certificate
from keyborn.domain.checkpoint import Checkpoint
from keyborn.domain.enrollment import Attempt, Outcome, Verdict
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.names import CertificateId, ThingName
from keyborn.domain.renewal import Confirmation, RenewalAttempt
from keyborn.domain.roots import Belief, RootSet
from keyborn.domain.thing import Thing, ThingKind, ThingStatus
from keyborn.domain.token import EnrollmentToken, TokenId, TokenUse

MAX_PAGE = 1000
"""Entries of one page."""


def page_size(limit: int) -> int:
    """How many entries an adapter gives to somebody who asks for ``limit``."""
    return max(0, min(limit, MAX_PAGE))


def require_page(entries: Sequence[object]) -> None:
    """Raise ValueError for more entries than one page has."""
    if len(entries) > MAX_PAGE:
        raise ValueError(f"more than {MAX_PAGE} entries at once")


class Enrollments(Protocol):
    """The saga's side of the registry."""

    async def claim(self, attempt: Attempt) -> Outcome:
        """Gather the standing, ``decide``, and record the intent, all under one uniqueness guarantee.

        An ``Issue`` that is not resumed has been written: intent (which supersedes an open one of the same
        thing), thing record (status claimed if new or freed by a replacement; an existing thing keeps its
        record while a successor waits, without its release), key binding and what is ``owed``: the redemption
        of the token, and of the group's accounts. A resumed one writes only the redemptions that had not been
        paid for the pair yet. Refusals write nothing; a token that the registry does not know counts as
        withdrawn. Raises what ``decide`` raises.

        A registry that was given a ``Signer`` answers an attempt that has its ``request`` by ``Granted``: it
        has signed, kept, made active and audited what it decided, in one effect, of which nothing leaves
        before all of it is durable; ``store`` and ``activate`` are not called then. A resumed intent keeps
        its contents. Then it raises what the signer raises, too, and has written nothing.
        """
        ...

    async def store(self, intent: Intent, certificate: Certificate) -> Certificate:
        """Keep a signed certificate, inactive, and attach it to its thing; the first per intent wins.

        Returns the winner, which may be somebody else's and active already. If the intent is gone and nobody
        won, raises ThingRevoked where the thing is suspended, revoked or retired, else EnrollmentInterrupted
        (swept or superseded: the same request may be repeated). Raises ValueError for a certificate that is
        not what the intent wrote down (thing, key, dates).
        """
        ...

    async def activate(self, intent: IntentId, event: AuditEvent) -> Certificate:
        """Make the intent's certificate active, close the intent and append ``event``: one effect.

        Re-reads the thing: raises ThingRevoked, leaving nothing active, if it was suspended, revoked or
        retired meanwhile, and EnrollmentInterrupted if the intent was swept or superseded or nothing was
        stored for it. Repeating it returns the certificate again and appends nothing. A thing's other
        certificate in the same slot (an expired one) becomes revoked; its key does not, but for that of a
        renewal whose place a replacement takes.
        """
        ...


class Tokens(Protocol):
    """Enrolment tokens at rest."""

    async def add(self, token: EnrollmentToken, event: AuditEvent) -> None:
        """Keep a new token; repeating it changes and appends nothing.

        Raises RegistryUnavailable for another secret with a known id (64 bits of its hash): draw a new one.
        """
        ...

    async def find(self, token: TokenId) -> EnrollmentToken | None:
        """Look one up by its public id, withdrawn and expired ones included."""
        ...

    async def withdraw(self, token: TokenId, event: AuditEvent) -> EnrollmentToken:
        """End a token at ``event.at``; a repeat keeps the first time and appends nothing. Raises NotFound."""
        ...


class SealKeys(Protocol):
    """Capability of a registry whose callers prove themselves before it is asked (``domain.seal``)."""

    async def seal_key(self) -> bytes | None:
        """The key under which secrets are sealed; None before there is one."""
        ...

    async def make_seal_key(self, fresh: bytes) -> bytes:
        """Keep ``fresh`` (32 bytes nobody can guess) unless there is a key; returns the one that stands."""
        ...


class Leases(Protocol):
    """Capability of a registry where who claims is left alone with the intent for a while."""

    async def forgo(self, intent: Intent) -> None:
        """The attempt ends here, before anything was signed: the next one need not wait. Raises nothing."""
        ...


class TokenList(Protocol):
    """Capability: the operator's view of tokens."""

    async def tokens(self, *, after: TokenId | None = None, limit: int = 100) -> Sequence[TokenUse]:
        """A page, by id; of group keys without the keys (``EnrollmentToken.listed``)."""
        ...


class Fleet(Protocol):
    """The read side: what the operator sees."""

    async def thing(self, name: ThingName) -> Thing | None:
        """One thing, or None."""
        ...

    async def things(
        self, *, kind: ThingKind = ThingKind.DEVICE, after: ThingName | None = None, limit: int = 100
    ) -> Sequence[Thing]:
        """A page of devices or of services, by name, byte order."""
        ...

    async def certificates(self, name: ThingName) -> Sequence[Certificate]:
        """Every certificate of a thing, in the order they were stored; those of undone claims included."""
        ...


class Lifecycle(Protocol):
    """Taking away and giving back."""

    async def set_status(self, name: ThingName, status: ThingStatus, event: AuditEvent) -> Thing:
        """Move a thing to ``status``, with its certificates, and append ``event``: one effect.

        suspended: active certificates become inactive. active: back again (only from suspended; raises
        ThingRevoked otherwise), to claimed if it never had a certificate: look at the returned thing.
        revoked, retired: certificates revoked, keys and name get tombstones, the open intent ends (its
        redemption stays taken); between the two only the status changes, and nothing leads back. Repeating
        changes and appends nothing. Raises NotFound, and ValueError for claimed.
        """
        ...


class DeviceDirectory(Protocol):
    """What the broker asks about a certificate that has passed the TLS handshake."""

    async def certificate(self, certificate: CertificateId) -> Certificate | None:
        """The certificate whatever its status, or None if the registry does not know it."""
        ...

    async def badge(self, certificate: CertificateId) -> Badge | None:
        """The certificate whatever its status, its record and the policies in force, as one snapshot.

        None where ``certificate`` would say None, or where the record is gone. An attached policy that has no
        document counts as none: default deny.
        """
        ...

    async def connected(self, certificate: CertificateId, at: datetime) -> Certificate:
        """Record the first connection; a replacement becomes current and its predecessor is retired.

        Retired here means: certificate revoked, key tombstoned, an open intent of that key undone, the
        thing's key is the successor's, the trail says so. A renewal stays where it is. Repeating keeps the
        first time. A certificate that is not live at ``at`` is returned as it is, and nothing is recorded:
        look at what is returned before letting the device in. Raises NotFound.
        """
        ...


class AccessPolicies(Protocol):
    """Policy documents by name."""

    async def put_policy(self, policy: AccessPolicy, event: AuditEvent) -> AccessPolicy:
        """Keep a document; over an older one of that name it counts the version up. Returns what is kept.

        ``policy.version`` is ignored. The same text with the same ``shipped`` changes and appends nothing.
        """
        ...

    async def policy(self, name: PolicyName) -> AccessPolicy | None:
        """One policy, or None."""
        ...

    async def remove_policy(self, name: PolicyName, event: AuditEvent) -> None:
        """Forget a document. Raises NotFound, and PolicyInUse while a thing, unspent token or group has it.

        The default policy is always in use.
        """
        ...


class PolicyList(Protocol):
    """Capability: the operator's view of policies."""

    async def policies(self, *, after: PolicyName | None = None, limit: int = 100) -> Sequence[AccessPolicy]:
        """A page, by name, byte order."""
        ...


class PolicyUse(Protocol):
    """Which policies a thing has. Attached ones take the place of the default, which may be one of them."""

    async def attach_policy(self, name: ThingName, policy: PolicyName, event: AuditEvent) -> Thing:
        """Give a thing one more policy and append ``event``: one effect; a repeat changes nothing.

        A thing that had the default policy by default keeps it, by name. Raises NotFound for a thing or a
        policy that is not there, and TooManyPolicies.
        """
        ...

    async def detach_policy(self, name: ThingName, policy: PolicyName, event: AuditEvent) -> Thing:
        """Take a policy away; the last one leaves none, not the default. A repeat appends nothing.

        Raises NotFound for the thing.
        """
        ...

    async def users(
        self, policy: PolicyName, *, after: ThingName | None = None, limit: int = 100
    ) -> Sequence[ThingName]:
        """A page of those that have it by name; who has the default policy by default is not among them."""
        ...


class Leftovers(Protocol):
    """Capability: what crashed enrolments left behind."""

    async def leftovers(self, *, before: datetime, limit: int = 100) -> Sequence[Intent]:
        """Open intents created before ``before``, oldest first."""
        ...

    async def drop(self, intent: IntentId, event: AuditEvent) -> bool:
        """Undo an open intent; False if it is not open.

        Its inactive certificate becomes revoked; the key binding and the redemptions it brought are taken
        back. A claimed thing is deleted, so that its name is free again, or goes back to its tombstone if a
        replacement had freed it. A suspended thing stays, with its key.
        """
        ...


class Renewals(Protocol):
    """The saga's side of a renewal; ``Enrollments.store`` and ``activate`` are its other steps."""

    async def renew(self, attempt: RenewalAttempt) -> Verdict:
        """Gather the standing, ``decide_renewal``, and record the intent, all under one uniqueness guarantee.

        As ``Enrollments.claim``, without a token. A successor whose place the intent takes is withdrawn in
        the same effect, and the trail says so. Raises what ``decide_renewal`` raises.
        """
        ...

    async def confirm(self, confirmation: Confirmation) -> Certificate:
        """Make the signer the thing's current certificate; its predecessor is retired, as by ``connected``.

        Repeating it, with what is current by now, changes and appends nothing. Raises what
        ``retires_predecessor`` raises.
        """
        ...


class Successors(Protocol):
    """Capability: successors that waited too long, of renewals and of replacements."""

    async def overdue(self, *, before: datetime, at: datetime, limit: int = 100) -> Sequence[Certificate]:
        """Those valid since before ``before``, longest first, without those that are spared ``at``."""
        ...

    async def withdraw_successor(self, certificate: CertificateId, event: AuditEvent) -> bool:
        """Revoke it, and bury its key; False if it does not wait any more, or is spared at ``event.at``."""
        ...


class Grace(Protocol):
    """Capability: let an expired certificate renew."""

    async def set_grace(self, name: ThingName, until: datetime | None, event: AuditEvent) -> Thing:
        """Grant it, or end it; a repeat appends nothing. Raises NotFound, ThingRevoked for what is gone."""
        ...


class TrustReports(Protocol):
    """Capability: things tell which roots they believe."""

    async def note_roots(self, certificate: CertificateId, roots: RootSet, at: datetime) -> None:
        """Keep what the holder of ``certificate`` believes; a repeat keeps the first time.

        Raises what ``require_reporter`` raises.
        """
        ...


class Beliefs(Protocol):
    """Capability: the operator's view of that. Things that are gone, or only claimed, do not count.

    Nor do Keyborn's own services: they live beside the authority, and follow it.
    """

    async def belief(self, name: ThingName) -> Belief:
        """What one thing believes."""
        ...

    async def root_sets(self) -> Sequence[tuple[RootSet | None, int]]:
        """How many things believe which set; None is those that never said."""
        ...

    async def lacking(
        self, roots: RootSet, *, after: ThingName | None = None, limit: int = 100
    ) -> Sequence[Belief]:
        """A page of those that believe another set, or never said, by name, byte order."""
        ...


class Holders(Protocol):
    """Capability: who holds certificates of one issuer, an old one that is to go.

    What counts is attached to a thing that is not gone, and has not expired. Keyborn's own services do not.
    """

    async def count_holders(self, issuer: bytes, at: datetime) -> int:
        """How many things do; ``issuer`` is its name as their certificates have it, DER."""
        ...

    async def holders(
        self, issuer: bytes, at: datetime, *, after: ThingName | None = None, limit: int = 100
    ) -> Sequence[ThingName]:
        """A page of them, by name, byte order."""
        ...


class AuditTrail(Protocol):
    """The hash-chained record of decisions."""

    async def append(self, event: AuditEvent) -> None:
        """Record an event; whoever reads the trail from then on finds it chained."""
        ...

    async def records(self, *, after: int = 0, limit: int = 1000) -> Sequence[AuditRecord]:
        """A page of the chain, by sequence number; the first row is 1.

        Raises AuditBroken for a row that no Keyborn wrote; ``domain.audit.verify`` checks the rest.
        """
        ...


class Checkpoints(Protocol):
    """Capability: signed checkpoints, kept beside the trail."""

    async def add_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Keep one; of two about the same record the first stays."""
        ...

    async def latest_checkpoint(self) -> Checkpoint | None:
        """The one about the latest record, or None."""
        ...

    async def checkpoints(self, *, after: int = 0, limit: int = 1000) -> Sequence[Checkpoint]:
        """A page of those about records behind ``after``, by sequence number.

        Raises AuditBroken for one that no Keyborn wrote; ``domain.checkpoint`` checks the rest.
        """
        ...


class Registry(
    Enrollments, Tokens, TokenList, Fleet, Lifecycle, DeviceDirectory,
    AccessPolicies, PolicyList, PolicyUse, Leftovers, AuditTrail, Protocol,
):  # fmt: skip
    """All sides of one registry: what an adapter implements. Use cases ask for the side they need."""


class RenewingRegistry(Registry, Renewals, Successors, Grace, Protocol):
    """A registry whose things renew."""
