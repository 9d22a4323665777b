"""An HTTP proxy on loopback that knows CONNECT, where its names lead, and some bad manners."""

import contextlib
import os
import selectors
import shutil
import socket
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

GRANTED = b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n"
VARIABLES = ("http_proxy", "https_proxy", "mqtt_proxy", "all_proxy", "no_proxy")
Manner = Callable[[socket.socket], None]
"""What it does in the place of an answer."""


def head(status: str) -> Manner:
    """An answer of that status, and the end."""
    return lambda client: client.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())


@dataclass
class ConnectProxy:
    """``seen`` is what it was asked, first lines and headers; ``leads`` may change while it runs."""

    port: int
    leads: dict[str, int] = field(default_factory=dict)
    """From ``name:port`` to a port of this machine."""
    login: str | None = None
    """``user:password``, where it wants one."""
    manner: Manner | None = None
    seen: list[list[str]] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def asked(self) -> list[str]:
        """The places that were asked for."""
        return [lines[0].split(" ")[1] for lines in self.seen]

    def serve(self, client: socket.socket) -> None:
        with client:
            client.settimeout(10)
            asked = b""
            while not asked.endswith(b"\r\n\r\n"):
                piece = client.recv(1)
                if not piece:
                    return
                asked += piece
            lines = asked.decode("ascii").split("\r\n")[:-2]
            self.seen.append(lines)
            if self.manner is not None:
                self.manner(client)
                return
            self._lead(client, lines)

    def _lead(self, client: socket.socket, lines: list[str]) -> None:
        method, place, version = lines[0].split(" ")
        assert (method, version) == ("CONNECT", "HTTP/1.1")
        assert f"Host: {place}" in lines
        if self.login is not None:
            wanted = b64encode(self.login.encode()).decode()
            if f"Proxy-Authorization: Basic {wanted}" not in lines:
                head("407 Proxy Authentication Required")(client)
                return
        if place not in self.leads:
            head("403 Forbidden")(client)
            return
        with socket.create_connection(("127.0.0.1", self.leads[place]), timeout=10) as other:
            client.sendall(GRANTED)
            self._pass_on(client, other)

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(one, selectors.EVENT_READ, other)
            selector.register(other, selectors.EVENT_READ, one)
            while not self.done.is_set():
                for key, _ in selector.select(0.2):
                    data = key.fileobj.recv(65536)  # type: ignore[union-attr] # sockets
                    if not data:
                        return
                    key.data.sendall(data)


@contextlib.contextmanager
def connect_proxy(
    leads: Mapping[str, int] | None = None, *, login: str | None = None
) -> Iterator[ConnectProxy]:
    """A proxy on a free port, until the end of the block."""
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = ConnectProxy(listener.getsockname()[1], dict(leads or {}), login)
        accepting = threading.Thread(target=_accept, args=(listener, proxy, threads))
        accepting.start()
        try:
            yield proxy
        finally:
            proxy.done.set()
            listener.shutdown(socket.SHUT_RDWR)
            for thread in [accepting, *threads]:
                thread.join(15)
                assert not thread.is_alive(), "a tunnel is still open"


def _accept(listener: socket.socket, proxy: ConnectProxy, threads: list[threading.Thread]) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        thread = threading.Thread(target=_serve, args=(proxy, client))
        threads.append(thread)
        thread.start()


def _serve(proxy: ConnectProxy, client: socket.socket) -> None:
    with contextlib.suppress(OSError):
        proxy.serve(client)


def environment(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    """These proxy variables, and no others."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@contextlib.contextmanager
def tinyproxy(folder: Path, upstream: ConnectProxy, *, login: tuple[str, str]) -> Iterator[int]:
    """Debian's tinyproxy, which hands everything on to ``upstream``, for it knows names that are none."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = folder / "tinyproxy.conf"
    settings.write_text(
        f"Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 10\nAllow 127.0.0.1\n"
        f"BasicAuth {login[0]} {login[1]}\nUpstream http 127.0.0.1:{upstream.port}\n"
        f'LogFile "{folder}/tinyproxy.log"\nLogLevel Info\n'
    )
    program = shutil.which("tinyproxy", path=f"/usr/sbin:/usr/bin:{os.defpath}")
    assert program is not None
    process = subprocess.Popen([program, "-d", "-c", str(settings)], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not _answers(port):
            assert process.poll() is None, f"tinyproxy ended with {process.returncode}"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
