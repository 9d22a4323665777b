"""Registered keys: the operator announced this key, for this name, in this group."""

from keyborn.domain.applicant import Applicant
from keyborn.domain.errors import KeyNotRegistered
from keyborn.domain.group import EnrollmentGroup, TakenRule
from keyborn.domain.method import Method
from keyborn.domain.names import KeyHash
from keyborn.domain.token import TokenId
from keyborn.ports import RegisteredKeys, Request
from keyborn.service.methods.confirming import confirmed


def registered_account(key: KeyHash) -> TokenId:
    """Against what the one enrolment of a registered key is counted: ``r`` and 16 hex characters."""
    return TokenId("r" + key[:16])


class RegisteredMethod:
    """Implements ``ConditionMethod``. The proof of possession was the CSR's own signature."""

    def __init__(self, keys: RegisteredKeys) -> None:
        self._keys = keys

    async def met(self, applicant: Applicant, request: Request, group: EnrollmentGroup) -> Applicant:
        """Raise KeyNotRegistered, alike for a key that nobody knows and for another name's or group's.

        An announcement is for just one name: under the rule ``taken = "replace"`` it may replace a key.
        """
        known = await self._keys.registered(request.key_hash)
        if known is None or (known.thing, known.group) != (request.thing, group.name):
            raise KeyNotRegistered(name=request.thing)
        return confirmed(
            applicant,
            request,
            group,
            method=Method.REGISTERED,
            account=registered_account(request.key_hash),
            may_replace=group.taken is TakenRule.REPLACE,
        )
