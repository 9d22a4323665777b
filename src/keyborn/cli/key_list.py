"""Lists of names and key hashes, as a factory writes them: read line by line, checked whole.

CSV with the heading ``name,keyHash`` (further columns are left alone), or one JSON object on each line.
"""

import csv
import json
import sqlite3
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import BinaryIO, Self, TypeVar

from keyborn.domain.errors import ImportFileUnusable, KeybornError
from keyborn.domain.names import KeyHash, ThingName, parse_key_hash, parse_thing_name

R = TypeVar("R")
BATCH = 1000
MAX_LINE = 4096
"""Bytes; further columns have room, and what has no line breaks at all is no list."""
_NAME, _KEY = ("name", "thingname"), ("keyhash",)


@dataclass(frozen=True, slots=True)
class Row:
    """One device of the list."""

    line: int
    """In the file; the first one is 1."""
    thing: ThingName
    key: KeyHash


@dataclass(frozen=True, slots=True)
class Bad:
    """A line that cannot be imported."""

    line: int
    detail: str


class KeyList:
    """A list in an open file, read from its beginning as often as wanted."""

    def __init__(self, file: BinaryIO, shown: str) -> None:
        """``shown``: how the file is called in what is said about it."""
        self._file = file
        self._shown = shown

    def rows(self) -> Iterator[Row | Bad]:
        """Each line that says something. Raises ImportFileUnusable for what is no such list at all."""
        self._file.seek(0)
        first, line = 0, b""
        while not line.strip():
            first, line = first + 1, self._file.readline(MAX_LINE)
            if not line:
                raise self._unusable("it is empty")
        if line.lstrip(b"\xef\xbb\xbf \t").startswith(b"{"):
            self._file.seek(0)
            yield from map(_of_json, self._texts(0))
            return
        yield from self._of_csv(first, _text(line))

    def position(self) -> int:
        """How many bytes have been read."""
        return self._file.tell()

    def _of_csv(self, number: int, heading: str) -> Iterator[Row | Bad]:
        separator = ";" if ";" in heading and "," not in heading else ","
        columns = [each.strip().lower() for each in next(csv.reader([heading], delimiter=separator), [])]
        places = [next((i for i, each in enumerate(columns) if each in of), None) for of in (_NAME, _KEY)]
        name, key = places
        if name is None or key is None:
            raise self._unusable("its first line is not the heading name,keyHash")
        for line, text in self._texts(number):
            cells = [each.strip() for each in next(csv.reader([text], delimiter=separator), [])]
            if max(name, key) < len(cells):
                yield _row(line, cells[name], cells[key])
            else:
                yield Bad(line, "it has too few columns")

    def _texts(self, number: int) -> Iterator[tuple[int, str]]:
        """The lines that are not empty, numbered after ``number``."""
        while line := self._file.readline(MAX_LINE):
            number += 1
            if len(line) == MAX_LINE:
                raise self._unusable(f"line {number} is longer than {MAX_LINE} bytes")
            if line.strip():
                yield number, _text(line)

    def _unusable(self, detail: str) -> ImportFileUnusable:
        return ImportFileUnusable(file=self._shown, detail=detail)


class Checklist:
    """What a whole list came to. What repeats is found with a database that SQLite keeps on disk, unnamed."""

    def __init__(self) -> None:
        self._memory = sqlite3.connect("", isolation_level=None)
        self._memory.execute("PRAGMA synchronous=OFF")
        self._memory.execute("PRAGMA journal_mode=OFF")
        for table in ("keys", "names"):
            self._memory.execute(f"CREATE TABLE {table} (word BLOB PRIMARY KEY, line INTEGER) WITHOUT ROWID")
        self._memory.execute("CREATE TABLE bad (line INTEGER PRIMARY KEY)")
        self.good = self.bad = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._memory.close()

    def check(
        self,
        rows: Iterator[Row | Bad],
        told: Callable[[Bad], None],
        passed: Callable[[int], None] = lambda _count: None,
    ) -> None:
        """Go through the whole list; each line that cannot be imported is ``told``.

        ``passed`` hears how many lines there were so far.
        """
        for batch in batches(rows):
            repeated = self._repeated([row for row in batch if isinstance(row, Row)])
            for row in batch:
                bad = row if isinstance(row, Bad) else repeated.get(row.line)
                if bad is None:
                    self.good += 1
                else:
                    self.bad += 1
                    self._memory.execute("INSERT INTO bad VALUES (?)", (bad.line,))
                    told(bad)
            passed(self.good + self.bad)

    def sound(self, rows: Iterator[Row | Bad]) -> Generator[Row, None, None]:
        """The same list again, without what was told."""
        with closing(self._memory.execute("SELECT line FROM bad ORDER BY line")) as left_out:
            skipped = next(left_out, (None,))[0]
            for row in rows:
                if row.line == skipped:
                    skipped = next(left_out, (None,))[0]
                elif isinstance(row, Row):
                    yield row

    def _repeated(self, batch: list[Row]) -> dict[int, Bad]:
        """Those whose key or name stands further up, by line."""
        found: dict[int, Bad] = {}
        for table, what, word in _TOLD:
            before = self._memory.total_changes
            keep = f"INSERT INTO {table} VALUES (?, ?) ON CONFLICT DO NOTHING"  # noqa: S608 - our own names
            self._memory.execute("BEGIN")
            self._memory.executemany(keep, ((word(row), row.line) for row in batch))
            self._memory.execute("COMMIT")
            if self._memory.total_changes - before < len(batch):
                find = f"SELECT line FROM {table} WHERE word = ?"  # noqa: S608 - as above
                for row in batch:
                    (line,) = self._memory.execute(find, (word(row),)).fetchone()
                    if line != row.line:
                        found.setdefault(row.line, Bad(row.line, f"its {what} stands in line {line} already"))
        return found


_TOLD: tuple[tuple[str, str, Callable[[Row], bytes]], ...] = (
    ("keys", "key hash", lambda row: bytes.fromhex(row.key)),
    ("names", "name", lambda row: row.thing.encode()),
)


def batches(rows: Iterator[R]) -> Iterator[list[R]]:
    """``BATCH`` rows at a time, the last ones fewer."""
    while batch := list(islice(rows, BATCH)):
        yield batch


def _of_json(numbered: tuple[int, str]) -> Row | Bad:
    line, text = numbered
    try:
        members = json.loads(text)
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, Mapping):
        return Bad(line, "it is not a JSON object")
    lowered = {str(name).lower(): value for name, value in members.items()}
    name = next((lowered[each] for each in _NAME if each in lowered), None)
    return _row(line, name, lowered.get(_KEY[0]))


def _row(line: int, name: object, key: object) -> Row | Bad:
    try:
        return Row(line, parse_thing_name(name), parse_key_hash(key))
    except KeybornError as wrong:
        return Bad(line, str(wrong))


def _text(line: bytes) -> str:
    return line.decode("utf-8-sig", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
