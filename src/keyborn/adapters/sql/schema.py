"""Opening the database file: modes, pragmas, numbered migrations."""

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from keyborn.domain.errors import RegistryTooNew, RegistryUnusable

WRITER_PATIENCE_MS = 5000
"""How long the writer waits for another process that holds the write lock (a backup, an operator's shell)."""
READER_PATIENCE_MS = 100
"""Readers never wait for the writer in WAL mode; this covers the moments of recovery after a crash."""
WRITER_CACHE_KIB = 32 * 1024
LOG_LIMIT = 64 * 1024 * 1024
"""Bytes: a write-ahead log that had to grow beyond gives the rest of its room back."""

_PRIVATE = 0o600


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step of the schema, applied in one transaction."""

    version: int
    name: str
    script: str

    def statements(self) -> Iterator[str]:
        """The script, statement by statement."""
        pending = ""
        for line in self.script.splitlines(keepends=True):
            pending += line
            if sqlite3.complete_statement(pending):
                yield pending
                pending = ""


def migrations() -> list[Migration]:
    """All migrations of this Keyborn, in order."""
    folder = files("keyborn.adapters.sql") / "migrations"
    found = sorted(
        (entry.name, entry.read_text()) for entry in folder.iterdir() if entry.name.endswith(".sql")
    )
    return [Migration(int(name[:4]), name.removesuffix(".sql"), text) for name, text in found]


def prepare(path: Path, steps: list[Migration] | None = None) -> None:
    """Make the file if it is missing (0600 from the first byte) and bring its schema up to date.

    Raises RegistryTooNew or RegistryUnusable; only migrations that were completed before it stay.
    """
    try:
        _make_private(path)
        with contextlib.closing(connect_writer(path)) as connection:
            _require_ours(connection)
            migrate(connection, path, migrations() if steps is None else steps)
    except (OSError, sqlite3.Error) as error:
        raise RegistryUnusable(path=path, detail=error) from error


def _require_ours(connection: sqlite3.Connection) -> None:
    """Refuse another program's database and file systems without shared memory, which WAL needs."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and "schema_versions" not in tables:
        raise OSError("it is another program's database")
    ((mode,),) = connection.execute("PRAGMA journal_mode = WAL").fetchall()
    if mode != "wal":
        raise OSError("its file system does not support SQLite's write-ahead log")


def migrate(connection: sqlite3.Connection, path: Path, steps: list[Migration]) -> None:
    """Apply the steps that are missing, each in a transaction of its own. Raises RegistryTooNew."""
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_versions (version INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT"
    )
    known = max(step.version for step in steps)
    for step in steps:
        # Two processes may start at once: the second one waits here, and finds it done.
        connection.execute("BEGIN IMMEDIATE")
        try:
            ((found,),) = connection.execute(
                "SELECT coalesce(max(version), 0) FROM schema_versions"
            ).fetchall()
            _require_known(path, found, known)
            if step.version > found:
                _apply(connection, step)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _require_known(path: Path, found: int, known: int) -> None:
    if found > known:
        raise RegistryTooNew(path=path, found=found, known=known)


def _apply(connection: sqlite3.Connection, step: Migration) -> None:
    for statement in step.statements():
        connection.execute(statement)
    connection.execute("INSERT INTO schema_versions (version, name) VALUES (?, ?)", (step.version, step.name))


def connect_writer(path: Path) -> sqlite3.Connection:
    """The connection that writes; transactions are begun and ended by hand.

    ``synchronous = FULL``: in WAL mode every commit is fsynced before it returns.
    """
    connection = _connect(path, "rw")
    connection.execute(f"PRAGMA busy_timeout = {WRITER_PATIENCE_MS}")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA wal_autocheckpoint = 0")  # not while anybody waits for a commit: Backfill
    connection.execute(f"PRAGMA journal_size_limit = {LOG_LIMIT}")
    connection.execute(f"PRAGMA cache_size = -{WRITER_CACHE_KIB}")
    connection.execute("PRAGMA temp_store = MEMORY")  # what savepoints remember; never worth a file
    return connection


def connect_backfill(path: Path) -> sqlite3.Connection:
    """A connection that copies the log into the file beside the writer, and waits for nobody."""
    connection = _connect(path, "rw")
    connection.execute("PRAGMA busy_timeout = 0")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, usable from any one thread at a time."""
    connection = _connect(path, "ro")
    connection.execute(f"PRAGMA busy_timeout = {READER_PATIENCE_MS}")
    return connection


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _make_private(path: Path) -> None:
    """Create an empty file that only its owner reads; SQLite gives its -wal and -shm the same mode.

    An existing one is only looked at, never opened here: closing any descriptor of a database file drops this
    process's locks on it (POSIX advisory locks).
    """
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, _PRIVATE)
    except FileExistsError:
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode):
            raise OSError("it is not a plain file") from None
        if stat.S_IMODE(mode) & ~_PRIVATE:
            path.chmod(_PRIVATE)
        return
    os.close(descriptor)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)  # the name, too, must survive a power cut
    finally:
        os.close(folder)
