"""A message is encoded once for a fan-out, carries what is left of its time, and passes properties on."""

import pytest

from keyborn.adapters.broker.decode import Decoder
from keyborn.adapters.broker.message import LastWill, Message, passed_on, pretends
from keyborn.adapters.broker.packets import V5, V311, Packet, Prop, Properties, Publish, Will
from keyborn.domain.names import ThingName
from support.decoding import feed


def read(message: Message, version: int, qos: int, *, now: float = 0, dup: bool = False) -> Packet:
    head, tail = message.parts(version, qos, retain=False, dup=dup, now=now)
    wire = head + (b"\x00\x05" if qos else b"") + tail
    return feed(Decoder(1 << 20, version), wire)[0]


@pytest.mark.parametrize("version", [V311, V5])
@pytest.mark.parametrize("qos", [0, 1])
def test_a_fan_out_encodes_once(version: int, qos: int) -> None:
    message = Message("a/b", b"hi", qos=1)
    first = message.parts(version, qos, retain=False, dup=False, now=0)
    assert message.parts(version, qos, retain=False, dup=False, now=1) is first
    assert read(message, version, qos) == Publish("a/b", b"hi", qos, packet_id=5 * qos)


def test_a_message_that_waits_remembers_no_encodings() -> None:
    message = Message("a", b"x" * 1000)
    message.settle()
    first = message.parts(V5, 1, retain=False, dup=False, now=0)
    assert message.parts(V5, 1, retain=False, dup=False, now=0) is not first


def test_sent_again_it_says_dup() -> None:
    assert read(Message("a", b"x"), V311, 1, dup=True) == Publish("a", b"x", 1, dup=True, packet_id=5)


def test_properties_reach_version_5_and_stay_out_of_3() -> None:
    properties: Properties = {Prop.CONTENT_TYPE: "text/plain", Prop.USER_PROPERTY: (("k", "v"),)}
    block, lifetime = passed_on({**properties, Prop.TOPIC_ALIAS: 3})
    assert lifetime is None
    message = Message("a", b"x", properties=block)
    assert read(message, V5, 0) == Publish("a", b"x", properties=properties)
    assert read(message, V311, 0) == Publish("a", b"x")


@pytest.mark.parametrize(("now", "left"), [(0.0, 10), (0.5, 10), (1.0, 9), (9.99, 1)])
def test_the_time_that_is_left_goes_with_it(now: float, left: int) -> None:
    message = Message("a", b"x", expires=10.0)
    assert read(message, V5, 0, now=now) == Publish("a", b"x", properties={Prop.MESSAGE_EXPIRY: left})
    assert not message.expired(now)
    assert message.expired(10.0)


def test_a_message_without_expiry_never_expires() -> None:
    assert not Message("a", b"x").expired(1e12)


def test_a_will_becomes_a_message_whose_time_begins_when_it_is_sent() -> None:
    will = Will("w", b"bye", 1, retain=True, properties={Prop.WILL_DELAY: 5, Prop.MESSAGE_EXPIRY: 60})
    last = LastWill.of(will)
    message = last.message(ThingName("dev"), now=100.0)
    assert last.delay == 5
    assert (message.topic, message.payload, message.qos, message.retain) == ("w", b"bye", 1, True)
    assert (message.thing, message.expires, message.properties) == ("dev", 160.0, b"")


def test_its_cost_is_at_least_its_bytes() -> None:
    message = Message("topic", b"x" * 100, properties=b"y" * 50)
    assert message.cost > 155


# ── who published it ──────────────────────────────────────────────────────────────────────────────────


def read_signed(message: Message, now: float = 0) -> Properties:
    head, tail = message.parts(V5, 0, retain=False, dup=False, now=now, signed=True)
    packet = feed(Decoder(1 << 20, V5), head + tail)[0]
    assert isinstance(packet, Publish)
    return packet.properties


def test_a_service_reads_who_published_behind_what_the_publisher_said() -> None:
    block, _ = passed_on({Prop.USER_PROPERTY: (("k", "v"),)})
    message = Message("a", b"x", thing=ThingName("dev"), properties=block)
    assert read_signed(message) == {Prop.USER_PROPERTY: (("k", "v"), ("keyborn:thing", "dev"))}
    assert read(message, V5, 0) == Publish("a", b"x", properties={Prop.USER_PROPERTY: (("k", "v"),)})


def test_a_message_of_nobody_is_signed_by_nobody() -> None:
    assert read_signed(Message("a", b"x")) == {}


def test_a_signature_and_an_expiry_go_together() -> None:
    message = Message("a", b"x", thing=ThingName("dev"), expires=10)
    wanted = {Prop.USER_PROPERTY: (("keyborn:thing", "dev"),), Prop.MESSAGE_EXPIRY: 4}
    assert read_signed(message, now=6) == wanted


def test_a_fan_out_encodes_once_for_services_and_once_for_devices() -> None:
    message = Message("a", b"x", thing=ThingName("dev"))
    plain = message.parts(V5, 0, retain=False, dup=False, now=0)
    signed = message.parts(V5, 0, retain=False, dup=False, now=0, signed=True)
    assert plain != signed
    assert message.parts(V5, 0, retain=False, dup=False, now=0) is plain
    assert message.parts(V5, 0, retain=False, dup=False, now=0, signed=True) is signed


@pytest.mark.parametrize(
    ("name", "reserved"),
    [("keyborn:thing", True), ("keyborn:", True), ("keyborn", False), ("x-keyborn:thing", False)],
)
def test_names_that_are_the_brokers_own(name: str, reserved: bool) -> None:  # noqa: FBT001 - a case
    assert pretends({Prop.USER_PROPERTY: (("a", "b"), (name, "dev"))}) is reserved
    assert not pretends({Prop.CONTENT_TYPE: name})
