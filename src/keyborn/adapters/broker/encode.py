"""Packets to bytes. ValueError where a value does not fit into MQTT's fields."""

from collections.abc import Callable
from typing import Any

from keyborn.adapters.broker.packets import (
    NO_PROPERTIES,
    V5,
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Kind,
    Packet,
    PingReq,
    PingResp,
    Properties,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
)
from keyborn.adapters.broker.properties import pack_properties
from keyborn.adapters.broker.wire import pack_binary, pack_text, pack_varint

PINGRESP = b"\xd0\x00"
"""The whole packet."""
DUP = 0x08
"""Set in a PUBLISH's first byte when it is sent again."""


def encode(packet: Packet, version: int) -> bytes:
    """Any packet, for MQTT 3.1.1 (``version`` 4) or 5."""
    return _ENCODERS[type(packet)](packet, version)


def _frame(first: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes((first,)) + pack_varint(len(body)) + body


def _properties(properties: Properties, version: int) -> bytes:
    return pack_properties(properties) if version == V5 else b""


def encode_connect(packet: Connect, _version: int) -> bytes:
    """The first packet of a client; its own version decides."""
    version, will = packet.version, packet.will
    flags = packet.clean_start << 1 | (packet.password is not None) << 6 | (packet.username is not None) << 7
    parts = [pack_text(packet.client_id)]
    if will is not None:
        flags |= 0x04 | will.qos << 3 | will.retain << 5
        parts += [_properties(will.properties, version), pack_text(will.topic), pack_binary(will.payload)]
    if packet.username is not None:
        parts.append(pack_text(packet.username))
    if packet.password is not None:
        parts.append(pack_binary(packet.password))
    head = pack_text("MQTT") + bytes((version, flags)) + packet.keep_alive.to_bytes(2)
    return _frame(Kind.CONNECT << 4, head, _properties(packet.properties, version), *parts)


def encode_connack(packet: ConnAck, version: int) -> bytes:
    """The answer to CONNECT."""
    head = bytes((packet.session_present, packet.reason))
    return _frame(Kind.CONNACK << 4, head, _properties(packet.properties, version))


def publish_parts(first: int, topic: bytes, properties: bytes | None, payload: bytes) -> tuple[bytes, bytes]:
    """A PUBLISH cut where the packet identifier goes, so that a fan-out encodes it once.

    ``first`` is the first byte, ``properties`` a block without its length, None on MQTT 3.1.1. At QoS 0 the
    packet is head + tail, at QoS 1 it is head + two bytes of packet identifier + tail.
    """
    tail = payload if properties is None else pack_varint(len(properties)) + properties + payload
    length = 2 + len(topic) + len(tail) + (2 if first & 0x06 else 0)
    return bytes((first,)) + pack_varint(length) + pack_binary(topic), tail


def encode_publish(packet: Publish, version: int) -> bytes:
    """A message."""
    first = Kind.PUBLISH << 4 | packet.dup << 3 | packet.qos << 1 | packet.retain
    block = pack_properties(packet.properties) if version == V5 else b""
    packet_id = packet.packet_id.to_bytes(2) if packet.qos else b""
    return _frame(first, pack_text(packet.topic), packet_id, block, packet.payload)


def encode_puback(packet_id: int, version: int, reason: int = 0) -> bytes:
    """The answer to a QoS 1 publish; the hot path of acknowledging."""
    if reason and version == V5:
        return b"\x40\x03" + packet_id.to_bytes(2) + bytes((reason,))
    return b"\x40\x02" + packet_id.to_bytes(2)


def _answer(first: int) -> Callable[[PubAck | PubRec | PubRel | PubComp, int], bytes]:
    def _pack(packet: PubAck | PubRec | PubRel | PubComp, version: int) -> bytes:
        return _frame(first, packet.packet_id.to_bytes(2), _reason(packet.reason, packet.properties, version))

    return _pack


def _reason(reason: int, properties: Properties, version: int) -> bytes:
    """A reason and its properties, left out where MQTT 5 allows it."""
    if version != V5 or not (reason or properties):
        return b""
    return bytes((reason,)) + (pack_properties(properties) if properties else b"")


def encode_subscribe(packet: Subscribe, version: int) -> bytes:
    """Filters that a client wants."""
    filters = b"".join(
        pack_text(each.topic_filter) + bytes((_options(each, version),)) for each in packet.subscriptions
    )
    head = packet.packet_id.to_bytes(2) + _properties(packet.properties, version)
    return _frame(Kind.SUBSCRIBE << 4 | 2, head, filters)


def _options(each: Subscription, version: int) -> int:
    if version != V5:
        return each.qos
    return each.qos | each.no_local << 2 | each.retain_as_published << 3 | each.retain_handling << 4


def encode_suback(packet: SubAck, version: int) -> bytes:
    """One granted QoS or reason per filter."""
    head = packet.packet_id.to_bytes(2) + _properties(packet.properties, version)
    return _frame(Kind.SUBACK << 4, head, bytes(packet.reasons))


def encode_unsubscribe(packet: Unsubscribe, version: int) -> bytes:
    """Filters that a client no longer wants."""
    head = packet.packet_id.to_bytes(2) + _properties(packet.properties, version)
    return _frame(Kind.UNSUBSCRIBE << 4 | 2, head, *map(pack_text, packet.filters))


def encode_unsuback(packet: UnsubAck, version: int) -> bytes:
    """One reason per filter on MQTT 5, none on 3.1.1."""
    head = packet.packet_id.to_bytes(2) + _properties(packet.properties, version)
    return _frame(Kind.UNSUBACK << 4, head, bytes(packet.reasons) if version == V5 else b"")


def encode_disconnect(reason: int, version: int, properties: Properties = NO_PROPERTIES) -> bytes:
    """The end."""
    return _frame(Kind.DISCONNECT << 4, _reason(reason, properties, version))


def _auth(packet: Auth, _version: int) -> bytes:
    if not (packet.reason or packet.properties):
        return _frame(Kind.AUTH << 4)
    return _frame(Kind.AUTH << 4, bytes((packet.reason,)), pack_properties(packet.properties))


_ENCODERS: dict[type, Callable[[Any, int], bytes]] = {
    Connect: encode_connect,
    ConnAck: encode_connack,
    Publish: encode_publish,
    PubAck: _answer(Kind.PUBACK << 4),
    PubRec: _answer(Kind.PUBREC << 4),
    PubRel: _answer(Kind.PUBREL << 4 | 2),
    PubComp: _answer(Kind.PUBCOMP << 4),
    Subscribe: encode_subscribe,
    SubAck: encode_suback,
    Unsubscribe: encode_unsubscribe,
    UnsubAck: encode_unsuback,
    PingReq: lambda _packet, _version: b"\xc0\x00",
    PingResp: lambda _packet, _version: PINGRESP,
    Disconnect: lambda packet, version: encode_disconnect(packet.reason, version, packet.properties),
    Auth: _auth,
}
