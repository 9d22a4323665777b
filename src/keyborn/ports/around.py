"""What is around the registry: time and chance, who asks, who signs, who is connected, whose turn it is."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Protocol

from keyborn.domain.applicant import Applicant
from keyborn.domain.audit import AuditEvent
from keyborn.domain.checkpoint import Signed
from keyborn.domain.errors import KeybornError
from keyborn.domain.issuance import ApprovedRequest
from keyborn.domain.issued import SignedLeaf
from keyborn.domain.jws_enroll import SignedEnrollment
from keyborn.domain.names import KeyHash, ThingName
from keyborn.domain.quota import Place, Slice


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> datetime:
        """The time, aware, UTC, whole milliseconds."""
        ...


class Entropy(Protocol):
    """Where secrets and serials come from."""

    def token_bytes(self, count: int) -> bytes:
        """``count`` bytes nobody can guess."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """What a caller asks for, decoded and nothing more: every value may be anything."""

    thing_name: object
    csr: object = field(repr=False)
    group: object = None
    """Under the rule of which enrolment group; None: the credential says."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What a caller showed, before anything is proved."""

    bearer: str | None
    """The bearer secret, or None."""
    source: str
    """The caller's network address, as the transport knows it."""
    proxied: bool = False
    """Whether a forwarding header or a foreign Host appeared."""
    asked: Asked | None = None
    """What is asked for with it, for methods that depend on that."""
    signed: SignedEnrollment | None = None
    """The signature over the request, where it has one; nothing is known of it yet."""

    def __repr__(self) -> str:
        """Leave the secret out of logs and tracebacks."""
        return f"Credential(source={self.source!r}, bearer={'***' if self.bearer else None})"


class Authenticator(Protocol):
    """Turns a credential into an applicant."""

    async def authenticate(self, credential: Credential) -> Applicant:
        """Prove the caller; raises a leaf of Unauthenticated or Forbidden."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """A parsed request, whose CSR has proved possession of its key."""

    thing: ThingName
    key_hash: KeyHash
    source: str
    """Network address of the caller."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """As the device set them; what its group gives, comes on top."""
    taken: bool = False
    """Whether another key has the name, and the group leaves it to a person to decide."""


class Conditions(Protocol):
    """What a group demands beside a credential, asked when the request has been parsed."""

    async def met(self, applicant: Applicant, request: Request) -> Applicant:
        """Return the applicant with what the conditions added: whose key it is, attributes, policies.

        Raises AwaitsApproval while a person has to decide, a leaf of Forbidden, or of Unavailable where
        something that has to be asked does not answer. Asking again is harmless.
        """
        ...


class CertificateAuthority(Protocol):
    """Signs what the registration authority approved, and nothing else."""

    async def issue(self, approved: ApprovedRequest) -> bytes:
        """Sign; returns the leaf's DER. The contents come from the intent and the profile."""
        ...

    def chain_pem(self, der: bytes | None = None) -> str:
        """The intermediates between a device's leaf and its root, PEM; empty where none is published.

        Without a leaf, those of the next one that it signs.
        """
        ...

    def roots_pem(self) -> str:
        """The roots a device trusts for the service and the broker, PEM; the newest first."""
        ...


class Signer(Protocol):
    """Capability of an authority that does not wait: a registry may have it sign within a claim."""

    def sign(self, approved: ApprovedRequest) -> SignedLeaf:
        """Sign; returns the leaf, as it was read again. May be called from another thread than the rest."""
        ...


class RootKeeper(Protocol):
    """The roots of an authority, changed in three steps; each is durable when its call returns.

    They raise leaves of OperatorError, and then nothing has changed, or what the next call finds done.
    """

    async def introduce(self) -> None:
        """Make a next root, unless there is one: devices come to believe both."""
        ...

    async def switch(self, *, back: bool) -> None:
        """Issue from the next root; or from the one before, as long as that is believed."""
        ...

    async def retire(self) -> None:
        """Believe the one before no more."""
        ...


class Notary(Protocol):
    """Signs what one service's audit trail says. The private key has no getter."""

    async def service(self) -> str:
        """Which service that is: a word that stays for as long as its trail does, and is no other's."""
        ...

    async def sign(self, text: bytes) -> Signed:
        """Sign with the key in use, which is made if there is none."""
        ...

    async def keys(self) -> Sequence[bytes]:
        """Every public key that ever signed here, the newest last; empty before the first signature."""
        ...


class Nonces(Protocol):
    """Words that make a signed request good for once (RFC 8555, 6.5)."""

    async def issue(self) -> str:
        """A fresh one, base64url, good for a few minutes."""
        ...

    async def spend(self, nonce: str) -> None:
        """Take one for the only time. Raises BadNonce."""
        ...


class StrangerBook(Protocol):
    """Callers who prove nothing: each address may fail so often, and the trail takes a trickle of them."""

    async def refused(
        self,
        action: str,
        source: str,
        refusal: KeybornError,
        subject: str = "",
        why: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Charge and record one; ``subject`` and ``why`` are what it said of itself, cut and cleaned.

        As long as there is room for it; the next record says how many had none. Raises Throttled.
        """
        ...

    async def troubled(self, event: AuditEvent) -> None:
        """Record a trouble that is not the caller's, as long as there is room for it; charge nobody."""
        ...

    async def failed(self, source: str) -> None:
        """Count a failure that is not worth a record. Raises Throttled."""
        ...


class Sessions(Protocol):
    """Capability of a broker: end what is open."""

    async def evict(self, name: ThingName, reason: str) -> int:
        """Close the thing's open sessions, wills not sent, queued and retained messages purged; how many."""
        ...

    async def review(self, names: Collection[ThingName] | None = None) -> None:
        """Read the badges of those things' sessions again (None: of all), after the registry has changed.

        When it returns, no open or waiting session acts on older policies: what may not connect any more is
        closed, what may not be subscribed is ended, and the next publish or delivery asks the new ones.
        """
        ...


class AdmissionLine(Protocol):
    """Capability of a place that all instances share: slots under one quota, and the line of those who wait.

    Times are seconds of Unix time. Raises leaves of Unavailable; a slot or a place may then be lost.
    """

    async def take(self, now: float, latest: float) -> Slice:
        """Take the next slot if it begins by ``latest``. Raises ValueError for one that is never kept."""
        ...

    async def find(self, who: str, now: float) -> float | None:
        """When the turn of ``who`` is or was; None if it has no place, or one that is long past."""
        ...

    async def join(self, who: str, now: float) -> Place:
        """Give ``who`` the place at the end of the line, whether it had one or not."""
        ...
