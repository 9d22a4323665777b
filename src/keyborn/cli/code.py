"""Where an enrolment code comes from: an argument, a file, standard input, or a person at the terminal."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from keyborn.cli.device import read_input

if TYPE_CHECKING:
    from keyborn.domain.token import EnrollmentCode

MAX_INPUT = 4096
"""Bytes that are looked at: the whole output of ``keyborn token create`` and room to spare."""


@dataclass(frozen=True, slots=True)
class CodeSource:
    """What the command line said about the code; nothing is read before it is needed, and then once."""

    argument: str | None
    file: Path | None

    def required(self) -> "EnrollmentCode":
        """The code; raises UsageError where none was given, InvalidCode, OSError for the file."""
        text = self._text()
        if text is None:
            raise click.UsageError("Give the enrolment code: as CODE, - for standard input, or --code-file.")
        return find_code(text)

    def offered(self) -> "EnrollmentCode | None":
        """The code where one is at hand and can be read; no person is asked, nothing is raised."""
        from keyborn.domain.errors import InvalidCode

        if self._at_terminal():
            return None
        try:
            text = self._text()
            return None if text is None else find_code(text)
        except (InvalidCode, OSError, click.UsageError):
            return None

    def _text(self) -> str | None:
        if self.file is not None:
            with self.file.open("rb") as file:
                return file.read(MAX_INPUT).decode("ascii", "replace")
        return self._standard_input() if self.argument == "-" else self.argument

    def _standard_input(self) -> str:
        if not self._at_terminal():
            return read_input(MAX_INPUT).decode("ascii", "replace")
        click.echo("Paste the enrolment code and press Enter:", err=True)
        return sys.stdin.buffer.readline(MAX_INPUT).decode("ascii", "replace")

    def _at_terminal(self) -> bool:
        reads = self.file is None and self.argument == "-"
        return reads and sys.stdin is not None and sys.stdin.isatty()


def find_code(text: str) -> "EnrollmentCode":
    """The one enrolment code in ``text``, which may be all that ``keyborn token create`` printed.

    Raises InvalidCode where nothing was read, where there is none, or where there are several.
    """
    from keyborn.domain.errors import InvalidCode
    from keyborn.domain.token import CODE_PREFIX, EnrollmentCode

    words = text.split()
    if not words:
        raise InvalidCode(detail="nothing was read")
    found = {word for word in words if word.startswith(CODE_PREFIX)}
    if len(found) > 1:
        raise InvalidCode(detail="several different ones were read")
    if not found and len(words) > 1:
        raise InvalidCode(detail="no word of what was read starts with `kb1.`")
    return EnrollmentCode.decode(found.pop() if found else words[0])
