"""Sessions that wait, messages that are sent again, connections that are taken over, wills."""

import asyncio
import socket
import ssl
from collections.abc import Callable

import pytest

from keyborn.adapters.broker.encode import encode
from keyborn.adapters.broker.packets import (
    Connect,
    Disconnect,
    PingReq,
    PingResp,
    Prop,
    Properties,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
)
from keyborn.domain.certificate import CertificateStatus
from support.broker import Device, Listener, Raw, World, until

Refusals = Callable[..., list[str]]
BOTH = pytest.mark.parametrize("version", [4, 5])
TOPIC = "certtest/dev/t"
WILL = Will("certtest/dev/will", b"gone", 1)


def lasting(version: int, *, clean: bool = False, **more: object) -> Connect:
    """A CONNECT whose session waits for its client."""
    properties: Properties = {Prop.SESSION_EXPIRY: 60} if version == 5 else {}
    connect = Connect(version, "dev", clean, 60, properties=properties)
    return connect._replace(**more)  # type: ignore[arg-type] # fields by name


async def leave_a_subscription(world: World, device: Device, version: int) -> None:
    """A session with one subscription whose client is gone."""
    raw = await world.connect(device, lasting(version))
    assert not raw.connack.session_present
    await raw.subscribe(TOPIC)
    await raw.leave()


# ── queueing and redelivery ───────────────────────────────────────────────────────────────────────────


@BOTH
async def test_messages_wait_for_a_client_that_is_away(world: World, version: int) -> None:
    device = world.device("dev")
    await leave_a_subscription(world, device, version)
    for number in range(3):
        world.say(TOPIC, str(number).encode(), qos=1)
    world.say(TOPIC, b"not this one", qos=0)
    raw = await world.connect(device, lasting(version))
    assert raw.connack.session_present
    heard = [await raw.expect(Publish) for _ in range(3)]
    assert [(each.payload, each.dup) for each in heard] == [(b"0", False), (b"1", False), (b"2", False)]
    await raw.ping()


@BOTH
async def test_what_was_not_acknowledged_is_sent_again_with_dup_and_its_identifier(
    world: World, version: int
) -> None:
    device = world.device("dev")
    raw = await world.connect(device, lasting(version))
    await raw.subscribe(TOPIC)
    for number in range(3):
        world.say(TOPIC, str(number).encode(), qos=1)
    first = [await raw.expect(Publish) for _ in range(3)]
    assert not any(each.dup for each in first)
    await raw.send(PubAck(first[1].packet_id))
    await raw.ping()
    raw.vanish()
    again = await world.connect(device, lasting(version))
    second = [await again.expect(Publish) for _ in range(2)]
    assert second == [first[0]._replace(dup=True), first[2]._replace(dup=True)]
    await again.send(*(PubAck(each.packet_id) for each in second))
    await again.leave()
    third = await world.connect(device, lasting(version))
    assert third.connack.session_present
    await third.ping()


async def test_a_message_whose_time_has_passed_is_not_delivered_late(world: World) -> None:
    """Queued or retained; and who comes in time hears how much time is left."""
    device = world.device("dev")
    await leave_a_subscription(world, device, 5)
    other = await world.connect(world.service("other"), version=5)
    for topic, seconds, retain in ((TOPIC, 1, False), (TOPIC, 60, False), ("certtest/dev/kept", 1, True)):
        expiry: Properties = {Prop.MESSAGE_EXPIRY: seconds}
        await other.send(Publish(topic, b"%d" % seconds, 1, retain, packet_id=1, properties=expiry))
        assert (await other.expect(PubAck)).reason == 0
    await asyncio.sleep(1.1)
    raw = await world.connect(device, lasting(5))
    heard = await raw.expect(Publish)
    assert heard.payload == b"60"
    left = heard.properties[Prop.MESSAGE_EXPIRY]
    assert isinstance(left, int)
    assert 50 <= left < 60
    await raw.subscribe("certtest/dev/kept")
    await raw.ping()


async def test_a_session_that_has_waited_long_enough_is_forgotten(world: World) -> None:
    device = world.device("dev")
    brief = lasting(5, properties={Prop.SESSION_EXPIRY: 1})
    raw = await world.connect(device, brief)
    await raw.subscribe(TOPIC)
    await raw.leave()
    world.say(TOPIC, b"queued")
    assert len(world.gateway._hub.sessions) == 1
    await until(lambda: len(world.gateway._hub.sessions) == 0)
    assert world.gateway._hub.budget.used == 0
    assert not (await world.connect(device, brief)).connack.session_present


@BOTH
async def test_a_clean_session_has_nothing_to_say(world: World, version: int) -> None:
    device = world.device("dev")
    await leave_a_subscription(world, device, version)
    world.say(TOPIC, b"x", qos=1)
    raw = await world.connect(device, lasting(version, clean=True))
    assert not raw.connack.session_present
    await raw.ping()
    world.say(TOPIC, b"x", qos=1)
    await raw.ping()


async def test_a_session_of_version_5_without_expiry_ends_with_its_connection(world: World) -> None:
    device = world.device("dev")
    raw = await world.connect(device, lasting(5, properties={}))
    await raw.subscribe(TOPIC)
    raw.vanish()
    await until(lambda: world.gateway.connected == 0)
    again = await world.connect(device, lasting(5, properties={}))
    assert not again.connack.session_present


async def test_the_last_word_on_expiry_is_the_goodbyes(world: World) -> None:
    device = world.device("dev")
    raw = await world.connect(device, lasting(5))
    await raw.send(Disconnect(0, {Prop.SESSION_EXPIRY: 0}))
    assert await raw.closed() == []
    again = await world.connect(device, lasting(5, properties={}))
    assert not again.connack.session_present
    await again.send(Disconnect(0, {Prop.SESSION_EXPIRY: 60}))
    assert await again.closed() == [Disconnect(0x82)], "a session that was to end may not be kept"


async def test_what_is_granted_is_announced_to_version_5(world: World) -> None:
    properties: Properties = {Prop.SESSION_EXPIRY: 0xFFFFFFFF}
    raw = await world.connect(world.device("dev"), Connect(5, "dev", keep_alive=0, properties=properties))
    assert raw.connack.properties == {
        Prop.RECEIVE_MAXIMUM: 100,
        Prop.MAXIMUM_QOS: 1,
        Prop.MAXIMUM_PACKET_SIZE: 149_504,
        Prop.TOPIC_ALIAS_MAXIMUM: 8,
        Prop.SUBSCRIPTION_ID_AVAILABLE: 0,
        Prop.SHARED_AVAILABLE: 0,
        Prop.SESSION_EXPIRY: 3600,
        Prop.SERVER_KEEP_ALIVE: 1200,
    }


@pytest.mark.parametrize(("version", "window"), [(4, 100), (5, 3)])
async def test_no_more_are_under_way_than_the_client_takes(world: World, version: int, window: int) -> None:
    properties: Properties = {Prop.RECEIVE_MAXIMUM: 3} if version == 5 else {}
    raw = await world.connect(world.device("dev"), Connect(version, "dev", properties=properties))
    await raw.subscribe(TOPIC)
    for number in range(window + 2):
        world.say(TOPIC, str(number).encode(), qos=1)
    heard = [await raw.expect(Publish) for _ in range(window)]
    await raw.ping()
    await raw.send(PubAck(heard[0].packet_id))
    assert (await raw.expect(Publish)).payload == str(window).encode()
    await raw.ping()


async def test_redelivery_keeps_to_a_smaller_window_too(world: World) -> None:
    device = world.device("dev")
    raw = await world.connect(device, lasting(5))
    await raw.subscribe(TOPIC)
    for number in range(4):
        world.say(TOPIC, str(number).encode(), qos=1)
        await raw.expect(Publish)
    raw.vanish()
    narrow: Properties = {Prop.SESSION_EXPIRY: 60, Prop.RECEIVE_MAXIMUM: 1}
    again = await world.connect(device, lasting(5, properties=narrow))
    for number in range(4):
        heard = await again.expect(Publish)
        assert (heard.payload, heard.dup) == (str(number).encode(), True)
        await again.ping()
        await again.send(PubAck(heard.packet_id))


async def test_a_packet_larger_than_the_client_takes_is_not_sent(world: World) -> None:
    properties: Properties = {Prop.MAXIMUM_PACKET_SIZE: 100}
    raw = await world.connect(world.device("dev"), Connect(5, "dev", properties=properties))
    await raw.subscribe(TOPIC)
    for qos in (0, 1):
        world.say(TOPIC, b"x" * 200, qos=qos)
        world.say(TOPIC, b"small", qos=qos)
        assert (await raw.expect(Publish)).payload == b"small"


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_packet_exactly_as_large_as_the_client_takes_is_sent(world: World, qos: int) -> None:
    whole = encode(Publish(TOPIC, b"x" * 60, qos, packet_id=qos), 5)
    properties: Properties = {Prop.MAXIMUM_PACKET_SIZE: len(whole)}
    raw = await world.connect(world.device("dev"), Connect(5, "dev", properties=properties))
    await raw.subscribe(TOPIC)
    world.say(TOPIC, b"x" * 61, qos=qos)
    world.say(TOPIC, b"x" * 60, qos=qos)
    assert len((await raw.expect(Publish)).payload) == 60


# ── retained messages and subscriptions ───────────────────────────────────────────────────────────────


@BOTH
async def test_a_retained_message_greets_new_subscribers(world: World, version: int) -> None:
    raw = await world.connect(world.device("dev"), version=version)
    assert (await raw.publish(TOPIC, b"kept", retain=True)).reason == 0
    for qos in (0, 1):
        await raw.subscribe(TOPIC, qos=qos)
        heard = await raw.expect(Publish)
        assert (heard.payload, heard.retain, heard.qos) == (b"kept", True, qos)
    await raw.publish_and_hear(TOPIC, b"", retain=True)
    await raw.subscribe(TOPIC)
    await raw.ping()


async def test_another_things_retained_message_is_not_for_me(world: World) -> None:
    other = await world.connect(world.device("other"))
    await other.publish("certtest/other/t", b"secret", retain=True)
    raw = await world.connect(world.device("dev"), version=5)
    assert (await raw.subscribe("#", "certtest/#", "certtest/other/t")).reasons == (0x87,) * 3
    await raw.ping()


@pytest.mark.parametrize(
    ("handling", "greeted"), [(0, [True, True]), (1, [True, False]), (2, [False, False])]
)
async def test_retain_handling_decides_who_is_greeted(
    world: World, handling: int, greeted: list[bool]
) -> None:
    raw = await world.connect(world.device("dev"), version=5)
    await raw.publish(TOPIC, b"kept", retain=True)
    for wanted in greeted:
        await raw.send(Subscribe(1, (Subscription(TOPIC, 0, retain_handling=handling),)), PingReq())
        await raw.expect(SubAck)
        packets = [await raw.next()]
        if wanted:
            assert isinstance(packets[0], Publish)
            packets.append(await raw.next())
        assert isinstance(packets[-1], PingResp)


@BOTH
async def test_unsubscribing_answers_as_its_version_does(world: World, version: int) -> None:
    raw = await world.connect(world.device("dev"), version=version)
    await raw.subscribe(TOPIC)
    await raw.send(Unsubscribe(3, (TOPIC, "certtest/dev/none")))
    assert await raw.expect(UnsubAck) == UnsubAck(3, (0, 0x11) if version == 5 else ())
    world.say(TOPIC, b"x")
    await raw.ping()


async def test_properties_travel_from_version_5_to_version_5(world: World) -> None:
    raw = await world.connect(world.device("dev"), version=5)
    await raw.subscribe(TOPIC, qos=0)
    properties: Properties = {
        Prop.CONTENT_TYPE: "application/json",
        Prop.CORRELATION_DATA: b"\x01",
        Prop.USER_PROPERTY: (("k", "v"), ("k", "w")),
    }
    expiring = {**properties, Prop.MESSAGE_EXPIRY: 60}
    await raw.send(Publish(TOPIC, b"x", properties=expiring))
    assert (await raw.expect(Publish)).properties == expiring


async def test_a_topic_alias_stands_for_its_topic_and_is_checked_like_it(world: World) -> None:
    raw = await world.connect(world.device("dev"), version=5)
    await raw.subscribe(TOPIC, qos=0)
    alias: Properties = {Prop.TOPIC_ALIAS: 8}
    await raw.send(Publish(TOPIC, b"1", properties=alias), Publish("", b"2", properties=alias))
    assert [await raw.expect(Publish) for _ in "12"] == [Publish(TOPIC, b"1"), Publish(TOPIC, b"2")]
    await raw.send(Publish("certtest/other", b"3", 1, packet_id=3, properties=alias))
    assert (await raw.expect(PubAck)).reason == 0x87
    await raw.send(Publish("", b"4", 1, packet_id=4, properties=alias))
    assert (await raw.expect(PubAck)).reason == 0x87, "an alias is no way around the rules"


# ── takeover ──────────────────────────────────────────────────────────────────────────────────────────


@BOTH
async def test_the_newer_connection_wins(world: World, version: int) -> None:
    device = world.device("dev")
    old = await world.connect(device, lasting(version))
    await old.subscribe(TOPIC)
    new = await world.connect(device, lasting(version))
    assert new.connack.session_present
    assert await old.closed() == ([Disconnect(0x8E)] if version == 5 else [])
    world.say(TOPIC, b"x", qos=1)
    assert (await new.expect(Publish)).payload == b"x"
    assert world.gateway.connected == 1


@pytest.mark.parametrize(
    "attack", ["another device", "unknown", "inactive", "revoked", "no CONNECT", "half a CONNECT"]
)
async def test_who_is_not_admitted_does_not_disturb_the_victim(world: World, attack: str) -> None:
    victim = await world.connect(world.device("dev"), Connect(5, "dev", keep_alive=60, will=WILL))
    await victim.subscribe("certtest/dev/#")
    status = {"unknown": None, "inactive": CertificateStatus.INACTIVE, "revoked": CertificateStatus.REVOKED}
    name = "mallory" if attack == "another device" else "dev"
    attacker = world.device(name, status=status.get(attack, CertificateStatus.ACTIVE))
    if attack in {"no CONNECT", "half a CONNECT"}:
        raw = await world.dial(attacker, 5)
        await raw.send_bytes(b"\x10\x10\x00\x04MQTT\x05\x02"[: 0 if attack == "no CONNECT" else None])
        raw.vanish()
    else:
        raw = await world.connect(attacker, Connect(5, "dev"))
        assert raw.connack.reason == 0x87
        assert await raw.closed() == []
    await victim.ping()
    world.say(TOPIC, b"still here")
    assert (await victim.expect(Publish)).payload == b"still here"


async def test_while_the_registry_is_asked_the_older_connection_lives(world: World) -> None:
    device = world.device("dev")
    old = await world.connect(device, version=5)
    world.directory.open.clear()
    new = await world.dial(device, 5)
    lookups = world.directory.lookups
    await new.send(Connect(5, "dev"), PingReq())
    await until(lambda: world.directory.lookups > lookups)
    await old.ping()
    world.directory.open.set()
    assert await old.closed() == [Disconnect(0x8E)]
    assert (await new.next()) is not None
    await new.expect(PingResp)


async def test_a_session_survives_a_new_certificate_and_the_old_one_does_not_open_it(world: World) -> None:
    old, new = world.device("dev"), world.device("dev")
    await leave_a_subscription(world, old, 5)
    world.say(TOPIC, b"waited")
    world.directory.set_status(old.id, CertificateStatus.REVOKED)
    assert (await world.connect(old, lasting(5))).connack.reason == 0x87
    raw = await world.connect(new, lasting(5))
    assert raw.connack.session_present
    assert (await raw.expect(Publish)).payload == b"waited"


@pytest.mark.parametrize("tls", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_resumed_tls_session_is_looked_up_like_any_other(world: World, tls: ssl.TLSVersion) -> None:
    device = world.device("dev")
    device.context.maximum_version = tls

    def script(session: ssl.SSLSession | None) -> tuple[bytes, bool | None, ssl.SSLSession | None]:
        plain = socket.create_connection((world.host, world.port), 10)
        with device.context.wrap_socket(plain, server_hostname="localhost", session=session) as link:
            link.sendall(encode(Connect(4, "dev"), 4))
            return link.recv(4), link.session_reused, link.session

    answer, reused, session = await asyncio.to_thread(script, None)
    assert (answer[3], reused) == (0, False)
    world.directory.set_status(device.id, CertificateStatus.REVOKED)
    answer, reused, _ = await asyncio.to_thread(script, session)
    assert (answer[3], reused) == (5, True)


# ── wills ─────────────────────────────────────────────────────────────────────────────────────────────


async def watched(world: World) -> tuple[Raw, Listener]:
    """A device with a will, and somebody who hears everything."""
    ear = await world.listener("#")
    raw = await world.connect(world.device("dev"), Connect(5, "dev", keep_alive=60, will=WILL))
    return raw, ear


async def test_a_will_is_sent_when_the_client_vanishes(world: World) -> None:
    raw, ear = await watched(world)
    raw.vanish()
    await ear.hears((WILL.topic, b"gone"))


async def test_a_will_is_not_sent_after_a_goodbye(world: World) -> None:
    raw, ear = await watched(world)
    await raw.leave()
    await until(lambda: world.gateway.connected == 1)
    assert await ear.settle() == []


async def test_a_will_is_sent_when_the_goodbye_asks_for_it(world: World) -> None:
    raw, ear = await watched(world)
    await raw.send(Disconnect(0x04))
    await ear.hears((WILL.topic, b"gone"))


async def test_a_will_is_sent_when_the_client_breaks_the_protocol(world: World) -> None:
    raw, ear = await watched(world)
    await raw.send_bytes(b"\x00\x00")
    assert await raw.closed() == [Disconnect(0x81)]
    await ear.hears((WILL.topic, b"gone"))


async def test_a_retained_will_is_retained(world: World) -> None:
    device = world.device("dev")
    raw = await world.connect(device, Connect(4, "dev", will=WILL._replace(retain=True)))
    raw.vanish()
    await until(lambda: world.gateway.connected == 0)
    again = await world.connect(device)
    await again.subscribe(WILL.topic)
    assert (await again.expect(Publish)).payload == b"gone"


async def test_a_delayed_will_is_forgotten_when_the_client_is_back_in_time(world: World) -> None:
    device = world.device("dev")
    ear = await world.listener("#")
    delayed = WILL._replace(properties={Prop.WILL_DELAY: 30})
    raw = await world.connect(device, lasting(5, will=delayed))
    raw.vanish()
    await until(lambda: world.gateway.connected == 1)
    again = await world.connect(device, lasting(5))
    await again.leave()
    assert await ear.settle() == []
