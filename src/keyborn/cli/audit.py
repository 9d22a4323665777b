"""``keyborn audit``: what was decided, and the proof that nobody rewrote it."""

import re
from collections import deque
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keyborn.cli.audit_export import export_records, verify_file
from keyborn.cli.desk import Desk, desk_options, pages
from keyborn.cli.device import printable
from keyborn.cli.groups import Group
from keyborn.cli.output import json_option, show, table
from keyborn.cli.token import Duration
from keyborn.domain.audit import AuditEvent, AuditRecord

if TYPE_CHECKING:
    from keyborn.domain.checkpoint import Checkpoint, NotedHead, TrailCheck

_HASH = re.compile("[0-9a-f]{64}")


class Since(click.ParamType[datetime]):
    """``2h`` ago, or a moment: ``2026-11-23``, ``2026-11-23T12:00:00Z``."""

    name = "since"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The moment, aware; UTC where it does not say."""
        if isinstance(value, datetime):
            return value
        text = str(value)
        if re.fullmatch(r"[0-9]+[smhd]", text, re.ASCII):
            return datetime.now(UTC) - timedelta(seconds=Duration().convert(text, param, ctx))
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            self.fail("takes a span such as 2h or 7d, or a moment such as 2026-11-23T12:00:00Z", param, ctx)
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


class Fingerprint(click.ParamType[str]):
    """A key's SHA-256 in hex; colons and capitals do not matter."""

    name = "fingerprint"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Lower-case hex."""
        text = str(value).replace(":", "").lower()
        if _HASH.fullmatch(text) is None:
            self.fail("takes 64 hex digits, as `keyborn audit verify` prints them", param, ctx)
        return text


@click.group(cls=Group)
def audit() -> None:
    """The audit trail.

    Example: keyborn audit show
    """


audit.add_command(export_records)


@audit.command("show")
@click.option("--last", type=click.IntRange(1), help="Only so many of the newest records.")
@click.option("--thing", metavar="NAME", help="Only what is about this thing.")
@click.option("--action", metavar="ACTION", help="Only this action, such as enroll; token is all token.….")
@click.option("--outcome", metavar="CODE", help="Only done, one code, or `refused`: whatever was not done.")
@click.option(
    "--since", type=Since(), metavar="WHEN", help="Only what came later: 2h, 7d, 2026-11-23T12:00Z."
)
@desk_options
@json_option
def show_records(  # one parameter per option
    *,
    last: int | None,
    thing: str | None,
    action: str | None,
    outcome: str | None,
    since: datetime | None,
    desk: Desk,
    as_json: bool,
) -> None:
    """Show what was decided, oldest first.

    Example: keyborn audit show --last 20

    Example: keyborn audit show --thing sensor-1 --outcome refused --since 7d
    """
    every = pages(desk, "/v1/audit", "sequence")
    found = (row for row in every if _about(row, thing) and _did(row, action) and _came_to(row, outcome))
    rows = list(deque((row for row in found if since is None or _at(row) >= since), maxlen=last))
    if not as_json:
        rows = [row | {"details": _told(row["details"])} for row in rows]
    columns = ["sequence", "at", "action", "outcome", "subject", "actor", "source", "details"]
    narrowed = any((thing, action, outcome, since))
    empty = "Nothing of that kind has been decided." if narrowed else "Nothing has been decided yet."
    table(rows, columns, as_json=as_json, empty=empty)


@audit.command("verify")
@click.argument(
    "file", required=False, metavar="[FILE]", type=click.Path(dir_okay=False, path_type=Path, allow_dash=True)
)
@click.option(
    "--expect", metavar="HEAD", help="What must be in it: SEQUENCE:HASH, noted from an earlier time."
)
@click.option("--key", type=Fingerprint(), help="The SHA-256 of the key that must have signed it.")
@desk_options
@json_option
def verify_chain(
    *, file: Path | None, expect: str | None, key: str | None, desk: Desk, as_json: bool
) -> None:
    """Check the audit trail of the service, or of an exported FILE alone.

    Of the service: the hash chain from the first record to the last, and the signature of every checkpoint.
    Of a file: every byte of it; nobody else is asked.

    Example: keyborn audit verify

    Example: keyborn audit verify --expect 12:3f1c…

    Example: keyborn audit verify audit.jsonl --key 9a0b…

    Example: keyborn audit verify --aws keyborn
    """
    from keyborn.domain.checkpoint import NotedHead

    noted = None if expect is None else NotedHead.parse(expect)
    if file is not None:
        verify_file(file, key, noted, as_json=as_json)
        return
    show(_verified(desk, key, noted), as_json=as_json)


def _verified(desk: Desk, key: str | None, noted: "NotedHead | None") -> dict[str, Any]:
    """What there is to tell of the service's trail; raises AuditBroken, AuditHeadMissing, AuditKeyDiffers."""
    from keyborn.domain.checkpoint import TrailCheck, ring
    from keyborn.domain.errors import AuditKeyDiffers

    told = desk.ask("GET", "/v1/audit/keys")
    keys = ring(bytes.fromhex(one) for one in told["keys"])
    check = TrailCheck(told["service"], keys, noted=noted)
    latest = _walk(desk, check)
    if key not in (None, check.signer):
        raise AuditKeyDiffers(found=check.signer or "none", wanted=key)
    return {
        "records": check.head.sequence,
        "head": check.head.hash,
        "chain": "unbroken",
        "checkpoints": check.checkpoints,
        "signedUpTo": latest,
        "key": check.signer,
        "expect": str(check.head),
    }


def _walk(desk: Desk, check: "TrailCheck") -> int:
    """Check everything; the record of the latest checkpoint. Records come after what speaks of them.

    The service goes on meanwhile: a checkpoint that was read is about a record that is there by then.
    """
    records, latest = _Records(desk), 0
    for row in pages(desk, "/v1/audit/checkpoints", "sequence"):
        latest = row["sequence"]
        while check.head.sequence < latest and (record := records.next()) is not None:
            check.record(record)
        check.checkpoint(_checkpoint(row))
    while (record := records.next()) is not None:
        check.record(record)
    check.end()
    return latest


class _Records:
    """The records one by one, asked for by the page."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._page: deque[AuditRecord] = deque()
        self._after = 0

    def next(self) -> AuditRecord | None:
        """The next one, or None where there is none now."""
        if not self._page:
            rows = self._desk.ask("GET", "/v1/audit", after=self._after, limit=1000)
            self._page.extend(_record(row) for row in rows)
        if not self._page:
            return None
        record = self._page.popleft()
        self._after = record.sequence
        return record


def _about(row: dict[str, Any], thing: str | None) -> bool:
    return thing is None or thing == row["subject"] or thing in row["details"].values()


def _did(row: dict[str, Any], action: str | None) -> bool:
    return action is None or f"{row['action']}.".startswith(f"{action}.")


def _came_to(row: dict[str, Any], outcome: str | None) -> bool:
    if outcome == "refused":
        return bool(row["outcome"] != "done")
    return outcome is None or outcome == row["outcome"]


def _at(row: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(row["at"])


def _told(details: dict[str, str]) -> str:
    """What was ordered and why, on one line; of an id or a hash its beginning. ``--json`` has all of it."""
    short = {name: f"{value[:12]}…" if _HASH.fullmatch(value) else value for name, value in details.items()}
    return printable(", ".join(f"{name}: {value}" for name, value in short.items()))


def _record(row: dict[str, Any]) -> AuditRecord:
    event = AuditEvent(
        at=_at(row),
        action=row["action"],
        outcome=row["outcome"],
        subject=row["subject"],
        actor=row["actor"],
        source=row["source"],
        details=row["details"],
    )
    return AuditRecord(row["sequence"], event, row["previous"], row["hash"])


def _checkpoint(row: dict[str, Any]) -> "Checkpoint":
    from keyborn.domain.audit import ChainHead
    from keyborn.domain.checkpoint import Checkpoint, Signed

    by = Signed(row["key"], bytes.fromhex(row["signature"]))
    return Checkpoint(ChainHead(row["sequence"], row["hash"]), _at(row), by)
