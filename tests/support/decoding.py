"""Bytes in, packets out."""

from keyborn.adapters.broker.decode import Decoder
from keyborn.adapters.broker.packets import Packet


def feed(decoder: Decoder, data: bytes) -> list[Packet]:
    """The packets that are whole with ``data``; raises ProtocolError."""
    decoder.push(data)
    packets: list[Packet] = []
    while (packet := decoder.next()) is not None:
        packets.append(packet)
    return packets
