"""Where an enrolment code comes from: an argument, a file, standard input, or a person at the terminal."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from keyborn.cli.device import read_input

if TYPE_CHECKING:
    from keyborn.domain.token import EnrollmentCode


@dataclass(frozen=True, slots=True)
class CodeSource:
    """What the command line said about the code; nothing is read before it is needed, and then once."""

    argument: str | None
    file: Path | None

    def required(self) -> "EnrollmentCode":
        """The code; raises UsageError where none was given, InvalidCode, OSError for the file."""
        from keyborn.device.code_file import find_code

        text = self._text()
        if text is None:
            raise click.UsageError("Give the enrolment code: as CODE, - for standard input, or --code-file.")
        return find_code(text)

    def offered(self) -> "EnrollmentCode | None":
        """The code where one is at hand and can be read; no person is asked, nothing is raised."""
        from keyborn.device.code_file import find_code
        from keyborn.domain.errors import InvalidCode

        if self._at_terminal():
            return None
        try:
            text = self._text()
            return None if text is None else find_code(text)
        except (InvalidCode, OSError, click.UsageError):
            return None

    def _text(self) -> str | None:
        from keyborn.device.code_file import MAX_INPUT

        if self.file is not None:
            with self.file.open("rb") as file:
                return file.read(MAX_INPUT).decode("ascii", "replace")
        return self._standard_input() if self.argument == "-" else self.argument

    def _standard_input(self) -> str:
        from keyborn.device.code_file import MAX_INPUT

        if not self._at_terminal():
            return read_input(MAX_INPUT).decode("ascii", "replace")
        click.echo("Paste the enrolment code and press Enter:", err=True)
        return sys.stdin.buffer.readline(MAX_INPUT).decode("ascii", "replace")

    def _at_terminal(self) -> bool:
        reads = self.file is None and self.argument == "-"
        return reads and sys.stdin is not None and sys.stdin.isatty()
