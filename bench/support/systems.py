"""The systems under test: how each is started, asked and counted."""

import contextlib
import hashlib
import json
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bench.support import paper
from bench.support.requests import Door

from keyborn.cli.console import ask
from keyborn.domain.errors import KeybornError

ROOT = Path(__file__).resolve().parents[2]
_PATIENCE = 30.0
_BEAT = 0.02
_CSR = "certificate_request"
_CFSSL_KINDS: dict[str | None, tuple[str, str]] = {
    None: ("cfssl", "cfssl, no database"),
    "delete": ("cfssl-sqlite", "cfssl, SQLite"),
    "wal": ("cfssl-sqlite-wal", "cfssl, SQLite, WAL and FULL"),
}
"""By SQLite's journal mode: ``delete`` is what cfssl gets unless somebody prepares the file."""
_SYNCHRONOUS = {"delete": "", "wal": "?_sync=FULL"}
"""cfssl's SQLite driver sets ``synchronous = NORMAL`` unless told otherwise. With a rollback journal that
still syncs the database at each commit; with WAL it syncs nothing, which would be no durable peer."""


@dataclass(frozen=True, slots=True)
class Target:
    """A running system."""

    pid: int
    host: str
    port: int
    door: Door


class System(ABC):
    """One system in one configuration, on a folder of its own."""

    kind: str
    """How ``--systems`` calls it."""
    label: str
    tls: bool
    program: str
    """What must be on PATH."""

    @contextlib.contextmanager
    def running(self, folder: Path) -> Iterator[Target]:
        """Start it; on leaving, end it in the way its operator would."""
        with (folder / "log").open("ab") as log:
            process = self._start(folder, log)
            try:
                yield self._ready(folder, process)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(_PATIENCE)

    @abstractmethod
    def _start(self, folder: Path, log: IO[bytes]) -> "subprocess.Popen[bytes]": ...

    @abstractmethod
    def _ready(self, folder: Path, process: "subprocess.Popen[bytes]") -> Target: ...

    @abstractmethod
    def stored(self, folder: Path) -> frozenset[str] | None:
        """Fingerprints of the certificates in its database; None where it has none."""


class Keyborn(System):
    """``keyborn serve`` as it comes: token, every rule, audit, fsync before each answer."""

    def __init__(self, *, tls: bool) -> None:
        self.tls = tls
        self.kind, self.label, self.program = "keyborn", "Keyborn", sys.executable

    def _start(self, folder: Path, log: IO[bytes]) -> "subprocess.Popen[bytes]":
        program = ["-m", "keyborn"] if self.tls else [str(ROOT / "bench" / "support" / "plain_keyborn.py")]
        words = ["serve", "--data", str(folder / "data"), "--https", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"]
        return _spawn([sys.executable, *program, *words], log)

    def _ready(self, folder: Path, process: "subprocess.Popen[bytes]") -> Target:
        data = folder / "data"
        _wait(process, lambda: _serves(data), folder)
        host, _, port = ask(data, "GET", "/v1/about")["https"].rpartition(":")
        token = ask(data, "POST", "/v1/tokens", {"match": "bench-*", "uses": 0, "ttl": 3600})
        door = Door("/v1/enroll", "thingName", "csr", ("certificatePem",), token["secret"])
        return Target(process.pid, host, int(port), door)

    def stored(self, folder: Path) -> frozenset[str]:
        """Active certificates of active things whose enrolment the audit trail holds as done."""
        question = (
            "SELECT c.id FROM certificates c JOIN things t ON t.name = c.thing "
            "JOIN attachments a ON a.certificate = c.id WHERE c.status = 'active' AND t.status = 'active'"
        )
        audited = (
            "SELECT count(*) FROM audit WHERE json_extract(event, '$.action') = 'enroll' "
            "AND json_extract(event, '$.outcome') = 'done'"
        )
        with _reading(folder / "data" / "registry.db") as connection:
            found = frozenset(row[0] for row in connection.execute(question))
            ((done,),) = connection.execute(audited).fetchall()
        if done != len(found):
            raise RuntimeError(f"{len(found)} active certificates, but {done} audited enrolments")
        return found


class Cfssl(System):
    """Debian's ``cfssl serve``: no credential, no rule about names or keys, no audit."""

    def __init__(self, *, tls: bool, database: str | None = None) -> None:
        """``database`` is a journal mode of SQLite, or None for no database at all."""
        self.tls = tls
        self._database = database
        self.kind, self.label = _CFSSL_KINDS[database]
        self.program = "cfssl"

    def _start(self, folder: Path, log: IO[bytes]) -> "subprocess.Popen[bytes]":
        paper.write_authority(folder)
        (folder / "port").write_text(str(_free_port()))
        words = ["cfssl", "serve", "-address", "127.0.0.1", "-port", (folder / "port").read_text()]
        words += ["-ca", "ca.pem", "-ca-key", "ca.key", "-config", "config.json", "-loglevel", "2"]
        words += ["-tls-cert", "server.pem", "-tls-key", "server.key"] if self.tls else []
        if self._database is not None:
            paper.write_certificate_database(folder / "certificates.db", self._database)
            place = f"file:{folder / 'certificates.db'}{_SYNCHRONOUS[self._database]}"
            source = {"driver": "sqlite3", "data_source": place}
            (folder / "database.json").write_text(json.dumps(source))
            words += ["-db-config", "database.json"]
        return _spawn(words, log, folder)

    def _ready(self, folder: Path, process: "subprocess.Popen[bytes]") -> Target:
        port = int((folder / "port").read_text())
        _wait(process, lambda: _accepts(port), folder)
        door = Door("/api/v1/cfssl/sign", None, _CSR, ("result", "certificate"))
        return Target(process.pid, "127.0.0.1", port, door)

    def stored(self, folder: Path) -> frozenset[str] | None:
        """Certificates in its table, by fingerprint."""
        if self._database is None:
            return None
        with _reading(folder / "certificates.db") as connection:
            rows = connection.execute("SELECT pem FROM certificates WHERE status = 'good'").fetchall()
        return frozenset(hashlib.sha256(ssl.PEM_cert_to_DER_cert(_text(pem))).hexdigest() for (pem,) in rows)


def systems(*, tls: bool) -> list[System]:
    """Every system on one wire, in the order of the table."""
    return [Keyborn(tls=tls), *(Cfssl(tls=tls, database=database) for database in _CFSSL_KINDS)]


def _spawn(words: Sequence[str], log: IO[bytes], folder: Path | None = None) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(words, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _wait(process: "subprocess.Popen[bytes]", ready: Callable[[], bool], folder: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"it did not start: {(folder / 'log').read_text()[-2000:]}")
        time.sleep(_BEAT)


def _serves(data: Path) -> bool:
    """Whether a server answers on the control socket; without one, asking would take the folder's lock."""
    with contextlib.suppress(KeybornError, OSError):
        return (data / "control.sock").exists() and bool(ask(data, "GET", "/v1/about"))
    return False


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _free_port() -> int:
    """cfssl wants a number: one that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        yield connection


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
