"""What a worker has in the place of the core's parts: the same ports, asked over the line."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime
from types import MappingProxyType

from cryptography import x509

from keyborn.adapters.workers.calls import BY_NAME, Published, Stranger
from keyborn.adapters.workers.line import Line
from keyborn.domain.approval import Approval
from keyborn.domain.audit import AuditEvent
from keyborn.domain.certificate import Certificate
from keyborn.domain.enrollment import Attempt, Outcome, Verdict
from keyborn.domain.errors import KeybornError, Throttled
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.issuance import ApprovedRequest
from keyborn.domain.names import CertificateId, ThingName
from keyborn.domain.renewal import Confirmation, RenewalAttempt
from keyborn.domain.roots import RootSet
from keyborn.ports.forwarding import ForwardedCall, ForwardedStep


class RemoteRegistry:
    """The writing sides of the registry that requests of devices need, and no others."""

    def __init__(self, line: Line, claims: Line) -> None:
        """``claims``: the line past the core's event loop."""
        self._line = line
        self._claims = claims

    async def claim(self, attempt: Attempt) -> Outcome:
        """See ``Enrollments.claim``."""
        outcome: Outcome = await self._claims.ask(BY_NAME["claim"], attempt)
        return outcome

    async def store(self, intent: Intent, certificate: Certificate) -> Certificate:
        """See ``Enrollments.store``."""
        kept: Certificate = await self._line.ask(BY_NAME["store"], intent, certificate)
        return kept

    async def activate(self, intent: IntentId, event: AuditEvent) -> Certificate:
        """See ``Enrollments.activate``."""
        active: Certificate = await self._line.ask(BY_NAME["activate"], intent, event)
        return active

    async def renew(self, attempt: RenewalAttempt) -> Verdict:
        """See ``Renewals.renew``."""
        verdict: Verdict = await self._line.ask(BY_NAME["renew"], attempt)
        return verdict

    async def confirm(self, confirmation: Confirmation) -> Certificate:
        """See ``Renewals.confirm``."""
        confirmed: Certificate = await self._line.ask(BY_NAME["confirm"], confirmation)
        return confirmed

    async def note_roots(self, certificate: CertificateId, roots: RootSet, at: datetime) -> None:
        """See ``TrustReports.note_roots``."""
        await self._line.ask(BY_NAME["note_roots"], certificate, roots, at)

    async def append(self, event: AuditEvent) -> None:
        """See ``AuditTrail.append``."""
        await self._line.ask(BY_NAME["append"], event)

    async def ask(self, wish: Approval, most: int, event: AuditEvent) -> Approval:
        """See ``Approvals.ask``."""
        kept: Approval = await self._line.ask(BY_NAME["ask"], wish, most, event)
        return kept

    async def prove_writable(self, at: datetime) -> None:
        """See ``SqliteRegistry.prove_writable``."""
        await self._line.ask(BY_NAME["prove_writable"], at)


class RemoteAuthority:
    """Implements ``ports.CertificateAuthority``: the core signs, and only what it has recorded itself."""

    def __init__(self, line: Line, published: Published) -> None:
        self._line = line
        self.adopt(published)

    def adopt(self, published: Published) -> None:
        """Go on with what the authority is now."""
        self._published = published
        self._by_issuer = {
            x509.load_pem_x509_certificate(pem.encode()).subject: pem for pem in published.intermediates
        }

    async def issue(self, approved: ApprovedRequest) -> bytes:
        """See ``CertificateAuthority.issue``."""
        intent, key = approved.intent.id, approved.public_key_der
        der: bytes = await self._line.ask(BY_NAME["issue"], intent, key, approved.csr_pem)
        return der

    def chain_pem(self, der: bytes | None = None) -> str:
        """See ``CertificateAuthority.chain_pem``."""
        newest = self._published.intermediates[0]
        if der is None or len(self._by_issuer) == 1:
            return newest
        return self._by_issuer.get(x509.load_der_x509_certificate(der).issuer, newest)

    def roots_pem(self) -> str:
        """See ``CertificateAuthority.roots_pem``."""
        return self._published.roots_pem

    def client_ca_pem(self) -> str:
        """What a listener trusts for clients, PEM."""
        return self._published.client_ca_pem


class RemoteNonces:
    """Implements ``ports.Nonces``: the core remembers what is spent, whichever worker was asked."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def issue(self) -> str:
        """See ``Nonces.issue``."""
        nonce: str = await self._line.ask(BY_NAME["issue_nonce"])
        return nonce

    async def spend(self, nonce: str) -> None:
        """See ``Nonces.spend``."""
        await self._line.ask(BY_NAME["spend_nonce"], nonce)


class RemoteSessions:
    """The one thing of ``ports.Sessions`` that requests of devices lead to."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def review(self, names: Collection[ThingName] | None = None) -> None:
        """See ``Sessions.review``; always of some, never of all."""
        await self._line.ask(BY_NAME["review"], frozenset(names or ()))


class RemoteStrangers:
    """Counts and records strangers in the core, so that many workers give nobody more attempts than one.

    ``hold`` is awaited here before who fails too often is told so: the core holds nobody.
    """

    def __init__(self, line: Line, door: str, hold: Callable[[], Awaitable[None]]) -> None:
        """``door``: ``enroll`` or ``renew``."""
        self._line = line
        self._door = door
        self._hold = hold

    async def refused(
        self,
        action: str,
        source: str,
        refusal: KeybornError,
        subject: str = "",
        why: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """See ``service.strangers.Strangers.refused``."""
        told = Stranger(self._door, action, source, type(refusal).__name__, subject, why)
        await self._charged("stranger_refused", told)

    async def troubled(self, event: AuditEvent) -> None:
        """See ``service.strangers.Strangers.troubled``."""
        await self._line.ask(BY_NAME["stranger_troubled"], self._door, event)

    async def failed(self, source: str) -> None:
        """See ``service.strangers.Strangers.failed``."""
        await self._charged("stranger_failed", self._door, source)

    async def _charged(self, name: str, *arguments: object) -> None:
        try:
            await self._line.ask(BY_NAME[name], *arguments)
        except Throttled:
            await self._hold()
            raise


class RemoteDesk:
    """Implements ``ports.forwarding.ForwardingDesk``: the operators' routes are answered by the core."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def open(self, call: ForwardedCall) -> ForwardedStep:
        """See ``ForwardingDesk.open``."""
        step: ForwardedStep = await self._line.ask(BY_NAME["forward_open"], call)
        return step

    async def go_on(self, stream: int, body: bytes, *, more: bool) -> ForwardedStep:
        """See ``ForwardingDesk.go_on``."""
        step: ForwardedStep = await self._line.ask(BY_NAME["forward_on"], stream, body, more)
        return step

    async def close(self, stream: int) -> None:
        """See ``ForwardingDesk.close``."""
        await self._line.ask(BY_NAME["forward_close"], stream)
