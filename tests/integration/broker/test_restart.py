"""What outlives the broker, over real TLS: sessions, queues, retained messages; and what must not."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from keyborn.adapters.broker import Gateway
from keyborn.adapters.broker.journal_rows import Changes
from keyborn.adapters.broker.packets import (
    ConnAck,
    Disconnect,
    Prop,
    Properties,
    PubAck,
    Publish,
    Reason,
    Refused311,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
)
from keyborn.adapters.system import SystemClock
from keyborn.domain.certificate import CertificateStatus
from keyborn.domain.errors import BrokerUnwritable
from keyborn.domain.names import ThingName
from keyborn.domain.thing import ThingStatus
from support.broker import Device, Raw, World, until
from support.durable import DurableWorld, durable, lasting

BOTH = pytest.mark.parametrize("version", [4, 5])
ENDS = pytest.mark.parametrize("crashed", [True, False], ids=["killed", "closed"])
TOPIC = "certtest/dev/t"


async def leave_a_subscription(world: World, device: Device, version: int = 4) -> None:
    raw = await world.connect(device, lasting(version, device.thing))
    assert not raw.connack.session_present
    await raw.subscribe(TOPIC)
    await raw.leave()


async def publisher(world: World, version: int = 4) -> Raw:
    return await world.connect(world.service("pub"), version=version)


def hold(world: DurableWorld) -> Callable[[], None]:
    """Keep every commit from ending until the returned function is called."""
    write, loop = world.journal._file.write, asyncio.get_running_loop()
    gate = asyncio.Event()

    def held(changes: Changes) -> None:
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(30)
        write(changes)

    world.journal._file.write = held  # type: ignore[method-assign] # a slow disk
    return gate.set


def break_disk(world: DurableWorld) -> Callable[[], None]:
    """Make every commit fail until the returned function is called."""
    write = world.journal._file.write

    def broken(changes: Changes) -> None:
        raise OSError("no space left on device")

    world.journal._file.write = broken  # type: ignore[method-assign] # a full disk

    def repair() -> None:
        world.journal._file.write = write  # type: ignore[method-assign] # as it was

    return repair


# ── what comes back ───────────────────────────────────────────────────────────────────────────────────


@BOTH
@ENDS
async def test_acknowledged_messages_wait_through_a_restart(
    tmp_path: Path, version: int, *, crashed: bool
) -> None:
    async with durable(tmp_path, crashed=crashed) as world:
        device = world.device("dev")
        await leave_a_subscription(world, device, version)
        pub = await publisher(world, version)
        for number in range(5):
            assert await pub.publish(TOPIC, f"{number}".encode()) == PubAck(9)
        directory = world.directory
    async with durable(tmp_path, directory) as world:
        raw = await world.connect(device, lasting(version))
        assert raw.connack.session_present
        heard = [await raw.expect(Publish) for _ in range(5)]
        assert [(each.payload, each.dup) for each in heard] == [(f"{n}".encode(), False) for n in range(5)]
        world.say(TOPIC, b"on it goes")
        assert (await raw.expect(Publish)).payload == b"on it goes", "the subscription is back too"


@BOTH
@ENDS
async def test_what_was_not_acknowledged_comes_again_with_dup_and_its_identifier(
    tmp_path: Path, version: int, *, crashed: bool
) -> None:
    async with durable(tmp_path, crashed=crashed) as world:
        device = world.device("dev")
        raw = await world.connect(device, lasting(version))
        await raw.subscribe(TOPIC)
        pub = await publisher(world)
        for number in range(3):
            await pub.publish(TOPIC, f"{number}".encode())
        first = [await raw.expect(Publish) for _ in range(3)]
        await raw.send(PubAck(first[0].packet_id))
        await raw.ping()
        await world.journal.durable()
        directory = world.directory
    async with durable(tmp_path, directory) as world:
        raw = await world.connect(device, lasting(version))
        assert raw.connack.session_present
        second = [await raw.expect(Publish) for _ in range(2)]
        assert second == [each._replace(dup=True) for each in first[1:]]
        await raw.send(*(PubAck(each.packet_id) for each in second))
        world.say(TOPIC, b"new")
        new = await raw.expect(Publish)
        assert (new.payload, new.dup) == (b"new", False)


@BOTH
async def test_retained_messages_outlive_the_broker(tmp_path: Path, version: int) -> None:
    async with durable(tmp_path, crashed=True) as world:
        device = world.device("dev")
        pub = await publisher(world, version)
        await pub.publish(TOPIC, b"first", retain=True)
        await pub.publish(TOPIC, b"kept", retain=True)
        await pub.publish("certtest/dev/u", b"gone", retain=True)
        await pub.publish("certtest/dev/u", b"", retain=True)
        directory = world.directory
    async with durable(tmp_path, directory) as world:
        raw = await world.connect(device, version=version)
        assert not raw.connack.session_present
        await raw.subscribe("certtest/dev/#")
        heard = await raw.expect(Publish)
        assert (heard.payload, heard.retain) == (b"kept", True)
        await raw.ping()


async def test_properties_and_the_rest_of_their_lifetime_come_back(tmp_path: Path) -> None:
    properties: Properties = {Prop.MESSAGE_EXPIRY: 1000, Prop.CONTENT_TYPE: "text/plain"}
    async with durable(tmp_path, crashed=True) as world:
        device = world.device("dev")
        await leave_a_subscription(world, device, 5)
        pub = await publisher(world, 5)
        await pub.send(Publish(TOPIC, b"x", 1, packet_id=9, properties=properties))
        assert await pub.expect(PubAck) == PubAck(9)
        directory = world.directory
    async with durable(tmp_path, directory) as world:
        raw = await world.connect(device, lasting(5))
        heard = await raw.expect(Publish)
        assert heard.properties[Prop.CONTENT_TYPE] == "text/plain"
        left = heard.properties[Prop.MESSAGE_EXPIRY]
        assert isinstance(left, int)
        assert 900 < left <= 1000


async def test_a_device_that_renews_meanwhile_finds_its_session(tmp_path: Path) -> None:
    async with durable(tmp_path, crashed=True) as world:
        device = world.device("dev")
        await leave_a_subscription(world, device)
        await (await publisher(world)).publish(TOPIC, b"waits")
        directory = world.directory
    expired = directory.certificates[device.id]
    directory.certificates[device.id] = replace(expired, not_after=datetime.now(UTC) - timedelta(seconds=1))
    async with durable(tmp_path, directory) as world:
        refused = await world.connect(device, lasting(4))
        assert refused.connack.reason == 5
        directory.set_status(device.id, CertificateStatus.REVOKED)
        renewed = world.device("dev")
        raw = await world.connect(renewed, lasting(4))
        assert raw.connack.session_present
        assert (await raw.expect(Publish)).payload == b"waits"


async def test_an_eviction_is_durable_when_it_returns(tmp_path: Path) -> None:
    async with durable(tmp_path, crashed=True) as world:
        device, other = world.device("dev"), world.device("other")
        await leave_a_subscription(world, device)
        raw = await world.connect(other, lasting(4, "other"))
        await raw.subscribe("certtest/other/t")
        pub = await publisher(world)
        await pub.publish(TOPIC, b"x", retain=True)
        assert await world.gateway.evict(ThingName("pub"), "revoked") == 1
        directory = world.directory
    async with durable(tmp_path, directory) as world:
        raw = await world.connect(device, lasting(4))
        assert raw.connack.session_present
        await raw.subscribe("certtest/dev/#")
        await raw.ping()
        raw = await world.connect(other, lasting(4, "other"))
        assert raw.connack.session_present


@pytest.mark.parametrize("status", [ThingStatus.REVOKED, ThingStatus.SUSPENDED])
async def test_a_revoke_while_the_broker_was_down_holds(tmp_path: Path, status: ThingStatus) -> None:
    async with durable(tmp_path, crashed=True) as world:
        device, ear = world.device("dev"), world.service("ear")
        await leave_a_subscription(world, device)
        raw = await world.connect(ear, lasting(4, "ear"))
        await raw.subscribe("certtest/#")
        await raw.leave()
        sender = await world.connect(device)
        await sender.publish("certtest/dev/u", b"theirs", retain=True)
        await (await publisher(world)).publish(TOPIC, b"good")
        directory = world.directory
    directory.things[device.thing] = replace(directory.things[device.thing], status=status)
    async with durable(tmp_path, directory) as world:
        assert world.gateway._hub.sessions.find("dev") is None
        raw = await world.connect(ear, lasting(4, "ear"))
        assert raw.connack.session_present
        assert (await raw.expect(Publish)).payload == b"good"
        await raw.subscribe("certtest/#")
        await raw.ping()


@BOTH
async def test_a_clean_start_is_durable_before_it_is_answered(tmp_path: Path, version: int) -> None:
    async with durable(tmp_path, crashed=True) as world:
        device = world.device("dev")
        await leave_a_subscription(world, device, version)
        await (await publisher(world)).publish(TOPIC, b"old")
        raw = await world.connect(device, lasting(version, clean_start=True))
        assert not raw.connack.session_present
        directory = world.directory
    async with durable(tmp_path, directory) as world:
        raw = await world.connect(device, lasting(version))
        await raw.ping()
        world.say(TOPIC, b"nobody asked")
        await raw.ping()


async def test_an_unsubscription_is_durable_before_it_is_answered(tmp_path: Path) -> None:
    async with durable(tmp_path, crashed=True) as world:
        device = world.device("dev")
        raw = await world.connect(device, lasting(4))
        await raw.subscribe(TOPIC)
        await raw.send(Unsubscribe(8, (TOPIC,)))
        await raw.expect(UnsubAck)
        directory = world.directory
    async with durable(tmp_path, directory) as world:
        raw = await world.connect(device, lasting(4))
        assert raw.connack.session_present
        world.say(TOPIC, b"nobody asked")
        await raw.ping()


async def test_a_second_listener_restores_nothing_twice(tmp_path: Path) -> None:
    async with durable(tmp_path) as world:
        device = world.device("dev")
        await leave_a_subscription(world, device)
        await (await publisher(world)).publish(TOPIC, b"once")
        directory = world.directory
    async with durable(tmp_path, directory) as world:
        _, world.port = await world.gateway.start("127.0.0.1", 0, world.context)
        raw = await world.connect(device, lasting(4))
        assert (await raw.expect(Publish)).payload == b"once"
        await raw.ping()


async def test_a_journal_needs_records(tmp_path: Path) -> None:
    async with durable(tmp_path) as world:
        with pytest.raises(ValueError, match="records"):
            Gateway(directory=world.directory, clock=SystemClock(), journal=world.journal)


# ── who waits for a commit ────────────────────────────────────────────────────────────────────────────


async def test_no_answer_before_the_commit_and_all_in_their_order(tmp_path: Path) -> None:
    async with durable(tmp_path) as world:
        device = world.device("dev")
        await leave_a_subscription(world, device)
        pub = await publisher(world)
        await world.journal.durable()
        release = hold(world)
        await pub.send(Publish(TOPIC, b"durable", 1, packet_id=1), Publish("x", b"", 1, packet_id=2))
        await pub.send(Publish("y", b"", 0), Publish(TOPIC, b"durable", 1, packet_id=3))
        await pub.ping()
        release()
        assert [(await pub.expect(PubAck)).packet_id for _ in range(3)] == [1, 2, 3]


async def test_a_subscriber_hears_before_the_commit(tmp_path: Path) -> None:
    async with durable(tmp_path) as world:
        device = world.device("dev")
        raw = await world.connect(device, lasting(4))
        await raw.subscribe(TOPIC)
        pub = await publisher(world)
        await world.journal.durable()
        release = hold(world)
        await pub.send(Publish(TOPIC, b"soon", 1, packet_id=1))
        heard = await raw.expect(Publish)
        await raw.send(PubAck(heard.packet_id))
        await raw.ping()
        release()
        assert (await pub.expect(PubAck)).packet_id == 1


async def test_clean_sessions_wait_for_no_commit_whatever_the_disk_does(tmp_path: Path) -> None:
    async with durable(tmp_path) as world:
        device = world.device("dev")
        release = hold(world)
        lasting_one = await world.connect(world.device("other"), lasting(4, "other"))
        raw = await world.connect(device)
        await raw.subscribe(TOPIC)
        assert (await raw.publish_and_hear(TOPIC, b"x")).payload == b"x"
        await lasting_one.send(Subscribe(7, (Subscription("certtest/other/t", 1),)))
        await lasting_one.ping()
        release()
        assert (await lasting_one.expect(SubAck)).reasons == (1,)


async def test_who_publishes_faster_than_the_disk_commits_is_not_read_from(tmp_path: Path) -> None:
    async with durable(tmp_path) as world:
        device = world.device("dev")
        await leave_a_subscription(world, device)
        pub = await publisher(world)
        await world.journal.durable()
        release = hold(world)
        for number in range(1, 151):
            await pub.send(Publish(TOPIC, b"", 1, packet_id=number))
        (connection,) = (each for each in world.gateway._open.values() if each._client is not None)
        inbox = connection._inbox
        assert inbox is not None
        await until(lambda: inbox.waits, "a crowd")
        await until(lambda: connection._link._paused, "the pause")
        release()
        assert [(await pub.expect(PubAck)).packet_id for _ in range(150)] == list(range(1, 151))
        await pub.ping()


async def test_a_client_that_leaves_while_it_waits_is_forgotten(tmp_path: Path) -> None:
    async with durable(tmp_path) as world:
        device = world.device("dev")
        await leave_a_subscription(world, device)
        pub = await publisher(world)
        await world.journal.durable()
        release = hold(world)
        await pub.send(Publish(TOPIC, b"late", 1, packet_id=1))
        await pub.ping()
        pub.vanish()
        await until(lambda: world.gateway.connected == 0)
        release()
        await world.journal.durable()
        raw = await world.connect(device, lasting(4))
        assert (await raw.expect(Publish)).payload == b"late"


@BOTH
async def test_a_clean_start_that_waits_may_be_taken_over(tmp_path: Path, version: int) -> None:
    async with durable(tmp_path) as world:
        device = world.device("dev")
        await leave_a_subscription(world, device, version)
        await world.journal.durable()
        release = hold(world)
        clean = lasting(version, clean_start=True)
        first = await world.dial(device, version)
        await first.send(clean)
        await until(lambda: world.gateway.connected == 1)
        second = await world.dial(device, version)
        await second.send(clean)
        code = Reason.SERVER_UNAVAILABLE if version == 5 else Refused311.SERVER_UNAVAILABLE
        assert await first.closed() == [ConnAck(session_present=False, reason=code)], (
            "no DISCONNECT before it"
        )
        release()
        packet = await second.next()
        assert packet is not None
        await second.ping()


# ── a disk that is full ───────────────────────────────────────────────────────────────────────────────


@BOTH
async def test_what_cannot_be_written_is_not_acknowledged(
    tmp_path: Path, version: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "keyborn.broker")
    async with durable(tmp_path) as world:
        device = world.device("dev")
        await leave_a_subscription(world, device, version)
        service = world.service("pub")
        pub = await world.connect(service, version=version)
        await world.journal.durable()
        repair = break_disk(world)
        for _ in range(3):
            await pub.send(Publish(TOPIC, b"x", 1, packet_id=1))
            if version == 5:
                assert (await pub.expect(PubAck)).reason == Reason.QUOTA_EXCEEDED
            else:
                assert await pub.closed() == []
                pub = await world.connect(service)
        assert "cannot write" in caplog.text
        assert "no space left" in caplog.text
        assert await pub.publish("x", b"") == PubAck(9), "what needs no file goes on"
        repair()
        await until(lambda: not world.journal.failing, "the recovery")
        assert await pub.publish(TOPIC, b"safe") == PubAck(9)
        raw = await world.connect(device, lasting(version))
        assert [(await raw.expect(Publish)).payload for _ in range(2)] == [b"x", b"safe"], "refused at once"


@BOTH
async def test_a_subscription_that_cannot_be_written_is_not_granted(tmp_path: Path, version: int) -> None:
    async with durable(tmp_path) as world:
        device = world.device("dev")
        raw = await world.connect(device, lasting(version))
        await raw.subscribe(TOPIC)
        await world.journal.durable()
        repair = break_disk(world)
        for packet in (Subscribe(7, (Subscription("certtest/dev/u", 1),)), Unsubscribe(8, (TOPIC,))):
            await raw.send(packet)
            ended = await raw.closed()
            assert ended == ([Disconnect(Reason.QUOTA_EXCEEDED)] if version == 5 else [])
            raw = await world.connect(device, lasting(version))
            assert raw.connack.session_present, "who comes back waits for no disk"
        repair()


@BOTH
async def test_a_clean_start_that_cannot_be_written_is_not_answered(tmp_path: Path, version: int) -> None:
    async with durable(tmp_path) as world:
        device = world.device("dev")
        await leave_a_subscription(world, device, version)
        await world.journal.durable()
        repair = break_disk(world)
        raw = await world.dial(device, version)
        await raw.send(lasting(version, clean_start=True))
        code = Reason.QUOTA_EXCEEDED if version == 5 else Refused311.SERVER_UNAVAILABLE
        assert await raw.closed() == [ConnAck(session_present=False, reason=code)], "no DISCONNECT before it"
        repair()


async def test_who_never_came_in_leaves_no_will(tmp_path: Path) -> None:
    async with durable(tmp_path) as world:
        device = world.device("dev")
        await leave_a_subscription(world, device)
        ear = await world.listener("#")
        await world.journal.durable()
        repair = break_disk(world)
        raw = await world.dial(device)
        await raw.send(lasting(4, clean_start=True, will=Will("certtest/dev/will", b"gone")))
        assert [type(each) for each in await raw.closed()] == [ConnAck]
        assert await ear.settle() == []
        repair()


async def test_an_eviction_that_cannot_be_written_says_so_and_holds_anyway(tmp_path: Path) -> None:
    async with durable(tmp_path, crashed=True) as world:
        device = world.device("dev")
        await leave_a_subscription(world, device)
        await world.journal.durable()
        break_disk(world)
        with pytest.raises(BrokerUnwritable):
            await world.gateway.evict(device.thing, "revoked")
        assert world.gateway._hub.sessions.find("dev") is None
        directory = world.directory
    record = directory.things[device.thing]
    directory.things[device.thing] = replace(record, status=ThingStatus.REVOKED)
    async with durable(tmp_path, directory) as world:
        assert world.gateway._hub.sessions.find("dev") is None
