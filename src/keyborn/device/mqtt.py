"""paho's client over a socket of ours: one time limit for all that comes first, then few system calls."""

import math
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import ECONNABORTED, ECONNRESET, EPIPE
from typing import Literal, cast

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from keyborn.device import proxy, tls
from keyborn.device.drain import FAILURE
from keyborn.device.messages import LONGEST_LIFE

MAX_PACKET = 256 * 1024
"""Bytes of a packet that is taken: twice what AWS IoT Core lets anybody publish. MQTT itself allows 256 MiB,
more than a small device has. The broker is not told: a CONNECT asks for nothing that could be refused."""
_PUBLISH = 0x30
_EXPIRY = b"\x05\x02"
"""Five bytes of properties: the message expiry interval (MQTT 5 3.3.2.3.3) follows."""
_PIECE = 65536
_AT_ONCE = 200
"""Packets that are handled before anybody else has a turn."""
_HUNG_UP = frozenset({ECONNRESET, ECONNABORTED, EPIPE})


class Wire:
    """A TLS socket that reads in large pieces, and can hold small writes back to send them as one.

    paho reads a packet in three calls and writes each one by itself; both go through TLS and the kernel.
    """

    def __init__(self, tls_socket: ssl.SSLSocket) -> None:
        self._socket = tls_socket
        self._read = memoryview(b"")
        self._unsent = bytearray()
        self.held = False
        self.drained = False
        """Whether nothing more has come."""
        self.hung_up = False
        """Whether the other side ended it, in whatever way; False where the network failed."""

    def recv(self, size: int) -> memoryview:
        """Up to ``size`` bytes, none at the end; raises what the socket raises."""
        if not self._read:
            self._read = memoryview(self._take())
        data, self._read = self._read[:size], self._read[size:]
        return data

    def _take(self) -> bytes:
        try:
            data = self._socket.recv(_PIECE)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            self.drained = True
            raise
        except OSError as wrong:
            self.drained = True
            self.hung_up = wrong.errno in _HUNG_UP or isinstance(wrong, ssl.SSLError)
            raise
        self.hung_up = self.drained = not data
        return data

    def pending(self) -> int:
        """Bytes that can be read without asking the network."""
        return len(self._read) + self._socket.pending()

    def send(self, data: bytes) -> int:
        """Take ``data``, and send what the network takes now."""
        self._unsent += data
        if not self.held:
            self.flush()
        return len(data)

    @property
    def unsent(self) -> int:
        """Bytes that were taken and not sent."""
        return len(self._unsent)

    def flush(self) -> None:
        """Send as much as the network takes now.

        An error of the network is not raised: what the broker said before it hung up is still to be read,
        and reading ends with the same error.
        """
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            return
        except OSError:
            self._unsent.clear()

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001 - a socket's signature
        """As a socket's."""
        self._socket.setblocking(flag)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class TimedClient(Client):
    """``connect_timeout`` bounds names, TCP and TLS together.

    paho would grant it to each address of the name and to the handshake again: beyond a firewall that drops
    packets, a minute and a half for the eight addresses of an endpoint of AWS.
    """

    wire: Wire | None = None
    on_acknowledged: Callable[[int, int, str], None] | None = None
    """Called with packet id, reason code and its name when the broker answers a message."""
    on_pong: Callable[[], None] | None = None
    """Called when the broker answers a ping, whoever asked for it."""

    def _create_socket(self) -> socket.socket:
        assert self._ssl_context is not None
        made = tls.dial(self._ssl_context, self._host, self._port, self.connect_timeout, proxy.MQTT)
        self.wire = Wire(made)
        return cast("socket.socket", self.wire)

    def release(self) -> None:
        """Close the sockets with which paho wakes itself; else they stay until memory is collected."""
        self._reset_sockets(sockpair_only=True)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Packets that are sent inside go out as one write."""
        assert self.wire is not None
        self.wire.held = True
        try:
            yield
        finally:
            self.wire.held = False
            self.wire.flush()

    def post(self, topic: str, payload: bytes, qos: int, *, lifetime: float | None = None) -> int:
        """Send a message and return its packet id; with QoS 1, ``on_acknowledged`` tells the rest.

        ``lifetime`` is in seconds; only MQTT 5 can say it. paho's own way of publishing keeps a copy, with a
        lock and a condition, to send it again: that is the outbox's work.
        """
        assert self.wire is not None
        mid, name = self._mid_generate(), topic.encode()
        number = mid.to_bytes(2, "big") if qos else b""
        properties = b""
        if self.protocol == MQTTProtocolVersion.MQTTv5:
            properties = b"\0" if lifetime is None else _EXPIRY + _seconds(lifetime).to_bytes(4, "big")
        size = _size(2 + len(name) + len(number) + len(properties) + len(payload))
        head = bytes([_PUBLISH | qos << 1]) + size + len(name).to_bytes(2, "big")
        self.wire.send(b"".join((head, name, number, properties, payload)))
        return mid

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Handle all packets that have come, but not for ever, and none without end."""
        outcome = super().loop_read(max_packets)
        for _ in range(_AT_ONCE):
            if self._in_packet["remaining_length"] > MAX_PACKET:
                return MQTTErrorCode.MQTT_ERR_PAYLOAD_SIZE
            if outcome is not MQTTErrorCode.MQTT_ERR_SUCCESS or self.wire is None or self.wire.drained:
                break
            outcome = super().loop_read(max_packets)
        return outcome

    def _handle_pubackcomp(self, cmd: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        packet = self._in_packet["packet"]
        if cmd != "PUBACK" or len(packet) < 2:  # noqa: PLR2004 - a packet id
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        code, name = (packet[2] if len(packet) > 2 else 0), "Success"  # noqa: PLR2004 - as above
        if code >= FAILURE:
            name = str(ReasonCode(PacketTypes.PUBACK, identifier=code))
        if self.on_acknowledged is not None:
            self.on_acknowledged(int.from_bytes(packet[:2], "big"), code, name)
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def ping(self) -> None:
        """Ask the broker for a sign of life."""
        self._send_pingreq()

    def want_write(self) -> bool:
        """Whether something waits for the network to take it."""
        return super().want_write() or bool(self.wire and self.wire.unsent)

    def loop_write(self) -> MQTTErrorCode:
        """Send what was held back, then what is queued."""
        if self.wire is not None and self.wire.unsent and not self.wire.held:
            self.wire.flush()
        return super().loop_write()

    def _handle_pingresp(self) -> MQTTErrorCode:
        outcome = super()._handle_pingresp()
        if self.on_pong is not None and outcome is MQTTErrorCode.MQTT_ERR_SUCCESS:
            self.on_pong()
        return outcome


def _size(rest: int) -> bytes:
    """The remaining length of a packet (MQTT 5 1.5.5)."""
    digits = bytearray()
    while True:
        rest, digit = divmod(rest, 128)
        if not rest:
            return bytes([*digits, digit])
        digits.append(digit | 128)


def _seconds(lifetime: float) -> int:
    """A message expiry interval: whole seconds, one at least; at most what fits, though a clock went back."""
    return min(max(1, math.ceil(lifetime)), LONGEST_LIFE)
