"""Requests that wait for a person. What is asked and what was decided lie in partitions of their own.

So who enrols may ask, and nothing in the table that it may write says yes. A request lies in one list at a
time: deciding takes it out of the one that it was in. Only what is asked again after a decision has expired
lies beside that, and is the newer one of the two.

How many of a group wait is counted in one item, by the moments at which they expire: those that have, count
no more, and nobody has to come and say so.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import pairwise

from keyborn.adapters.aws.table import filing, grouped, keys
from keyborn.adapters.aws.table.draft import Draft, Key
from keyborn.adapters.aws.table.table import Table
from keyborn.adapters.aws.table.values import Item
from keyborn.domain.approval import Approval, ApprovalId, ApprovalState, admitted, approval_id, decided
from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import NotFound

Tally = tuple[tuple[int, int], ...]
"""When requests expire, in milliseconds since 1970 and growing, and how many do then."""

FINEST = 64
"""Moments that a tally keeps apart. Beyond that some requests count for a little longer than they wait."""
_ALL = 10**9

# ── one request ───────────────────────────────────────────────────────────────────────────────────────


def ask(draft: Draft, wish: Approval, most: int, event: AuditEvent) -> Approval:
    """See ``Approvals.ask``."""
    draft.need(*_places(wish.id), keys.tally(wish.group))
    known = _standing(draft, wish.id)
    tally = _running(draft, wish, wish.asked_at)
    kept = admitted(known, wish, sum(count for _, count in tally), most)
    if kept is not known:
        draft.put(keys.approval(ApprovalState.PENDING, wish.id), grouped.approval_item(wish))
        _keep_tally(draft, wish, joined(tally, keys.to_ms(wish.expires_at)))
        filing.tell(draft, event)
    return kept


def decide(
    draft: Draft, approval: ApprovalId, state: ApprovalState, until: datetime, event: AuditEvent
) -> Approval:
    """See ``Approvals.decide``. What is not what its id says, was not asked by a device: raises NotFound."""
    known = _standing(draft, approval)
    if known is None or _own_id(known) != approval:
        raise NotFound(what="approval", name=approval)
    kept = decided(known, state, until, event)
    if kept is known:
        return known
    if known.state is ApprovalState.PENDING:
        tally = _running(draft, known, event.at)
        _keep_tally(draft, known, left(tally, keys.to_ms(known.expires_at)))
    for other in ApprovalState:
        place = keys.approval(other, approval)
        if other is not state and draft.get(place) is not None:
            draft.void(place, event.at, relies=True)
    draft.put(keys.approval(state, approval), grouped.approval_item(kept))
    filing.tell(draft, event)
    return kept


def _own_id(known: Approval) -> ApprovalId:
    return approval_id(known.group, known.thing, known.key_hash, replaces=known.replaces)


def _standing(draft: Draft, approval: ApprovalId) -> Approval | None:
    """The request as it stands; nobody may have changed that when the draft is committed."""
    draft.need(*_places(approval))
    return _newest({place: draft.get(place) for place in _places(approval)})


def find(table: Table, approval: ApprovalId) -> Approval | None:
    """See ``Approvals.approval``."""
    return _newest(table.get_many(_places(approval)))


def _places(approval: ApprovalId) -> list[Key]:
    return [keys.approval(state, approval) for state in ApprovalState]


def _newest(found: Mapping[Key, Item | None]) -> Approval | None:
    """What was asked again after a decision had expired, is what counts."""
    states = {keys.APPROVALS[state]: state for state in ApprovalState}
    known = [grouped.approval(item, states[key[0]]) for key, item in found.items() if item is not None]
    return max(known, key=lambda one: (one.asked_at, one.state is ApprovalState.PENDING), default=None)


# ── all of them ───────────────────────────────────────────────────────────────────────────────────────


def page(table: Table, state: ApprovalState, after: ApprovalId | None, limit: int) -> list[Approval]:
    """See ``ApprovalList.approvals``."""
    found = table.query(keys.APPROVALS[state], after=after or "", limit=limit)
    return [grouped.approval(item, state) for item in found]


def forget(table: Table, before: datetime, limit: int) -> int:
    """See ``ApprovalList.forget_approvals``. DynamoDB does the same by itself (``grouped.KEPT``).

    Reads them all. Needs the permission to delete.
    """
    old = sorted(_expired(table, before))[:limit]
    for _, key, revision in old:
        table.delete_same(key, "rev", revision)
    return len(old)


def _expired(table: Table, before: datetime) -> Iterator[tuple[int, Key, str]]:
    for partition in keys.APPROVALS.values():
        for item in table.query(partition, limit=_ALL):
            if item["expiresAt"] < keys.to_ms(before):
                yield item["expiresAt"], (partition, item["sk"]), item["rev"]


# ── how many wait ─────────────────────────────────────────────────────────────────────────────────────


def _running(draft: Draft, one: Approval, at: datetime) -> Tally:
    """The tally of a request's group, without what has expired."""
    item = draft.get(keys.tally(one.group))
    kept = () if item is None else item["expiries"]
    return tuple((until, count) for until, count in kept if until > keys.to_ms(at))


def _keep_tally(draft: Draft, one: Approval, tally: Tally) -> None:
    draft.put(keys.tally(one.group), {"expiries": [list(entry) for entry in tally]})


def joined(tally: Tally, until: int) -> Tally:
    """With one more; where there are too many moments the nearest two become one, the later."""
    counts = dict(tally)
    counts[until] = counts.get(until, 0) + 1
    moments = sorted(counts)
    if len(moments) > FINEST:
        first, second = min(pairwise(moments), key=lambda two: two[1] - two[0])
        counts[second] += counts.pop(first)
    return tuple(sorted(counts.items()))


def left(tally: Tally, until: int) -> Tally:
    """With one less: the one that expires then, or was put together with later ones."""
    counts = dict(tally)
    moment = next((each for each in sorted(counts) if each >= until), None)
    if moment is not None:
        counts[moment] -= 1
    return tuple(entry for entry in sorted(counts.items()) if entry[1] > 0)
