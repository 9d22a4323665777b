"""Policy documents over real connections: what they allow, what a change does to whoever is connected."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from keyborn.adapters.broker import Limits
from keyborn.adapters.broker.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Prop,
    Properties,
    PubAck,
    Publish,
    Will,
)
from keyborn.domain.certificate import CertificateStatus
from keyborn.domain.names import ThingName
from keyborn.domain.thing import ThingStatus
from keyborn.policies import device_policy, watch_policy
from support.broker import Device, Raw, World, running, until
from support.rights import ALSO_LASTING, allow, document, statement

Refusals = Callable[..., list[str]]
BOTH = pytest.mark.parametrize("version", [4, 5])
DEV = ThingName("dev")
TOPIC = "certtest/dev/t"
WILL = Will("certtest/dev/will", b"gone", 1)
LASTING: Properties = {Prop.SESSION_EXPIRY: 60}
ALL = ["iot:Connect", "iot:Publish", "iot:RetainPublish", "iot:Receive", "iot:Subscribe"]
ALLOW_ALL = statement("Allow", ALL, "*")


def lasting(version: int, will: Will | None = None) -> Connect:
    """A CONNECT whose session waits for its client."""
    return Connect(
        version,
        "dev",
        clean_start=False,
        keep_alive=60,
        will=will,
        properties=LASTING if version == 5 else {},
    )


async def narrow(world: World, effect: str, action: str | list[str], *resources: str) -> None:
    """The operator puts one more policy on the device beside the default one."""
    world.directory.put("narrow", document(statement(effect, action, *resources)))
    world.directory.attach("dev", "keyborn-default", "narrow")
    await world.gateway.review([DEV])


def denials(refusals: Refusals, action: str, resource: str) -> list[str]:
    return refusals(f"action=iot:{action}", "thing=dev", f"resource='{resource}'", "narrow statement 1")


# ── what a denial says ────────────────────────────────────────────────────────────────────────────────


async def test_a_denial_names_policy_and_statement(world: World, refusals: Refusals) -> None:
    device = world.device("dev")
    raw = await world.connect(device, version=5)
    await narrow(world, "Deny", "iot:Publish", "topic/certtest/dev/secret*")
    assert (await raw.publish("certtest/dev/secrets")).reason == 0x87
    assert (await raw.publish("certtest/other")).reason == 0x87
    explicit, implicit = refusals("action=iot:Publish", "thing=dev", f"certificate={device.id}")
    assert "resource='certtest/dev/secrets'" in explicit
    assert "reason='denied by narrow statement 1'" in explicit
    assert "reason='no statement of keyborn-default, narrow allows it'" in implicit


async def test_a_thing_without_any_policy_may_not_even_connect(world: World, refusals: Refusals) -> None:
    device = world.device("dev")
    world.directory.attach("dev")
    assert (await world.connect(device, version=5)).connack.reason == 0x87
    assert refusals("action=iot:Connect", "thing=dev", "resource=dev", "it has no policy")


@BOTH
@pytest.mark.parametrize(
    ("will", "persistent"), [(False, True), (True, False), (True, True)], ids=["persistent", "will", "both"]
)
async def test_a_will_and_a_lasting_session_need_a_condition_of_their_own(
    world: World,
    version: int,
    will: bool,  # noqa: FBT001 - a case
    persistent: bool,  # noqa: FBT001 - a case
) -> None:
    device = world.device("dev")
    world.directory.put("plain", document(ALLOW_ALL))
    world.directory.put("both", document({**ALLOW_ALL, "Condition": ALSO_LASTING}))
    connect = lasting(version) if persistent else Connect(version, "dev", keep_alive=60)
    connect = connect._replace(will=WILL if will else None)
    world.directory.attach("dev", "plain")
    assert (await world.connect(device, connect)).connack.reason == (0x87 if version == 5 else 5)
    assert (await world.connect(device, version=version)).connack.reason == 0
    world.directory.attach("dev", "both")
    assert (await world.connect(device, connect)).connack.reason == 0


# ── a policy narrowed while connected ─────────────────────────────────────────────────────────────────


async def test_the_next_forbidden_publish_is_refused_on_5(world: World, refusals: Refusals) -> None:
    raw = await world.connect(world.device("dev"), version=5)
    assert (await raw.publish(TOPIC)).reason == 0
    await narrow(world, "Deny", "iot:Publish", f"topic/{TOPIC}")
    assert (await raw.publish(TOPIC)).reason == 0x87
    assert (await raw.publish("certtest/dev/u")).reason == 0
    assert len(denials(refusals, "Publish", TOPIC)) == 1


async def test_the_next_forbidden_publish_closes_on_3_1_1(world: World, refusals: Refusals) -> None:
    ear = await world.listener("#")
    raw = await world.connect(world.device("dev"))
    await narrow(world, "Deny", "iot:Publish", f"topic/{TOPIC}")
    await raw.send(Publish(TOPIC, b"x", 1, packet_id=1))
    assert await raw.closed() == [], "no acknowledgement"
    assert await ear.settle() == []
    assert len(denials(refusals, "Publish", TOPIC)) == 1


@BOTH
async def test_the_next_forbidden_delivery_is_withheld(
    world: World, refusals: Refusals, version: int
) -> None:
    raw = await world.connect(world.device("dev"), version=version)
    await raw.subscribe("certtest/dev/#", qos=0)
    world.say(TOPIC, b"before")
    assert (await raw.expect(Publish)).payload == b"before"
    await narrow(world, "Deny", "iot:Receive", f"topic/{TOPIC}")
    world.say(TOPIC, b"after")
    world.say("certtest/dev/u", b"other")
    assert (await raw.expect(Publish)).payload == b"other"
    assert len(denials(refusals, "Receive", TOPIC)) == 1


@BOTH
async def test_a_message_queued_before_the_change_is_withheld(
    world: World, refusals: Refusals, version: int
) -> None:
    device = world.device("dev")
    raw = await world.connect(device, lasting(version))
    await raw.subscribe("certtest/dev/#")
    await raw.leave()
    world.say(TOPIC, b"queued")
    world.say("certtest/dev/u", b"fine")
    await narrow(world, "Deny", "iot:Receive", f"topic/{TOPIC}")
    again = await world.connect(device, lasting(version))
    assert again.connack.session_present
    assert (await again.expect(Publish)).payload == b"fine"
    await again.ping()
    assert len(denials(refusals, "Receive", TOPIC)) == 1


@BOTH
async def test_an_unacknowledged_message_is_not_sent_again_after_the_change(
    world: World, refusals: Refusals, version: int
) -> None:
    device = world.device("dev")
    raw = await world.connect(device, lasting(version))
    await raw.subscribe("certtest/dev/#")
    world.say(TOPIC, b"sent")
    await raw.expect(Publish)
    raw.vanish()
    await until(lambda: world.gateway.connected == 0)
    await narrow(world, "Deny", "iot:Receive", f"topic/{TOPIC}")
    again = await world.connect(device, lasting(version))
    await again.ping()
    assert len(denials(refusals, "Receive", TOPIC)) == 1


@BOTH
async def test_a_retained_message_is_withheld(world: World, refusals: Refusals, version: int) -> None:
    raw = await world.connect(world.device("dev"), version=version)
    world.say(TOPIC, b"kept", retain=True)
    world.say("certtest/dev/u", b"kept too", retain=True)
    await narrow(world, "Deny", "iot:Receive", f"topic/{TOPIC}")
    await raw.subscribe("certtest/dev/+")
    assert (await raw.expect(Publish)).payload == b"kept too"
    await raw.ping()
    assert len(denials(refusals, "Receive", TOPIC)) == 1


@BOTH
async def test_a_subscription_ends_and_the_connection_stays(
    world: World, refusals: Refusals, version: int
) -> None:
    raw = await world.connect(world.device("dev"), version=version)
    await raw.subscribe("certtest/dev/a", "certtest/dev/b", qos=0)
    await narrow(world, "Deny", "iot:Subscribe", "topicfilter/certtest/dev/a")
    world.say("certtest/dev/a", b"no")
    world.say("certtest/dev/b", b"yes")
    assert (await raw.expect(Publish)).payload == b"yes"
    assert len(denials(refusals, "Subscribe", "certtest/dev/a")) == 1


@BOTH
async def test_who_may_not_connect_any_more_is_closed_without_its_will(world: World, version: int) -> None:
    ear = await world.listener("#")
    other = await world.connect(world.device("other"), version=5)
    device = world.device("dev")
    raw = await world.connect(device, Connect(version, "dev", keep_alive=60, will=WILL))
    await narrow(world, "Deny", "iot:Connect", "client/*")
    assert await raw.closed() == ([Disconnect(0x87)] if version == 5 else [])
    assert (await world.connect(device, version=5)).connack.reason == 0x87
    assert await ear.settle() == []
    await other.ping()


async def test_taking_the_word_for_wills_away_closes_only_who_has_one(world: World) -> None:
    devices = [world.device(name) for name in ("dev", "plain")]
    new = replace_condition(device_policy())
    one = await world.connect(devices[0], Connect(5, "dev", keep_alive=60, will=WILL))
    two = await world.connect(devices[1], version=5)
    world.directory.put("keyborn-default", new)
    await world.gateway.review()
    assert await one.closed() == [Disconnect(0x87)]
    await two.ping()


def replace_condition(text: str) -> str:
    """The default policy without its word for wills."""
    return text.replace(', "LastWill"', "")


@BOTH
async def test_a_waiting_session_whose_thing_may_not_connect_ends(world: World, version: int) -> None:
    device = world.device("dev")
    raw = await world.connect(device, lasting(version))
    await raw.subscribe(TOPIC)
    await raw.leave()
    world.say(TOPIC, b"queued")
    await narrow(world, "Deny", "iot:Connect", "client/*")
    assert world.gateway._hub.budget.used == 0
    world.directory.attach("dev", "keyborn-default")
    again = await world.connect(device, lasting(version))
    assert not again.connack.session_present
    await again.ping()


async def test_a_change_reaches_every_session_of_the_default_policy(world: World) -> None:
    raws = [await world.connect(world.device(name), version=5) for name in ("one", "two", "three")]
    world.directory.put("keyborn-default", allow("iot:Connect", "*"))
    await world.gateway.review()
    for raw, name in zip(raws, ("one", "two", "three"), strict=True):
        assert (await raw.publish(f"certtest/{name}")).reason == 0x87


async def test_more_rights_count_at_once_too(world: World) -> None:
    raw = await world.connect(world.device("dev"), version=5)
    assert (await raw.publish("shared/t")).reason == 0x87
    await narrow(world, "Allow", "iot:Publish", "topic/shared/*")
    assert (await raw.publish("shared/t")).reason == 0


# ── when the rights of a connection are read ──────────────────────────────────────────────────────────


async def test_a_resumed_session_acts_on_todays_policies(world: World) -> None:
    device = world.device("dev")
    raw = await world.connect(device, lasting(5))
    await raw.subscribe(TOPIC, "certtest/dev/u")
    await raw.leave()
    world.directory.put("today", document({**ALLOW_ALL, "Condition": ALSO_LASTING}))
    denied = statement("Deny", ["iot:Subscribe", "iot:Publish"], f"topicfilter/{TOPIC}", f"topic/{TOPIC}")
    world.directory.put("less", document(denied))
    world.directory.attach("dev", "today", "less")
    again = await world.connect(device, lasting(5))
    assert again.connack.session_present
    assert (await again.publish(TOPIC)).reason == 0x87
    world.say(TOPIC, b"no", qos=0)
    assert (await again.publish_and_hear("certtest/dev/u", b"yes")).payload == b"yes"


async def test_a_second_certificate_of_the_thing_brings_its_own_rights(world: World) -> None:
    old, new = world.device("dev"), world.device("dev")
    first = await world.connect(old, lasting(5))
    second = await world.connect(new, lasting(5))
    assert await first.closed() == [Disconnect(0x8E)]
    (session,) = world.gateway._hub.sessions
    assert session.principal.certificate == new.id
    world.directory.set_status(old.id, CertificateStatus.REVOKED)
    await world.gateway.review()
    await second.ping()


async def test_an_open_session_reads_its_badge_again_now_and_then(tmp_path: Path) -> None:
    async with running(tmp_path, limits=Limits(recheck_seconds=0.05)) as world:
        raw = await world.connect(world.device("dev"), version=5)
        world.directory.put("less", allow("iot:Connect", "client/dev"))
        world.directory.attach("dev", "less")
        seen = world.directory.lookups
        await until(lambda: world.directory.lookups > seen + 2)
        assert (await raw.publish(TOPIC)).reason == 0x87
        world.directory.attach("dev")
        assert await raw.closed() == [Disconnect(0x87)]


async def test_a_thing_that_is_suspended_behind_the_brokers_back_is_found_out(tmp_path: Path) -> None:
    async with running(tmp_path, limits=Limits(recheck_seconds=0.05)) as world:
        raw = await world.connect(world.device("dev"), version=5)
        thing = world.directory.thing(DEV)
        world.directory.things[DEV] = replace(thing, status=ThingStatus.SUSPENDED)
        assert await raw.closed() == [Disconnect(0x87)]


async def join_slowly(world: World, device: Device) -> Raw:
    """Somebody whose badge has been read, and whose answer has not come yet."""
    world.directory.open.clear()
    raw = await world.dial(device, 5)
    seen = world.directory.lookups
    await raw.send(Connect(5, "dev", keep_alive=60))
    await until(lambda: world.directory.lookups > seen)
    return raw


async def test_who_connects_during_a_review_comes_in_on_the_new_badge(world: World) -> None:
    raw = await join_slowly(world, world.device("dev"))
    world.directory.put("less", allow("iot:Connect", "client/dev"))
    world.directory.attach("dev", "less")
    reviewing = asyncio.create_task(world.gateway.review([DEV]))
    await asyncio.sleep(0)
    world.directory.open.set()
    assert (await raw.expect(ConnAck)).reason == 0, "asked again, not refused"
    await reviewing
    assert (await raw.publish(TOPIC)).reason == 0x87


async def test_a_review_goes_on_when_its_caller_has_left(world: World) -> None:
    raw = await world.connect(world.device("dev"), version=5)
    world.directory.attach("dev")
    world.directory.open.clear()
    reviewing = asyncio.create_task(world.gateway.review([DEV]))
    seen = world.directory.lookups
    await until(lambda: world.directory.lookups > seen)
    reviewing.cancel()
    world.directory.open.set()
    assert await raw.closed() == [Disconnect(0x87)]


async def test_an_outage_during_a_review_closes_what_it_concerns_and_says_why(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    raw = await world.connect(world.device("dev"), version=5)
    other = await world.connect(world.device("other"), version=5)
    world.directory.available = False
    await world.gateway.review([DEV])
    assert await raw.closed() == [Disconnect(0x98)]
    await other.ping()
    assert "the registry could not be read again" in caplog.text


# ── services ──────────────────────────────────────────────────────────────────────────────────────────


def publisher(packet: Publish) -> object:
    return packet.properties.get(Prop.USER_PROPERTY)


async def test_a_service_is_told_who_published(world: World) -> None:
    ear = await world.listener("#")
    raw = await world.connect(world.device("dev"), version=5)
    await raw.publish(TOPIC, b"1")
    await raw.send(Publish(TOPIC, b"2", 1, packet_id=2, properties={Prop.USER_PROPERTY: (("k", "v"),)}))
    await raw.expect(PubAck)
    world.say("of/nobody", b"3")
    await ear.hears((TOPIC, b"1"), (TOPIC, b"2"), ("of/nobody", b"3"))
    signed = ("keyborn:thing", "dev")
    assert [publisher(each) for each in ear.packets] == [(signed,), (("k", "v"), signed), None]


async def test_a_service_is_told_of_retained_messages_and_wills_too(world: World) -> None:
    raw = await world.connect(world.device("dev"), Connect(5, "dev", keep_alive=60, will=WILL))
    await raw.publish(TOPIC, b"kept", retain=True)
    ear = await world.listener("#")
    await ear.hears((TOPIC, b"kept"))
    raw.vanish()
    await ear.hears((TOPIC, b"kept"), (WILL.topic, b"gone"))
    assert [publisher(each) for each in ear.packets] == [(("keyborn:thing", "dev"),)] * 2


async def test_a_service_that_speaks_3_1_1_is_told_nothing(world: World) -> None:
    raw = await world.connect(world.service("old"), version=4)
    await raw.subscribe("#", qos=0)
    dev = await world.connect(world.device("dev"))
    await dev.publish(TOPIC, b"x")
    assert await raw.expect(Publish) == Publish(TOPIC, b"x")


async def test_a_device_is_not_told_who_published(world: World) -> None:
    raw = await world.connect(world.device("dev"), version=5)
    await raw.subscribe(TOPIC, qos=0)
    service = await world.connect(world.service("backend"), version=5)
    await service.publish(TOPIC, b"order")
    assert await raw.expect(Publish) == Publish(TOPIC, b"order")


@pytest.mark.parametrize("kind", ["device", "service"])
async def test_nobody_may_pretend_to_be_the_publisher(world: World, refusals: Refusals, kind: str) -> None:
    ear = await world.listener("#")
    pretending: Properties = {Prop.USER_PROPERTY: (("k", "v"), ("keyborn:thing", "victim"))}
    somebody = world.device("dev") if kind == "device" else world.service("dev")
    raw = await world.connect(somebody, version=5)
    await raw.send(Publish(TOPIC, b"x", 1, packet_id=1, properties=pretending))
    assert (await raw.expect(PubAck)).reason == 0x87
    will = WILL._replace(properties=pretending)
    refused = await world.connect(somebody, Connect(5, "dev", will=will))
    assert refused.connack.reason == 0x87
    assert await ear.settle() == []
    assert len(refusals("action=iot:Publish", "thing=dev", "start with keyborn:")) == 1
    assert len(refusals("action=iot:Connect", "thing=dev", "start with keyborn:")) == 1


async def test_the_shipped_policy_for_watching_hears_everything_and_says_nothing(world: World) -> None:
    watcher = world.service("watcher")
    world.directory.put("watch", watch_policy())
    world.directory.attach("watcher", "watch")
    assert (await world.connect(watcher, Connect(5, "dev"))).connack.reason == 0x87
    raw = await world.connect(watcher, Connect(5, "keyborn-watch-1"))
    assert (await raw.subscribe("#", qos=0)).reasons == (0,)
    dev = await world.connect(world.device("dev"))
    await dev.publish(TOPIC, b"x")
    assert (await raw.expect(Publish)).payload == b"x"
    assert (await raw.publish(TOPIC)).reason == 0x87


async def test_thing_variables_are_nothing_to_a_service(world: World, refusals: Refusals) -> None:
    service = world.service("dev")
    world.directory.attach("dev", "keyborn-default")
    assert (await world.connect(service, version=5)).connack.reason == 0x87
    assert refusals("action=iot:Connect", "thing=dev")
