"""Connecting: names with many addresses, one time limit, SNI."""

import contextlib
import errno
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyborn.device import tls
from support.pki import SERVER, new_pki, shared_pki

PKI = shared_pki()
Place = tuple[str, int]


@contextlib.contextmanager
def server(folder: Path) -> Iterator[tuple[Place, list[str | None]]]:
    """A TLS server for localhost, and the names that its callers asked for."""
    names: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*PKI.servers.leaf("localhost", usage=SERVER, between=True).write(folder, "dial"))
    context.sni_callback = lambda _socket, name, _context: names.append(name)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = listener.accept()
                with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as talk:
                    talk.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname(), names
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextlib.contextmanager
def dead(count: int = 1) -> Iterator[list[Place]]:
    """Addresses whose kernel answers nobody any more, like a firewall that drops packets."""
    with contextlib.ExitStack() as stack:
        places = []
        for _ in range(count):
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            for _ in range(4):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)  # noqa: FBT003 - socket's signature
                waiting.connect_ex(listener.getsockname())
            places.append(listener.getsockname())
        yield places


def resolve(monkeypatch: pytest.MonkeyPatch, *places: Place) -> None:
    """Let every name have these addresses, in this order."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


def trusting() -> ssl.SSLContext:
    return tls.verifying_context(PKI.root_pem)


def test_the_name_goes_into_sni(tmp_path: Path) -> None:
    with server(tmp_path) as (place, names), tls.dial(trusting(), "localhost", place[1], 5):
        assert names == ["localhost"]


def test_the_last_of_many_addresses_is_tried_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(tmp_path) as (place, _), dead(7) as places:
        resolve(monkeypatch, *places, place)
        with tls.dial(trusting(), "localhost", 8883, 4) as made:
            assert made.getpeername() == place


def test_an_address_that_refuses_costs_the_others_no_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server(tmp_path) as (place, _), socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        resolve(monkeypatch, closed.getsockname(), place)
        with tls.dial(trusting(), "localhost", 8883, 5) as made:
            assert made.getpeername() == place


def test_many_dead_addresses_take_no_longer_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight times ten seconds would keep a device from the second port for longer than a person waits."""
    with dead(8) as places:
        resolve(monkeypatch, *places)
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            tls.dial(trusting(), "localhost", 8883, 0.4)
    assert 0.3 < time.monotonic() - begun < 3


def test_a_mute_server_ends_in_the_same_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            tls.dial(trusting(), "127.0.0.1", mute.getsockname()[1], 0.3)
    assert 0.2 < time.monotonic() - begun < 3


def test_what_the_last_address_said_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        resolve(monkeypatch, one.getsockname(), two.getsockname())
        with pytest.raises(OSError, match="refused") as caught:
            tls.dial(trusting(), "localhost", 8883, 5)
    assert caught.value.errno == errno.ECONNREFUSED


def test_a_name_without_addresses_is_no_endless_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(monkeypatch)
    with pytest.raises(TimeoutError, match="no address"):
        tls.dial(trusting(), "localhost", 8883, 5)


def test_a_failed_handshake_leaves_no_socket_open(tmp_path: Path) -> None:
    """An open one would be a ResourceWarning, which is an error here."""
    other = tls.verifying_context(new_pki().root_pem)
    with server(tmp_path) as (place, _), pytest.raises(ssl.SSLCertVerificationError):
        tls.dial(other, "localhost", place[1], 5)
