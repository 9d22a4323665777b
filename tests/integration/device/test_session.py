"""The MQTT session against brokers that are ours, other people's, and rude."""

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from keyborn.device import connecting, session as sessions
from keyborn.device.connecting import connect, tls_context
from keyborn.device.home import Home
from keyborn.device.identity import Identity
from keyborn.device.keystore import FileKeyStore
from keyborn.device.messages import Message
from keyborn.device.opening import Limits
from keyborn.device.reasons import Reason
from keyborn.device.session import MQTT_3_1_1, MQTT_5, Session
from keyborn.domain import errors
from support.device_home import DAY, OWN, eventually, identify, now
from support.device_pki import Wanted
from support.mosquitto_broker import mosquitto
from support.pki import CLIENT, SERVER, Pki, new_pki, shared_pki
from support.rude_broker import (
    ACCEPTED_5,
    CONNECT,
    DISCONNECT,
    PUBLISH,
    SUBSCRIBE,
    Packet,
    RudeBroker,
    accept,
    rude_broker,
)

HELLO = Message(1, OWN, b"hello")


def identity_at(
    home: Home, broker: RudeBroker, *, pki: Pki | None = None, alpn: str | None = None
) -> Identity:
    return identify(home, broker=(broker.host, broker.port), pki=pki, alpn=alpn)


def open_session(home: Home, identity: Identity) -> contextlib.closing[Session]:
    context = tls_context(home, FileKeyStore(home.key), identity, now())
    return contextlib.closing(connect(identity, context))


# ── connecting ──


def test_mqtt_5_comes_first_with_the_thing_s_client_id(home: Home, broker: RudeBroker) -> None:
    with open_session(home, identity_at(home, broker)) as session:
        assert session.version == MQTT_5
    first = broker.seen[0]
    assert (first.kind, first.level) == (CONNECT, 5)
    assert first.body.endswith(b"\x00\x09gateway-1")
    eventually(lambda: broker.kinds() == [CONNECT, DISCONNECT])


@pytest.mark.parametrize(
    "refusal",
    [b"\x20\x02\x00\x01", b"\x20\x03\x00\x84\x00", None],
    ids=["in the words of 3.1.1", "in the words of 5", "without a word"],
)
def test_a_broker_that_knows_only_3_1_1_gets_3_1_1(
    home: Home, broker: RudeBroker, refusal: bytes | None
) -> None:
    def old(packet: Packet, level: int) -> bytes | None:
        return refusal if packet.kind == CONNECT and level == 5 else accept(packet, level)

    broker.answer = old
    with open_session(home, identity_at(home, broker)) as session:
        assert session.version == MQTT_3_1_1
        assert session.publish(HELLO).code == 0
    assert [packet.level for packet in broker.seen if packet.kind == CONNECT] == [5, 4]


def test_a_refusal_with_a_reason_is_told_and_not_repeated(home: Home, broker: RudeBroker) -> None:
    broker.answer = lambda _packet, _level: b"\x20\x03\x00\x87\x00"
    with (
        pytest.raises(errors.SessionRefused, match="Not authorized"),
        open_session(home, identity_at(home, broker)),
    ):
        pass
    assert broker.kinds() == [CONNECT]


def test_a_broker_that_always_hangs_up_is_a_refusal_that_says_what_to_ask(
    home: Home, broker: RudeBroker
) -> None:
    broker.answer = lambda _packet, _level: None
    with (
        pytest.raises(errors.SessionRefused, match="whether gateway-1 is active"),
        open_session(home, identity_at(home, broker)),
    ):
        pass


def test_a_broker_that_never_answers_is_unreachable(
    home: Home, broker: RudeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "CONNECT_TIMEOUT", 0.3)
    broker.answer = lambda _packet, _level: b""
    with (
        pytest.raises(errors.BrokerUnreachable, match=r"within 0\.3 s"),
        open_session(home, identity_at(home, broker)),
    ):
        pass


def test_a_port_that_says_nothing_ends_at_the_connect_time_out(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "CONNECT_TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        identity = identify(home, broker=("127.0.0.1", mute.getsockname()[1]))
        with pytest.raises(errors.BrokerUnreachable), open_session(home, identity):
            pass


@pytest.mark.parametrize(("host", "why"), [("localhost", "refused"), ("nowhere.invalid", "no address")])
def test_nobody_there_is_unreachable(home: Home, host: str, why: str) -> None:
    identity = identify(home, broker=(host, 1))
    with pytest.raises(errors.BrokerUnreachable, match=why), open_session(home, identity):
        pass


def test_rubbish_for_an_answer_is_no_session(home: Home, broker: RudeBroker) -> None:
    broker.answer = lambda _packet, _level: b"\x20\x7f" + b"\xff" * 127
    with pytest.raises(errors.DeviceError), open_session(home, identity_at(home, broker)):
        pass


def test_alpn_is_offered_where_the_identity_names_it(home: Home, tmp_path: Path) -> None:
    with rude_broker(tmp_path, alpn="x-amzn-mqtt-ca") as broker:
        with open_session(home, identity_at(home, broker, alpn="x-amzn-mqtt-ca")):
            pass
        assert broker.alpn == ["x-amzn-mqtt-ca"]


# ── whom a device believes ──


def untrusted(home: Home, identity: Identity, match: str) -> None:
    with pytest.raises(errors.BrokerUntrusted, match=match), open_session(home, identity):
        pass


def test_a_broker_of_another_root_is_not_believed(home: Home, tmp_path: Path) -> None:
    with rude_broker(tmp_path, pki=new_pki()) as broker:
        untrusted(home, identity_at(home, broker), "certificate")
        assert broker.seen == []


def test_a_broker_under_another_name_is_not_believed(home: Home, broker: RudeBroker) -> None:
    identity = identify(home, broker=("127.0.0.1", broker.port), pki=shared_pki())
    with open_session(home, identity):  # the certificate names this address
        pass
    with rude_broker_at_other_name(broker) as other:
        untrusted(home, identify(home, broker=other), "mismatch")


@contextlib.contextmanager
def rude_broker_at_other_name(broker: RudeBroker) -> Iterator[tuple[str, int]]:
    """The same broker by an address that its certificate does not name: every loopback address is ours."""
    import threading

    def relay() -> None:
        with contextlib.suppress(OSError):
            client, _ = listener.accept()
            with client, socket.create_connection(("127.0.0.1", broker.port)) as upstream:
                upstream.sendall(client.recv(65536))
                client.sendall(upstream.recv(65536))
                client.recv(100)

    with socket.create_server(("127.0.0.2", 0)) as listener:
        thread = threading.Thread(target=relay)
        thread.start()
        yield "127.0.0.2", listener.getsockname()[1]
        thread.join()


def test_another_device_cannot_pose_as_the_broker(home: Home, tmp_path: Path) -> None:
    pki = shared_pki()
    with rude_broker(tmp_path, leaf=pki.devices.leaf("localhost", usage=CLIENT, between=True)) as broker:
        untrusted(home, identity_at(home, broker), "certificate")


def expired_broker(pki: Pki, tmp_path: Path) -> contextlib.AbstractContextManager[RudeBroker]:
    start, end = now() - 9 * DAY, now() - DAY / 2
    leaf = pki.servers.leaf("broker", usage=SERVER, between=True, start=start, end=end)
    return rude_broker(tmp_path, pki=pki, leaf=leaf)


def test_an_expired_broker_is_not_believed_by_a_good_clock(home: Home, tmp_path: Path) -> None:
    with expired_broker(shared_pki(), tmp_path) as broker:
        untrusted(home, identity_at(home, broker), "expired")


@pytest.mark.parametrize("pinned", [True, False])
def test_a_clock_outside_the_certificate_s_dates_excuses_dates_only_under_a_pinned_root(
    home: Home, tmp_path: Path, *, pinned: bool
) -> None:
    """TLS reads the machine's clock; the broker's certificate has to be the one that is out of dates here."""
    with expired_broker(shared_pki(), tmp_path) as broker:
        wanted = Wanted(start=now() - 2 * DAY)  # all that is proved is that this day has come
        identity = identify(home, broker=(broker.host, broker.port), pinned=pinned, wanted=wanted)
        context = tls_context(home, FileKeyStore(home.key), identity, now() - timedelta(days=9999))
        if pinned:
            connect(identity, context).close()
        else:
            with pytest.raises(errors.BrokerUntrusted):
                connect(identity, context)


def test_a_key_that_does_not_fit_is_said_before_anything_is_sent(home: Home, broker: RudeBroker) -> None:
    identity = identity_at(home, broker)
    home.key.unlink()
    from keyborn.device import files

    files.run_steps(FileKeyStore(home.key).creation("p256"), files.no_checkpoint)
    with pytest.raises(errors.KeyUnusable, match="does not fit"):
        tls_context(home, FileKeyStore(home.key), identity, now())


def test_missing_roots_are_said(home: Home, broker: RudeBroker) -> None:
    identity = identity_at(home, broker)
    home.roots.unlink()
    with pytest.raises(errors.HomeUnusable):
        tls_context(home, FileKeyStore(home.key), identity, now())


# ── publishing ──


def on_publish(reply: bytes | None) -> object:
    def answer(packet: Packet, level: int) -> bytes | None:
        if packet.kind != PUBLISH:
            return accept(packet, level)
        return None if reply is None else reply.replace(b"ID", packet.number)

    return answer


def publish(home: Home, broker: RudeBroker, reply: bytes | None) -> Reason:
    broker.answer = on_publish(reply)  # type: ignore[assignment] # an Answer
    with open_session(home, identity_at(home, broker)) as session:
        return session.publish(HELLO)


def test_an_acknowledged_message_is_delivered(home: Home, broker: RudeBroker) -> None:
    assert publish(home, broker, b"\x40\x02ID").code == 0
    sent = next(packet for packet in broker.seen if packet.kind == PUBLISH)
    assert (sent.topic, sent.flags >> 1 & 3) == ("certtest/gateway-1", 1)
    assert sent.body.endswith(b"hello")


def test_no_matching_subscribers_is_delivered_too(home: Home, broker: RudeBroker) -> None:
    assert not publish(home, broker, b"\x40\x03ID\x10").permanent


@pytest.mark.parametrize("code", [0x87, 0x90, 0x99])
def test_a_refusal_for_good_is_the_answer(home: Home, broker: RudeBroker, code: int) -> None:
    reason = publish(home, broker, b"\x40\x03ID" + bytes([code]))
    assert (reason.code, reason.permanent) == (code, True)


@pytest.mark.parametrize("code", [0x80, 0x83, 0x97])
def test_a_refusal_for_now_ends_the_session_and_the_message_stays(
    home: Home, broker: RudeBroker, code: int
) -> None:
    with pytest.raises(errors.SessionLost, match="did not take"):
        publish(home, broker, b"\x40\x03ID" + bytes([code]))


@pytest.mark.parametrize("code", [0x87, 0x95])
def test_a_goodbye_with_a_reason_that_is_for_good_is_the_answer(
    home: Home, broker: RudeBroker, code: int
) -> None:
    assert publish(home, broker, b"\xe0\x02" + bytes([code]) + b"\x00").code == code


@pytest.mark.parametrize("code", [0x8B, 0x8E, 0x98])
def test_a_goodbye_for_another_reason_loses_the_session(home: Home, broker: RudeBroker, code: int) -> None:
    """Shutting down, taken over by another session, administrative."""
    with pytest.raises(errors.SessionLost):
        publish(home, broker, b"\xe0\x02" + bytes([code]) + b"\x00")


def test_an_unexplained_hang_up_loses_the_session(home: Home, broker: RudeBroker) -> None:
    with pytest.raises(errors.SessionLost, match="stay in the outbox"):
        publish(home, broker, None)


def test_no_acknowledgement_ends_at_the_operation_time_out(
    home: Home, broker: RudeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "OPERATION_TIMEOUT", 0.3)
    begun = time.monotonic()
    with pytest.raises(errors.SessionLost, match=r"within 0\.3 s"):
        publish(home, broker, b"")
    assert time.monotonic() - begun < 3


@pytest.mark.parametrize("rubbish", [b"\xff" * 64, b"\x40\x01\x00", b"\x31\xff\xff\xff\xff\x7f", b"\x00\x00"])
def test_rubbish_in_the_place_of_an_acknowledgement_loses_the_session(
    home: Home, broker: RudeBroker, rubbish: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "OPERATION_TIMEOUT", 0.5)
    with pytest.raises(errors.SessionLost):
        publish(home, broker, rubbish)


# ── listening ──


def test_a_subscription_is_qos_1_and_messages_arrive(home: Home, broker: RudeBroker) -> None:
    def answer(packet: Packet, level: int) -> bytes | None:
        reply = accept(packet, level)
        if packet.kind == SUBSCRIBE:
            assert reply is not None
            return reply + b"\x32\x0a\x00\x01t\x00\x07\x00abcd"
        return reply

    broker.answer = answer
    with open_session(home, identity_at(home, broker)) as session:
        session.subscribe("t")
        received = session.receive(5)
        assert received == sessions.Received("t", b"abcd", 1, retain=False)
        assert session.receive(0.01) is None
    eventually(lambda: 4 in broker.kinds())  # the message was acknowledged


@pytest.mark.parametrize(("code", "name"), [(0x87, "Not authorized"), (0x80, "Unspecified error")])
def test_a_refused_subscription_says_why(home: Home, broker: RudeBroker, code: int, name: str) -> None:
    def answer(packet: Packet, level: int) -> bytes | None:
        if packet.kind == SUBSCRIBE:
            return b"\x90\x04" + packet.number + b"\x00" + bytes([code])
        return accept(packet, level)

    broker.answer = answer
    with (
        open_session(home, identity_at(home, broker)) as session,
        pytest.raises(errors.SubscribeDenied, match=name),
    ):
        session.subscribe("certtest/#")


def test_an_endless_packet_is_not_read(home: Home, broker: RudeBroker) -> None:
    """256 MiB in one message, from whoever may publish there, would end the process, again and again."""

    def flood(packet: Packet, level: int) -> bytes | None:
        endless = b"\x30" + b"\xff\xff\xff\x7f" + bytes(1024 * 1024)
        return endless if packet.kind == SUBSCRIBE else accept(packet, level)

    broker.answer = flood
    with (
        open_session(home, identity_at(home, broker)) as session,
        pytest.raises(errors.SessionLost, match="payload too large"),
    ):
        session.subscribe("certtest/#")


def test_closing_twice_and_after_a_loss_is_harmless(home: Home, broker: RudeBroker) -> None:
    broker.answer = lambda packet, level: accept(packet, level) if packet.kind == CONNECT else None
    with open_session(home, identity_at(home, broker)) as session:
        with pytest.raises(errors.SessionLost):
            session.publish(HELLO)
        session.close()


def test_a_refusal_that_comes_with_the_acceptance_s_shape_is_still_one(
    home: Home, broker: RudeBroker
) -> None:
    assert ACCEPTED_5[3] == 0
    broker.answer = lambda _packet, _level: ACCEPTED_5[:3] + b"\x86\x00"
    with (
        pytest.raises(errors.SessionRefused, match="Bad user name"),
        open_session(home, identity_at(home, broker)),
    ):
        pass


# ── other people's broker ──


@pytest.mark.needs("mosquitto")
@pytest.mark.parametrize("version", [MQTT_5, MQTT_3_1_1])
def test_mosquitto_takes_and_brings_messages(home: Home, tmp_path: Path, version: int) -> None:
    with mosquitto(tmp_path) as port:
        identity = identify(home, broker=("localhost", port))
        context = tls_context(home, FileKeyStore(home.key), identity, now())
        with contextlib.closing(
            Session(identity, context, version, Limits(time.monotonic(), 10, 10))
        ) as session:
            assert session.open() == Reason(0, "Success")
            session.subscribe("certtest/#")
            assert session.publish(HELLO).code == 0
            received = session.receive(5)
            assert received is not None
            assert (received.topic, received.payload) == ("certtest/gateway-1", b"hello")


@pytest.mark.needs("mosquitto")
def test_mosquitto_refuses_a_device_of_another_authority(home: Home, tmp_path: Path) -> None:
    """Over TLS 1.3 the refusal comes after the handshake: it must not look like a good session."""
    with mosquitto(tmp_path) as port:
        other = new_pki()
        identity = identify(home, pki=other, broker=("localhost", port), wanted=Wanted())
        context = tls_context(home, FileKeyStore(home.key), identity, now())
        context.load_verify_locations(cadata=shared_pki().root_pem)
        with pytest.raises(errors.DeviceError) as raised:
            connect(identity, context)
        assert raised.value.code in {"session_refused", "broker_unreachable"}


def test_a_session_context_verifies_name_chain_and_version(home: Home, broker: RudeBroker) -> None:
    context = tls_context(home, FileKeyStore(home.key), identity_at(home, broker), now())
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("reasons", [b"", b"\x00\x00"])
def test_an_answer_without_one_reason_loses_the_session(
    home: Home, broker: RudeBroker, reasons: bytes
) -> None:
    def answer(packet: Packet, level: int) -> bytes | None:
        if packet.kind == SUBSCRIBE:
            return b"\x90" + bytes([3 + len(reasons)]) + packet.number + b"\x00" + reasons
        return accept(packet, level)

    broker.answer = answer
    with open_session(home, identity_at(home, broker)) as session, pytest.raises(errors.SessionLost):
        session.subscribe("t")


def test_the_answer_to_a_subscription_acknowledges_no_message(
    home: Home, broker: RudeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "OPERATION_TIMEOUT", 0.3)

    def answer(packet: Packet, level: int) -> bytes | None:
        if packet.kind == PUBLISH:
            return b"\x90\x04" + packet.number + b"\x00\x00"
        return accept(packet, level)

    broker.answer = answer
    with open_session(home, identity_at(home, broker)) as session, pytest.raises(errors.SessionLost):
        session.publish(HELLO)


@pytest.mark.parametrize("behind", [False, True])
def test_a_wrong_clock_never_excuses_a_broker_that_had_expired_before_the_proved_time(
    home: Home, tmp_path: Path, *, behind: bool
) -> None:
    with expired_broker(shared_pki(), tmp_path) as broker:
        wanted = Wanted(start=now() - DAY / 4)
        identity = identify(home, broker=(broker.host, broker.port), wanted=wanted)
        wall = now() + 9999 * DAY * (-1 if behind else 1)
        context = tls_context(home, FileKeyStore(home.key), identity, wall)
        with pytest.raises(errors.BrokerUntrusted, match="dates"):
            connect(identity, context)
        assert broker.seen == []
