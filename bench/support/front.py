"""One service behind three fronts, and a client that opens connections as devices do; for bench/tls.py."""

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.support.load import process_cpu

from keyborn.cli.console import ask
from keyborn.domain.errors import KeybornError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "behind-a-proxy.md"
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
"""As cheap for the application as it gets, so that what is left is the front."""
PATIENCE = 30.0
_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Front:
    """Who ends TLS, and the processes whose time counts."""

    name: str
    port: int
    tls: bool
    pids: dict[str, int]


@dataclass(slots=True)
class Measured:
    """One cell: answers, seconds, and CPU seconds by process."""

    answers: int
    seconds: float
    cpu: dict[str, float]
    failures: int = 0

    def micros(self, name: str) -> float:
        """Microseconds of CPU per answer."""
        return self.cpu[name] / max(1, self.answers) * 1e6


@dataclass(slots=True)
class Client:
    """How a device connects: with which certificate, and whether it resumes what it had."""

    context: ssl.SSLContext | None
    fresh: bool
    resumes: bool = False
    stop: threading.Event = field(default_factory=threading.Event)
    counts: list[int] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)

    def run(self) -> None:
        """One closed loop, until told to stop."""
        done = failed = 0
        session: ssl.SSLSession | None = None
        slot = len(self.counts)
        self.counts.append(0)
        self.failures.append(0)
        sock: socket.socket | None = None
        while not self.stop.is_set():
            try:
                sock = sock or self._connect(session)
                _exchange(sock)
                done += 1
                if self.fresh:
                    if self.resumes and isinstance(sock, ssl.SSLSocket):
                        session = sock.session
                    sock.close()
                    sock = None
            except OSError:
                failed += 1
                sock = None
            self.counts[slot], self.failures[slot] = done, failed
        if sock is not None:
            sock.close()

    port: int = 0

    def _connect(self, session: ssl.SSLSession | None) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.context is None:
            return sock
        return self.context.wrap_socket(sock, server_hostname="127.0.0.1", session=session)


def _exchange(sock: socket.socket) -> None:
    sock.sendall(REQUEST)
    answer = b""
    while not answer.endswith(b"ok\n"):
        chunk = sock.recv(_CHUNK)
        if not chunk:
            raise ConnectionResetError
        answer += chunk


def measure(front: Front, client: Client, *, clients: int, warmup: float, seconds: float) -> Measured:
    """Load ``front`` with some closed loops; the window opens after ``warmup`` seconds."""
    client.port = front.port
    threads = [threading.Thread(target=client.run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(warmup)
    begun, done, failed = time.monotonic(), sum(client.counts), sum(client.failures)
    before = {name: process_cpu(pid) for name, pid in front.pids.items()}
    time.sleep(seconds)
    cpu = {name: process_cpu(pid) - before[name] for name, pid in front.pids.items()}
    answers, failures, took = (
        sum(client.counts) - done,
        sum(client.failures) - failed,
        time.monotonic() - begun,
    )
    client.stop.set()
    for thread in threads:
        thread.join()
    return Measured(answers, took, cpu, failures)


@contextlib.contextmanager
def fronts(folder: Path) -> Iterator[list[Front]]:
    """The service without TLS, with its own, and with HAProxy's, all of them one process."""
    data, sock, port = folder / "data", folder / "s", _free_port()
    words = ["serve", "--data", str(data), "--https", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"]
    words += ["--plain-http", f"unix:{sock}"]
    with (folder / "log").open("ab") as log, contextlib.ExitStack() as stack:
        service = stack.enter_context(_process([sys.executable, "-m", "keyborn", *words], log))
        _wait(lambda: _serves(data), service)
        (folder / "root.pem").write_text(_root(data))
        (folder / "haproxy.cfg").write_text(_config(folder, port))
        proxy = stack.enter_context(_process([haproxy(), "-db", "-f", str(folder / "haproxy.cfg")], log))
        _wait(lambda: _accepts(port), proxy)
        own = int(ask(data, "GET", "/v1/about")["https"].rpartition(":")[2])
        yield [
            Front("in-process", own, tls=True, pids={"keyborn": service.pid}),
            Front("HAProxy", port, tls=True, pids={"keyborn": service.pid, "haproxy": proxy.pid}),
        ]


def haproxy() -> str:
    """The program, or nothing; daemons live in sbin, which is not on everybody's PATH."""
    return shutil.which("haproxy", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin") or ""


def device(folder: Path) -> tuple[Path, Path]:
    """Certificate and key of a device that enrols with the running service."""
    made = ask(folder / "data", "POST", "/v1/tokens", {"thing": "bench-device"})
    home = folder / "home"
    subprocess.run(
        [sys.executable, "-m", "keyborn", "enroll", "-", "--thing", "bench-device", "--home", str(home)],
        input=made["code"],
        text=True,
        check=True,
        capture_output=True,
        timeout=PATIENCE,
    )
    return next(home.glob("*.crt")), home / "device.key"


def context(shown: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """TLS 1.3 without looking at the chain: that would be the client's CPU."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    if shown is not None:
        made.load_cert_chain(*shown)
    return made


def _config(folder: Path, port: int) -> str:
    (text,) = re.findall(r"```haproxy\n(.*?)```", PAGE.read_text(), re.DOTALL)
    places = {
        "bind :443 ": f"bind 127.0.0.1:{port} ",
        "/var/lib/keyborn/ca/service.pem": str(folder / "data" / "ca" / "service.pem"),
        "/etc/haproxy/keyborn-root.pem": str(folder / "root.pem"),
        "/run/keyborn/http.sock": str(folder / "s"),
    }
    for name, place in places.items():
        text = text.replace(name, place)
    return re.sub(r"^ +(user haproxy|group haproxy|maxconn \d+)\n", "", text, flags=re.MULTILINE)


def _root(data: Path) -> str:
    return "".join(row["pem"] for row in ask(data, "GET", "/v1/authorities") if row["role"] == "root")


@contextlib.contextmanager
def _process(words: Sequence[str], log: object) -> "Iterator[subprocess.Popen[bytes]]":
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _wait(ready: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("it did not start")
        time.sleep(0.02)


def _serves(data: Path) -> bool:
    with contextlib.suppress(KeybornError, OSError, http.client.HTTPException, json.JSONDecodeError):
        return (data / "control.sock").exists() and bool(ask(data, "GET", "/v1/about"))
    return False


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
