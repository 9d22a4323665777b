"""Taking a backup: one file, from a data folder that may be in full use.

The registry is copied with SQLite's backup interface from inside one read transaction: in WAL mode that is
one moment of it, whatever is written meanwhile, and no writer waits. Steps are small and followed by a pause,
so that enrolments have most of the disk.
"""

import contextlib
import fcntl
import glob
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from keyborn.adapters.backup.archive import MANIFEST, REGISTRY, SETTINGS, ArchiveWriter, is_authority
from keyborn.adapters.backup.manifest import Manifest, Standing
from keyborn.adapters.backup.mirror import sync_folder
from keyborn.adapters.data_folder import DataFolder
from keyborn.adapters.sql import revocations, schema
from keyborn.domain.audit import ChainHead
from keyborn.domain.errors import (
    BackupExists,
    CaMissing,
    DataFolderInUse,
    RegistryUnusable,
    SystemTrouble,
)
from keyborn.domain.moment import shown

Told = Callable[[str, int, int], None]
"""What goes on, and how many bytes of how many are done."""

_STEP = 256
"""Pages of 4 KiB between two pauses; the archive is written in steps of as many bytes."""
_TRIES = 5
_PRIVATE = 0o600
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def take(
    folder: DataFolder, file: Path, now: datetime, told: Told, patience: float = 5.0
) -> tuple[Manifest, int]:
    """Write a backup of ``folder`` to ``file``, which must not exist; what is in it, and its bytes.

    The file appears whole or not at all. ``patience``: seconds for a server that is starting. Raises
    BackupExists, DataFolderMissing, DataFolderInUse, CaMissing, RegistryUnusable and OSError.
    """
    if file.exists() or file.is_symlink():
        raise BackupExists(path=file)
    with _new(file) as (out, snapshot):
        with _source(folder, patience) as connection:
            standing = _copy(connection, snapshot, told)
        pace = _Pace(out.fileno())
        _add_registry(writer := ArchiveWriter(out, int(now.timestamp())), snapshot, told, pace)
        manifest = _finish(folder, writer, standing, now)
        size = out.tell()
    return manifest, size


# ── the file ──────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _new(file: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """The file to write, which takes its name when the context ends well; and a place for the registry."""
    _forget_broken(file)
    beside = file.with_name(f".{file.name}.{os.getpid()}.new")
    snapshot = beside.with_suffix(".registry")
    try:
        with os.fdopen(os.open(beside, _NEW, _PRIVATE), "wb") as out:
            fcntl.flock(out, fcntl.LOCK_EX)
            yield out, snapshot
            out.flush()
            os.fsync(out.fileno())
            _publish(beside, file)
    finally:
        for each in (*_files_of(snapshot), beside):  # by that one the others are found, if this is cut short
            with suppress(FileNotFoundError):
                each.unlink()
    sync_folder(file.parent)


def _publish(beside: Path, file: Path) -> None:
    """Give it its name, and never another file's. Raises BackupExists, OSError."""
    try:
        os.link(beside, file)
    except FileExistsError:
        raise BackupExists(path=file) from None
    except OSError:  # a file system without links, such as a memory stick's
        if file.exists():
            raise BackupExists(path=file) from None
        beside.rename(file)


def _forget_broken(file: Path) -> None:
    """Remove what a killed backup of this name has left: it holds keys."""
    for left in file.parent.glob(f".{glob.escape(file.name)}.*.new"):
        with suppress(OSError), open(left, "rb", opener=_unfollowed) as held:
            if os.fstat(held.fileno()).st_uid != os.geteuid():
                continue
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for each in (*_files_of(left.with_suffix(".registry")), left):
                each.unlink(missing_ok=True)


def _unfollowed(path: str, flags: int) -> int:
    """No link is followed, and a pipe holds nobody up: the folder may be everybody's."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _files_of(database: Path) -> list[Path]:
    return [database.with_name(database.name + tail) for tail in ("", "-wal", "-shm", "-journal")]


# ── the registry ──────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _source(folder: DataFolder, patience: float) -> Iterator[sqlite3.Connection]:
    """A connection that only reads: past a server that runs, else with the folder's lock."""
    deadline = time.monotonic() + patience
    while True:
        served = folder.connect_control()
        if served is not None:
            served.close()
            with closing(schema.connect_reader(folder.registry)) as connection:
                yield connection
            return
        folder.require()
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(folder.lock())
            except DataFolderInUse:  # a server is starting, or a command is at work
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
                continue
            schema.prepare(folder.registry)
            yield stack.enter_context(closing(schema.connect_writer(folder.registry)))
            return


def _copy(source: sqlite3.Connection, path: Path, told: Told) -> Standing:
    """Copy the registry as of now; raises RegistryUnusable and OSError."""
    descriptor = os.open(path, _NEW, _PRIVATE)  # closed last: closing it drops SQLite's locks
    pace = _Pace(descriptor)

    def _stepped(_status: int, remaining: int, total: int) -> None:
        told("registry", (total - remaining) * size, total * size)
        pace.rest()

    try:
        source.execute("BEGIN")
        [(size,)] = source.execute("PRAGMA page_size").fetchall()
        standing = read_standing(source)  # from here on the moment stands still
        with closing(sqlite3.connect(path, isolation_level=None)) as target:
            source.backup(target, pages=_STEP, progress=_stepped)
            target.execute("PRAGMA journal_mode = DELETE")
        source.execute("COMMIT")
    except sqlite3.Error as error:
        if "full" in str(error):
            raise SystemTrouble(reason=f"No space left on device ({path.parent})") from error
        raise RegistryUnusable(path=path, detail=error) from error
    finally:
        os.close(descriptor)
    return standing


def read_standing(connection: sqlite3.Connection) -> Standing:
    """Where a registry stands. Raises sqlite3.Error."""
    [(version,)] = connection.execute("SELECT max(version) FROM schema_versions").fetchall()
    lineage, last = revocations.standing(connection)
    ends = connection.execute("SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1").fetchall()
    return Standing(version, lineage, last, ChainHead(*ends[0]) if ends else ChainHead())


class _Pace:
    """After each step, what was written goes to the disk; then a pause as long as all of that took."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._since = time.monotonic()

    def rest(self) -> None:
        """One step is done. Without the sync the kernel would write a gigabyte in one go, and others wait."""
        os.fdatasync(self._descriptor)
        time.sleep(time.monotonic() - self._since)
        self._since = time.monotonic()


# ── the members ───────────────────────────────────────────────────────────────────────────────────────


def _add_registry(writer: ArchiveWriter, snapshot: Path, told: Told, pace: _Pace) -> None:
    size, done = snapshot.stat().st_size, 0

    def _passed(count: int) -> None:
        nonlocal done
        done += count
        told("archive", done, size)
        pace.rest()

    with snapshot.open("rb") as source:
        writer.add(REGISTRY, source, size, _passed)


def _finish(folder: DataFolder, writer: ArchiveWriter, standing: Standing, now: datetime) -> Manifest:
    authority = _authority(folder)
    settings = {SETTINGS: folder.settings.read_bytes()} if folder.settings.exists() else {}
    for name, content in (settings | authority).items():
        writer.add(name, BytesIO(content), len(content))
    manifest = Manifest(
        taken=shown(now),
        folder=os.path.realpath(folder.path),
        protected=all(b"ENCRYPTED" in each for name, each in authority.items() if name.endswith(".key")),
        registry=standing,
        members=dict(writer.members),
    )
    encoded = manifest.encode()
    writer.add(MANIFEST, BytesIO(encoded), len(encoded))
    writer.end()
    return manifest


def _authority(folder: DataFolder) -> dict[str, bytes]:
    """The authority's files as of one moment: read again until nothing changed meanwhile."""
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):  # a change of the root is under way
            before = _seen(folder)
            content = {name: (folder.path / name).read_bytes() for name in before}
            if _seen(folder) == before:
                break
    else:
        raise SystemTrouble(reason=f"the files of the authority change all the time ({folder.authority})")
    if "ca/root.crt" not in content:
        raise CaMissing(folder=folder.authority)
    return content


def _seen(folder: DataFolder) -> dict[str, tuple[int, int, int]]:
    found = {}
    for path in sorted(folder.authority.glob("**/*")):
        name = str(path.relative_to(folder.path))
        if is_authority(name) and path.is_file() and not path.is_symlink():
            status = path.stat()
            found[name] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found
