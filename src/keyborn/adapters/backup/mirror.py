"""The copy of revocations: text beside the registry, and wherever else the operator wants it (docs/adr/0033).

The registry's table comes first, in the transaction of each act; copies are brought up to it before the
operator is answered, at every start, and each minute. A copy that cannot be written holds up nothing but that
answer.
"""

import asyncio
import errno
import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

from keyborn.adapters.sql import revocations
from keyborn.adapters.sql.schema import connect_reader
from keyborn.domain.errors import (
    KeybornError,
    MirrorForeign,
    MirrorUnwritable,
    RegistryRolledBack,
    RegistryUnavailable,
)
from keyborn.domain.revocation import (
    MAX_LINE,
    Act,
    MirrorEnd,
    MirrorReader,
    begin_mirror,
    read_act,
    read_header,
)

PATIENCE = 10.0
"""Seconds that an operator waits for a copy; a disk that hangs must not hang every order."""
LOCK_PATIENCE = 5.0
"""Seconds that a copy may be locked by somebody else."""
_BEAT = 0.05
_PAGE = 2000
_PRIVATE = 0o600
_log = logging.getLogger("keyborn.revocations")


class MirrorFile:
    """One copy. Its methods block; one thread at a time may call them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def follow(self, connection: sqlite3.Connection) -> None:
        """Append what the registry knows and the copy does not, durably; does nothing where it is all there.

        Raises OSError, sqlite3.Error, MirrorForeign, MirrorDamaged, and RegistryRolledBack where the copy
        knows what the registry does not.
        """
        with _opened(self.path) as file:
            end, size = _end_of(file)
            if end is None:
                end, header = begin_mirror(revocations.standing(connection)[0])
                self._require_ours(file, header)
                size = _write(file, 0, header)
            self._require_same(connection, end, _last_lines(file, size))
            while acts := revocations.acts(connection, after=end.sequence, limit=_PAGE):
                end, lines = _lines(end, acts)
                size = _write(file, size, lines)

    def _require_ours(self, file: BinaryIO, header: str) -> None:
        """What a crash left of a first line is written anew; another's file is not."""
        begun = os.pread(file.fileno(), MAX_LINE, 0).rstrip(b"\0")
        if not header.encode().startswith(begun):
            raise MirrorForeign(path=self.path, detail="it begins with something else")

    def _require_same(self, connection: sqlite3.Connection, end: MirrorEnd, last: Sequence[bytes]) -> None:
        lineage, known = revocations.standing(connection)
        if end.lineage != lineage:
            raise MirrorForeign(path=self.path, detail=f"it says {end.lineage}, and this one is {lineage}")
        if not end.sequence:
            return
        found = read_act(last[-1])
        here = revocations.acts(connection, after=end.sequence - 1, limit=1)
        if found is None or here != [found[0]]:
            raise RegistryRolledBack(path=self.path, known=known, copied=end.sequence)


def read_mirror(path: Path) -> tuple[MirrorEnd, list[Act]]:
    """A whole copy, checked line by line, up to a tear at its end; one that is empty is damaged.

    Raises OSError and MirrorDamaged.
    """
    reader = MirrorReader()
    with path.open("rb") as file:
        found = list(reader.read(iter(lambda: file.readline(MAX_LINE + 1), b"")))
    if reader.end is None:
        raise MirrorForeign(path=path, detail="it is empty")
    return reader.end, found


class RevocationMirror:
    """Every copy of one registry's revocations. Implements ``ports.Mirror``."""

    def __init__(self, registry: Path, paths: Sequence[Path]) -> None:
        """Touches no file yet."""
        self._registry = registry
        self._files = [MirrorFile(path) for path in paths]
        self._work: asyncio.Task[MirrorUnwritable | None] | None = None
        self._trouble = ""

    async def open(self) -> None:
        """Bring the copies up to the registry, which is open already; raises RegistryRolledBack.

        Other troubles are logged: they must not keep the service from starting.
        """
        try:
            await self.keep()
        except MirrorUnwritable:
            return

    async def keep(self) -> None:
        """See ``Mirror.keep``."""
        try:
            async with asyncio.timeout(PATIENCE):  # wait_for of 3.11 may swallow a cancellation
                await self._follow()
        except TimeoutError:
            path = self._files[-1].path
            trouble = MirrorUnwritable(path=path, detail="the disk does not answer", seconds=60)
            self._tell(trouble)
            raise trouble from None

    async def _follow(self) -> None:
        """A look that began before this call may have missed what this call is about: then once more."""
        while self._work is not None and not self._work.done():
            await asyncio.wait({self._work})
        self._work = asyncio.ensure_future(asyncio.to_thread(self._look))
        trouble = await asyncio.shield(self._work)
        self._tell(trouble)
        if trouble is not None:
            raise trouble

    def _look(self) -> MirrorUnwritable | None:
        trouble = None
        try:
            with closing(connect_reader(self._registry)) as connection:
                for file in self._files:
                    trouble = _tried(file, connection) or trouble
        except sqlite3.Error as error:
            raise RegistryUnavailable from error
        return trouble

    def _tell(self, trouble: MirrorUnwritable | None) -> None:
        """Once when it begins, once when it ends."""
        now = "" if trouble is None else f"{trouble.facts['path']}: {trouble.facts['detail']}"
        if now and now != self._trouble:
            _log.error("the copy of revocations is not written: %s", now)
        elif self._trouble and not now:
            _log.warning("the copy of revocations is whole again")
        self._trouble = now


def _tried(file: MirrorFile, connection: sqlite3.Connection) -> MirrorUnwritable | None:
    try:
        file.follow(connection)
    except RegistryRolledBack:
        raise
    except OSError as error:
        return MirrorUnwritable(path=file.path, detail=error.strerror or "input/output error", seconds=60)
    except KeybornError as error:
        return MirrorUnwritable(path=file.path, detail=str(error), seconds=60)
    return None


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file, made if it is missing: private from its first byte, no link followed. Raises OSError."""
    fresh = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _PRIVATE)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        _lock(file)  # whoever else appends reads first what we have written
        if fresh:
            sync_folder(path.parent)
        yield file


def _lock(file: BinaryIO) -> None:
    """Whoever may read the file can lock it: that must not hang a thread. Raises OSError."""
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise OSError(errno.EWOULDBLOCK, "it is in use by another process") from None
            time.sleep(_BEAT)
        else:
            return


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lines(end: MirrorEnd, acts: Sequence[Act]) -> tuple[MirrorEnd, str]:
    lines = []
    for act in acts:
        end, line = end.after(act)
        lines.append(line)
    return end, "".join(lines)


def _write(file: BinaryIO, size: int, text: str) -> int:
    """Write at ``size``, in the place of whatever was torn there; the size after it. Raises OSError."""
    rest = memoryview(text.encode())
    file.truncate(size)
    file.seek(size)
    while rest:
        rest = rest[file.write(rest) :]
    os.fsync(file.fileno())
    return size + len(text)


def _end_of(file: BinaryIO) -> tuple[MirrorEnd | None, int]:
    """Where a copy ends and at which byte; None for one that has no first line. Raises MirrorDamaged.

    The last two lines prove one another, so that a start does not read the copy of years; where they do not,
    everything is read.
    """
    file.seek(0)
    first = file.read(MAX_LINE)
    header = read_header(first[: first.find(b"\n") + 1])
    whole = os.fstat(file.fileno()).st_size
    before, last = (*(b"", b""), *_last_lines(file, whole))[-2:]
    earlier, later = read_act(before), read_act(last)
    if header is None or earlier is None or later is None:
        return _read_through(file)
    end, exact = MirrorEnd(header.lineage, earlier[1], earlier[0].sequence).after(later[0])
    if exact.encode() != last or later[0].sequence != earlier[0].sequence + 1:
        return _read_through(file)
    begin, tail = _tail(file, whole)
    return end, begin + tail.rfind(b"\n") + 1


def _read_through(file: BinaryIO) -> tuple[MirrorEnd | None, int]:
    reader = MirrorReader()
    file.seek(0)
    with os.fdopen(os.dup(file.fileno()), "rb") as whole:
        for _ in reader.read(iter(lambda: whole.readline(MAX_LINE + 1), b"")):
            pass
    return reader.end, reader.size


def _last_lines(file: BinaryIO, size: int) -> list[bytes]:
    _, tail = _tail(file, size)
    return tail[: tail.rfind(b"\n") + 1].splitlines(keepends=True)[-2:]


def _tail(file: BinaryIO, size: int) -> tuple[int, bytes]:
    """The last bytes of the first ``size``, and where they begin."""
    begin = max(0, size - 4 * MAX_LINE)
    return begin, os.pread(file.fileno(), size - begin, begin)
