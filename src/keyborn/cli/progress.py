"""How far a long command has come: one line that is written anew, or now and then a line."""

import sys
import time
from collections.abc import Callable

import click

_AT_TERMINAL, _ELSEWHERE = 0.2, 5.0


class Progress:
    """On standard error; ``say`` what is going on, as often as wanted."""

    def __init__(
        self, *, quiet: bool = False, unit: str = "rows", monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._quiet = quiet
        self._unit = unit
        self._monotonic = monotonic
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._every = _AT_TERMINAL if self._terminal else _ELSEWHERE
        self._last = self._since = monotonic()
        self._open = False

    def begin(self) -> None:
        """From here on the time counts."""
        self.end()
        self._last = self._since = self._monotonic()

    def say(self, what: str, done: int, total: int, done_rows: int | None = None) -> None:
        """``done`` of ``total``, in whatever unit; ``done_rows`` where rows are not that unit."""
        now = self._monotonic()
        if self._quiet or now - self._last < self._every:
            return
        self._last = now
        rows = done if done_rows is None else done_rows
        text = f"{what}: {told(done, total, rows, now - self._since, self._unit)}"
        if self._terminal:
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)
            self._open = True
        else:
            click.echo(text, err=True)

    def end(self) -> None:
        """Leave the line."""
        if self._open:
            click.echo("\r\x1b[K", nl=False, err=True)
            self._open = False


def told(done: int, total: int, rows: int, seconds: float, unit: str = "rows") -> str:
    """``123,000 rows (12%), 25,000 a second, 35 s left``; a ``total`` of 0 is one that nobody knows."""
    rate = rows / seconds if seconds else 0.0
    if not total or not done:
        return f"{rows:,} {unit}, {rate:,.0f} a second"
    left = seconds * (total - done) / done
    return f"{rows:,} {unit} ({done / total:.0%}), {rate:,.0f} a second, {left:.0f} s left"
