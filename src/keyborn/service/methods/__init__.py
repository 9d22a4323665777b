"""Methods: how a caller proves that it may enrol under a group's rule, one file each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.applicant import Applicant
from keyborn.domain.group import EnrollmentGroup
from keyborn.domain.names import NameScope
from keyborn.domain.token import TokenId
from keyborn.ports import Credential, Request


@dataclass(frozen=True, slots=True)
class Proven:
    """What a credential proved."""

    account: TokenId
    """The credential's public id; redemptions are bound to it."""
    scope: NameScope
    uses: int | None = None
    expires_at: datetime | None = None
    is_known: bool = False
    """Whether the registry has to know it when a claim is written."""
    may_replace: bool = False
    digest: bytes | None = None
    policies: tuple[PolicyName, ...] | None = None
    details: Mapping[str, str] = field(default_factory=dict)
    """For the audit trail: few characters, no secret."""


class CredentialMethod(Protocol):
    """Proves who shows a credential of one kind."""

    async def prove(self, credential: Credential, group: EnrollmentGroup) -> Proven:
        """Raise a leaf of Unauthenticated, Forbidden or Unavailable for whoever is not proved."""
        ...


class ConditionMethod(Protocol):
    """Asks what only a parsed request can answer."""

    async def met(self, applicant: Applicant, request: Request, group: EnrollmentGroup) -> Applicant:
        """See ``ports.Conditions.met``."""
        ...
