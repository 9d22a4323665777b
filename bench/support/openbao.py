"""OpenBao as a peer: one node, raft storage, its PKI engine; every certificate is stored.

``tools/bootstrap.py bench`` brings the program into ``.venv-openbao``. It runs without an audit device, which
would be more work for it: the peer at its best.
"""

import hashlib
import http.client
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from bench.support import paper
from bench.support.requests import Door
from bench.support.system import ROOT, System, Target, free_port, spawn, wait

PROGRAM = ROOT / ".venv-openbao" / "bin" / "bao"
_PATIENCE = 30.0
_ROLE = {
    "allow_any_name": True,
    "enforce_hostnames": False,
    "key_type": "any",
    "client_flag": True,
    "server_flag": False,
    "key_usage": ["DigitalSignature"],
    "ttl": "2160h",
    "max_ttl": "2160h",
    "no_store": False,
}
"""90 days, clientAuth: what Keyborn's device profile gives. ``no_store = false`` keeps every certificate."""


class OpenBao(System):
    """``bao server``: a token looked up, the role's rules, one stored row for each certificate."""

    def __init__(self, *, tls: bool) -> None:
        self.tls = tls
        self.kind, self.label, self.program = "openbao", "OpenBao, raft", str(PROGRAM)

    def _start(self, folder: Path, log: IO[bytes]) -> "subprocess.Popen[bytes]":
        if not (folder / "port").exists():
            paper.write_authority(folder)
            (folder / "raft").mkdir()
            (folder / "port").write_text(str(free_port()))
            (folder / "bao.hcl").write_text(_settings(folder, tls=self.tls))
        return spawn([self.program, "server", "-config", "bao.hcl", "-log-level", "error"], log, folder)

    def _ready(self, folder: Path, process: "subprocess.Popen[bytes]") -> Target:
        port = int((folder / "port").read_text())
        wait(process, lambda: self._says(folder, "GET", "sys/seal-status") is not None, folder)
        shares: dict[str, Any] = {"secret_shares": 1, "secret_threshold": 1}
        made = self._ask(folder, "PUT", "sys/init", shares)
        (folder / "seal").write_text(json.dumps(made))
        self._unseal(folder, process)
        self._ask(folder, "POST", "sys/mounts/pki", {"type": "pki", "config": {"max_lease_ttl": "87600h"}})
        root = {"common_name": "bench CA", "key_type": "ec", "key_bits": 256, "ttl": "87600h"}
        authority = self._ask(folder, "POST", "pki/root/generate/internal", root)["data"]
        (folder / "root").write_text(authority["serial_number"])
        self._ask(folder, "POST", "pki/roles/device", _ROLE)
        door = Door("/v1/pki/sign/device", "common_name", "csr", ("data", "certificate"), made["root_token"])
        return Target(process.pid, "127.0.0.1", port, door)

    def _unseal(self, folder: Path, process: "subprocess.Popen[bytes]") -> None:
        key = json.loads((folder / "seal").read_text())["keys"][0]
        self._ask(folder, "PUT", "sys/unseal", {"key": key})
        wait(process, lambda: (self._says(folder, "GET", "sys/leader") or {}).get("is_self") is True, folder)

    def stored(self, folder: Path) -> frozenset[str]:
        """Its certificates, read after it has been started again: what lasted."""
        with (folder / "log").open("ab") as log, self._again(folder, log):
            serials = self._ask(folder, "LIST", "pki/certs")["data"]["keys"]
            own = (folder / "root").read_text()
            with closing(self._connection(folder)) as connection:
                return frozenset(_fetch(connection, serial) for serial in serials if serial != own)

    @contextmanager
    def _again(self, folder: Path, log: IO[bytes]) -> Iterator[None]:
        process = self._start(folder, log)
        try:
            wait(process, lambda: self._says(folder, "GET", "sys/seal-status") is not None, folder)
            self._unseal(folder, process)
            yield
        finally:
            process.terminate()
            process.wait(_PATIENCE)

    def _says(self, folder: Path, method: str, path: str) -> dict[str, Any] | None:
        with suppress(OSError, http.client.HTTPException, RuntimeError):
            return self._ask(folder, method, path)
        return None

    def _ask(
        self, folder: Path, method: str, path: str, body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """One call of its API; a mount that is being set up is asked again. Raises RuntimeError, OSError."""
        seal = folder / "seal"
        token = json.loads(seal.read_text())["root_token"] if seal.exists() else ""
        headers = {"X-Vault-Token": token} if token else {}
        with closing(self._connection(folder)) as connection:
            connection.request(method, f"/v1/{path}", json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]!r}")
        said: dict[str, Any] = json.loads(text or b"{}")
        return said

    def _connection(self, folder: Path) -> http.client.HTTPConnection:
        port = int((folder / "port").read_text())
        if not self.tls:
            return http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
        context = paper.trusting(folder)
        return http.client.HTTPSConnection("127.0.0.1", port, timeout=_PATIENCE, context=context)


def version() -> str:
    """What it says of itself, on one line."""
    if not os.access(PROGRAM, os.X_OK):
        return "OpenBao: not installed"
    said = subprocess.run([PROGRAM, "version"], capture_output=True, text=True, check=True).stdout
    return said.partition(" (")[0].strip()


def _settings(folder: Path, *, tls: bool) -> str:
    port = (folder / "port").read_text()
    lines = [f'address = "127.0.0.1:{port}"']
    lines += ['tls_cert_file = "server.pem"', 'tls_key_file = "server.key"'] if tls else ["tls_disable = 1"]
    return "\n".join(
        [
            'storage "raft" {\n  path = "raft"\n  node_id = "bench"\n}',
            'listener "tcp" {\n  ' + "\n  ".join(lines) + "\n}",
            f'api_addr = "http{"s" if tls else ""}://127.0.0.1:{port}"',
            f'cluster_addr = "https://127.0.0.1:{free_port()}"',
            "ui = false\n",
        ]
    )


def _fetch(connection: http.client.HTTPConnection, serial: str) -> str:
    connection.request("GET", f"/v1/pki/cert/{serial}/raw")
    answer = connection.getresponse()
    return hashlib.sha256(answer.read()).hexdigest()
