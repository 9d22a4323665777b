"""The audit trail: events lie unchained where their transactions put them, and one writer chains them.

Chaining inside every transaction would make the chain's end the one item that everybody writes. So an event
is put down with its effect, and whoever reads the trail, or the sweeper once a minute, appends what lies
there to the chain, in the order in which it was put down: by the clocks of the processes that did. Only one
of two writers at a time gets its piece in, on the condition that the chain still ends where it was read.
"""

from collections.abc import Sequence
from typing import Any

from keyborn.adapters.aws.calls import time_left
from keyborn.adapters.aws.table import items, keys
from keyborn.adapters.aws.table.draft import MOST_ITEMS, Key
from keyborn.adapters.aws.table.table import Table
from keyborn.adapters.aws.table.values import Item, to_wire
from keyborn.domain.audit import AuditEvent, AuditRecord, ChainHead, canonical, parse_event
from keyborn.domain.errors import AuditBroken, RegistryUnavailable

PIECE = (MOST_ITEMS - 1) // 2
"""Events that are chained in one transaction: each is put and taken away, and the end moves once."""
_ROUNDS = 1000
_OR_NONE = " OR attribute_not_exists(#sequence)"
"""The condition of the first piece: there is no end yet."""


def append(table: Table, event: AuditEvent) -> None:
    """See ``AuditTrail.append``."""
    table.put((keys.EVENTS, table.stamps.next()), {"event": canonical(event)})


def records(table: Table, after: int, limit: int) -> Sequence[AuditRecord]:
    """See ``AuditTrail.records``; what lies unchained is chained first."""
    if limit <= 0:
        return []
    chain(table)
    start = f"{after:012}" if after > 0 else ""
    return [items.audit_record(item) for item in table.query(keys.AUDIT, after=start, limit=limit)]


def chain(table: Table, rounds: int = _ROUNDS) -> ChainHead:
    """Append all that lies unchained, piece by piece; where the chain ends now.

    Raises RegistryUnavailable when the time of ``calls.within`` is over, what was chained stays so; and
    AuditBroken where a record would be written over: somebody set the chain's end back.
    """
    for _ in range(rounds):
        if time_left() <= 0:
            raise RegistryUnavailable(seconds=1)
        head = _head(table)  # first: as long as it stands, nobody has chained what is read after it
        waiting = list(table.query(keys.EVENTS, limit=PIECE))
        if not waiting:
            return head
        if not _append(table, head, waiting):  # whoever loses begins again behind the winner
            _require_room(table, head)
    return _head(table)


def _head(table: Table) -> ChainHead:
    item = table.get(keys.HEAD)
    return ChainHead() if item is None else ChainHead(item["sequence"], item["hash"])


def _append(table: Table, head: ChainHead, waiting: list[Item]) -> bool:
    """One piece, whole or not at all."""
    end, changes = head, []
    for item in waiting:
        record = end.extend(_event(item, end))
        end = ChainHead(record.sequence, record.hash)
        changes += [_put(table, record, item["event"]), _take(table, (item["pk"], item["sk"]))]
    return table.transact([*changes, _move(table, head, end)]) is None


def _require_room(table: Table, head: ChainHead) -> None:
    """Raises AuditBroken if there is a record behind the chain's end: end and records move together."""
    follower = table.get(keys.record(head.sequence + 1))
    if follower is not None and _head(table) == head:
        raise AuditBroken(
            sequence=head.sequence + 1,
            detail="it is there, but the chain's end lies before it, as if it had been set back",
        )


def _event(item: Item, end: ChainHead) -> AuditEvent:
    """Raises AuditBroken for what was not written by us: it is neither chained nor taken away."""
    try:
        return parse_event(item["event"])
    except (KeyError, ValueError):
        raise AuditBroken(
            sequence=end.sequence + 1, detail="an event that waits for it cannot be read"
        ) from None


def _put(table: Table, record: AuditRecord, event: str) -> dict[str, Any]:
    pk, sk = keys.record(record.sequence)
    item = {"pk": pk, "sk": sk, **items.audit_item(record, event)}
    where = {"ConditionExpression": "attribute_not_exists(#pk)", "ExpressionAttributeNames": {"#pk": "pk"}}
    return {"Put": {"TableName": table.name, "Item": to_wire(item), **where}}


def _take(table: Table, key: Key) -> dict[str, Any]:
    where = {"ConditionExpression": "attribute_exists(#pk)", "ExpressionAttributeNames": {"#pk": "pk"}}
    return {"Delete": {"TableName": table.name, "Key": to_wire({"pk": key[0], "sk": key[1]}), **where}}


def _move(table: Table, head: ChainHead, end: ChainHead) -> dict[str, Any]:
    pk, sk = keys.HEAD
    put = {
        "TableName": table.name,
        "Item": to_wire({"pk": pk, "sk": sk, "sequence": end.sequence, "hash": end.hash}),
        "ConditionExpression": "#sequence = :sequence" + _OR_NONE * (head.sequence == 0),
        "ExpressionAttributeNames": {"#sequence": "sequence"},
        "ExpressionAttributeValues": to_wire({":sequence": head.sequence}),
    }
    return {"Put": put}
