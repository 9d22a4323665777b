"""``keyborn audit``: what was decided, and the proof that nobody rewrote it."""

import re
from datetime import datetime
from typing import Any

import click

from keyborn.cli.desk import Desk, desk_options, pages
from keyborn.cli.device import printable
from keyborn.cli.groups import Group
from keyborn.cli.output import json_option, show, table
from keyborn.domain.audit import AuditEvent, AuditRecord

_HASH = re.compile("[0-9a-f]{64}")


@click.group(cls=Group)
def audit() -> None:
    """The audit trail.

    Example: keyborn audit show
    """


@audit.command("show")
@click.option("--last", type=click.IntRange(1), help="Only so many of the newest records.")
@desk_options
@json_option
def show_records(*, last: int | None, desk: Desk, as_json: bool) -> None:
    """Show what was decided, oldest first.

    Example: keyborn audit show --last 20
    """
    rows = list(pages(desk, "/v1/audit", "sequence"))
    rows = rows[-last:] if last else rows
    if not as_json:
        rows = [row | {"details": _told(row["details"])} for row in rows]
    columns = ["sequence", "at", "action", "outcome", "subject", "actor", "source", "details"]
    table(rows, columns, as_json=as_json, empty="Nothing has been decided yet.")


@audit.command("verify")
@desk_options
@json_option
def verify_chain(*, desk: Desk, as_json: bool) -> None:
    """Check the hash chain from the first record to the last.

    Example: keyborn audit verify

    Example: keyborn audit verify --aws keyborn
    """
    from keyborn.domain.audit import verify

    records = [_record(row) for row in pages(desk, "/v1/audit", "sequence")]
    head = verify(records)
    show({"records": head.sequence, "head": head.hash, "chain": "unbroken"}, as_json=as_json)


def _told(details: dict[str, str]) -> str:
    """What was ordered and why, on one line; of an id or a hash its beginning. ``--json`` has all of it."""
    short = {name: f"{value[:12]}…" if _HASH.fullmatch(value) else value for name, value in details.items()}
    return printable(", ".join(f"{name}: {value}" for name, value in short.items()))


def _record(row: dict[str, Any]) -> AuditRecord:
    event = AuditEvent(
        at=datetime.fromisoformat(row["at"]),
        action=row["action"],
        outcome=row["outcome"],
        subject=row["subject"],
        actor=row["actor"],
        source=row["source"],
        details=row["details"],
    )
    return AuditRecord(row["sequence"], event, row["previous"], row["hash"])
