"""Bytes to packets, sans-I/O. Hostile bytes raise ProtocolError and nothing else."""

from collections.abc import Callable
from typing import TypeVar

from keyborn.adapters.broker.packets import (
    NO_PROPERTIES,
    V5,
    V311,
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
    Reason,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
)
from keyborn.adapters.broker.properties import WILL, read_properties
from keyborn.adapters.broker.wire import MAX_U16, ProtocolError, Reader, decode_text, malformed, violation

_PING_REQ = PingReq()
_PING_RESP = PingResp()
_MAX_HEADER = 5
_HIGHEST_QOS = 2
_ACK_LENGTH = 2
_Answer = TypeVar("_Answer", PubAck, PubRec, PubRel, PubComp)
_FLAGS = {Kind.PUBREL: 2, Kind.SUBSCRIBE: 2, Kind.UNSUBSCRIBE: 2}
"""Fixed header flags that are not 0 (section 2.1.3); PUBLISH uses its own."""


class Decoder:
    """Cuts a stream into packets.

    ``max_packet`` bounds a whole packet in bytes and is enforced as soon as its header is read. With
    ``version`` None the first packet must be CONNECT, which sets it; a client's side gives its own version.
    """

    def __init__(self, max_packet: int, version: int | None = None) -> None:
        self.version = version
        self._max_packet = max_packet
        self._chunk = b""
        self._at = 0
        self._more = bytearray()
        self._need = 0

    @property
    def buffered(self) -> int:
        """Bytes that wait for the rest of their packet, or for somebody to ask."""
        return len(self._chunk) - self._at + len(self._more)

    def push(self, data: bytes) -> None:
        """Take ``data`` and look at none of it."""
        if self._at == len(self._chunk) and not self._more:
            self._chunk = data
            self._at = 0
        else:
            self._more += data

    def next(self) -> Packet | None:
        """The next packet if it is whole; raises ProtocolError, after which the stream is lost."""
        frame = self._frame()
        if frame is None:
            if self._at == len(self._chunk):
                self._chunk, self._at = b"", 0
            return None
        first, start, end = frame
        self._at = end
        if first >> 4 == Kind.PUBLISH and self.version is not None:
            return _publish(self._chunk, start, end, first & 0x0F, self.version)
        return self._parse(first, Reader(self._chunk, start, end))

    def _frame(self) -> tuple[int, int, int] | None:
        """First byte, start and end of the next packet's body."""
        while True:
            data, at = self._chunk, self._at
            have = len(data) - at
            if self.version is None and have and data[at] >> 4 != Kind.CONNECT:
                raise violation("the first packet is not CONNECT")
            if have >= max(self._need, 2):
                length, start = self._length(data, at)
                if start:
                    self._check_size(start - at + length)
                    if start + length <= len(data):
                        self._need = 0
                        return data[at], start, start + length
                    self._need = start - at + length
            if not self._merge():
                return None

    def _length(self, data: bytes, at: int) -> tuple[int, int]:
        """The remaining length and where the body starts, which is 0 while the header is not whole."""
        byte = data[at + 1]
        if byte < 0x80:  # noqa: PLR2004 - the continuation bit
            return byte, at + 2
        header = data[at + 1 : at + _MAX_HEADER]
        if all(byte & 0x80 for byte in header) and len(header) < _MAX_HEADER - 1:
            return 0, 0
        reader = Reader(header, 0, len(header))
        length = reader.varint()
        return length, at + 1 + reader.at

    def _check_size(self, size: int) -> None:
        if size > self._max_packet:
            raise ProtocolError(Reason.PACKET_TOO_LARGE, f"a packet of {size} bytes")

    def _merge(self) -> bool:
        """Join what came later to what is there, if that can help."""
        have = len(self._chunk) - self._at
        if not self._more or have + len(self._more) < self._need:
            return False
        self._chunk = self._chunk[self._at :] + self._more
        self._at = 0
        self._more = bytearray()
        return True

    def _parse(self, first: int, reader: Reader) -> Packet:
        kind, flags = first >> 4, first & 0x0F
        if kind == Kind.CONNECT:
            return self._connect(flags, reader)
        version = self.version or V311
        parse = _PARSERS.get(kind)
        if parse is None or (kind == Kind.AUTH and version != V5):
            raise malformed(f"packet type {kind}")
        if flags != _FLAGS.get(Kind(kind), 0):
            raise malformed("reserved flags in the fixed header")
        packet = parse(reader, version)
        reader.done()
        return packet

    def _connect(self, flags: int, reader: Reader) -> Connect:
        if self.version is not None:
            raise violation("a second CONNECT")
        if flags:
            raise malformed("reserved flags in the fixed header")
        name = reader.binary()
        level = reader.u8()
        if name == b"MQIsdp" or (name == b"MQTT" and level not in {V311, V5}):
            raise ProtocolError(Reason.UNSUPPORTED_VERSION, f"protocol level {level}")
        if name != b"MQTT":
            raise malformed("the protocol name is not MQTT")
        self.version = level
        packet = _connect_body(reader, level)
        reader.done()
        return packet


def _properties(reader: Reader, version: int, kind: int) -> Properties:
    return read_properties(reader, kind) if version == V5 else NO_PROPERTIES


def _connect_body(reader: Reader, version: int) -> Connect:
    flags = reader.u8()
    _check_connect_flags(flags, version)
    keep_alive = reader.u16()
    properties = _properties(reader, version, Kind.CONNECT)
    client_id = reader.text()
    will = None
    if flags & 0x04:
        will_properties = _properties(reader, version, WILL)
        will = Will(reader.text(), reader.binary(), flags >> 3 & 3, bool(flags & 0x20), will_properties)
    username = reader.text() if flags & 0x80 else None
    password = reader.binary() if flags & 0x40 else None
    return Connect(version, client_id, bool(flags & 2), keep_alive, will, username, password, properties)


def _check_connect_flags(flags: int, version: int) -> None:
    if flags & 1:
        raise malformed("the reserved CONNECT flag")
    if flags >> 3 & 3 > _HIGHEST_QOS or (not flags & 0x04 and flags & 0x38):
        raise malformed("will flags that contradict each other")
    if version == V311 and flags & 0xC0 == 0x40:  # noqa: PLR2004 - password without user name
        raise malformed("a password without a user name")


def _connack(reader: Reader, version: int) -> ConnAck:
    present = reader.u8()
    if present > 1:
        raise malformed("reserved flags in CONNACK")
    return ConnAck(bool(present), reader.u8(), _properties(reader, version, Kind.CONNACK))


def _publish(data: bytes, at: int, end: int, flags: int, version: int) -> Publish:
    """The hot path: no Reader, one copy of the payload."""
    qos = flags >> 1 & 3
    if qos > _HIGHEST_QOS or (flags & 0x08 and not qos):
        raise malformed("QoS and DUP flags that contradict each other")
    stop = at + 2 + (data[at] << 8 | data[at + 1] if end - at > 1 else MAX_U16)
    after = stop + 2 if qos else stop
    if after > end:
        raise malformed("the packet ends too early")
    packet_id = data[stop] << 8 | data[stop + 1] if qos else 0
    if qos and not packet_id:
        raise violation("packet identifier 0")
    topic = decode_text(data[at + 2 : stop])
    properties = NO_PROPERTIES
    if version == V5:
        reader = Reader(data, after, end)
        properties = read_properties(reader, Kind.PUBLISH)
        after = reader.at
    return Publish(topic, data[after:end], qos, flags & 1 == 1, flags & 0x08 != 0, packet_id, properties)


def _answer(kind: Kind, make: type[_Answer]) -> Callable[[Reader, int], _Answer]:
    def _parse(reader: Reader, version: int) -> _Answer:
        packet_id = reader.packet_id()
        if version != V5 or not reader.more():
            return make(packet_id)
        reason = reader.u8()
        return make(packet_id, reason, read_properties(reader, kind) if reader.more() else NO_PROPERTIES)

    return _parse


def _subscribe(reader: Reader, version: int) -> Subscribe:
    packet_id = reader.packet_id()
    properties = _properties(reader, version, Kind.SUBSCRIBE)
    subscriptions = []
    while reader.more():
        subscriptions.append(_subscription(reader.text(), reader.u8(), version))
    if not subscriptions:
        raise violation("SUBSCRIBE without a filter")
    return Subscribe(packet_id, tuple(subscriptions), properties)


def _subscription(topic_filter: str, options: int, version: int) -> Subscription:
    qos, handling = options & 3, options >> 4 & 3
    reserved = options & (0xC0 if version == V5 else 0xFC)
    if reserved or qos > _HIGHEST_QOS or handling > _HIGHEST_QOS:
        raise malformed("reserved bits in the subscription options")
    return Subscription(topic_filter, qos, options & 4 != 0, options & 8 != 0, handling)


def _suback(reader: Reader, version: int) -> SubAck:
    packet_id = reader.packet_id()
    properties = _properties(reader, version, Kind.SUBACK)
    return SubAck(packet_id, tuple(reader.rest()), properties)


def _unsubscribe(reader: Reader, version: int) -> Unsubscribe:
    packet_id = reader.packet_id()
    properties = _properties(reader, version, Kind.UNSUBSCRIBE)
    filters = []
    while reader.more():
        filters.append(reader.text())
    if not filters:
        raise violation("UNSUBSCRIBE without a filter")
    return Unsubscribe(packet_id, tuple(filters), properties)


def _unsuback(reader: Reader, version: int) -> UnsubAck:
    packet_id = reader.packet_id()
    if version != V5:
        return UnsubAck(packet_id)
    properties = read_properties(reader, Kind.UNSUBACK)
    return UnsubAck(packet_id, tuple(reader.rest()), properties)


def _disconnect(reader: Reader, version: int) -> Disconnect:
    if version != V5 or not reader.more():
        return Disconnect()
    reason = reader.u8()
    return Disconnect(reason, read_properties(reader, Kind.DISCONNECT) if reader.more() else NO_PROPERTIES)


def _auth(reader: Reader, _version: int) -> Auth:
    if not reader.more():
        return Auth()
    return Auth(reader.u8(), read_properties(reader, Kind.AUTH))


_PARSERS: dict[int, Callable[[Reader, int], Packet]] = {
    Kind.CONNACK: _connack,
    Kind.PUBACK: _answer(Kind.PUBACK, PubAck),
    Kind.PUBREC: _answer(Kind.PUBREC, PubRec),
    Kind.PUBREL: _answer(Kind.PUBREL, PubRel),
    Kind.PUBCOMP: _answer(Kind.PUBCOMP, PubComp),
    Kind.SUBSCRIBE: _subscribe,
    Kind.SUBACK: _suback,
    Kind.UNSUBSCRIBE: _unsubscribe,
    Kind.UNSUBACK: _unsuback,
    Kind.PINGREQ: lambda _reader, _version: _PING_REQ,
    Kind.PINGRESP: lambda _reader, _version: _PING_RESP,
    Kind.DISCONNECT: _disconnect,
    Kind.AUTH: _auth,
}
