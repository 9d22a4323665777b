"""Bytes from the specifications, and what must be refused, with the reason code."""

import pytest

from keyborn.adapters.broker.decode import Decoder
from keyborn.adapters.broker.encode import (
    encode,
    encode_connack,
    encode_disconnect,
    encode_puback,
    publish_parts,
)
from keyborn.adapters.broker.packets import (
    V5,
    V311,
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    PingReq,
    Prop,
    Properties,
    PubAck,
    Publish,
    Reason,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Will,
)
from keyborn.adapters.broker.properties import number
from keyborn.adapters.broker.wire import ProtocolError, Reader, pack_binary, pack_text, pack_varint
from support.decoding import feed

CONNECT_311 = b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03dev"
CONNECT_5 = b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x03dev"


@pytest.mark.parametrize(
    ("wire", "version", "packet"),
    [
        (CONNECT_311, None, Connect(4, "dev", keep_alive=60)),
        (CONNECT_5, None, Connect(5, "dev", keep_alive=60)),
        (
            b"\x10\x1a\x00\x04MQTT\x04\xf6\x00\x00\x00\x01c\x00\x01w\x00\x02hi\x00\x01u\x00\x01p",
            None,
            Connect(4, "c", will=Will("w", b"hi", 2, retain=True), username="u", password=b"p"),
        ),
        (b"\x30\x05\x00\x03a/b", 4, Publish("a/b", b"")),
        (
            b"\x3d\x0a\x00\x03a/b\x00\x0ahey",
            4,
            Publish("a/b", b"hey", 2, retain=True, dup=True, packet_id=10),
        ),
        (b"\x40\x02\x00\x07", 4, PubAck(7)),
        (b"\x40\x02\x00\x07", 5, PubAck(7)),
        (b"\x40\x03\x00\x07\x87", 5, PubAck(7, 0x87)),
        (b"\x82\x08\x00\x01\x00\x03a/#\x01", 4, Subscribe(1, (Subscription("a/#", 1),))),
        (
            b"\x82\x09\x00\x01\x00\x00\x03a/#\x2d",
            5,
            Subscribe(
                1, (Subscription("a/#", 1, no_local=True, retain_as_published=True, retain_handling=2),)
            ),
        ),
        (b"\x90\x03\x00\x01\x80", 4, SubAck(1, (0x80,))),
        (b"\xb0\x02\x00\x01", 4, UnsubAck(1)),
        (b"\xc0\x00", 4, PingReq()),
        (b"\xe0\x00", 5, Disconnect()),
        (b"\xe0\x01\x04", 5, Disconnect(4)),
        (b"\xf0\x00", 5, Auth()),
    ],
)
def test_known_bytes_are_read(wire: bytes, version: int | None, packet: object) -> None:
    assert feed(Decoder(999, version), wire) == [packet]


MALFORMED = [
    ("UTF-8 that is not", b"\x30\x04\x00\x02\xff\xfe", 4),
    ("a surrogate", b"\x30\x05\x00\x03\xed\xa0\x80", 4),
    ("an overlong slash", b"\x30\x04\x00\x02\xc0\xaf", 4),
    ("U+0000", b"\x30\x03\x00\x01\x00", 4),
    ("a topic longer than the packet", b"\x30\x03\x00\x09a", 4),
    ("a publish with no topic length", b"\x30\x01\x00", 4),
    ("an empty publish", b"\x30\x00", 4),
    ("QoS 3", b"\x36\x05\x00\x01a\x00\x01", 4),
    ("DUP at QoS 0", b"\x38\x03\x00\x01a", 4),
    ("a length of five bytes", b"\x30\xff\xff\xff\xff\x01", 4),
    ("a length not in its shortest form", b"\xc0\x80\x00", 4),
    ("packet type 0", b"\x00\x00", 4),
    ("AUTH on 3.1.1", b"\xf0\x00", 4),
    ("flags on PINGREQ", b"\xc1\x00", 4),
    ("no flags on SUBSCRIBE", b"\x80\x06\x00\x01\x00\x01a\x00", 4),
    ("no flags on UNSUBSCRIBE", b"\xa0\x05\x00\x01\x00\x01a", 4),
    ("flags on PUBREL missing", b"\x60\x02\x00\x01", 4),
    ("bytes after PINGREQ", b"\xc0\x01\x00", 4),
    ("bytes after PUBACK on 3.1.1", b"\x40\x03\x00\x01\x00", 4),
    ("subscription options reserved on 3.1.1", b"\x82\x06\x00\x01\x00\x01a\x04", 4),
    ("subscription options reserved on 5", b"\x82\x07\x00\x01\x00\x00\x01a\x40", 5),
    ("subscription at QoS 3", b"\x82\x06\x00\x01\x00\x01a\x03", 4),
    ("retain handling 3", b"\x82\x07\x00\x01\x00\x00\x01a\x30", 5),
    ("properties longer than the packet", b"\x32\x07\x00\x01a\x00\x01\x09\x01", 5),
    ("CONNACK with reserved flags", b"\x20\x02\x02\x00", 4),
    ("the reserved CONNECT flag", b"\x10\x0f\x00\x04MQTT\x04\x03\x00\x3c\x00\x03dev", None),
    ("will QoS without a will", b"\x10\x0f\x00\x04MQTT\x04\x0a\x00\x3c\x00\x03dev", None),
    ("will retain without a will", b"\x10\x0f\x00\x04MQTT\x04\x22\x00\x3c\x00\x03dev", None),
    ("will QoS 3", b"\x10\x15\x00\x04MQTT\x04\x1e\x00\x3c\x00\x03dev\x00\x01w\x00\x01x", None),
    ("a password without a user name", b"\x10\x12\x00\x04MQTT\x04\x42\x00\x3c\x00\x03dev\x00\x01p", None),
    ("another protocol", b"\x10\x0f\x00\x04HTTP\x04\x02\x00\x3c\x00\x03dev", None),
    ("flags on CONNECT", b"\x11" + CONNECT_311[1:], None),
    ("bytes after CONNECT", b"\x10\x10" + CONNECT_311[2:] + b"!", None),
    ("a CONNECT cut short inside", b"\x10\x0a\x00\x04MQTT\x04\x02\x00\x3c", None),
]


@pytest.mark.parametrize(("wire", "version"), [case[1:] for case in MALFORMED], ids=[c[0] for c in MALFORMED])
def test_malformed_packets_are_refused(wire: bytes, version: int | None) -> None:
    with pytest.raises(ProtocolError) as caught:
        feed(Decoder(999, version), wire)
    assert caught.value.reason == Reason.MALFORMED_PACKET


VIOLATIONS = [
    ("packet identifier 0 on PUBLISH", b"\x32\x05\x00\x01a\x00\x00", 4),
    ("packet identifier 0 on SUBSCRIBE", b"\x82\x06\x00\x00\x00\x01a\x00", 4),
    ("SUBSCRIBE without a filter", b"\x82\x02\x00\x01", 4),
    ("UNSUBSCRIBE without a filter", b"\xa2\x02\x00\x01", 4),
    ("anything before CONNECT", b"\xc0\x00", None),
    ("a publish before CONNECT", b"\x30\x03\x00\x01a", None),
    ("a property twice", b"\x30\x08\x00\x01a\x04\x01\x00\x01\x00", 5),
    ("a property that belongs elsewhere", b"\x30\x09\x00\x01a\x05\x11\x00\x00\x00\x01", 5),
    ("an unknown property", b"\x30\x06\x00\x01a\x02\x7e\x00", 5),
    ("a flag property of 2", b"\x30\x06\x00\x01a\x02\x01\x02", 5),
    ("topic alias 0", b"\x30\x07\x00\x01a\x03\x23\x00\x00", 5),
    ("a wildcard in the response topic", b"\x30\x08\x00\x01a\x04\x08\x00\x01#", 5),
    ("an empty response topic", b"\x30\x07\x00\x01a\x03\x08\x00\x00", 5),
    ("two subscription identifiers", b"\x82\x0b\x00\x01\x04\x0b\x01\x0b\x02\x00\x01a\x00", 5),
    ("subscription identifier 0", b"\x82\x09\x00\x01\x02\x0b\x00\x00\x01a\x00", 5),
    ("a second CONNECT", CONNECT_311 + CONNECT_311, None),
    ("receive maximum 0", b"\x10\x13\x00\x04MQTT\x05\x02\x00\x3c\x03\x21\x00\x00\x00\x03dev", None),
]


@pytest.mark.parametrize(
    ("wire", "version"), [case[1:] for case in VIOLATIONS], ids=[case[0] for case in VIOLATIONS]
)
def test_what_parses_and_may_not_be_said_is_refused(wire: bytes, version: int | None) -> None:
    with pytest.raises(ProtocolError) as caught:
        feed(Decoder(999, version), wire)
    assert caught.value.reason == Reason.PROTOCOL_ERROR


@pytest.mark.parametrize(
    "wire",
    [
        b"\x10\x11\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x03dev",
        b"\x10\x0f\x00\x04MQTT\x03\x02\x00\x3c\x00\x03dev",
        b"\x10\x0f\x00\x04MQTT\x06\x02\x00\x3c\x00\x03dev",
        b"\x10\x0f\x00\x04MQTT\x84\x02\x00\x3c\x00\x03dev",
    ],
    ids=["MQTT 3.1", "level 3", "level 6", "a bridge's bit"],
)
def test_other_versions_are_refused_as_such(wire: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        feed(Decoder(999), wire)
    assert caught.value.reason == Reason.UNSUPPORTED_VERSION


def test_packets_behind_a_good_one_are_kept_until_asked_for() -> None:
    decoder = Decoder(999)
    decoder.push(CONNECT_311 + b"\xc0\x00" + b"\xc0")
    assert isinstance(decoder.next(), Connect)
    assert decoder.buffered == 3
    assert feed(decoder, b"") == [PingReq()]
    assert feed(decoder, b"\x00") == [PingReq()]


def test_refusals_are_written_as_the_versions_want_them() -> None:
    assert encode_connack(ConnAck(session_present=False, reason=5), V311) == b"\x20\x02\x00\x05"
    assert encode_connack(ConnAck(session_present=False, reason=0x87), V5) == b"\x20\x03\x00\x87\x00"
    assert encode_puback(7, V5, 0x87) == b"\x40\x03\x00\x07\x87"
    assert encode_puback(7, V311) == encode_puback(7, V5) == b"\x40\x02\x00\x07"
    assert encode_disconnect(0x8E, V5) == b"\xe0\x01\x8e"
    assert encode_disconnect(0, V5) == b"\xe0\x00"


@pytest.mark.parametrize(("version", "block"), [(V311, None), (V5, b""), (V5, b"\x01\x01")])
@pytest.mark.parametrize("qos", [0, 1])
def test_a_cut_publish_is_the_same_packet(version: int, block: bytes | None, qos: int) -> None:
    head, tail = publish_parts(0x30 | qos << 1, b"a/b", block, b"hi")
    properties: Properties = {Prop.PAYLOAD_FORMAT: 1} if block else {}
    wire = head + (b"\x00\x09" if qos else b"") + tail
    wanted = Publish("a/b", b"hi", qos, packet_id=9 * qos, properties=properties)
    assert feed(Decoder(999, version), wire) == [wanted]
    assert wire == encode(wanted, version)


def test_what_does_not_fit_into_the_fields_is_not_written() -> None:
    with pytest.raises(ValueError, match="longer"):
        pack_text("x" * 65_536)
    with pytest.raises(ValueError, match="longer"):
        pack_binary(b"x" * 65_536)
    with pytest.raises(ValueError, match="longer"):
        pack_varint(268_435_456)


@pytest.mark.parametrize("value", [0, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455])
def test_lengths_at_the_edges_survive(value: int) -> None:
    wire = pack_varint(value)
    assert Reader(wire, 0, len(wire)).varint() == value


def test_a_property_of_the_wrong_type_is_no_number() -> None:
    assert number({}, Prop.WILL_DELAY, 3) == 3
    with pytest.raises(ProtocolError):
        number({Prop.WILL_DELAY: "soon"}, Prop.WILL_DELAY, 3)
