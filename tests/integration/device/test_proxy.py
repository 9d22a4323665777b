"""Through a real HTTP proxy on loopback: enrolment, renewal's door, the MQTT session; and rude proxies."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyborn.device import connecting, https, proxy, tls
from keyborn.device.answer import Fallback
from keyborn.device.connecting import connect, tls_context
from keyborn.device.home import Home
from keyborn.device.identity import Identity
from keyborn.device.keystore import FileKeyStore
from keyborn.device.messenger import Delivery, Messenger
from keyborn.device.proving import prove_broker
from keyborn.domain.errors import BrokerUnreachable
from support.agent_stage import running
from support.connect_proxy import (
    GRANTED,
    ConnectProxy,
    Manner,
    connect_proxy,
    environment,
    head,
    tinyproxy,
)
from support.device_home import OWN, Machine, eventually, home_in, identify, now
from support.pki import DISTANT
from support.rude_broker import CONNECT, RudeBroker, rude_broker
from support.rude_service import plain, rude_service

ALPN = "x-amzn-mqtt-ca"
PORT = 8883
PASSWORD = "hunter2-very-secret"


@pytest.fixture
def way(broker: RudeBroker, monkeypatch: pytest.MonkeyPatch) -> Iterator[ConnectProxy]:
    """The only way to the broker, whose name has no address here."""
    with connect_proxy({f"{DISTANT}:{PORT}": broker.port}) as made:
        environment(monkeypatch, HTTPS_PROXY=made.url)
        yield made


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = home_in(tmp_path)
    identify(home, broker=(DISTANT, PORT))
    return home


def publish(home: Home, wait: float = 5) -> tuple[Delivery, str | None]:
    done = Messenger(home, Machine().surroundings()).publish(OWN, b"hello", wait=wait)
    return done.delivery, done.why


def trouble(identity: Identity, home: Home, patience: float = 2) -> str:
    context = tls_context(home, FileKeyStore(home.key), identity, now())
    with pytest.raises(BrokerUnreachable) as caught:
        connect(identity, context, patience=patience).close()
    return str(caught.value)


# ── the good way ──


def test_a_message_passes_and_the_proxy_is_told_the_name(
    home: Home, way: ConnectProxy, broker: RudeBroker
) -> None:
    assert publish(home) == (Delivery.DELIVERED, None)
    assert way.asked() == [f"{DISTANT}:{PORT}"]
    assert not any("authorization" in line.lower() for line in way.seen[0])
    assert broker.published() == [OWN]


def test_nobody_here_looks_for_the_broker_s_address(
    home: Home, way: ConnectProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    resolve = socket.getaddrinfo

    def noting(host: str, *words: object, **more: object) -> object:
        asked.append(host)
        return resolve(host, *words, **more)  # type: ignore[arg-type] # passed on as they came

    monkeypatch.setattr(socket, "getaddrinfo", noting)
    assert publish(home)[0] is Delivery.DELIVERED
    assert set(asked) == {"127.0.0.1"}


def test_who_wants_a_login_gets_it_and_nobody_else_sees_it(
    home: Home, broker: RudeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect_proxy({f"{DISTANT}:{PORT}": broker.port}, login=f"me:{PASSWORD}") as guarded:
        environment(monkeypatch, HTTPS_PROXY=guarded.url.replace("//", f"//me:{PASSWORD}@"))
        with running(home) as agent:
            agent.connects()
            status = str(agent.status())
        environment(monkeypatch, HTTPS_PROXY=guarded.url)
        missing = publish(home, wait=1)[1]
        environment(monkeypatch, HTTPS_PROXY=guarded.url.replace("//", f"//me:{PASSWORD}x@"))
        wrong = publish(home, wait=1)[1]
    assert "wants a user and a password (407)" in str(missing)
    assert "does not take the user and password of HTTPS_PROXY (407)" in str(wrong)
    for told in (agent.log.getvalue(), status, str(wrong)):
        assert PASSWORD not in told


def test_the_second_port_is_tried_where_the_proxy_knows_only_the_web_s(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identify(home, broker=(DISTANT, PORT), fallback=Fallback(443, ALPN))
    with rude_broker(tmp_path, alpn=ALPN) as second, connect_proxy({f"{DISTANT}:443": second.port}) as web:
        environment(monkeypatch, HTTPS_PROXY=web.url)
        with running(home) as agent:
            agent.connects()
        assert web.asked() == [f"{DISTANT}:{PORT}", f"{DISTANT}:443"]
        assert second.alpn == [ALPN]


def test_no_proxy_leads_past_it(way: ConnectProxy, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, HTTPS_PROXY=way.url, NO_PROXY=DISTANT)
    assert "has no address" in str(publish(home, wait=1)[1])
    environment(monkeypatch, HTTPS_PROXY=way.url, MQTT_PROXY="")
    assert "has no address" in str(publish(home, wait=1)[1])
    assert way.seen == []


def test_the_agent_finds_the_broker_again_through_a_proxy_that_was_away(
    home: Home, broker: RudeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect_proxy() as way:
        environment(monkeypatch, HTTPS_PROXY=way.url)
        with running(home) as agent:
            eventually(lambda: "(403 Forbidden)" in str(agent.status()["error"]))
            way.leads[f"{DISTANT}:{PORT}"] = broker.port
            agent.connects()
    assert broker.kinds().count(CONNECT) == 1


def test_the_service_is_asked_through_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        rude_service(tmp_path) as service,
        connect_proxy({f"{DISTANT}:443": https.Service(service.url).port}) as way,
    ):
        service.script("/x", plain(200, b"yes"))
        environment(monkeypatch, https_proxy=way.url, mqtt_proxy="http://127.0.0.1:1")
        context = tls.verifying_context(service.pki.root_pem)
        there, request = https.Service(f"https://{DISTANT}"), https.Request("GET", "/x")
        assert https.exchange(there, context, request, seconds=5).body == b"yes"
        way.leads.clear()
        with pytest.raises(https.Unanswered, match=r"the proxy 127\.0\.0\.1:.* \(403 Forbidden\)"):
            https.exchange(there, context, request, seconds=5)


def test_the_broker_proves_itself_through_it(home: Home, way: ConnectProxy) -> None:
    own = identify(home, broker=(DISTANT, PORT))
    context = tls_context(home, FileKeyStore(home.key), own, now())
    prove_broker(own, context, 5)
    assert len(way.seen) == 1


@pytest.mark.needs("tinyproxy")
def test_tinyproxy_leads_there(
    home: Home, way: ConnectProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tinyproxy(tmp_path, way, login=("me", PASSWORD)) as port:
        environment(monkeypatch, HTTPS_PROXY=f"http://me:{PASSWORD}@127.0.0.1:{port}")
        assert publish(home) == (Delivery.DELIVERED, None)
        environment(monkeypatch, HTTPS_PROXY=f"http://127.0.0.1:{port}")
        assert "(407)" in str(publish(home, wait=1)[1])
    assert len(way.seen) == 1


# ── what proxies can do ──


def _bytes(data: bytes) -> Manner:
    return lambda client: client.sendall(data)


def _silent(client: socket.socket) -> None:
    client.recv(1)


def _dripping(client: socket.socket) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\n")
    for _ in range(500):
        client.sendall(b"X")
        time.sleep(0.02)


def _endless(client: socket.socket) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\n")
    for _ in range(200):
        client.sendall(b"X-Filler: " + b"x" * 4096 + b"\r\n")


@pytest.mark.parametrize(
    ("manner", "why"),
    [
        (head("403 Forbidden"), r"does not connect to it \(403 Forbidden\)"),
        (head("502 whatever"), r"does not connect to it \(502 Bad Gateway\)"),
        (head("799 \x1b[31m"), r"does not connect to it \(799\)"),
        (head("302 Found"), r"does not connect to it \(302 Found\)"),
        (head("407 x"), r"wants a user and a password \(407\)\. Put them into HTTPS_PROXY"),
        (_bytes(b""), "is not an HTTP proxy's answer"),
        (_bytes(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "is not an HTTP proxy's answer"),
        (_bytes(b"HTTP/1.1 2xx OK\r\n\r\n"), "is not an HTTP proxy's answer"),
        (_bytes(b"HTTP/1.1 200 OK\r\n"), "is not an HTTP proxy's answer"),
        (_bytes(GRANTED + b"\x16\x03\x03"), "is not an HTTP proxy's answer"),
        (_endless, "is not an HTTP proxy's answer|ended it"),
        (_silent, "did not answer in time"),
        (_dripping, "did not answer in time"),
    ],
)
def test_what_a_rude_proxy_says_is_told_in_time(
    home: Home, way: ConnectProxy, manner: Manner, why: str
) -> None:
    way.manner = manner
    own = identify(home, broker=(DISTANT, PORT))
    begun = time.monotonic()
    said = trouble(own, home, patience=0.6)
    assert time.monotonic() - begun < 3
    with pytest.raises(BrokerUnreachable, match=why):
        raise BrokerUnreachable(broker="", detail=said)
    assert f"the proxy 127.0.0.1:{way.port} (HTTPS_PROXY)" in said
    assert "\x1b" not in said


def test_a_proxy_that_ends_the_tunnel_in_the_handshake_is_as_a_network_that_does(
    home: Home, way: ConnectProxy
) -> None:
    """What it has not read makes the end a reset; it is none of the proxy's answers either way."""
    way.manner = _bytes(GRANTED)
    said = trouble(identify(home, broker=(DISTANT, PORT)), home)
    assert "TLS: " in said or "reset" in said
    assert "proxy" not in said


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:1", "the proxy 127.0.0.1:1 (HTTPS_PROXY) cannot be reached: Connection refused"),
        ("http://nowhere.invalid:1", "the name of the proxy nowhere.invalid:1 (HTTPS_PROXY) has no address"),
        ("socks5://127.0.0.1:1", "HTTPS_PROXY names a kind of proxy that is not supported"),
    ],
)
def test_a_proxy_that_is_not_there_is_said(
    home: Home, monkeypatch: pytest.MonkeyPatch, url: str, why: str
) -> None:
    environment(monkeypatch, HTTPS_PROXY=url)
    assert why in trouble(identify(home, broker=(DISTANT, PORT)), home)


def test_a_name_that_would_write_its_own_headers_goes_nowhere() -> None:
    asked = proxy.Proxy("p", 1, "HTTPS_PROXY")
    for name in ("a\r\nX: 1", "a b", "\x00"):
        with pytest.raises(proxy.Barred):
            proxy._request(asked, name, 443)
    assert proxy._request(asked, "fd00::1", 443).startswith(b"CONNECT [fd00::1]:443 HTTP/1.1\r\n")
    assert proxy._request(asked, "bücher.example", 1).startswith(b"CONNECT xn--bcher-kva.example:1 ")


def test_a_mute_proxy_holds_an_agent_no_longer_than_the_connect_time_out(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "CONNECT_TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        environment(monkeypatch, HTTPS_PROXY=f"http://127.0.0.1:{mute.getsockname()[1]}")
        with running(home) as agent:
            eventually(lambda: "did not answer in time" in str(agent.status()["error"]))
