"""A claim at its turn, or on credit: what enrolment and renewal share where a quota bounds what is signed."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from keyborn.domain.csr import CertificateRequest
from keyborn.domain.enrollment import Granted, Issue, Outcome
from keyborn.domain.errors import KeybornError
from keyborn.domain.intent import Intent
from keyborn.ports import Leases
from keyborn.service.quota import Confirm, NoQuota, Quota, Turn

V = TypeVar("V", bound=Outcome)

Claimed = tuple[V, CertificateRequest]

_EVERYBODY_S = NoQuota()
"""The turn of all, where nobody waits."""


class Turns:
    """Who may claim now, and who may have signed what it claimed."""

    def __init__(self, quota: Quota | None, leases: Leases | None) -> None:
        """``quota`` None: nobody waits. ``leases``: where claims have one."""
        self._quota = quota
        self._leases = leases

    async def claim(
        self, place: Callable[[], str], confirm: Confirm, claim: Callable[[Turn], Awaitable[Claimed[V]]]
    ) -> Claimed[V]:
        """Claim at one's turn, or on credit. A turn that brings no new certificate is the next caller's.

        ``place``: under which name one would wait; asked only where anybody does.
        Raises Queued with the time to return, and what ``confirm`` and ``claim`` raise.
        """
        turn = _EVERYBODY_S if self._quota is None else await self._quota.admit(place(), confirm)
        issuing = False
        try:
            verdict, csr = await claim(turn)
            if isinstance(verdict, Issue):
                await self._require(turn, verdict.intent)
                issuing = True
            elif isinstance(verdict, Granted):
                issuing = not verdict.repeated  # signed within the claim: no quota bounds such an authority
        finally:
            if not issuing:
                turn.give_back()
        return verdict, csr

    async def _require(self, turn: Turn, intent: Intent) -> None:
        """Nothing is signed before its turn; who has to come again finds what was claimed on credit."""
        try:
            await turn.demand()
        except KeybornError:
            if self._leases is not None:
                await self._leases.forgo(intent)
            raise
