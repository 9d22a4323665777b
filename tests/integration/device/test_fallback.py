"""The broker's second port: tried where the network bars the first, and only there."""

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keyborn.device.answer import Fallback
from keyborn.device.connecting import connect, tls_context
from keyborn.device.home import Home
from keyborn.device.identity import Identity
from keyborn.device.keystore import FileKeyStore
from keyborn.device.messages import Message
from keyborn.device.messenger import Delivery, Messenger
from keyborn.device.session import Session
from keyborn.domain import errors
from support.device_home import OWN, Machine, identify, now
from support.pki import new_pki
from support.rude_broker import CONNECT, RudeBroker, accept, rude_broker

ALPN = "x-amzn-mqtt-ca"
PATIENCE = 2.0
HELLO = Message(1, OWN, b"hello")


@pytest.fixture
def second(tmp_path: Path) -> Iterator[RudeBroker]:
    """The broker at its second port."""
    with rude_broker(tmp_path, alpn=ALPN) as running:
        yield running


def between(home: Home, first: int, second: int, *, alpn: str | None = None) -> Identity:
    """An identity whose broker has two ports."""
    return identify(home, broker=("localhost", first), alpn=alpn, fallback=Fallback(second, ALPN))


def session(home: Home, identity: Identity, *, patience: float = PATIENCE) -> contextlib.closing[Session]:
    context = tls_context(home, FileKeyStore(home.key), identity, now())
    return contextlib.closing(connect(identity, context, patience=patience))


@contextlib.contextmanager
def closed() -> Iterator[int]:
    """A port that refuses: ours, so that nobody else gets it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@contextlib.contextmanager
def mute() -> Iterator[int]:
    """A port that takes connections and never says a word, as some firewalls make of TLS."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@contextlib.contextmanager
def full() -> Iterator[int]:
    """A port whose queue is full: its kernel answers nobody any more, like a firewall that drops packets."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)  # noqa: FBT003 - socket's signature
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@contextlib.contextmanager
def cut(reset: bool = False) -> Iterator[int]:  # noqa: FBT001, FBT002 - a test's shorthand
    """A port that ends each connection at the first words of TLS."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                if reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def cut_by_reset() -> contextlib.AbstractContextManager[int]:
    """The same with a reset."""
    return cut(reset=True)


Barred = Callable[[], contextlib.AbstractContextManager[int]]
BARRED: list[Barred] = [closed, mute, full, cut, cut_by_reset]


@pytest.mark.parametrize("barred", BARRED)
def test_a_barred_port_leads_to_the_second_with_its_alpn(
    home: Home, second: RudeBroker, barred: Barred
) -> None:
    begun = time.monotonic()
    with barred() as port, session(home, between(home, port, second.port)) as made:
        assert made.publish(HELLO).code == 0
    assert second.alpn == [ALPN]
    assert second.published() == ["certtest/gateway-1"]
    assert time.monotonic() - begun < 2 * PATIENCE


def test_where_the_first_answers_the_second_is_left_alone(
    home: Home, second: RudeBroker, tmp_path: Path
) -> None:
    with rude_broker(tmp_path) as first, session(home, between(home, first.port, second.port)):
        assert first.alpn == [None]
    assert second.seen == []


def test_each_port_is_asked_for_its_own_alpn(home: Home, second: RudeBroker, tmp_path: Path) -> None:
    """One context serves one attempt after the other: what the last one asked for must not stay."""
    with rude_broker(tmp_path, alpn="mqtt") as first:
        identity = between(home, first.port, second.port, alpn="mqtt")
        context = tls_context(home, FileKeyStore(home.key), identity, now())
        connect(identity, context).close()
        alone = identity.on_fallback()
        assert alone is not None
        connect(alone, context).close()
        connect(identity, context).close()
    with rude_broker(tmp_path, alpn="mqtt") as plain:
        connect(between(home, plain.port, second.port), context).close()
    assert (first.alpn, second.alpn, plain.alpn) == (["mqtt", "mqtt"], [ALPN], [None])


def test_nothing_is_remembered_the_first_port_comes_first_again(
    home: Home, second: RudeBroker, tmp_path: Path
) -> None:
    with closed() as port:
        identity = between(home, port, second.port)
        before = home.settings.read_bytes()
        with session(home, identity):
            pass
    with socket.socket() as again:
        again.bind(("127.0.0.1", port))
        with rude_broker(tmp_path, bound=again) as first:
            with session(home, identity):
                pass
            assert [packet.kind for packet in first.seen][:1] == [CONNECT]
    assert second.kinds().count(CONNECT) == 1
    assert home.settings.read_bytes() == before


def test_where_both_are_barred_both_are_named(home: Home) -> None:
    with (
        closed() as one,
        mute() as other,
        pytest.raises(errors.BrokerUnreachable) as caught,
        session(home, between(home, one, other)),
    ):
        pass
    told = str(caught.value)
    assert f"The broker localhost:{one} or localhost:{other} cannot be reached: " in told
    assert f"refused; on port {other}, no answer within " in told


@pytest.mark.parametrize(("one", "other"), [(mute, mute), (full, full), (full, mute), (closed, full)])
def test_both_together_end_at_the_connect_time_out(home: Home, one: Barred, other: Barred) -> None:
    begun = time.monotonic()
    with (
        one() as first,
        other() as last,
        pytest.raises(errors.BrokerUnreachable),
        session(home, between(home, first, last), patience=0.6),
    ):
        pass
    assert 0.2 < time.monotonic() - begun < 3


def test_a_name_without_an_address_has_none_for_the_second_port(home: Home, second: RudeBroker) -> None:
    identity = identify(home, broker=("nowhere.invalid", 1), fallback=Fallback(second.port, ALPN))
    with pytest.raises(errors.BrokerUnreachable) as caught, session(home, identity):
        pass
    assert str(second.port) not in str(caught.value)


# ── who answers is there ──


def test_a_broker_that_is_not_believed_is_not_looked_for_elsewhere(
    home: Home, second: RudeBroker, tmp_path: Path
) -> None:
    with (
        rude_broker(tmp_path, pki=new_pki()) as other,
        pytest.raises(errors.BrokerUntrusted),
        session(home, between(home, other.port, second.port)),
    ):
        pass
    assert second.seen == []


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"\x20\x03\x00\x87\x00", errors.SessionRefused),
        (None, errors.SessionRefused),
        (b"\x20\x03\x00\x97\x00", errors.BrokerUnreachable),
        (b"", errors.BrokerUnreachable),
    ],
    ids=["refused", "hung up", "over its quota", "silent"],
)
def test_a_broker_that_speaks_mqtt_is_not_looked_for_elsewhere(
    home: Home, second: RudeBroker, tmp_path: Path, reply: bytes | None, error: type[errors.DeviceError]
) -> None:
    with rude_broker(tmp_path) as first:
        first.answer = lambda _packet, _level: reply
        with pytest.raises(error), session(home, between(home, first.port, second.port), patience=0.6):
            pass
    assert second.seen == []


def test_a_tls_that_refuses_is_not_looked_for_elsewhere(home: Home, second: RudeBroker) -> None:
    def serve() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # without a certificate: it answers with an alert
        connection, _ = listener.accept()
        with connection, contextlib.suppress(ssl.SSLError):
            context.wrap_socket(connection, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        identity = between(home, listener.getsockname()[1], second.port)
        with pytest.raises(errors.BrokerUnreachable, match="TLS: "), session(home, identity):
            pass
        thread.join()
    assert second.seen == []


# ── what may be at the second port ──


def test_a_proxy_that_poses_as_the_second_port_is_only_in_the_way(home: Home, tmp_path: Path) -> None:
    """Such proxies look into the web's port everywhere: a listener must outlive an outage behind one."""
    with closed() as port, rude_broker(tmp_path, pki=new_pki()) as proxy:
        identity = between(home, port, proxy.port)
        with pytest.raises(errors.BrokerUnreachable) as caught, session(home, identity):
            pass
    assert proxy.seen == []
    assert f"on port {proxy.port}, " in str(caught.value)
    assert "certificate" in str(caught.value)


def test_a_refusal_at_the_second_port_is_a_refusal(home: Home, second: RudeBroker) -> None:
    second.answer = lambda _packet, _level: b"\x20\x03\x00\x87\x00"
    with (
        closed() as port,
        pytest.raises(errors.SessionRefused, match=f"localhost:{second.port} refused the session"),
        session(home, between(home, port, second.port)),
    ):
        pass


def test_a_session_that_ends_there_says_where_it_was(home: Home, second: RudeBroker) -> None:
    second.answer = lambda packet, level: accept(packet, level) if packet.kind == CONNECT else None
    with (
        closed() as port,
        session(home, between(home, port, second.port)) as made,
        pytest.raises(errors.SessionLost, match=f"localhost:{second.port} ended"),
    ):
        made.publish(HELLO)


# ── a whole command ──


def test_a_message_leaves_by_the_second_port(home: Home, second: RudeBroker) -> None:
    with closed() as port:
        between(home, port, second.port)
        published = Messenger(home, Machine().surroundings()).publish("certtest/gateway-1", b"hello")
    assert published.delivery is Delivery.DELIVERED
    assert second.published() == ["certtest/gateway-1"]


def test_a_message_that_both_keep_from_leaving_stays_and_says_so(home: Home) -> None:
    with closed() as one, closed() as other:
        between(home, one, other)
        published = Messenger(home, Machine().surroundings()).publish("certtest/gateway-1", b"hello")
    assert published.delivery is Delivery.KEPT
    assert published.why is not None
    assert f"localhost:{one} or localhost:{other} cannot be reached" in published.why
