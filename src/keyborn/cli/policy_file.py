"""Policy documents on the command line: a file, or standard input."""

import sys
from collections.abc import Mapping
from pathlib import Path

import click

from keyborn.cli.device import printable

MAX_FILE = 16 * 1024
"""Bytes: far beyond AWS IoT's 2048 characters, whatever the indentation."""

document_option = click.option(
    "--policy",
    "document",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A document to try instead; - is standard input.",
)


def finding_line(finding: Mapping[str, str]) -> str:
    """What lint has to say, as the service's answer holds it, on one line."""
    return printable(f"{finding['severity']}: {finding['where']}: {finding['sentence']}")


def read_policy(file: Path) -> str:
    """The text in ``file``, ``-`` being standard input; raises InvalidPolicy, or OSError."""
    from keyborn.domain.errors import InvalidPolicy

    if str(file) == "-":
        raw = sys.stdin.buffer.read(MAX_FILE + 1)
    else:
        with file.open("rb") as source:
            raw = source.read(MAX_FILE + 1)
    if len(raw) > MAX_FILE:
        raise InvalidPolicy(where=str(file), detail=f"it is larger than {MAX_FILE} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise InvalidPolicy(where=str(file), detail="it is not UTF-8") from None


def require_sound(file: Path, text: str, *, strict: bool = False) -> None:
    """Raise InvalidPolicy for the first thing that lint calls an error, or if ``strict`` for anything."""
    from keyborn.domain.access_policy.lint import Severity, lint
    from keyborn.domain.access_policy.parse import parse_document
    from keyborn.domain.errors import InvalidPolicy

    for finding in lint(parse_document(text)):
        if strict or finding.severity is Severity.ERROR:
            more = f"`keyborn policy lint {file}` says what to write instead"
            raise InvalidPolicy(where=finding.where, detail=f"{finding.sentence.rstrip('.')}; {more}")
