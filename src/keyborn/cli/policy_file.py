"""Policy documents on the command line: a file, or standard input."""

import sys
from pathlib import Path

import click

MAX_FILE = 16 * 1024
"""Bytes: far beyond AWS IoT's 2048 characters, whatever the indentation."""

document_option = click.option(
    "--policy",
    "document",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A document to try instead; - is standard input.",
)


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
