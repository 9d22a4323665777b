"""MQTT 5 properties: which belong where, of what type, and at most once (section 2.2.2)."""

from collections.abc import Callable
from typing import cast

from keyborn.adapters.broker.packets import NO_PROPERTIES, Kind, Prop, Properties, PropertyValue
from keyborn.adapters.broker.wire import Reader, malformed, pack_binary, pack_text, pack_varint, violation

WILL = 0
"""Stands beside the packet kinds in ``ALLOWED``: the properties of a will."""

_BYTE = frozenset(
    {
        Prop.PAYLOAD_FORMAT,
        Prop.REQUEST_PROBLEM_INFO,
        Prop.REQUEST_RESPONSE_INFO,
        Prop.MAXIMUM_QOS,
        Prop.RETAIN_AVAILABLE,
        Prop.WILDCARD_AVAILABLE,
        Prop.SUBSCRIPTION_ID_AVAILABLE,
        Prop.SHARED_AVAILABLE,
    }
)
_U16 = frozenset({Prop.SERVER_KEEP_ALIVE, Prop.RECEIVE_MAXIMUM, Prop.TOPIC_ALIAS_MAXIMUM, Prop.TOPIC_ALIAS})
_U32 = frozenset({Prop.MESSAGE_EXPIRY, Prop.SESSION_EXPIRY, Prop.WILL_DELAY, Prop.MAXIMUM_PACKET_SIZE})
_BINARY = frozenset({Prop.CORRELATION_DATA, Prop.AUTH_DATA})
_TEXT = frozenset(
    {
        Prop.CONTENT_TYPE,
        Prop.RESPONSE_TOPIC,
        Prop.ASSIGNED_CLIENT_ID,
        Prop.AUTH_METHOD,
        Prop.RESPONSE_INFO,
        Prop.SERVER_REFERENCE,
        Prop.REASON_STRING,
    }
)
_NOT_ZERO = frozenset({Prop.RECEIVE_MAXIMUM, Prop.MAXIMUM_PACKET_SIZE, Prop.TOPIC_ALIAS})

_MESSAGE = frozenset(
    {
        Prop.PAYLOAD_FORMAT,
        Prop.MESSAGE_EXPIRY,
        Prop.CONTENT_TYPE,
        Prop.RESPONSE_TOPIC,
        Prop.CORRELATION_DATA,
        Prop.USER_PROPERTY,
    }
)
_ANSWER = frozenset({Prop.REASON_STRING, Prop.USER_PROPERTY})
ALLOWED: dict[int, frozenset[Prop]] = {
    WILL: _MESSAGE | {Prop.WILL_DELAY},
    Kind.CONNECT: frozenset(
        {
            Prop.SESSION_EXPIRY,
            Prop.AUTH_METHOD,
            Prop.AUTH_DATA,
            Prop.REQUEST_PROBLEM_INFO,
            Prop.REQUEST_RESPONSE_INFO,
            Prop.RECEIVE_MAXIMUM,
            Prop.TOPIC_ALIAS_MAXIMUM,
            Prop.USER_PROPERTY,
            Prop.MAXIMUM_PACKET_SIZE,
        }
    ),
    Kind.CONNACK: _ANSWER
    | {
        Prop.SESSION_EXPIRY,
        Prop.ASSIGNED_CLIENT_ID,
        Prop.SERVER_KEEP_ALIVE,
        Prop.AUTH_METHOD,
        Prop.AUTH_DATA,
        Prop.RESPONSE_INFO,
        Prop.SERVER_REFERENCE,
        Prop.RECEIVE_MAXIMUM,
        Prop.TOPIC_ALIAS_MAXIMUM,
        Prop.MAXIMUM_QOS,
        Prop.RETAIN_AVAILABLE,
        Prop.MAXIMUM_PACKET_SIZE,
        Prop.WILDCARD_AVAILABLE,
        Prop.SUBSCRIPTION_ID_AVAILABLE,
        Prop.SHARED_AVAILABLE,
    },
    Kind.PUBLISH: _MESSAGE | {Prop.SUBSCRIPTION_ID, Prop.TOPIC_ALIAS},
    Kind.PUBACK: _ANSWER,
    Kind.PUBREC: _ANSWER,
    Kind.PUBREL: _ANSWER,
    Kind.PUBCOMP: _ANSWER,
    Kind.SUBSCRIBE: frozenset({Prop.SUBSCRIPTION_ID, Prop.USER_PROPERTY}),
    Kind.SUBACK: _ANSWER,
    Kind.UNSUBSCRIBE: frozenset({Prop.USER_PROPERTY}),
    Kind.UNSUBACK: _ANSWER,
    Kind.DISCONNECT: _ANSWER | {Prop.SESSION_EXPIRY, Prop.SERVER_REFERENCE},
    Kind.AUTH: _ANSWER | {Prop.AUTH_METHOD, Prop.AUTH_DATA},
}


def _read_flag(reader: Reader) -> int:
    value = reader.u8()
    if value > 1:
        raise violation("a property is neither 0 nor 1")
    return value


def _read_response_topic(reader: Reader) -> str:
    topic = reader.text()
    if not topic or "+" in topic or "#" in topic:
        raise violation("a response topic is empty or has a wildcard")
    return topic


_READERS: dict[int, Callable[[Reader], int | str | bytes]] = {
    **dict.fromkeys(_BYTE, _read_flag),
    **dict.fromkeys(_U16, Reader.u16),
    **dict.fromkeys(_U32, Reader.u32),
    **dict.fromkeys(_BINARY, Reader.binary),
    **dict.fromkeys(_TEXT, Reader.text),
    Prop.RESPONSE_TOPIC: _read_response_topic,
}


def read_properties(reader: Reader, kind: int) -> Properties:
    """Read a property block that belongs to a packet of ``kind``; raises ProtocolError."""
    length = reader.varint()
    if not length:
        return NO_PROPERTIES
    block = Reader(reader.data, reader.at, reader.at + length)
    reader.take(length)
    allowed = ALLOWED[kind]
    found: dict[int, PropertyValue] = {}
    pairs: list[tuple[str, str]] = []
    numbers: list[int] = []
    while block.more():
        name = block.varint()
        if name not in allowed:
            raise violation(f"property {name} does not belong here")
        if name == Prop.USER_PROPERTY:
            pairs.append((block.text(), block.text()))
        elif name == Prop.SUBSCRIPTION_ID:
            numbers.append(_subscription_id(block, again=bool(numbers) and kind != Kind.PUBLISH))
        elif name in found:
            raise violation(f"property {name} appears twice")
        else:
            found[name] = _single(block, name)
    if pairs:
        found[Prop.USER_PROPERTY] = tuple(pairs)
    if numbers:
        found[Prop.SUBSCRIPTION_ID] = tuple(numbers)
    return found


def _single(block: Reader, name: int) -> int | str | bytes:
    value = _READERS[name](block)
    if not value and name in _NOT_ZERO:
        raise violation(f"property {name} is 0")
    return value


def _subscription_id(block: Reader, *, again: bool) -> int:
    value = block.varint()
    if again or not value:
        raise violation("a subscription identifier is 0 or appears twice")
    return value


def pack_block(properties: Properties) -> bytes:
    """The properties without the length in front; ValueError where a value does not fit."""
    return b"".join(_pack(name, value) for name, value in properties.items())


def pack_properties(properties: Properties) -> bytes:
    """The properties with their length in front."""
    block = pack_block(properties) if properties else b""
    return pack_varint(len(block)) + block


def _pack(name: int, value: PropertyValue) -> bytes:
    head = pack_varint(name)
    if name == Prop.USER_PROPERTY:
        pairs = cast("tuple[tuple[str, str], ...]", value)
        return b"".join(head + pack_text(key) + pack_text(text) for key, text in pairs)
    if name == Prop.SUBSCRIPTION_ID:
        return b"".join(head + pack_varint(number) for number in cast("tuple[int, ...]", value))
    if isinstance(value, str):
        return head + pack_text(value)
    if isinstance(value, bytes):
        return head + pack_binary(value)
    size = 1 if name in _BYTE else 2 if name in _U16 else 4
    return head + cast("int", value).to_bytes(size)


def number(properties: Properties, name: Prop, default: int) -> int:
    """A numeric property, or ``default``."""
    value = properties.get(name, default)
    if not isinstance(value, int):
        raise malformed(f"property {name} is not a number")
    return value
