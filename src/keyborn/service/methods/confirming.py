"""What conditions that prove whose key it is have in common."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from keyborn.domain.applicant import Applicant
from keyborn.domain.errors import NameNotPermitted
from keyborn.domain.group import EnrollmentGroup
from keyborn.domain.method import Method
from keyborn.domain.names import NameScope
from keyborn.domain.token import TokenId
from keyborn.ports import Request


def require_permitted(applicant: Applicant, request: Request, group: EnrollmentGroup) -> None:
    """Raise NameNotPermitted: a condition narrows a scope to one name, and never leads out of it."""
    if not (applicant.scope.covers(request.thing) and group.things.covers(request.thing)):
        raise NameNotPermitted(name=request.thing)


def confirmed(
    applicant: Applicant,
    request: Request,
    group: EnrollmentGroup,
    *,
    method: Method,
    account: TokenId,
    expires_at: datetime | None = None,
    may_replace: bool = False,
    details: Mapping[str, str] | None = None,
) -> Applicant:
    """The applicant, good for just the name that it asks for.

    Who has shown a credential, or was confirmed before, still pays with that; others pay with ``account``,
    which is good for one pair. What was no permission to replace, for it was for no one name, does not become
    one by being narrowed. Raises NameNotPermitted.
    """
    require_permitted(applicant, request, group)
    narrowed = replace(
        applicant,
        scope=NameScope(request.thing),
        may_replace=may_replace or (applicant.may_replace and applicant.scope.is_exact),
        details={**applicant.details, **(details or {})},
    )
    if applicant.is_proved:
        return narrowed
    return replace(
        narrowed,
        method=method,
        token=account,
        uses=1,
        expires_at=expires_at,
        is_known=False,
        is_proved=True,
        digest=None,
    )
