"""Ask first: a person compares what the device shows with what asks, and says yes or no.

A request that waits is one small record, bounded for each group and, over time, for each address. It reserves
nothing: no name, no key, no intent. Looking at it again writes nothing.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from keyborn.domain.applicant import Applicant
from keyborn.domain.approval import Approval, ApprovalState, approval_id
from keyborn.domain.audit import AuditEvent
from keyborn.domain.enrollment import require_fresh
from keyborn.domain.errors import ApprovalRefused, AwaitsApproval
from keyborn.domain.group import EnrollmentGroup, TakenRule
from keyborn.domain.method import Method
from keyborn.domain.token import TokenId
from keyborn.ports import Approvals, Clock, Fleet, Request
from keyborn.service.admission import FailureBudget, neighborhood
from keyborn.service.methods.confirming import confirmed, require_permitted

SOONEST, LATEST = 5, 300
"""Seconds after which a device is to look again: soon where somebody may stand beside it, later seldom."""
_SLOWING = 20
"""What has waited for so many times as long is not asked for sooner."""


def new_requests() -> FailureBudget:
    """How many new requests one address may bring: a hundred at once, then six a minute.

    More than a person can compare; less than what fills a group's list in a minute.
    """
    return FailureBudget(burst=100, per_minute=6)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What exactly a person is asked."""

    request: Request
    group: EnrollmentGroup
    replaces: bool

    def wish(self, now: datetime) -> Approval:
        """The request, as it would be kept now."""
        request, name = self.request, self.group.name
        return Approval(
            id=approval_id(name, request.thing, request.key_hash, replaces=self.replaces),
            group=name,
            thing=request.thing,
            key_hash=request.key_hash,
            source=request.source,
            asked_at=now,
            expires_at=now + self.group.ask.wait,
            replaces=self.replaces,
        )

    def fits(self, found: Approval) -> bool:
        """Whether it is about this and nothing else: an id has 64 bits, which somebody may have matched."""
        own = found.is_of(self.group.name, self.request.thing, self.request.key_hash)
        return own and found.replaces == self.replaces


class AskMethod:
    """Implements ``ConditionMethod``."""

    def __init__(
        self,
        approvals: Approvals,
        clock: Clock,
        *,
        fleet: Fleet | None = None,
        budget: FailureBudget | None = None,
    ) -> None:
        """Without ``fleet``, a person who may replace a key is asked again once the claim has met that key.

        ``budget`` of each address for new requests; of each credential there, where one is shown.
        """
        self._approvals = approvals
        self._clock = clock
        self._fleet = fleet
        self._budget = budget or new_requests()

    async def met(self, applicant: Applicant, request: Request, group: EnrollmentGroup) -> Applicant:
        """Return whom a person approved: for this name, this key and this group only.

        Raises AwaitsApproval while nobody has decided, ApprovalRefused, ApprovalsFull where too many wait,
        Throttled where one address brings too many, NameNotPermitted; GroupClosed, and what an expired
        credential is called, where it would be a new request.
        """
        require_permitted(applicant, request, group)
        wanted = _Wanted(request, group, await self._replaces(request, group))
        found = await self._approved_before(wanted) or await self._find(wanted, applicant)
        if found.state is ApprovalState.REFUSED:
            raise ApprovalRefused
        if found.state is ApprovalState.PENDING:
            seconds = pause_after(self._clock.now() - found.asked_at)
            raise AwaitsApproval(seconds=seconds, approval=found.code, words=found.words)
        return confirmed(
            applicant,
            request,
            group,
            method=Method.ASK,
            account=TokenId(found.id),
            expires_at=found.expires_at,
            may_replace=found.replaces,
            details={"approval": found.id, "approvedBy": found.decided_by},
        )

    async def _replaces(self, request: Request, group: EnrollmentGroup) -> bool:
        if request.taken or group.taken is not TakenRule.PERSON or self._fleet is None:
            return request.taken
        there = await self._fleet.thing(request.thing)
        return there is not None and there.key_hash != request.key_hash

    async def _approved_before(self, wanted: _Wanted) -> Approval | None:
        """A replacement that a person approved, whose claim has given the name to this key by now.

        Its answer may be lost: that asks nobody once more.
        """
        if wanted.replaces or wanted.group.taken is not TakenRule.PERSON:
            return None
        replacing, now = replace(wanted, replaces=True), self._clock.now()
        found = await self._approvals.approval(replacing.wish(now).id)
        if found is None or found.expired(now) or not replacing.fits(found):
            return None
        return found if found.state is ApprovalState.APPROVED else None

    async def _find(self, wanted: _Wanted, applicant: Applicant) -> Approval:
        """The request that is there, or a new one; only that costs anything, and nobody is asked in vain."""
        now = self._clock.now()
        wish = wanted.wish(now)
        known = await self._approvals.approval(wish.id)
        if known is not None and not known.expired(now):
            return _own(wanted, known)
        require_fresh(applicant, now)
        self._budget.charge(_payer(wish, applicant), now)
        kept = await self._approvals.ask(wish, wanted.group.ask.pending, _asked(wish, applicant))
        return _own(wanted, kept)


def _own(wanted: _Wanted, found: Approval) -> Approval:
    """Raise ApprovalRefused for somebody else's request."""
    if not wanted.fits(found):
        raise ApprovalRefused
    return found


def _payer(wish: Approval, applicant: Applicant) -> str:
    """Whose new requests are counted together: whoever has shown something does not pay for strangers."""
    source = neighborhood(wish.source)
    return f"{source} {applicant.token}" if applicant.is_proved else source


def pause_after(waited: timedelta) -> int:
    """Seconds until a device should look again; it adds a jitter of its own."""
    return int(min(LATEST, max(SOONEST, waited.total_seconds() // _SLOWING)))


def _asked(wish: Approval, applicant: Applicant) -> AuditEvent:
    details = {"group": wish.group, "approval": wish.id, "code": wish.code, "keyHash": wish.key_hash}
    if wish.replaces:
        details["replaces"] = "yes"
    return AuditEvent(
        wish.asked_at, "approval.ask", "done", wish.thing, applicant.token, wish.source, details
    )
