"""The session with a broker that speaks as AWS IoT Core does: what is asked of it, and what it says.

AWS IoT Core Developer Guide, "MQTT" and "AWS IoT Core endpoints and quotas": it ends a connection that asks
for what it does not have. Keep-alive 30 to 1200 s, 100 unacknowledged messages, QoS 0 and 1, eight filters in
a subscription, packets of 149,504 bytes, payloads of 128 KB, one CONNECT of a client id in a second.
"""

import contextlib
import struct

import pytest

from keyborn.device import session as sessions, topics
from keyborn.device.connecting import connect, tls_context
from keyborn.device.drain import WINDOW
from keyborn.device.home import Home
from keyborn.device.keystore import FileKeyStore
from keyborn.device.messages import Draft, Message
from keyborn.device.messenger import Delivery, Messenger
from keyborn.device.outbox import open_outbox
from keyborn.device.session import KEEP_ALIVE, MQTT_5, Session
from keyborn.domain import errors
from support.device_home import OWN, Machine, identify, now
from support.rude_broker import CONNECT, PUBLISH, SUBSCRIBE, Packet, RudeBroker, accept

HELLO = Message(1, OWN, b"hello")
REASON = b"\x1f\x00\x11AUTHORIZATION_ERR"
"""A reason string (MQTT 5 3.4.2.2.2)."""


def connack(*, code: int = 0, keep_alive: int | None = None, more: bytes = b"") -> bytes:
    """An answer to CONNECT with the properties that AWS sends."""
    told = (
        b"\x11" + struct.pack(">I", 0)  # the session ends with the connection
        + b"\x21" + struct.pack(">H", 100)  # receive maximum
        + b"\x24\x01"  # QoS 1 at most
        + b"\x25\x01"  # retained messages are kept
        + b"\x27" + struct.pack(">I", 149504)  # the largest packet
        + b"\x22" + struct.pack(">H", 8)  # topic aliases
        + b"\x28\x01\x29\x00\x2a\x01"  # wildcards, no subscription ids, shared subscriptions
        + (b"\x13" + struct.pack(">H", keep_alive) if keep_alive is not None else b"")
        + more
    )  # fmt: skip
    body = bytes([0, code, len(told)]) + told
    return b"\x20" + bytes([len(body)]) + body


def like_aws(packet: Packet, level: int) -> bytes | None:
    return connack() if packet.kind == CONNECT and level == 5 else accept(packet, level)


@pytest.fixture
def broker(broker: RudeBroker) -> RudeBroker:
    broker.answer = like_aws
    return broker


def session(home: Home, broker: RudeBroker) -> contextlib.closing[Session]:
    identity = identify(home, broker=(broker.host, broker.port))
    context = tls_context(home, FileKeyStore(home.key), identity, now())
    return contextlib.closing(connect(identity, context, patience=5))


def first(broker: RudeBroker, kind: int) -> Packet:
    return next(packet for packet in broker.seen if packet.kind == kind)


# ── what is asked ──


@pytest.mark.parametrize(("level", "properties"), [(5, b"\x00"), (4, b"")])
def test_a_connect_asks_for_nothing_but_a_clean_session(
    home: Home, broker: RudeBroker, level: int, properties: bytes
) -> None:
    """No will, no session that outlasts it, no properties: whatever else is asked for may be refused."""
    if level == 4:
        broker.answer = lambda packet, given: None if given == 5 else accept(packet, given)
    with session(home, broker):
        pass
    asked = next(packet for packet in broker.seen if packet.kind == CONNECT and packet.level == level)
    clean, name = b"\x02", b"\x00\x09gateway-1"
    seconds = struct.pack(">H", KEEP_ALIVE)
    assert asked.body == b"\x00\x04MQTT" + bytes([level]) + clean + seconds + properties + name


def test_the_keep_alive_is_one_that_aws_takes() -> None:
    assert 30 <= KEEP_ALIVE <= 1200


def test_a_publish_is_qos_1_and_has_no_properties(home: Home, broker: RudeBroker) -> None:
    with session(home, broker) as made:
        made.publish(HELLO)
    packet = first(broker, PUBLISH)
    assert packet.flags == 0b0010
    topic = b"\x00\x12certtest/gateway-1"
    assert packet.body == topic + packet.number + b"\x00" + b"hello"


def test_a_subscription_has_one_filter_and_no_options_beyond_qos_1(home: Home, broker: RudeBroker) -> None:
    """Retain handling, no-local and subscription ids are what AWS lacks or lacked."""
    with session(home, broker) as made:
        made.subscribe("certtest/gateway-1/#")
    packet = first(broker, SUBSCRIBE)
    assert packet.body == packet.number + b"\x00" + b"\x00\x14certtest/gateway-1/#" + b"\x01"


def test_no_more_than_a_window_of_messages_waits_for_acknowledgements(
    home: Home, broker: RudeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 unacknowledged messages are what AWS takes; half of them is ours, however many wait."""
    monkeypatch.setattr(sessions, "OPERATION_TIMEOUT", 0.3)
    broker.answer = lambda packet, level: b"" if packet.kind == PUBLISH else like_aws(packet, level)
    identify(home, broker=(broker.host, broker.port))
    with open_outbox(home.outbox) as outbox:
        outbox.append_many([Draft(HELLO.topic, b"hello")] * 120, now())
    messenger = Messenger(home, Machine().surroundings(), rate=0)
    assert messenger.publish(HELLO.topic, b"hello", wait=0.4).delivery is Delivery.KEPT
    assert broker.kinds().count(PUBLISH) == WINDOW
    assert broker.kinds().count(CONNECT) == 1


def test_the_largest_message_that_is_kept_is_one_that_aws_takes(home: Home, broker: RudeBroker) -> None:
    """The longest topic with the largest payload, in one packet."""
    levels = ["a"] * 7
    topic = "/".join(["certtest", *levels[:-1], "b" * (topics.MAX_TOPIC - 8 - 1 - 2 * 6)])
    topics.check_topic(topic)
    assert (len(topic), topic.count("/")) == (topics.MAX_TOPIC, topics.MAX_SLASHES)
    with session(home, broker) as made:
        assert made.publish(Message(1, topic, bytes(topics.check_payload(bytes(128 * 1024))))).code == 0
    assert len(first(broker, PUBLISH).body) + 5 <= 149504


# ── what is answered ──


def test_what_aws_tells_in_its_answer_is_understood(home: Home, broker: RudeBroker) -> None:
    with session(home, broker) as made:
        assert made.version == MQTT_5
        assert made.publish(HELLO).code == 0


def test_a_shorter_keep_alive_of_the_broker_s_is_kept(home: Home, broker: RudeBroker) -> None:
    broker.answer = lambda packet, level: (
        connack(keep_alive=1) if packet.kind == CONNECT else accept(packet, level)
    )
    with session(home, broker) as made:
        made.idle(2.5)
    assert 12 in broker.kinds()


def test_a_refusal_with_its_reason_string_is_the_answer(home: Home, broker: RudeBroker) -> None:
    def denying(packet: Packet, level: int) -> bytes | None:
        if packet.kind == PUBLISH:
            body = packet.number + b"\x87" + bytes([len(REASON)]) + REASON
            return b"\x40" + bytes([len(body)]) + body
        return like_aws(packet, level)

    broker.answer = denying
    with session(home, broker) as made:
        assert made.publish(HELLO).permanent


def test_a_refused_filter_says_so(home: Home, broker: RudeBroker) -> None:
    def denying(packet: Packet, level: int) -> bytes | None:
        if packet.kind == SUBSCRIBE:
            body = packet.number + bytes([len(REASON)]) + REASON + b"\x87"
            return b"\x90" + bytes([len(body)]) + body
        return like_aws(packet, level)

    broker.answer = denying
    with session(home, broker) as made, pytest.raises(errors.SubscribeDenied, match="Not authorized"):
        made.subscribe("certtest/#")


def test_a_refused_session_says_so_and_is_not_tried_in_3_1_1(home: Home, broker: RudeBroker) -> None:
    broker.answer = lambda _packet, _level: connack(code=0x87, more=REASON)
    with pytest.raises(errors.SessionRefused, match="Not authorized"), session(home, broker):
        pass
    assert broker.kinds() == [CONNECT]


@pytest.mark.parametrize(
    ("code", "name"),
    [(0x88, "Server unavailable"), (0x89, "Server busy"), (0x97, "Quota exceeded"), (0x9F, "rate exceeded")],
)
def test_too_many_connects_are_no_refusal_of_the_device(
    home: Home, broker: RudeBroker, code: int, name: str
) -> None:
    broker.answer = lambda _packet, _level: connack(code=code)
    with (
        pytest.raises(errors.BrokerUnreachable, match=rf"no session just now \(.*{name}"),
        session(home, broker),
    ):
        pass
    assert broker.kinds() == [CONNECT]


def test_two_messages_in_one_second_both_leave(home: Home, broker: RudeBroker) -> None:
    """AWS lets a client id connect once a second; each command connects."""
    refusals = [connack(code=0x97), connack(code=0x97)]

    def busy(packet: Packet, level: int) -> bytes | None:
        return refusals.pop() if packet.kind == CONNECT and refusals else like_aws(packet, level)

    broker.answer = busy
    machine = Machine()
    identify(home, broker=(broker.host, broker.port))
    published = Messenger(home, machine.surroundings()).publish(HELLO.topic, b"hello")
    assert published.delivery is Delivery.DELIVERED
    assert len(machine.slept) >= 2


def test_a_session_that_a_newer_one_took_says_so(home: Home, broker: RudeBroker) -> None:
    """AWS says why with a reason string (0x8E, session taken over)."""

    def taken(packet: Packet, level: int) -> bytes | None:
        if packet.kind == PUBLISH:
            return b"\xe0" + bytes([2 + len(REASON), 0x8E, len(REASON)]) + REASON
        return like_aws(packet, level)

    broker.answer = taken
    with session(home, broker) as made, pytest.raises(errors.SessionLost, match="Session taken over"):
        made.publish(HELLO)
