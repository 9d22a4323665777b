"""What must never be undone, as the registry's table has it; and doing it again after a restore."""

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime

from keyborn.adapters.sql import ending, rows
from keyborn.adapters.sql.session import Session
from keyborn.domain.names import ThingName, fold_name
from keyborn.domain.revocation import ENDS, Act
from keyborn.domain.thing import ThingStatus

_ACTS = (
    "SELECT sequence, at, what, id, coalesce(of, '') FROM revocations WHERE sequence > ? "
    "ORDER BY sequence LIMIT ?"
)
_UNKNOWN = (
    "INSERT OR IGNORE INTO things (name, folded, status, key_hash, created_at, attributes, kind) "
    "VALUES (?, ?, ?, ?, ?, '{}', ?)"
)
"""A name that differs from another one by case alone is as good as taken already."""


def standing(connection: sqlite3.Connection) -> tuple[str, int]:
    """The registry's lineage, and the number of its last act. Raises sqlite3.Error."""
    [(lineage, last)] = connection.execute(
        "SELECT id, (SELECT coalesce(max(sequence), 0) FROM revocations) FROM lineage"
    ).fetchall()
    return lineage, last


def acts(connection: sqlite3.Connection, *, after: int = 0, limit: int = -1) -> list[Act]:
    """Acts in their order; a ``limit`` of -1 is none. Raises sqlite3.Error."""
    return [Act(*row) for row in connection.execute(_ACTS, (after, limit)).fetchall()]


def catch_up(session: Session, missed: Sequence[Act]) -> None:
    """Do again what was done after a backup, in one transaction; ``missed`` continues the table.

    Whoever was suspended and let go again since stays as the backup has it.
    """
    [(last,)] = session.all("SELECT coalesce(max(sequence), 0) FROM revocations")
    suspended = {act.id: act.what == "suspended" for act in missed if act.what in ("suspended", "resumed")}
    for act in missed:
        _do(session, act)
    for name in (name for name, still in suspended.items() if still):
        _suspend(session, name)
    session.run("DELETE FROM revocations WHERE sequence > ?", last)  # the triggers' own; these are they:
    session.many(
        "INSERT INTO revocations (sequence, at, what, id, of) VALUES (?, ?, ?, ?, ?)",
        [(act.sequence, act.at, act.what, act.id, act.of or None) for act in missed],
    )
    numbered = max([last, *(act.sequence for act in missed)])
    session.run("UPDATE sqlite_sequence SET seq = ? WHERE name = 'revocations'", numbered)


def void_tokens(session: Session, at: datetime) -> int:
    """Withdraw every token that is open: uses that were taken after a backup are not known. How many."""
    return session.run("UPDATE tokens SET withdrawn_at = ? WHERE withdrawn_at IS NULL", rows.to_ms(at))


def begin_lineage(session: Session, lineage: str) -> None:
    """From here on this registry and the one that it was copied from have nothing in common."""
    session.run("UPDATE lineage SET id = ?", lineage)


def _do(session: Session, act: Act) -> None:
    if act.what in ENDS:
        _end(session, act, ThingStatus(ENDS[act.what]))
        return
    for statement, values in _statements(act):
        session.run(statement, *values)


def _statements(act: Act) -> Iterable[tuple[str, tuple[object, ...]]]:
    match act.what:
        case "key":
            yield (
                "INSERT INTO key_tombstones (key_hash, thing, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (act.id, act.of, act.at),
            )
        case "certificate":
            yield "DELETE FROM attachments WHERE certificate = ?", (act.id,)
            yield "UPDATE certificates SET status = 'revoked' WHERE id = ?", (act.id,)
        case "token" | "api-key":
            table = "tokens" if act.what == "token" else "api_keys"
            ended = f"UPDATE {table} SET withdrawn_at = ? WHERE id = ? AND withdrawn_at IS NULL"  # noqa: S608
            yield ended, (act.at, act.id)
        case "unregistered":
            yield "DELETE FROM registered WHERE key_hash = ?", (act.id,)


def _end(session: Session, act: Act, status: ThingStatus) -> None:
    """Take a name away, also one that came after the backup: nobody may have it by being first again."""
    kind = act.what.partition("-")[0]
    name = ThingName(act.id)
    session.run(_UNKNOWN, name, fold_name(name), status.value, act.of, act.at, kind)
    row = session.one(rows.THINGS + "WHERE name = ?", name)
    if row is not None:
        thing = rows.thing(row)
        ending.end(session, thing, status, rows.from_ms(act.at))
        session.run("UPDATE things SET status = ? WHERE name = ?", status.value, name)


def _suspend(session: Session, name: str) -> None:
    barred = session.run(
        "UPDATE things SET status = 'suspended' WHERE name = ? AND status IN ('claimed', 'active')", name
    )
    if barred:
        session.run(
            "UPDATE certificates SET status = 'inactive' WHERE status = 'active' AND id IN "
            "(SELECT certificate FROM attachments WHERE thing = ?)",
            name,
        )
