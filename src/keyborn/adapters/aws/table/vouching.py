"""Signed checkpoints of the audit trail, and the key that signs them."""

from collections.abc import Sequence

from keyborn.adapters.aws.table import keys
from keyborn.adapters.aws.table.draft import Draft
from keyborn.adapters.aws.table.table import Table
from keyborn.adapters.aws.table.values import Item
from keyborn.domain.audit import ChainHead
from keyborn.domain.checkpoint import Checkpoint, Signed
from keyborn.domain.errors import AuditBroken


def add(table: Table, one: Checkpoint) -> None:
    """See ``Checkpoints.add_checkpoint``."""
    item = {"hash": one.head.hash, "at": keys.to_ms(one.at), "key": one.by.key, "signature": one.by.signature}
    table.put_new(keys.checkpoint(one.head.sequence), item)


def latest(table: Table) -> Checkpoint | None:
    """See ``Checkpoints.latest_checkpoint``."""
    item = table.last(keys.CHECKPOINTS)
    return None if item is None else _read(item)


def page(table: Table, after: int, limit: int) -> Sequence[Checkpoint]:
    """See ``Checkpoints.checkpoints``."""
    start = keys.checkpoint(after)[1] if after > 0 else ""
    return [_read(item) for item in table.query(keys.CHECKPOINTS, after=start, limit=limit)]


def make_key(draft: Draft, fresh: bytes, public: bytes, stamp: str) -> bytes:
    """Keep a private key and its public one, unless there is one; returns the private one that stands."""
    known = draft.peek(keys.NOTARY)
    if known is not None:
        return bytes(known["key"])
    draft.put(keys.NOTARY, {"key": fresh})
    draft.write((keys.NOTARIES, stamp), {"public": public})
    return fresh


def _read(item: Item) -> Checkpoint:
    sequence = int(item["sk"])
    try:
        by = Signed(item["key"], bytes(item["signature"]))
        return Checkpoint(ChainHead(sequence, item["hash"]), keys.from_ms(item["at"]), by)
    except (KeyError, TypeError):
        raise AuditBroken(sequence=sequence, detail="its checkpoint cannot be read") from None
