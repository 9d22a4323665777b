"""Pruning: what is due is looked up past the writer, and removed by the writer, which looks again.

One step looks at so many records and says where the next one goes on. First come certificates, by their end;
then redemptions, in their table's own order, for an index of them by token would cost every enrolment; then
requests for approval.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from keyborn.adapters.sql import grouping
from keyborn.adapters.sql.reads import Ask
from keyborn.adapters.sql.session import Session
from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import InvalidSetting
from keyborn.domain.pruning import Pruned, told

_OF_NO_USE = (
    "NOT EXISTS (SELECT 1 FROM attachments a WHERE a.certificate = certificates.id)"
    " AND NOT EXISTS (SELECT 1 FROM intents i WHERE i.id = certificates.intent)"
)
ENDED = (
    f"SELECT not_after, number, {_OF_NO_USE} FROM certificates "  # noqa: S608 - constants
    "WHERE (not_after, number) > (?, ?) AND not_after < ? ORDER BY not_after, number LIMIT ?"
)
REMOVE_CERTIFICATE = f"DELETE FROM certificates WHERE number = ? AND not_after < ? AND {_OF_NO_USE}"  # noqa: S608
_SPENT = (
    "EXISTS (SELECT 1 FROM tokens t WHERE t.id = redemptions.token AND t.expires_at < ?)"
    " AND NOT EXISTS (SELECT 1 FROM intents i WHERE i.id = redemptions.intent)"
)
REDEEMED = (
    f"SELECT thing, key_hash, token, {_SPENT} FROM redemptions "  # noqa: S608
    "WHERE (thing, key_hash, token) > (?, ?, ?) ORDER BY thing, key_hash, token LIMIT ?"
)
REMOVE_REDEMPTION = f"DELETE FROM redemptions WHERE thing = ? AND key_hash = ? AND token = ? AND {_SPENT}"  # noqa: S608
EXPIRED = "SELECT count(*) FROM (SELECT 1 FROM approvals WHERE expires_at < ? LIMIT ?)"
_CERTIFICATES, _REDEMPTIONS, _APPROVALS = "certificates", "redemptions", "approvals"


@dataclass(frozen=True, slots=True)
class Step:
    """What one step has looked up: what is due, and where the next step begins."""

    before: int
    """Milliseconds."""
    limit: int
    certificates: Sequence[int] = ()
    redemptions: Sequence[tuple[str, str, str]] = ()
    approvals: int = 0
    after: str | None = field(default=None)

    @property
    def due(self) -> Pruned:
        """As counts."""
        return Pruned(len(self.certificates), len(self.redemptions), self.approvals, self.after)


def look(ask: Ask, before: int, after: str | None, limit: int) -> Step:
    """The next step; raises InvalidSetting for a place that no step named."""
    table, *place = _place(after)
    if table == _CERTIFICATES:
        return _certificates(ask, before, place, limit)
    if table == _REDEMPTIONS:
        return _redemptions(ask, before, place, limit)
    ((expired,),) = ask(EXPIRED, before, limit)
    return Step(before, limit, approvals=expired, after=_mark(_APPROVALS) if expired == limit else None)


def _certificates(ask: Ask, before: int, place: Sequence[object], limit: int) -> Step:
    found = ask(ENDED, *place, before, limit)
    gone = [number for _, number, of_no_use in found if of_no_use]
    after = _mark(_CERTIFICATES, *found[-1][:2]) if len(found) == limit else _mark(_REDEMPTIONS, "", "", "")
    return Step(before, limit, certificates=gone, after=after)


def _redemptions(ask: Ask, before: int, place: Sequence[object], limit: int) -> Step:
    found = ask(REDEEMED, before, *place, limit)
    gone = [(thing, key, token) for thing, key, token, spent in found if spent]
    after = _mark(_REDEMPTIONS, *found[-1][:3]) if len(found) == limit else _mark(_APPROVALS)
    return Step(before, limit, redemptions=gone, after=after)


def remove(session: Session, step: Step, event: AuditEvent) -> Pruned:
    """See ``Pruning.prune``: what has come into use since it was looked up, stays."""
    certificates = [session.run(REMOVE_CERTIFICATE, number, step.before) for number in step.certificates]
    redemptions = [session.run(REMOVE_REDEMPTION, *one, step.before) for one in step.redemptions]
    approvals = session.run(grouping.FORGET, step.before, step.limit) if step.approvals else 0
    pruned = replace(
        step.due, certificates=sum(certificates), redemptions=sum(redemptions), approvals=approvals
    )
    if pruned.total:
        session.chain(told(event, pruned))
    return pruned


_SHAPES = {_CERTIFICATES: (int, int), _REDEMPTIONS: (str, str, str), _APPROVALS: ()}


def _mark(table: str, *place: object) -> str:
    return json.dumps([table, *place], separators=(",", ":"))


def _fits(value: str | int) -> bool:
    """Whether SQLite can take it: 64 bits, and no half of a surrogate pair."""
    return value.isprintable() if isinstance(value, str) else abs(value) < 1 << 63


def _place(after: str | None) -> list[object]:
    """Read what ``_mark`` wrote."""
    if after is None:
        return [_CERTIFICATES, 0, 0]
    try:
        table, *place = json.loads(after)
        shape = _SHAPES[table]
        known = tuple(map(type, place)) == shape and all(map(_fits, place))
    except (ValueError, KeyError, TypeError, RecursionError):
        known = False
    if not known:
        raise InvalidSetting(setting="after", detail="it takes what the step before said")
    return [table, *place]
