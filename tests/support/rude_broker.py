"""A broker on a real TLS socket, MQTT spoken by hand: refuses, hangs up and lies as a test asks."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from support.pki import SERVER, Leaf, Pki, shared_pki

CONNECT, PUBLISH, SUBSCRIBE, PINGREQ, DISCONNECT = 1, 3, 8, 12, 14
ACCEPTED_5 = b"\x20\x03\x00\x00\x00"
ACCEPTED_3 = b"\x20\x02\x00\x00"


@dataclass(frozen=True)
class Packet:
    """Type, flags, and everything after the fixed header."""

    kind: int
    flags: int
    body: bytes

    @property
    def level(self) -> int:
        """The protocol level of a CONNECT: 4 is 3.1.1, 5 is 5."""
        return self.body[6]

    @property
    def topic(self) -> str:
        """The topic of a PUBLISH."""
        size = int.from_bytes(self.body[:2], "big")
        return self.body[2 : 2 + size].decode()

    @property
    def number(self) -> bytes:
        """The packet id of a PUBLISH with QoS 1, or of a SUBSCRIBE."""
        if self.kind == SUBSCRIBE:
            return self.body[:2]
        size = int.from_bytes(self.body[:2], "big")
        return self.body[2 + size : 4 + size]


Answer = Callable[[Packet, int], bytes | None]
"""From a packet and the session's protocol level to what is sent back; None hangs up."""


def accept(packet: Packet, level: int) -> bytes | None:
    """What a good broker answers."""
    if packet.kind == CONNECT:
        return ACCEPTED_5 if level == 5 else ACCEPTED_3
    if packet.kind == PUBLISH:
        return b"\x40\x02" + packet.number
    if packet.kind == SUBSCRIBE:
        return (
            b"\x90\x04" + packet.number + b"\x00\x01" if level == 5 else b"\x90\x03" + packet.number + b"\x01"
        )
    return b"\xd0\x00" if packet.kind == PINGREQ else b""


@dataclass
class RudeBroker:
    """The broker; ``answer`` decides, ``seen`` notes."""

    host: str
    port: int
    answer: Answer = accept
    seen: list[Packet] = field(default_factory=list)
    alpn: list[str | None] = field(default_factory=list)
    faults: list[BaseException] = field(default_factory=list)

    def kinds(self) -> list[int]:
        return [packet.kind for packet in self.seen]

    def published(self) -> list[str]:
        return [packet.topic for packet in self.seen if packet.kind == PUBLISH]

    def talk(self, connection: ssl.SSLSocket) -> None:
        self.alpn.append(connection.selected_alpn_protocol())
        level = 4
        with connection.makefile("rb") as stream:
            while (packet := _read(stream.read)) is not None:
                self.seen.append(packet)
                if packet.kind == CONNECT:
                    level = packet.level
                reply = self.answer(packet, level)
                if reply is None or packet.kind == DISCONNECT:
                    return
                connection.sendall(reply)


def _read(read: Callable[[int], bytes]) -> Packet | None:
    first = read(1)
    if not first:
        return None
    size = shift = 0
    while True:
        byte = read(1)[0]
        size |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            break
    return Packet(first[0] >> 4, first[0] & 0x0F, read(size))


@contextlib.contextmanager
def rude_broker(
    folder: Path,
    *,
    pki: Pki | None = None,
    leaf: Leaf | None = None,
    alpn: str | None = None,
    bound: socket.socket | None = None,
) -> Iterator[RudeBroker]:
    """A broker that wants a client certificate, one connection at a time, on ``bound`` or a free port."""
    pki = pki or shared_pki()
    leaf = leaf or pki.servers.leaf("broker", usage=SERVER, between=True)
    chain, key = leaf.write(folder, "broker")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    context.load_verify_locations(cadata=pki.client_ca_pem)
    context.verify_mode = ssl.CERT_REQUIRED
    if alpn is not None:
        context.set_alpn_protocols([alpn])
    with bound or socket.create_server(("127.0.0.1", 0)) as listener:
        listener.listen()
        broker = RudeBroker("localhost", listener.getsockname()[1])
        thread = threading.Thread(target=_serve, args=(listener, context, broker))
        thread.start()
        try:
            yield broker
        finally:
            listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
            thread.join(10)
            assert not thread.is_alive(), "a session is still open"


def _serve(listener: socket.socket, context: ssl.SSLContext, broker: RudeBroker) -> None:
    while True:
        try:
            plain, _ = listener.accept()
        except OSError:
            return
        plain.settimeout(10)
        try:
            with context.wrap_socket(plain, server_side=True) as connection:
                broker.talk(connection)
        except (OSError, IndexError) as wrong:
            broker.faults.append(wrong)
        finally:
            plain.close()
