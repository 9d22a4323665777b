"""Who asks, and how that was proved.

An ``Authenticator`` turns a credential into an ``Applicant``; nothing behind it sees the credential again.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.names import NameScope, ThingName
from keyborn.domain.thing import ThingKind
from keyborn.domain.token import TokenId


@dataclass(frozen=True, slots=True)
class Applicant:
    """The proven caller of one enrolment."""

    method: Literal["token", "open"]
    token: TokenId
    """The credential's public id (``open`` for open enrolment); redemptions are bound to it."""
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

    def fresh(self, now: datetime) -> bool:
        """Whether the credential still permits something new."""
        return self.expires_at is None or now < self.expires_at

    @property
    def bound_to(self) -> ThingName | None:
        """The one name this credential is for, if it is for just one."""
        return ThingName(self.scope.pattern) if self.scope.is_exact else None
