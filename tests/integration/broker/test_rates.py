"""A client that sends too fast is read from no faster: nothing is lost, no waiting is punished."""

import asyncio
from pathlib import Path

import pytest

from keyborn.adapters.broker import Limits
from keyborn.adapters.broker.connection import Connection
from keyborn.adapters.broker.encode import encode
from keyborn.adapters.broker.message import Message
from keyborn.adapters.broker.packets import Connect, PingReq, PingResp, PubAck, Publish
from keyborn.adapters.broker.session import Session
from keyborn.domain.names import ThingName
from support.broker import Raw, World, running, until

TOPIC = "certtest/dev/t"
LIMITS = Limits(packets_per_second=100, packets_burst=50)


def numbered(count: int, size: int = 0) -> bytes:
    """So many publishes at QoS 0, each with its number."""
    packets = (Publish(TOPIC, number.to_bytes(4) + bytes(size)) for number in range(count))
    return b"".join(encode(packet, 5) for packet in packets)


async def flood(world: World, data: bytes) -> Raw:
    """A client that sends all of it at once and then asks for an answer."""
    raw = await world.connect(world.device("dev"), Connect(5, "dev", keep_alive=1))
    raw.writer.write(data)
    await raw.send(PingReq())
    return raw


def slowed(connection: Connection) -> bool:
    return connection._inbox is not None and connection._inbox.slowed


def numbers(heard: list[tuple[str, bytes]]) -> list[int]:
    return [int.from_bytes(payload[:4]) for _, payload in heard]


async def test_too_many_packets_wait_with_their_sender_and_none_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The keep-alive is 1 s here, the debt about 2 s: waiting as told is no silence."""
    caplog.set_level("INFO")
    loop = asyncio.get_running_loop()
    async with running(tmp_path, limits=LIMITS) as world:
        ear = await world.listener(TOPIC)
        other = await world.connect(world.device("other"))
        raw = await flood(world, numbered(250))
        began = loop.time()
        await other.ping()
        await raw.expect(PingResp)
        await raw.ping()
        took = loop.time() - began
        assert numbers(await ear.settle()) == list(range(250))
    print(f"250 packets at 100 a second after a burst of 50: {took:.1f} s")  # noqa: T201 - the figure is evidence
    assert took > 1.5
    lines = [each for each in caplog.messages if each.startswith("slowed down")]
    assert len(lines) == 1, "said once in a while, not for every packet"
    assert "seconds=" in lines[0]
    assert "peer=" in lines[0]


async def test_too_many_bytes_wait_too(tmp_path: Path) -> None:
    limits = Limits(bytes_per_second=100_000, bytes_burst=100_000)
    loop = asyncio.get_running_loop()
    async with running(tmp_path, limits=limits) as world:
        ear = await world.listener(TOPIC)
        began = loop.time()
        raw = await flood(world, numbered(10, size=20_000))
        await raw.expect(PingResp)
        await raw.ping()
        assert loop.time() - began > 0.7
        assert numbers(await ear.settle()) == list(range(10))


async def test_every_kind_of_packet_counts(tmp_path: Path) -> None:
    async with running(tmp_path, limits=LIMITS) as world:
        raw = await flood(world, encode(PingReq(), 5) * 100 + encode(PubAck(1), 5) * 100)
        (connection,) = world.gateway._open.values()
        await until(lambda: slowed(connection))
        for _ in range(101):
            await raw.expect(PingResp)


async def test_who_keeps_to_the_rate_is_never_slowed_down(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with running(tmp_path, limits=LIMITS) as world:
        raw = await flood(world, numbered(40))
        await raw.expect(PingResp)
        assert not [each for each in caplog.messages if each.startswith("slowed down")]


async def test_a_client_that_waits_can_be_taken_over_evicted_and_stopped(tmp_path: Path) -> None:
    limits = Limits(packets_per_second=1, packets_burst=10)
    async with running(tmp_path, limits=limits) as world:
        for ending in ("taken over", "evicted", "stopped"):
            raw = await flood(world, encode(PingReq(), 5) * 100)
            (connection,) = [each for each in world.gateway._open.values() if each._client is not None]
            await until(lambda connection=connection: slowed(connection))  # type: ignore[misc] # bound now
            if ending == "taken over":
                raw = await world.connect(world.device("dev"), Connect(5, "dev"))
            elif ending == "evicted":
                await world.gateway.evict(world.device("dev").thing, "revoked")
            else:
                await world.gateway.stop(0.5)
            await until(lambda connection=connection: connection not in world.gateway._open.values())  # type: ignore[misc] # bound now
            raw.vanish()
            await until(lambda: not world.gateway._links)


async def test_a_slow_reader_that_also_sends_too_fast_is_read_from_when_both_are_over(tmp_path: Path) -> None:
    async with running(tmp_path, limits=LIMITS) as world:
        raw = await flood(world, encode(PingReq(), 5) * 100)
        (link,) = world.gateway._links
        (connection,) = world.gateway._open.values()
        await until(lambda: slowed(connection))
        link.pause_writing()
        link.resume_writing()
        assert link._transport is not None
        assert not link._transport.is_reading(), "catching up does not pay the debt"
        for _ in range(101):
            await raw.expect(PingResp)
        await raw.ping()


# ── turns ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_flood_that_many_hear_keeps_nobody_from_the_loop(tmp_path: Path) -> None:
    """One read of 64 KiB holds 8,000 publishes; handled at once for 40 listeners they take a second."""
    async with running(tmp_path, limits=Limits(packets_per_second=1e6, packets_burst=10**6)) as world:
        service = world.service("crowd")
        for number in range(40):
            listening = await world.connect(service, Connect(5, f"crowd-{number}", keep_alive=60))
            await listening.subscribe("flood", qos=0)
            listening.reader._transport.pause_reading()  # type: ignore[attr-defined] # asyncio's
        loud = await world.connect(service, Connect(5, "loud", keep_alive=60))
        hub = world.gateway._hub
        routed: list[int] = [0]
        turns: list[int] = []
        publish = hub.publish

        def _counted(message: Message, origin: Session | None = None) -> bool:
            routed[0] += 1
            return publish(message, origin)

        hub.publish = _counted  # type: ignore[method-assign] # counted, and done
        loud.writer.write(encode(Publish("flood", b""), 5) * 6000)
        while sum(turns) < 6000:
            turns.append(routed[0])
            routed[0] = 0
            await asyncio.sleep(0)
    print(f"6000 publishes for 40 listeners, at most {max(turns)} in one turn of the loop")  # noqa: T201 - the figure is evidence
    assert max(turns) < 1500


async def test_an_eviction_gets_through_while_fifty_send_as_fast_as_they_can(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with running(tmp_path) as world:
        service = world.service("many")
        victim = await world.connect(world.device("victim"), Connect(5, "victim", keep_alive=60))
        for number in range(50):
            raw = await world.connect(service, Connect(5, f"many-{number}", keep_alive=60))
            raw.writer.write(encode(Publish("noise", b""), 5) * 40_000)
        await asyncio.sleep(0)
        began = loop.time()
        assert await world.gateway.evict(ThingName("victim"), "revoked") == 1
        await victim.closed()
        took = loop.time() - began
    print(f"an eviction among fifty floods: closed after {took * 1000:.0f} ms")  # noqa: T201 - the figure is evidence
    assert took < 1
