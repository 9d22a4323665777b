"""Who asks, and how that was proved.

An ``Authenticator`` turns a credential into an ``Applicant``; nothing behind it sees the credential again.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.group import Terms
from keyborn.domain.method import Method
from keyborn.domain.names import GroupName, NameScope, ThingName
from keyborn.domain.thing import ThingKind
from keyborn.domain.token import TokenId


@dataclass(frozen=True, slots=True)
class Applicant:
    """The proven caller of one enrolment."""

    method: Method
    token: TokenId
    """The credential's public id; redemptions are bound to it."""
    scope: NameScope
    uses: int | None = 1
    """How many (thing, key) pairs the credential may serve; None is unlimited."""
    expires_at: datetime | None = None
    """From then on only an answer that was already given may be repeated; None is never."""
    may_replace: bool = False
    kind: ThingKind = ThingKind.DEVICE
    """What the credential enrols."""
    policies: tuple[PolicyName, ...] | None = None
    """Access policies that a name gets when it is claimed; None is the default policy."""
    is_known: bool = True
    """Whether the registry has to know the credential: then one that it does not know counts as withdrawn.
    False for one that proves itself, as a certificate does; its uses are counted all the same."""
    is_proved: bool = True
    """False while nothing at all has been proved: the conditions of the group have still to be asked."""
    group: GroupName | None = None
    """Of a token that belongs to a group: under whose rule it is to be used."""
    terms: Terms | None = None
    """Of the group under whose rule this is; None for a token without a group."""
    details: Mapping[str, str] = field(default_factory=dict)
    """What the audit trail says of the proof, beside method and id: no secret, few characters."""
    digest: bytes | None = field(default=None, repr=False)
    """SHA-256 of a secret that nobody has looked up yet: a claim has to, and counts another one's or none as
    withdrawn. None: it was looked up."""

    def fresh(self, now: datetime) -> bool:
        """Whether the credential still permits something new."""
        return self.expires_at is None or now < self.expires_at

    def showed(self, digest: bytes) -> bool:
        """Whether the secret shown is the one with this digest, if that is still to be asked."""
        return self.digest is None or hmac.compare_digest(self.digest, digest)

    @property
    def bound_to(self) -> ThingName | None:
        """The one name this credential is for, if it is for just one."""
        return ThingName(self.scope.pattern) if self.scope.is_exact else None
