"""Every size and every time has a bound, and the bound holds over real sockets."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from keyborn.adapters.broker import Limits
from keyborn.adapters.broker.encode import encode
from keyborn.adapters.broker.packets import (
    V5,
    ConnAck,
    Connect,
    Disconnect,
    PingReq,
    PingResp,
    Prop,
    PubAck,
    Publish,
    Subscribe,
    Subscription,
    Will,
)
from keyborn.domain.certificate import CertificateStatus
from support.broker import PATIENCE, Raw, World, now, running, until

Refusals = Callable[..., list[str]]
BOTH = pytest.mark.parametrize("version", [4, 5])
TOPIC = "certtest/dev/t"


# ── AWS's sizes ───────────────────────────────────────────────────────────────────────────────────────


@BOTH
async def test_a_payload_of_128_kib_passes_and_one_byte_more_does_not(
    world: World, refusals: Refusals, version: int
) -> None:
    raw = await world.connect(world.device("dev"), version=version)
    await raw.subscribe(TOPIC)
    heard = await raw.publish_and_hear(TOPIC, b"x" * 131_072)
    assert len(heard.payload) == 131_072
    await raw.send(PubAck(heard.packet_id), Publish(TOPIC, b"x" * 131_073, 1, packet_id=1))
    assert await raw.closed() == ([Disconnect(0x95)] if version == 5 else [])
    assert refusals("action=protocol", "a payload of 131073 bytes")


@BOTH
async def test_a_packet_beyond_the_limit_is_refused_by_its_header(
    world: World, refusals: Refusals, version: int
) -> None:
    raw = await world.connect(world.device("dev"), version=version)
    await raw.send_bytes(b"\x30\xff\xff\xff\x7f")
    assert await raw.closed() == ([Disconnect(0x95)] if version == 5 else [])
    assert refusals("action=protocol", "a packet of 268435460 bytes")


@pytest.mark.parametrize("topic", ["certtest/dev/" + "x" * 244, "certtest/dev" + "/x" * 7])
async def test_a_topic_beyond_the_limits_is_not_acknowledged(
    world: World, refusals: Refusals, topic: str
) -> None:
    raw = await world.connect(world.device("dev"), version=5)
    assert (await raw.publish(topic)).reason == 0x90
    assert (await raw.publish(topic.removesuffix("x").removesuffix("/"))).reason == 0
    assert (await raw.subscribe(topic)).reasons == (0x8F,)
    old = await world.connect(world.device("dev"))
    await old.send(Publish(topic, b"x", 1, packet_id=1))
    assert await old.closed() == []
    assert len(refusals("action=iot:Publish", "thing=dev")) == 2


@pytest.mark.parametrize("topic", ["certtest/dev/+", "certtest/dev/#", ""])
async def test_a_wildcard_in_a_topic_breaks_the_protocol(world: World, topic: str) -> None:
    raw = await world.connect(world.device("dev"), version=5)
    await raw.send(Publish(topic, b"x", 1, packet_id=1))
    assert await raw.closed() == [Disconnect(0x90)]


async def test_eight_filters_in_one_packet_are_taken_and_nine_are_not(
    world: World, refusals: Refusals
) -> None:
    raw = await world.connect(world.device("dev"), version=5)
    names = [f"certtest/dev/{number}" for number in range(9)]
    assert (await raw.subscribe(*names[:8])).reasons == (1,) * 8
    assert (await raw.subscribe(*names)).reasons == (0x97,) * 9
    old = await world.connect(world.device("dev"))
    await old.send(Subscribe(1, tuple(Subscription(each) for each in names)))
    assert await old.closed() == []
    assert refusals("action=iot:Subscribe", "more than 8 filters in one packet")


async def test_fifty_subscriptions_are_kept_and_no_more(world: World, refusals: Refusals) -> None:
    raw = await world.connect(world.device("dev"), version=5)
    names = [f"certtest/dev/{number}" for number in range(51)]
    for start in range(0, 48, 8):
        await raw.subscribe(*names[start : start + 8])
    assert (await raw.subscribe(*names[48:])).reasons == (1, 1, 0x97)
    assert (await raw.subscribe(names[0])).reasons == (1,), "replacing is not more"
    assert refusals("action=iot:Subscribe", "more than 50 subscriptions")


@pytest.mark.parametrize(
    ("topic_filter", "reason"), [("$share/g/certtest/dev", 0x9E), ("certtest/dev/x#", 0x8F)]
)
async def test_filters_that_are_not_offered_have_their_own_answers(
    world: World, topic_filter: str, reason: int
) -> None:
    raw = await world.connect(world.device("dev"), version=5)
    assert (await raw.subscribe(topic_filter)).reasons == (reason,)


async def test_a_packet_with_a_refused_filter_leaves_nothing_behind_on_3_1_1(world: World) -> None:
    device = world.device("dev")
    connect = Connect(4, "dev", clean_start=False)
    raw = await world.connect(device, connect)
    await raw.send(Subscribe(1, (Subscription(TOPIC, 1), Subscription("#"))))
    assert await raw.closed() == []
    world.say(TOPIC, b"x")
    again = await world.connect(device, connect)
    assert again.connack.session_present
    await again.ping()


async def test_subscription_identifiers_are_not_offered(world: World) -> None:
    raw = await world.connect(world.device("dev"), version=5)
    await raw.send(Subscribe(1, (Subscription(TOPIC),), {Prop.SUBSCRIPTION_ID: (1,)}))
    assert await raw.closed() == [Disconnect(0xA1)]


@pytest.mark.parametrize(
    ("publish", "reason"),
    [
        (Publish(TOPIC, b"", properties={Prop.TOPIC_ALIAS: 9}), 0x94),
        (Publish("", b"", properties={Prop.TOPIC_ALIAS: 1}), 0x82),
        (Publish("x" * 257, b"", properties={Prop.TOPIC_ALIAS: 1}), 0x90),
        (Publish(TOPIC, b"", properties={Prop.SUBSCRIPTION_ID: (1,)}), 0x82),
    ],
)
async def test_aliases_are_bounded_and_must_stand_for_something(
    world: World, publish: Publish, reason: int
) -> None:
    raw = await world.connect(world.device("dev"), version=5)
    await raw.send(publish)
    assert await raw.closed() == [Disconnect(reason)]


@pytest.mark.parametrize("wire", [b"\xf0\x00", b"\x20\x02\x00\x00", b"\xd0\x00", b"\x50\x02\x00\x01"])
async def test_packets_that_a_client_may_not_send(world: World, wire: bytes) -> None:
    raw = await world.connect(world.device("dev"), version=5)
    await raw.send_bytes(wire if wire[0] != 0x20 else b"\x20\x03\x00\x00\x00")
    assert await raw.closed() == [Disconnect(0x82)]


# ── CONNECT ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("wire", "answer"),
    [
        (b"\x10\x11\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x03dev", b"\x20\x02\x00\x01"),
        (b"\x10\x0f\x00\x04MQTT\x06\x02\x00\x3c\x00\x03dev", b"\x20\x02\x00\x01"),
        (b"\x10\x10\x00\x04MQTT\x05\x03\x00\x3c\x00\x00\x03dev", b"\x20\x03\x00\x81\x00"),
        (b"\x10\x0f\x00\x04MQTT\x04\x03\x00\x3c\x00\x03dev", b""),
        (b"\xc0\x00", b""),
        (b"GET / HTTP/1.1\r\n\r\n", b""),
        (b"\x10\xff\xff\xff\x7f", b""),
    ],
    ids=["3.1", "level 6", "malformed 5", "malformed 3.1.1", "no CONNECT", "HTTP", "too large"],
)
async def test_a_first_packet_that_is_no_good_connect(
    world: World, refusals: Refusals, wire: bytes, answer: bytes
) -> None:
    raw = await world.dial(world.device("dev"))
    await raw.send_bytes(wire)
    assert await asyncio.wait_for(raw.reader.read(), PATIENCE) == answer
    assert len(refusals("action=protocol", "certificate=")) == 1


async def test_what_follows_connect_waits_until_it_is_decided(world: World) -> None:
    ear = await world.listener("#")
    world.directory.open.clear()
    raw = await world.dial(world.device("dev"))
    await raw.send(Connect(4, "dev"), Publish(TOPIC, b"early", 1, packet_id=1), PingReq())
    await until(lambda: world.directory.lookups == 2)
    assert await ear.settle() == []
    world.directory.open.set()
    assert (await raw.expect(ConnAck)).reason == 0
    await raw.expect(PubAck)
    await raw.expect(PingResp)
    assert await ear.settle() == [(TOPIC, b"early")]


async def test_what_follows_a_refused_connect_is_never_looked_at(world: World) -> None:
    ear = await world.listener("#")
    raw = await world.dial(world.device("dev", status=CertificateStatus.INACTIVE))
    await raw.send(Connect(4, "dev"), Publish(TOPIC, b"early", 1, packet_id=1))
    assert await raw.closed() == [ConnAck(session_present=False, reason=5)]
    assert await ear.settle() == []


async def test_bytes_that_wait_for_admission_are_bounded_in_all(tmp_path: Path, refusals: Refusals) -> None:
    async with running(tmp_path, limits=Limits(pending_bytes=4000)) as world:
        raw = await world.dial(world.device("dev"))
        await raw.send_bytes(b"\x10\xff\x7f" + b"\x00" * 5000)
        assert await raw.closed() == []
        assert refusals("too many bytes wait for admission")
        assert world.gateway._house.pending.used == 0


async def test_the_number_of_sessions_is_bounded(tmp_path: Path, refusals: Refusals) -> None:
    async with running(tmp_path, limits=Limits(sessions=1)) as world:
        first = await world.connect(world.device("dev"))
        second = await world.connect(world.device("other"), version=5)
        assert second.connack.reason == 0x97
        assert (await world.connect(world.device("more"))).connack.reason == 3
        assert refusals("thing=other", "as many sessions as there may be")
        await first.leave()
        assert (await world.connect(world.device("late"))).connack.reason == 0


async def test_retained_messages_are_bounded_and_refused_aloud(tmp_path: Path, refusals: Refusals) -> None:
    async with running(tmp_path, limits=Limits(retained_per_thing=1)) as world:
        raw = await world.connect(world.device("dev"), version=5)
        assert (await raw.publish(TOPIC, retain=True)).reason == 0
        assert (await raw.publish(TOPIC + "2", retain=True)).reason == 0x97
        old = await world.connect(world.device("dev"))
        await old.send(Publish(TOPIC + "2", b"x", 1, retain=True, packet_id=1))
        assert await old.closed() == []
        assert refusals("action=iot:RetainPublish", "as many retained messages as there may be")


# ── time ──────────────────────────────────────────────────────────────────────────────────────────────


@BOTH
async def test_silence_of_one_and_a_half_intervals_ends_the_session(world: World, version: int) -> None:
    loop = asyncio.get_running_loop()
    raw = await world.connect(world.device("dev"), Connect(version, "dev", keep_alive=1))
    await raw.ping()
    began = loop.time()
    assert await raw.closed() == ([Disconnect(0x8D)] if version == 5 else [])
    assert 1.4 < loop.time() - began < 3
    assert world.gateway.connected == 0


@BOTH
async def test_a_dead_sessions_will_is_sent_when_its_keep_alive_is_over(world: World, version: int) -> None:
    ear = await world.listener("#")
    will = Will("certtest/dev/will", b"gone", 1)
    raw = await world.connect(world.device("dev"), Connect(version, "dev", keep_alive=1, will=will))
    assert await raw.closed() == ([Disconnect(0x8D)] if version == 5 else [])
    await ear.hears((will.topic, b"gone"))


async def test_a_client_that_pings_stays(world: World) -> None:
    raw = await world.connect(world.device("dev"), Connect(5, "dev", keep_alive=1))
    end = asyncio.get_running_loop().time() + 2.2
    while asyncio.get_running_loop().time() < end:
        await raw.ping()
        await asyncio.sleep(0.5)
    await raw.ping()


async def test_a_keep_alive_that_is_too_long_is_shortened(tmp_path: Path) -> None:
    async with running(tmp_path, limits=Limits(keep_alive=1)) as world:
        for version, asked in ((5, 3600), (4, 0)):
            raw = await world.connect(world.device("dev"), Connect(version, "dev", keep_alive=asked))
            assert raw.connack.properties.get(Prop.SERVER_KEEP_ALIVE) == (1 if version == V5 else None)
            assert await raw.closed() == ([Disconnect(0x8D)] if version == V5 else [])


async def test_half_open_connections_are_cut(tmp_path: Path, refusals: Refusals) -> None:
    limits = Limits(handshake_seconds=0.2, connect_seconds=0.3)
    async with running(tmp_path, limits=limits) as world:
        silent, writer = await asyncio.open_connection(world.host, world.port)
        half, other = await asyncio.open_connection(world.host, world.port)
        other.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        raw = await world.dial(world.device("dev"))
        partly = await world.dial(world.device("slow"))
        await partly.send_bytes(b"\x10\x0f\x00\x04MQ")
        for reader in (silent, half):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await asyncio.wait_for(reader.readexactly(1), PATIENCE)
        assert await raw.closed() == await partly.closed() == []
        for each in (writer, other):
            each.close()
        assert len(refusals("action=handshake", "no TLS handshake within 0.2 s")) == 2
        assert len(refusals("action=iot:Connect", "no CONNECT within 0.3 s")) == 2


async def test_silent_connections_give_way_when_room_is_short(tmp_path: Path, refusals: Refusals) -> None:
    async with running(tmp_path, limits=Limits(pending=5, patience_seconds=0)) as world:
        held = [await asyncio.open_connection(world.host, world.port) for _ in range(8)]
        raw = await world.connect(world.device("dev"))
        assert raw.connack.reason == 0, "a flood of silent connections keeps nobody out"
        assert len(refusals("too many connections wait for admission")) == 4
        assert len(world.gateway._pending) == 4
        for _, writer in held:
            writer.close()


async def test_connections_that_make_progress_are_not_pushed_out(tmp_path: Path, refusals: Refusals) -> None:
    async with running(tmp_path, limits=Limits(pending=2, patience_seconds=0)) as world:
        world.directory.open.clear()
        early = [await world.dial(world.device(name)) for name in ("one", "two")]
        for raw, name in zip(early, ("one", "two"), strict=True):
            await raw.send(Connect(4, name))
        await until(lambda: world.directory.lookups == 2)
        reader, writer = await asyncio.open_connection(world.host, world.port)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), PATIENCE)
        writer.close()
        world.directory.open.set()
        for raw in early:
            assert (await raw.expect(ConnAck)).reason == 0
        assert len(refusals("too many connections wait for admission")) == 1


@dataclass
class LateClock:
    """A wall clock that tests move."""

    ahead: timedelta = timedelta()

    def now(self) -> datetime:
        return now() + self.ahead


async def test_a_session_ends_when_its_certificate_expires(tmp_path: Path) -> None:
    clock = LateClock()
    async with running(tmp_path, clock=clock) as world:
        ear = await world.listener("#")
        device = world.device("dev", not_after=now() + timedelta(seconds=0.5))
        raw = await world.connect(device, version=5)
        assert raw.connack.reason == 0
        assert await raw.closed() == [Disconnect(0x87)]
        assert await ear.settle() == []


@pytest.mark.parametrize("status", [CertificateStatus.REVOKED, CertificateStatus.INACTIVE])
async def test_an_open_session_is_looked_up_again_now_and_then(
    tmp_path: Path, status: CertificateStatus
) -> None:
    async with running(tmp_path, limits=Limits(recheck_seconds=0.05)) as world:
        device = world.device("dev")
        raw = await world.connect(device, version=5)
        seen = world.directory.lookups
        await until(lambda: world.directory.lookups > seen + 2)
        await raw.ping()
        world.directory.set_status(device.id, status)
        assert await raw.closed() == [Disconnect(0x87)]


# ── slow readers ──────────────────────────────────────────────────────────────────────────────────────


async def stop_reading(world: World) -> Raw:
    """A client that reads nothing, and little room in the kernel for what it does not read."""
    (server,) = world.gateway._servers
    server.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    raw = await world.connect(world.device("dev"), Connect(5, "dev", keep_alive=60))
    await raw.subscribe(TOPIC)
    raw.writer.transport.pause_reading()  # type: ignore[attr-defined] # the TLS transport has it
    return raw


async def test_a_reader_that_reads_nothing_is_bounded_and_then_cut(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limits = Limits(write_buffer=65_536, queue_bytes=300_000, stall_seconds=0.5)
    async with running(tmp_path, limits=limits) as world:
        await stop_reading(world)
        healthy = await world.connect(world.device("healthy"))
        most = sent = 0
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while world.gateway.connected == 2 and asyncio.get_running_loop().time() < deadline:
            world.say(TOPIC, b"x" * 60_000, qos=sent % 2)
            sent += 1
            await healthy.ping()
            most = max(most, world.gateway._hub.budget.used)
        assert 0 < most <= limits.queue_bytes
        assert world.gateway.connected == 1, "the slow reader is still there"
        assert world.gateway._hub.budget.used == 0
        assert "queue full, message dropped" in caplog.text
        await healthy.ping()


async def test_a_reader_that_catches_up_gets_what_waited(tmp_path: Path) -> None:
    limits = Limits(write_buffer=65_536, stall_seconds=30)
    async with running(tmp_path, limits=limits) as world:
        slow = await stop_reading(world)
        sent = 0
        while sent < 500 and world.gateway._hub.budget.used < 500_000:
            world.say(TOPIC, sent.to_bytes(4) + b"x" * 50_000, qos=0)
            sent += 1
            await asyncio.sleep(0)
        assert world.gateway._hub.budget.used > 0, "nothing ever waited"
        slow.writer.transport.resume_reading()  # type: ignore[attr-defined] # as it has pause_reading
        heard = [int.from_bytes((await slow.expect(Publish)).payload[:4]) for _ in range(sent)]
        assert heard == list(range(sent))
        assert world.gateway._hub.budget.used == 0


async def test_a_client_that_does_not_read_its_answers_is_not_read_from(tmp_path: Path) -> None:
    limits = Limits(write_buffer=16_384, stall_seconds=0.5, packets_per_second=1e9)
    async with running(tmp_path, limits=limits) as world:
        raw = await stop_reading(world)
        (link,) = world.gateway._links
        flood, most = encode(PingReq(), 5) * 20_000, 0
        while world.gateway.connected and most < 1 << 22:
            raw.writer.write(flood)
            await asyncio.sleep(0.01)
            most = max(most, link._unread() + link._pending_bytes)
        print(f"at most {most:,} bytes of answers were held")  # noqa: T201 - the bound is evidence
        assert most < 1 << 18
        assert world.gateway.connected == 0
