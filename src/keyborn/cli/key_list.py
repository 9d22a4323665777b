"""Lists of names and key hashes, as a factory writes them: read line by line, checked whole.

CSV with the heading ``name,keyHash`` (further columns are left alone), or one JSON object on each line.
"""

import csv
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
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
    """A list in an open file, read once from where it stands."""

    def __init__(self, file: BinaryIO, shown: str) -> None:
        """``shown``: how the file is called in what is said about it."""
        self._file = file
        self._shown = shown
        self._line = 0
        self.read = 0
        """Bytes so far."""

    def rows(self) -> Iterator[Row | Bad]:
        """Each line that says something. Raises ImportFileUnusable for what is no such list at all."""
        texts = self._texts()
        first = next(texts, None)
        if first is None:
            raise self._unusable("it is empty")
        if first[1].lstrip().startswith("{"):
            return map(_of_json, chain([first], texts))
        return self._of_csv(first[1], texts)

    def _of_csv(self, heading: str, texts: Iterator[tuple[int, str]]) -> Iterator[Row | Bad]:
        separator = ";" if ";" in heading and "," not in heading else ","
        columns = [each.lower() for each in _cells(heading, separator)]
        name, key = (next((i for i, each in enumerate(columns) if each in of), None) for of in (_NAME, _KEY))
        if name is None or key is None:
            raise self._unusable("its first line is not the heading name,keyHash")
        return (_of_csv(line, _cells(text, separator), name, key) for line, text in texts)

    def _texts(self) -> Iterator[tuple[int, str]]:
        """The lines that are not empty, with their numbers."""
        while line := self._file.readline(MAX_LINE):
            self._line += 1
            self.read += len(line)
            if len(line) == MAX_LINE:
                raise self._unusable(f"line {self._line} is longer than {MAX_LINE} bytes")
            if line.strip():
                yield self._line, _text(line)

    def _unusable(self, detail: str) -> ImportFileUnusable:
        return ImportFileUnusable(file=self._shown, detail=detail)


class Checklist:
    """A whole list, once it has been looked through: in a database that SQLite keeps on disk, unnamed.

    So what repeats is found, and rows come in the order of their hashes: a registry that keeps keys in that
    order writes each of its pages once, not once for every batch.
    """

    def __init__(self) -> None:
        self._kept = sqlite3.connect("", isolation_level=None)
        self._kept.execute("PRAGMA synchronous=OFF")
        self._kept.execute("PRAGMA journal_mode=OFF")
        self._kept.execute(
            "CREATE TABLE keys (key BLOB PRIMARY KEY, line INTEGER, thing TEXT, good INTEGER) WITHOUT ROWID"
        )
        self._kept.execute("CREATE TABLE things (thing TEXT PRIMARY KEY, line INTEGER) WITHOUT ROWID")
        self.good = self.bad = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kept.close()

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
            repeated = self._keep([row for row in batch if isinstance(row, Row)])
            for row in batch:
                bad = row if isinstance(row, Bad) else repeated.get(row.line)
                if bad is None:
                    self.good += 1
                else:
                    self.bad += 1
                    told(bad)
            passed(self.good + self.bad)

    def sound(self, beginning: str = "") -> Iterator[Row]:
        """What can be imported, by key hash, from ``beginning`` on."""
        found = self._kept.execute(
            "SELECT line, thing, hex(key) FROM keys WHERE key >= ? AND good ORDER BY key",
            (bytes.fromhex(beginning),),
        )
        for line, thing, key in found:
            yield Row(line, ThingName(thing), KeyHash(key.lower()))

    def _keep(self, batch: list[Row]) -> dict[int, Bad]:
        """Keep them, but for those whose key or name stands further up: these are returned, by line."""
        keys = [(bytes.fromhex(row.key), row.line, row.thing) for row in batch]
        names = [(row.thing, row.line) for row in batch]
        before = self._kept.total_changes
        self._kept.execute("BEGIN")
        self._kept.executemany("INSERT INTO keys VALUES (?, ?, ?, 1) ON CONFLICT DO NOTHING", keys)
        self._kept.executemany("INSERT INTO things VALUES (?, ?) ON CONFLICT DO NOTHING", names)
        self._kept.execute("COMMIT")
        if self._kept.total_changes - before == 2 * len(batch):
            return {}
        return {bad.line: bad for row in batch if (bad := self._repeated(row)) is not None}

    def _repeated(self, row: Row) -> Bad | None:
        key = bytes.fromhex(row.key)
        (line,) = self._kept.execute("SELECT line FROM keys WHERE key = ?", (key,)).fetchone()
        if line != row.line:
            return Bad(row.line, f"its key hash stands in line {line} already")
        (line,) = self._kept.execute("SELECT line FROM things WHERE thing = ?", (row.thing,)).fetchone()
        if line == row.line:
            return None
        self._kept.execute("UPDATE keys SET good = 0 WHERE key = ?", (key,))
        return Bad(row.line, f"its name stands in line {line} already")


def batches(rows: Iterator[R]) -> Iterator[list[R]]:
    """``BATCH`` rows at a time, the last ones fewer."""
    while batch := list(islice(rows, BATCH)):
        yield batch


def _cells(text: str, separator: str) -> list[str]:
    return [each.strip() for each in next(csv.reader([text], delimiter=separator), [])]


def _of_csv(line: int, cells: list[str], name: int, key: int) -> Row | Bad:
    if max(name, key) >= len(cells):
        return Bad(line, "it has too few columns")
    return _row(line, cells[name], cells[key])


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
