"""The socket under paho: few calls, nothing lost or reordered, and who ended it."""

import contextlib
import errno
import socket
import ssl
from collections import deque
from typing import Any

import pytest
from hypothesis import given, strategies as st

from keyborn.device import mqtt
from keyborn.device.mqtt import Wire


class Socket:
    """A socket whose network takes and gives what a test says."""

    def __init__(self, incoming: list[bytes | BaseException] | None = None) -> None:
        self.incoming: deque[bytes | BaseException] = deque(incoming or [])
        self.outgoing = bytearray()
        self.takes: deque[int | BaseException] = deque()
        self.calls = 0

    def recv(self, size: int) -> bytes:
        self.calls += 1
        piece = self.incoming.popleft() if self.incoming else ssl.SSLWantReadError()
        if isinstance(piece, BaseException):
            raise piece
        assert len(piece) <= size
        return piece

    def send(self, data: Any) -> int:  # noqa: ANN401 - bytes of some kind
        self.calls += 1
        count = self.takes.popleft() if self.takes else len(data)
        if isinstance(count, BaseException):
            raise count
        self.outgoing += data[:count]
        return min(count, len(data))

    def pending(self) -> int:
        return 0


def wire_over(fake: Socket) -> Wire:
    return Wire(fake)  # type: ignore[arg-type] # as much of a socket as it needs


def test_a_packet_is_read_in_pieces_with_one_call() -> None:
    fake = Socket([b"\x40\x02\x00\x01"])
    wire = wire_over(fake)
    assert [bytes(wire.recv(size)) for size in (1, 1, 2)] == [b"\x40", b"\x02", b"\x00\x01"]
    assert fake.calls == 1


def test_what_was_read_ahead_counts_as_pending() -> None:
    wire = wire_over(Socket([b"abcd"]))
    wire.recv(1)
    assert wire.pending() == 3


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=20), st.lists(st.integers(1, 60), min_size=1))
def test_bytes_come_out_as_they_came_in(pieces: list[bytes], sizes: list[int]) -> None:
    wire = wire_over(Socket([*pieces]))
    got = bytearray()
    with contextlib.suppress(ssl.SSLWantReadError):
        for place in range(10_000):
            got += wire.recv(sizes[place % len(sizes)])
    assert bytes(got) == b"".join(pieces)
    assert wire.drained


def test_packets_that_are_held_go_out_as_one() -> None:
    fake = Socket()
    wire = wire_over(fake)
    wire.held = True
    for number in range(20):
        assert wire.send(b"%d" % number) == len(b"%d" % number)
    assert fake.calls == 0
    wire.held = False
    wire.flush()
    assert (fake.calls, bytes(fake.outgoing)) == (1, b"".join(b"%d" % number for number in range(20)))


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=10), st.lists(st.integers(0, 30), max_size=20))
def test_a_slow_network_gets_every_byte_once_and_in_order(packets: list[bytes], takes: list[int]) -> None:
    fake = Socket()
    fake.takes.extend(count or ssl.SSLWantWriteError() for count in takes)
    wire = wire_over(fake)
    for packet in packets:
        wire.send(packet)
    while wire.unsent:
        wire.flush()
    assert bytes(fake.outgoing) == b"".join(packets)


def test_an_error_in_writing_leaves_what_the_broker_said_before_to_be_read() -> None:
    fake = Socket([b"goodbye", b""])
    fake.takes.append(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    wire = wire_over(fake)
    assert wire.send(b"x") == 1
    assert wire.unsent == 0
    assert bytes(wire.recv(99)) == b"goodbye"
    assert not wire.hung_up
    assert bytes(wire.recv(99)) == b""
    assert wire.hung_up


@pytest.mark.parametrize(
    ("wrong", "hung_up"),
    [
        (ConnectionResetError(errno.ECONNRESET, "reset"), True),
        (ssl.SSLError(1, "bad record"), True),
        (TimeoutError(errno.ETIMEDOUT, "timed out"), False),
        (OSError(errno.EHOSTUNREACH, "no route"), False),
        (OSError(errno.ENETDOWN, "network is down"), False),
    ],
)
def test_who_resets_has_hung_up_and_a_network_that_fails_has_not(wrong: OSError, *, hung_up: bool) -> None:
    wire = wire_over(Socket([wrong]))
    with pytest.raises(OSError, match=str(wrong.strerror)):
        wire.recv(1)
    assert (wire.hung_up, wire.drained) == (hung_up, True)


def test_it_closes_and_selects_as_the_socket_does() -> None:
    one, other = socket.socketpair()
    with one, other:
        wire = Wire(one)  # type: ignore[arg-type] # these need no TLS
        assert wire.fileno() == one.fileno()
        wire.setblocking(False)  # noqa: FBT003 - a socket's
        assert one.getblocking() is False
        wire.close()
        assert one.fileno() == -1


@pytest.mark.parametrize(
    ("rest", "size"),
    [
        (0, b"\x00"),
        (127, b"\x7f"),
        (128, b"\x80\x01"),
        (16_383, b"\xff\x7f"),
        (2_097_152, b"\x80\x80\x80\x01"),
    ],
)
def test_lengths_are_written_as_mqtt_has_them(rest: int, size: bytes) -> None:
    """The table of MQTT 5 1.5.5."""
    assert mqtt._size(rest) == size


LONGEST = 2**32 - 1


@pytest.mark.parametrize(
    ("lifetime", "seconds"), [(1e-9, 1), (1, 1), (1.2, 2), (LONGEST, LONGEST), (LONGEST + 60, LONGEST)]
)
def test_a_lifetime_is_told_in_whole_seconds_and_never_as_none(lifetime: float, seconds: int) -> None:
    """More than fits is left where somebody set the clock back."""
    assert mqtt._seconds(lifetime) == seconds
