"""The primitive data types of MQTT, read strictly and written exactly (MQTT 5 section 1.5)."""

from keyborn.adapters.broker.packets import Reason

MAX_VARINT = 268_435_455
MAX_U16 = 0xFFFF
_MAX_VARINT_BYTES = 4
_MORE = 0x80


class ProtocolError(Exception):
    """The peer broke the protocol; ``reason`` is MQTT 5's word for it. Decoding raises nothing else."""

    def __init__(self, reason: int, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(detail)


def malformed(detail: str) -> ProtocolError:
    """The bytes do not parse."""
    return ProtocolError(Reason.MALFORMED_PACKET, detail)


def violation(detail: str) -> ProtocolError:
    """The bytes parse and say what may not be said."""
    return ProtocolError(Reason.PROTOCOL_ERROR, detail)


def decode_text(raw: bytes) -> str:
    """Read UTF-8 strictly: no surrogates, no overlong forms, no U+0000 (MQTT 5 section 1.5.4)."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise malformed("text is not UTF-8") from None
    if "\0" in text:
        raise malformed("text holds U+0000")
    return text


class Reader:
    """A cursor over one packet's bytes; reading past ``end`` is a ProtocolError."""

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data = data
        self.at = at
        self.end = end

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        start = self.at
        stop = start + count
        if stop > self.end:
            raise malformed("the packet ends too early")
        self.at = stop
        return self.data[start:stop]

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.end - self.at)

    def more(self) -> bool:
        """Whether anything is left."""
        return self.at < self.end

    def u8(self) -> int:
        """One byte."""
        return self.take(1)[0]

    def u16(self) -> int:
        """A two-byte integer."""
        return int.from_bytes(self.take(2))

    def u32(self) -> int:
        """A four-byte integer."""
        return int.from_bytes(self.take(4))

    def packet_id(self) -> int:
        """A packet identifier: 1 to 65535 (section 2.2.1)."""
        value = self.u16()
        if not value:
            raise violation("packet identifier 0")
        return value

    def varint(self) -> int:
        """A variable byte integer in its shortest form, at most four bytes."""
        value = shift = 0
        for _ in range(_MAX_VARINT_BYTES):
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            if byte < _MORE:
                if shift and not byte:
                    raise malformed("a length is not in its shortest form")
                return value
            shift += 7
        raise malformed("a length has more than four bytes")

    def binary(self) -> bytes:
        """Bytes after a two-byte length."""
        return self.take(self.u16())

    def text(self) -> str:
        """UTF-8 after a two-byte length."""
        return decode_text(self.binary())

    def done(self) -> None:
        """Refuse bytes that nothing has asked for."""
        if self.at != self.end:
            raise malformed("bytes after the end of the packet")


def pack_varint(value: int) -> bytes:
    """A variable byte integer; ValueError above 268,435,455."""
    if value < _MORE:
        return bytes((value,))
    if value > MAX_VARINT:
        raise ValueError("longer than MQTT can say")
    out = bytearray()
    while value >= _MORE:
        out.append(value & 0x7F | _MORE)
        value >>= 7
    out.append(value)
    return bytes(out)


def pack_binary(value: bytes) -> bytes:
    """Bytes after a two-byte length; ValueError above 65,535."""
    if len(value) > MAX_U16:
        raise ValueError("longer than MQTT can say")
    return len(value).to_bytes(2) + value


def pack_text(value: str) -> bytes:
    """UTF-8 after a two-byte length; ValueError above 65,535 bytes."""
    return pack_binary(value.encode())
