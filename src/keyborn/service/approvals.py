"""The operator's decisions about requests that wait: look, approve, refuse, and forget what is long over."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from keyborn.domain.approval import Approval, ApprovalId, ApprovalState, code_prefix, same_words
from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import ApprovalAmbiguous, InvalidSetting, KeyWordsDiffer, NotFound
from keyborn.ports import ApprovalList, Approvals, Clock

MAX_REASON = 256
KEPT = timedelta(days=7)
"""For how long what has expired can still be looked at."""
_MOST_OF_A_CODE = 16
"""Ids that are looked at for one code: two of one request, and whatever collides in 40 bits."""


class ApprovalOffice:
    """Shows requests, and decides about them in an operator's name."""

    def __init__(self, *, approvals: Approvals, listing: ApprovalList, clock: Clock) -> None:
        self._approvals = approvals
        self._listing = listing
        self._clock = clock

    async def page(
        self, state: ApprovalState, *, after: ApprovalId | None = None, limit: int = 100
    ) -> Sequence[Approval]:
        """A page of requests, by id; those that have expired may be among them."""
        return await self._listing.approvals(state, after=after, limit=limit)

    async def find(self, word: str) -> Approval:
        """The request of this id or code; an open one where a code has several.

        Raises NotFound, and ApprovalAmbiguous where several are open.
        """
        found = await self._approvals.approval(ApprovalId(word))
        if found is not None:
            return found
        prefix = code_prefix(word)
        known = [] if prefix is None else await self._of_code(prefix)
        if not known:
            raise NotFound(what="approval", name=ascii(word[:64]))
        opened = [one for one in known if one.waits(self._clock.now())]
        if len(opened) > 1:
            raise ApprovalAmbiguous(approval=opened[0].code, ids=", ".join(map(_told_apart, opened)))
        return opened[0] if opened else max(known, key=_touched)

    async def say_yes(self, word: str, *, words: str | None = None, actor: str = "operator") -> Approval:
        """Let this name have this key; good for as long as a request waits.

        ``words`` as the device shows them, for a check. Raises KeyWordsDiffer, NotFound, ApprovalAmbiguous.
        """
        found = await self.find(word)
        if words is not None and not same_words(words, found.key_hash):
            raise KeyWordsDiffer(words=found.words)
        return await self._decide(found, ApprovalState.APPROVED, actor, {})

    async def say_no(self, word: str, *, reason: str = "", actor: str = "operator") -> Approval:
        """Say no, or take an approval back before it is used. Raises NotFound, ApprovalAmbiguous.

        ``reason`` is for the audit trail; the device is not told.
        """
        if len(reason) > MAX_REASON or not reason.isprintable():
            detail = f"it takes at most {MAX_REASON} printable characters, on one line"
            raise InvalidSetting(setting="--reason", detail=detail)
        found = await self.find(word)
        return await self._decide(found, ApprovalState.REFUSED, actor, {"reason": reason} if reason else {})

    async def _decide(
        self, found: Approval, state: ApprovalState, actor: str, said: dict[str, str]
    ) -> Approval:
        now = self._clock.now()
        verb = "approve" if state is ApprovalState.APPROVED else "refuse"
        details = {
            "group": found.group,
            "approval": found.id,
            "code": found.code,
            "keyHash": found.key_hash,
            **({"replaces": "yes"} if found.replaces else {}),
            **said,
        }
        event = AuditEvent(now, f"approval.{verb}", "done", found.thing, actor, details=details)
        waits = found.expires_at - (found.decided_at or found.asked_at)
        return await self._approvals.decide(found.id, state, now + waits, event)

    async def _of_code(self, prefix: ApprovalId) -> list[Approval]:
        """Ids that begin with the prefix come right after it."""
        found: list[Approval] = []
        for state in ApprovalState:
            page = await self._listing.approvals(state, after=prefix, limit=_MOST_OF_A_CODE)
            found += [one for one in page if one.id.startswith(prefix)]
        return found


class ApprovalSweeper:
    """Forgets requests and decisions that expired long ago."""

    def __init__(self, *, listing: ApprovalList, clock: Clock, kept: timedelta = KEPT) -> None:
        self._listing = listing
        self._clock = clock
        self._kept = kept

    async def sweep(self) -> int:
        """Forget what is overdue; returns how many that were."""
        return await self._listing.forget_approvals(before=self._clock.now() - self._kept)


def _told_apart(one: Approval) -> str:
    """One key may ask twice: before its name was taken by another, and after."""
    return f"{one.id} ({one.thing}, {'replaces a key' if one.replaces else 'replaces no key'})"


def _touched(one: Approval) -> datetime:
    return one.decided_at or one.asked_at
