"""The systems under test: how each is started, asked and counted."""

import contextlib
import hashlib
import json
import socket
import sqlite3
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from bench.support import paper
from bench.support.openbao import OpenBao
from bench.support.requests import Door
from bench.support.system import ROOT, System, Target, free_port, spawn, wait

from keyborn.cli.console import ask
from keyborn.domain.errors import KeybornError

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


class Keyborn(System):
    """``keyborn serve`` as it comes: token, every rule, audit, fsync before each answer."""

    def __init__(self, *, tls: bool) -> None:
        self.tls = tls
        self.kind, self.label, self.program = "keyborn", "Keyborn", sys.executable

    def _start(self, folder: Path, log: IO[bytes]) -> "subprocess.Popen[bytes]":
        program = ["-m", "keyborn"] if self.tls else [str(ROOT / "bench" / "support" / "plain_keyborn.py")]
        words = ["serve", "--data", str(folder / "data"), "--https", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"]
        return spawn([sys.executable, *program, *words], log)

    def _ready(self, folder: Path, process: "subprocess.Popen[bytes]") -> Target:
        data = folder / "data"
        wait(process, lambda: _serves(data), folder)
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
        (folder / "port").write_text(str(free_port()))
        words = ["cfssl", "serve", "-address", "127.0.0.1", "-port", (folder / "port").read_text()]
        words += ["-ca", "ca.pem", "-ca-key", "ca.key", "-config", "config.json", "-loglevel", "2"]
        words += ["-tls-cert", "server.pem", "-tls-key", "server.key"] if self.tls else []
        if self._database is not None:
            paper.write_certificate_database(folder / "certificates.db", self._database)
            place = f"file:{folder / 'certificates.db'}{_SYNCHRONOUS[self._database]}"
            source = {"driver": "sqlite3", "data_source": place}
            (folder / "database.json").write_text(json.dumps(source))
            words += ["-db-config", "database.json"]
        return spawn(words, log, folder)

    def _ready(self, folder: Path, process: "subprocess.Popen[bytes]") -> Target:
        port = int((folder / "port").read_text())
        wait(process, lambda: _accepts(port), folder)
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
    signers = [Cfssl(tls=tls, database=database) for database in _CFSSL_KINDS]
    return [Keyborn(tls=tls), *signers, OpenBao(tls=tls)]


def _serves(data: Path) -> bool:
    """Whether a server answers on the control socket; without one, asking would take the folder's lock."""
    with contextlib.suppress(KeybornError, OSError):
        return (data / "control.sock").exists() and bool(ask(data, "GET", "/v1/about"))
    return False


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        yield connection


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
