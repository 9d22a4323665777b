"""Signed checkpoints, one for a record at most."""

from keyborn.adapters.sql import rows
from keyborn.adapters.sql.session import Session
from keyborn.domain.audit import ChainHead
from keyborn.domain.checkpoint import Checkpoint, Signed

_CHECKPOINTS = "SELECT sequence, hash, at, key, signature FROM checkpoints "
LATEST = _CHECKPOINTS + "ORDER BY sequence DESC LIMIT 1"
PAGE = _CHECKPOINTS + "WHERE sequence > ? ORDER BY sequence LIMIT ?"


def add(session: Session, one: Checkpoint) -> None:
    """See ``Checkpoints.add_checkpoint``."""
    session.run(
        "INSERT INTO checkpoints (sequence, hash, at, key, signature) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (sequence) DO NOTHING",
        one.head.sequence,
        one.head.hash,
        rows.to_ms(one.at),
        one.by.key,
        one.by.signature,
    )


def checkpoint(row: rows.Row) -> Checkpoint:
    """Read the columns of LATEST and PAGE."""
    sequence, digest, at, key, signature = row
    return Checkpoint(ChainHead(sequence, digest), rows.from_ms(at), Signed(key, signature))
