"""``keyborn audit export`` and ``keyborn audit verify FILE``: a trail leaves the service with its proof."""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import click

from keyborn.cli.console import Refused
from keyborn.cli.desk import Desk, Fetching, desk_options
from keyborn.cli.device import printable
from keyborn.cli.output import json_option, show
from keyborn.domain.errors import ExportBroken

if TYPE_CHECKING:
    from keyborn.domain.audit_export import ExportReport
    from keyborn.domain.checkpoint import NotedHead

STDIO = Path("-")
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PRIVATE = 0o600
_BEAT = 0.5
"""Seconds between two words of progress on a terminal."""
_MANY = 100_000
"""Lines between two words of progress elsewhere."""


@click.command("export")
@click.argument(
    "file",
    default="-",
    metavar="[FILE]",
    type=click.Path(dir_okay=False, path_type=Path, allow_dash=True),
)
@click.option("--after", type=click.IntRange(0), default=0, help="Only what comes behind this record.")
@click.option(
    "--passphrase-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="First line: the passphrase of the authority's keys (or $KEYBORN_CA_PASSPHRASE); a server has it.",
)
@desk_options
@json_option
def export_records(
    *, file: Path, after: int, passphrase_file: Path | None, desk: Desk, as_json: bool
) -> None:
    """Write the audit trail into FILE, signed, as lines of JSON; - is standard output.

    Whoever has the file can check it without the service: `keyborn audit verify FILE`. It holds no secret,
    but every name, address and reason that was recorded, so it is yours alone to read (0600).

    Example: keyborn audit export audit.jsonl

    Example: keyborn audit export since-1200.jsonl --after 1200
    """
    if as_json and file == STDIO:
        raise click.UsageError("--json tells what was written into FILE: name one.")
    with _opened(file) as out:
        sink = Export(out)
        cast("Fetching", desk).fetch("/v1/audit/export", sink, passphrase_file=passphrase_file, after=after)
        end = sink.finish()
    if as_json:
        show(_written(file, end), as_json=True)
    elif file != STDIO:
        click.echo(f"Wrote {file}: {end['count']} records, signed by the key {end['key']}", err=True)


def _written(file: Path, end: dict[str, Any]) -> dict[str, Any]:
    """What programs are told: the last line, in the words of ``audit verify``."""
    head = {"head": end["head"].partition(":")[2], "expect": end["head"]}
    return {
        "file": str(file),
        "records": end["count"],
        "checkpoints": end["checkpoints"],
        "key": end["key"],
    } | head


def verify_file(file: Path, key: str | None, noted: "NotedHead | None", *, as_json: bool) -> None:
    """Check an export and tell what it is; raises what ``ExportReader`` raises, and OSError."""
    from keyborn.domain.audit_export import ExportReader, check_export

    with sys.stdin.buffer if file == STDIO else file.open("rb") as source:
        report = check_export(_counted(source), ExportReader(trusted=key, noted=noted))
    show(_row(report, given=key is not None), as_json=as_json)
    if key is None and not as_json:
        click.echo(
            "The file names its own key. Compare it with what `keyborn audit verify` prints at the service, "
            f"or check with: --key {report.key}",
            err=True,
        )


def _row(report: "ExportReport", *, given: bool) -> dict[str, Any]:
    from keyborn.domain.checkpoint import moment_text

    end = report.end
    return {
        "records": end.count,
        "head": end.head.hash,
        "chain": "unbroken",
        "checkpoints": end.checkpoints,
        "continues": str(end.continues),
        "service": printable(report.header.service),
        "url": printable(report.header.url),
        "signed": moment_text(end.at),
        "key": report.key,
        "keyGiven": given,
        "expect": str(end.head),
    }


class Export:
    """Takes an export as it comes. The last line is held back until it is known to be the end."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._held = b""
        self._progress = Progress()

    def __call__(self, chunk: bytes) -> None:
        """The next piece, cut anywhere."""
        whole = self._held + chunk
        cut = whole.rfind(b"\n", 0, -1) + 1
        self._out.write(whole[:cut])
        self._held = whole[cut:]
        self._progress.add(whole.count(b"\n", 0, cut))

    def finish(self) -> dict[str, Any]:
        """What the last line says. Raises what the service broke off with, or ExportBroken."""
        self._progress.end()
        try:
            said = json.loads(self._held)
        except ValueError:
            said = {}
        if "error" in said:
            raise Refused(code=said["error"]["code"], detail=said["error"]["detail"])
        if "trailer" not in said:
            raise ExportBroken(line=self._progress.lines + 1, detail="the service broke off")
        self._out.write(self._held)
        trailer: dict[str, Any] = said["trailer"]
        return trailer


class Progress:
    """Tells how many lines there are so far: on a terminal twice a second, elsewhere now and then."""

    def __init__(self) -> None:
        self.lines = 0
        self._told_at = time.monotonic()
        self._told = 0
        self._live = sys.stderr.isatty()

    def add(self, lines: int) -> None:
        """So many more."""
        self.lines += lines
        now = time.monotonic()
        due = now - self._told_at > _BEAT if self._live else self.lines - self._told >= _MANY
        if due:
            self._told_at, self._told = now, self.lines
            click.echo(f"{self._mark}{self.lines:,} lines", err=True, nl=not self._live)

    def end(self) -> None:
        """Leave the terminal's line."""
        if self._live and self._told:
            click.echo(self._mark, err=True, nl=False)

    @property
    def _mark(self) -> str:
        """Back to the line's beginning, and clear it (ECMA-48, CR and EL)."""
        return "\r\x1b[K" if self._live else ""


def _counted(source: BinaryIO) -> Iterator[bytes]:
    """The lines of a file, none longer than an export's can be."""
    from keyborn.domain.audit_export import MAX_LINE

    progress = Progress()
    while line := source.readline(MAX_LINE):
        progress.add(1)
        yield line
    progress.end()


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    """Where an export goes: a private file that takes its name when it is whole, or standard output."""
    if file == STDIO:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    beside = file.with_name(f".{file.name}.{os.getpid()}.new")
    descriptor = os.open(beside, _NEW, _PRIVATE)
    try:
        with os.fdopen(descriptor, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        beside.rename(file)
        _sync(file.parent)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise


def _sync(folder: Path) -> None:
    """A name must outlast a power cut, too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
