"""TLS at its edges, with a client whose TLS bytes the test holds in its hands."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Self

import pytest

from keyborn.adapters.broker.encode import encode
from keyborn.adapters.broker.packets import Connect, PingReq
from support.broker import PATIENCE, Device, World, until

Refusals = Callable[..., list[str]]


class Hand:
    """A TLS client over a plain socket, record by record."""

    def __init__(self, world: World, device: Device) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = device.context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self._world = world

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection(self._world.host, self._world.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    async def shake_hands(self) -> None:
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.flush()
                await self.pull()
            else:
                self.flush()
                return

    def flush(self) -> None:
        if self.outgoing.pending:
            self.writer.write(self.outgoing.read())

    async def pull(self) -> bool:
        """Take what the broker sent; False at the end."""
        data = await asyncio.wait_for(self.reader.read(1 << 16), PATIENCE)
        self.incoming.write(data)
        return bool(data)

    async def read(self) -> bytes:
        """Plain bytes; empty when the broker has said TLS's goodbye."""
        while True:
            try:
                return self.tls.read(1 << 16)
            except ssl.SSLWantReadError:
                if not await self.pull():
                    raise ConnectionError from None

    async def say(self, data: bytes) -> None:
        self.tls.write(data)
        self.flush()
        await self.writer.drain()

    async def connect(self, name: str) -> None:
        await self.shake_hands()
        await self.say(encode(Connect(4, name, keep_alive=60), 4))
        assert await self.read() == b"\x20\x02\x00\x00"


async def test_records_may_arrive_a_byte_at_a_time(world: World) -> None:
    async with Hand(world, world.device("dev")) as hand:
        await hand.connect("dev")
        hand.tls.write(encode(PingReq(), 4))
        for byte in hand.outgoing.read():
            hand.writer.write(bytes((byte,)))
            await asyncio.sleep(0)
        assert await hand.read() == b"\xd0\x00"


async def test_a_record_that_was_tampered_with_ends_the_connection(world: World) -> None:
    async with Hand(world, world.device("dev")) as hand:
        await hand.connect("dev")
        hand.tls.write(encode(PingReq(), 4))
        record = bytearray(hand.outgoing.read())
        record[-1] ^= 1
        hand.writer.write(bytes(record))
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await hand.read()
        await until(lambda: world.gateway.connected == 0)


async def test_the_handshake_and_the_first_packets_may_come_together(world: World) -> None:
    async with Hand(world, world.device("dev")) as hand:
        while True:
            try:
                hand.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                hand.flush()
                await hand.pull()
        hand.tls.write(encode(Connect(4, "dev"), 4) + encode(PingReq(), 4))
        hand.flush()
        answer = b""
        while len(answer) < 6:
            answer += await hand.read()
        assert answer == b"\x20\x02\x00\x00\xd0\x00"


async def test_tls_goodbye_from_the_client_ends_the_session(world: World) -> None:
    async with Hand(world, world.device("dev")) as hand:
        await hand.connect("dev")
        with pytest.raises(ssl.SSLWantReadError):
            hand.tls.unwrap()
        hand.flush()
        assert await hand.pull()
        hand.tls.unwrap()
        await until(lambda: world.gateway.connected == 0)


async def test_a_half_closed_connection_is_closed(world: World) -> None:
    async with Hand(world, world.device("dev")) as hand:
        await hand.connect("dev")
        hand.writer.write_eof()
        while await hand.pull():
            pass
        await until(lambda: not world.gateway._links)


async def test_the_goodbye_of_the_broker_is_tls_clean(world: World) -> None:
    """A client can tell an end that the broker meant from a connection that somebody cut."""
    async with Hand(world, world.device("dev")) as hand:
        await hand.connect("dev")
        await hand.say(b"\x00\x00")
        assert await hand.read() == b""


async def test_renegotiation_is_not_offered(world: World) -> None:
    device = world.device("dev")
    device.context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with Hand(world, device) as hand:
        await hand.connect("dev")
        assert hand.tls.version() == "TLSv1.2"
        assert hand.tls.compression() is None


@pytest.mark.parametrize("size", [0, 1, 5, 50, 200])
async def test_whoever_leaves_during_the_handshake_leaves_nothing(
    world: World, refusals: Refusals, size: int
) -> None:
    async with Hand(world, world.device("dev")) as hand:
        with pytest.raises(ssl.SSLWantReadError):
            hand.tls.do_handshake()
        hand.writer.write(hand.outgoing.read()[:size])
        await hand.writer.drain()
    await until(lambda: not world.gateway._links)
    assert not world.gateway._pending
    await until(lambda: len(refusals("action=handshake")) == 1)


@pytest.mark.parametrize(
    "garbage", [b"\x00" * 64, b"\x17\x03\x03\x00\x01x", b"SSH-2.0-x\r\n", b"GET / HTTP/1.1\r\n"]
)
async def test_garbage_during_the_handshake_is_refused_in_words(
    world: World, refusals: Refusals, garbage: bytes
) -> None:
    reader, writer = await asyncio.open_connection(world.host, world.port)
    writer.write(garbage)
    await asyncio.gather(asyncio.wait_for(reader.read(), PATIENCE), return_exceptions=True)
    writer.close()
    await until(lambda: len(refusals("action=handshake", "reason='TLS handshake failed: ")) == 1)


async def test_a_client_that_does_not_trust_the_broker_says_so_and_we_log_it(
    world: World, refusals: Refusals
) -> None:
    device = world.device("dev")
    device.__dict__["context"] = ssl.create_default_context()
    async with Hand(world, device) as hand:
        with pytest.raises(ssl.SSLCertVerificationError):
            await hand.shake_hands()
        hand.flush()
        wanted = ("action=handshake", "the client ended the handshake", "unknown ca")
        await until(lambda: len(refusals(*wanted)) == 1)


async def test_alpn_of_aws_is_understood_and_not_required(world: World) -> None:
    for number, (offered, chosen) in enumerate(
        [(["x-amzn-mqtt-ca"], "x-amzn-mqtt-ca"), (["mqtt"], "mqtt"), (["h2"], None), ([], None)]
    ):
        device = world.device(f"dev{number}")
        if offered:
            device.context.set_alpn_protocols(offered)
        async with Hand(world, device) as hand:
            await hand.connect(device.thing)
            assert hand.tls.selected_alpn_protocol() == chosen
