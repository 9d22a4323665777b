"""``keyborn registered``: keys that are announced before their devices come."""

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import click

from keyborn.cli.console import place
from keyborn.cli.desk import Desk, desk_options, pages
from keyborn.cli.groups import Group
from keyborn.cli.key_list import Bad, Checklist, KeyList, Row, batches
from keyborn.cli.output import json_option, show
from keyborn.cli.progress import Progress
from keyborn.domain.errors import ImportIncomplete, ImportRefused, ImportStopped, OperatorError
from keyborn.domain.names import parse_key_hash

_SHOWN = 50
"""Of lines that could not be imported, so many are named."""
_HASH = re.compile(r"[0-9A-Fa-f]{64}")

group_option = click.option("--group", metavar="GROUP", required=True, help="The enrolment group.")


@click.group(cls=Group)
def registered() -> None:
    """Keys that are announced before their devices come: name and key hash, in a group.

    Example: keyborn registered import devices.csv --group line-7
    """


@registered.command("import")
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@group_option
@click.option("--keep-going", is_flag=True, help="Import the rest where lines cannot be imported.")
@click.option("--from-key", metavar="HASH", default="", help="Leave out the keys before this hash.")
@desk_options
@json_option
def import_keys(  # one parameter per option
    *, file: str, group: str, keep_going: bool, from_key: str, desk: Desk, as_json: bool
) -> None:
    """Announce the keys that FILE lists; `-` is standard input.

    FILE is CSV with the heading name,keyHash, or has one JSON object with these members on each line. The
    whole list is looked through first: unless --keep-going is given, nothing is announced where a line is not
    in order, or a key or a name stands there twice.

    Then a thousand keys at a time are announced in one step, in the order of their hashes, and announcing one
    again changes nothing. So an import that was interrupted, at whatever moment, goes on where the same
    command is given again: what is there is gone over quickly. --from-key leaves out even that.

    Example: keyborn registered import devices.csv --group line-7
    """
    beginning = parse_key_hash(from_key) if from_key else ""
    progress = Progress(quiet=as_json)
    shown = "standard input" if file == "-" else file
    begun = time.monotonic()
    with _opened(file) as opened, Checklist() as checklist:
        _check(checklist, KeyList(opened, shown), progress, _size(opened))
        if checklist.bad and not keep_going:
            raise ImportRefused(file=shown, count=checklist.bad)
        sender = _Sender(desk, group, shown, progress, checklist.good)
        sender.send(checklist.sound(beginning))
    report = sender.report | {"leftOut": checklist.bad, "seconds": round(time.monotonic() - begun, 1)}
    show({"file": shown, "group": group, **report}, as_json=as_json)
    if left := report["refused"] + checklist.bad:
        raise ImportIncomplete(left=left, file=shown)


@registered.command("list")
@group_option
@desk_options
@json_option
def list_registered(*, group: str, desk: Desk, as_json: bool) -> None:
    """Show the keys of a group, by hash: hash and name on each line.

    Example: keyborn registered list --group line-7
    """
    rows = pages(desk, "/v1/registered", "keyHash", group=group)
    if as_json:
        _stream_json(rows)
        return
    none = True
    for row in rows:
        none = False
        click.echo(f"{row['keyHash']}  {row['thingName']}")
    if none:
        click.echo(f"No keys are registered in {group}.", err=True)


@registered.command("show")
@click.argument("what", metavar="NAME|HASH")
@click.option("--group", metavar="GROUP", help="The enrolment group; goes with a name.")
@desk_options
@json_option
def show_registered(*, what: str, group: str | None, desk: Desk, as_json: bool) -> None:
    """Show what is registered for a key, or for a name in a group.

    Example: keyborn registered show sensor-1 --group line-7
    """
    for row in _found(desk, what, group):
        show(row, as_json=as_json)


@registered.command()
@click.argument("what", metavar="NAME|HASH")
@click.option("--group", metavar="GROUP", help="The enrolment group; goes with a name.")
@desk_options
@json_option
def remove(*, what: str, group: str | None, desk: Desk, as_json: bool) -> None:
    """Take an announcement back. What has enrolled with it, stays enrolled: see `keyborn thing revoke`.

    Example: keyborn registered remove sensor-1 --group line-7
    """
    for row in _found(desk, what, group):
        show(desk.ask("DELETE", f"/v1/registered/{place(row['keyHash'])}"), as_json=as_json)


class _Sender:
    """Announces the rows of a list, batch by batch, and counts."""

    def __init__(self, desk: Desk, group: str, shown: str, progress: Progress, total: int) -> None:
        self._desk = desk
        self._group = group
        self._shown = shown
        self._progress = progress
        self._total = total
        self.report: dict[str, Any] = {"rows": 0, "added": 0, "known": 0, "refused": 0}

    def send(self, rows: Iterator[Row]) -> None:
        """All of them; raises ImportStopped, with the key to go on at."""
        self._progress.begin()
        for batch in batches(rows):
            self._announce(batch)
            self._progress.say("Registering", self.report["rows"], self._total)
        self._progress.end()

    def _announce(self, batch: list[Row]) -> None:
        first = batch[0].key
        keys = [[row.thing, row.key] for row in batch]
        try:
            done = self._desk.ask("POST", "/v1/registered", {"group": self._group, "keys": keys})
        except OperatorError as wrong:
            self._progress.end()
            if not self.report["rows"]:
                raise
            raise ImportStopped(key=first, file=self._shown, reason=str(wrong)) from None
        except KeyboardInterrupt:
            self._progress.end()
            click.echo(str(ImportStopped(key=first, file=self._shown, reason="Interrupted.")), err=True)
            raise
        self._count(batch, done)

    def _count(self, batch: list[Row], done: dict[str, Any]) -> None:
        lines = {row.key: row.line for row in batch}
        self.report["rows"] += len(batch)
        for name in ("added", "known"):
            self.report[name] += done[name]
        for row in done["refused"]:
            self.report["refused"] += 1
            if self.report["refused"] <= _SHOWN:
                detail = f"the key {row['keyHash'][:12]}… is registered for another name or group already"
                _tell(Bad(lines[row["keyHash"]], detail))


def _check(checklist: Checklist, listed: KeyList, progress: Progress, size: int) -> None:
    """The whole list, before anything is announced; the first lines that are not in order are named."""

    def _told(bad: Bad) -> None:
        if checklist.bad <= _SHOWN:
            progress.end()
            _tell(bad)

    progress.begin()
    checklist.check(listed.rows(), _told, lambda rows: progress.say("Checking", listed.read, size, rows))
    progress.end()
    if checklist.bad > _SHOWN:
        click.echo(f"… and {checklist.bad - _SHOWN} more", err=True)


def _tell(bad: Bad) -> None:
    from keyborn.cli.device import printable

    click.echo(printable(f"line {bad.line}: {bad.detail}"), err=True)


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    """The file, or standard input."""
    if file != "-":
        with Path(file).open("rb") as opened:
            yield opened
        return
    if sys.stdin is None:
        raise click.UsageError("Standard input is closed; `-` reads from it.")
    yield sys.stdin.buffer


def _size(file: BinaryIO) -> int:
    """In bytes; 0 where nobody knows."""
    return os.fstat(file.fileno()).st_size if file.seekable() else 0


def _found(desk: Desk, what: str, group: str | None) -> list[dict[str, Any]]:
    if _HASH.fullmatch(what):
        return [desk.ask("GET", f"/v1/registered/{what.lower()}")]
    if group is None:
        raise click.UsageError("A name goes with --group GROUP; a key hash has 64 hexadecimal digits.")
    rows: list[dict[str, Any]] = desk.ask("GET", "/v1/registered", group=group, name=what)
    return rows


def _stream_json(rows: Iterator[dict[str, Any]]) -> None:
    """One array, however many there are."""
    before = "["
    for row in rows:
        click.echo(f"{before}{json.dumps(row)}", nl=False)
        before = ",\n"
    click.echo("[]" if before == "[" else "]")
