"""What a run has made and must remove: in memory, and in a file that outlives a run that was killed.

The file is locked while its run lives. An entry is written before the thing is made, or as soon as its name
is known; so a later run can remove everything that an earlier one could not.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

SUFFIX = ".smoke"


@dataclass(frozen=True, slots=True)
class Owed:
    """Something that must be removed."""

    kind: str
    """``certificate``, ``thing``, ``policy``, ``table``, or ``signing``: a certificate that may be there."""
    name: str


class Ledger:
    """The list of one run; its file is whoever's who opened it."""

    def __init__(self, file: IO[str], path: Path, owed: list[Owed] | None = None) -> None:
        self._file = file
        self._path = path
        self._owed = owed or []

    @property
    def owed(self) -> tuple[Owed, ...]:
        """What is still to be removed, the oldest first."""
        return tuple(self._owed)

    def owe(self, kind: str, name: str) -> Owed:
        """From now on this must be removed."""
        one = Owed(kind, name)
        self._owed.append(one)
        self._write("owe", one)
        return one

    def strike(self, one: Owed) -> None:
        """It is gone, or never was."""
        if one in self._owed:
            self._owed.remove(one)
            self._write("gone", one)

    def settle(self, undo: Callable[[Owed], None], failures: tuple[type[Exception], ...]) -> None:
        """Remove what is owed, the youngest first; what raises one of ``failures`` stays owed."""
        for one in reversed(self.owed):
            try:
                undo(one)
            except failures:
                continue
            self.strike(one)

    def close(self) -> None:
        """Remove the file, unless something is owed."""
        if not self._owed:
            self._path.unlink(missing_ok=True)

    def _write(self, word: str, one: Owed) -> None:
        self._file.write(json.dumps([word, one.kind, one.name]) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


@contextmanager
def open_ledger(folder: Path, run: str) -> Iterator[Ledger]:
    """The list of a new run. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{run}{SUFFIX}"
    with path.open("x", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield from _closing(Ledger(file, path))


def abandoned(folder: Path) -> Iterator[Ledger]:
    """The lists of runs that ended without removing everything; locked while they are looked at."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with path.open("r+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue  # its run is alive
            yield from _closing(Ledger(file, path, _read(file)))


def _closing(ledger: Ledger) -> Iterator[Ledger]:
    """Lend a list; its file goes with the last entry."""
    try:
        yield ledger
    finally:
        ledger.close()


def _read(file: IO[str]) -> list[Owed]:
    owed: list[Owed] = []
    for line in file:
        try:
            word, kind, name = json.loads(line)
        except ValueError:
            break  # the machine stopped while this was written: what it announces was not begun
        one = Owed(kind, name)
        if word == "owe":
            owed.append(one)
        elif one in owed:
            owed.remove(one)
    return owed
