"""Whoever may not is refused, and one log line says who, what and why."""

import asyncio
import ssl
from collections.abc import Callable
from datetime import timedelta

import pytest

from keyborn.adapters.broker.packets import (
    Connect,
    Disconnect,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    Subscription,
    Will,
)
from keyborn.domain.certificate import CertificateStatus
from support.broker import Device, Raw, World, now, until
from support.pki import SERVER, new_pki, pem

Refusals = Callable[..., list[str]]
BOTH = pytest.mark.parametrize("version", [4, 5])


async def shut_out(world: World, device: Device) -> None:
    """The handshake fails; with TLS 1.3 a client learns it at its first read."""
    try:
        raw = await world.dial(device)
        await raw.send(Connect(4, device.thing))
    except (ssl.SSLError, ConnectionError):
        return
    assert await raw.closed() == []


# ── certificates that TLS refuses ─────────────────────────────────────────────────────────────────────


async def test_without_a_certificate(world: World, refusals: Refusals) -> None:
    device = world.device("dev")
    device.__dict__["context"] = ssl.create_default_context(cafile=str(world.roots))
    await shut_out(world, device)
    wanted = ("action=handshake", "reason='no client certificate'", "peer=127.0.0.1:")
    await until(lambda: len(refusals(*wanted)) == 1)


async def test_a_certificate_of_somebody_elses_authority(world: World, refusals: Refusals) -> None:
    await shut_out(world, world.device("dev", leaf=new_pki().devices.leaf("dev")))
    await until(lambda: len(refusals("action=handshake", "unable to get local issuer certificate")) == 1)


async def test_a_certificate_that_has_expired(world: World, refusals: Refusals) -> None:
    start, end = now() - timedelta(days=9), now() - timedelta(days=1)
    await shut_out(world, world.device("dev", leaf=world.pki.devices.leaf("dev", start=start, end=end)))
    await until(lambda: len(refusals("action=handshake", "certificate has expired")) == 1)


@pytest.mark.parametrize("between", [False, True], ids=["leaf alone", "with its intermediate"])
async def test_a_certificate_for_servers(world: World, refusals: Refusals, between: bool) -> None:  # noqa: FBT001
    leaf = world.pki.servers.leaf("dev", usage=SERVER, between=between)
    await shut_out(world, world.device("dev", leaf=leaf))
    await until(lambda: len(refusals("action=handshake", "client certificate refused")) == 1)


async def test_a_server_usage_even_from_the_device_authority(world: World, refusals: Refusals) -> None:
    await shut_out(world, world.device("dev", leaf=world.pki.devices.leaf("dev", usage=SERVER)))
    purpose = ("action=handshake", "purpose")
    await until(lambda: len(refusals(*purpose)) == 1)


async def test_a_self_signed_certificate(world: World, refusals: Refusals) -> None:
    stranger = new_pki().root
    leaf = world.pki.devices.leaf("dev")
    forged = type(leaf)(stranger.certificate, stranger.key)
    assert pem(forged.certificate).startswith("-----BEGIN")
    await shut_out(world, world.device("dev", leaf=forged))
    await until(lambda: len(refusals("action=handshake", "client certificate refused")) == 1)


async def test_plain_bytes_instead_of_tls(world: World, refusals: Refusals) -> None:
    reader, writer = await asyncio.open_connection(world.host, world.port)
    writer.write(b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03dev")
    await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await until(lambda: len(refusals("action=handshake", "TLS handshake failed")) == 1)


@pytest.mark.parametrize("ciphers", ["ECDHE-ECDSA-AES256-SHA384", "ECDHE-ECDSA-AES128-SHA256"])
async def test_suites_without_aead(world: World, refusals: Refusals, ciphers: str) -> None:
    device = world.device("dev")
    device.context.maximum_version = ssl.TLSVersion.TLSv1_2
    device.context.set_ciphers(ciphers)
    await shut_out(world, device)
    await until(lambda: len(refusals("action=handshake", "no shared cipher")) == 1)


async def test_tls_1_2_with_aead_and_1_3_are_both_served(world: World) -> None:
    for name, version in (("one", ssl.TLSVersion.TLSv1_2), ("two", ssl.TLSVersion.TLSv1_3)):
        device = world.device(name)
        device.context.maximum_version = device.context.minimum_version = version
        raw = await world.connect(device)
        assert raw.connack.reason == 0
        found = raw.writer.get_extra_info("cipher")
        assert "GCM" in found[0] or "CHACHA20" in found[0]


# ── certificates that the registry refuses ────────────────────────────────────────────────────────────


@BOTH
@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (None, "the registry does not know the certificate"),
        (CertificateStatus.INACTIVE, "the certificate is inactive"),
        (CertificateStatus.REVOKED, "the certificate is revoked"),
    ],
)
async def test_a_certificate_that_is_not_active(
    world: World, refusals: Refusals, version: int, status: CertificateStatus | None, reason: str
) -> None:
    device = world.device("dev", status=status)
    raw = await world.connect(device, version=version)
    assert raw.connack.reason == (0x87 if version == 5 else 5)
    assert not raw.connack.session_present
    assert await raw.closed() == []
    (line,) = refusals("action=iot:Connect", f"certificate={device.id}", reason)
    assert ("thing=dev" in line) is (status is not None)
    assert "peer=127.0.0.1:" in line
    assert "resource=dev" in line
    assert world.directory.first_connections == []


async def test_a_certificate_that_the_registry_calls_expired(world: World, refusals: Refusals) -> None:
    device = world.device("dev", not_after=now() - timedelta(seconds=1))
    assert (await world.connect(device)).connack.reason == 5
    assert refusals("action=iot:Connect", "the certificate is expired")


@BOTH
async def test_another_client_id(world: World, refusals: Refusals, version: int) -> None:
    device = world.device("dev")
    raw = await world.connect(device, Connect(version, "victim"))
    assert raw.connack.reason == (0x87 if version == 5 else 5)
    assert await raw.closed() == []
    assert refusals(
        "action=iot:Connect", "thing=dev", "resource=victim", "no statement of keyborn-default allows it"
    )


@BOTH
async def test_an_empty_client_id(world: World, refusals: Refusals, version: int) -> None:
    raw = await world.connect(world.device("dev"), Connect(version, ""))
    assert raw.connack.reason == (0x85 if version == 5 else 2)
    assert refusals("action=iot:Connect", "the client id is empty")


@BOTH
async def test_a_registry_that_is_down(world: World, refusals: Refusals, version: int) -> None:
    world.directory.available = False
    raw = await world.connect(world.device("dev"), version=version)
    assert raw.connack.reason == (0x88 if version == 5 else 3)
    assert refusals("action=iot:Connect", "the registry did not answer")


# ── topics ────────────────────────────────────────────────────────────────────────────────────────────

FOREIGN = [
    "certtest/victim",
    "certtest/victim/x",
    "certtest",
    "certtest/",
    "certtest/devil",
    "certtest/dev2/x",
    "CERTTEST/dev",
    "other/dev",
    "/certtest/dev",
    "$aws/things/dev/shadow/update",
    "$SYS/x",
]
WIDE = ["#", "+", "+/#", "certtest/#", "certtest/+", "certtest/+/x", "+/dev", "+/dev/#", "/#", "$SYS/#"]


@pytest.mark.parametrize("topic", FOREIGN)
async def test_a_foreign_topic_on_3_1_1_closes_without_an_acknowledgement(
    world: World, refusals: Refusals, topic: str
) -> None:
    ear = await world.listener("#")
    raw = await world.connect(world.device("dev"))
    await raw.send(Publish(topic, b"x", 1, packet_id=1), Publish("certtest/dev", b"after", 1, packet_id=2))
    assert await raw.closed() == []
    assert await ear.settle() == [], "neither the denied message nor what came behind it"
    assert len(refusals("action=iot:Publish", "thing=dev", topic, "peer=")) == 1


@pytest.mark.parametrize("topic", FOREIGN)
async def test_a_foreign_topic_on_5_is_answered_and_the_session_stays(
    world: World, refusals: Refusals, topic: str
) -> None:
    ear = await world.listener("#")
    raw = await world.connect(world.device("dev"), version=5)
    assert (await raw.publish(topic)).reason == 0x87
    await raw.send(Publish(topic, b"x"))
    await raw.ping()
    assert await ear.settle() == []
    assert len(refusals("action=iot:Publish", "thing=dev")) == 2


@pytest.mark.parametrize("topic_filter", [*FOREIGN, *WIDE])
async def test_a_foreign_filter_on_3_1_1_closes(world: World, refusals: Refusals, topic_filter: str) -> None:
    raw = await world.connect(world.device("dev"))
    await raw.send(Subscribe(1, (Subscription("certtest/dev"), Subscription(topic_filter))))
    assert await raw.closed() == []
    assert (
        len(refusals("action=iot:Subscribe", "thing=dev", "no statement of keyborn-default allows it")) == 1
    )


@pytest.mark.parametrize("topic_filter", [*FOREIGN, *WIDE])
async def test_a_foreign_filter_on_5_is_answered_beside_the_good_one(
    world: World, refusals: Refusals, topic_filter: str
) -> None:
    raw = await world.connect(world.device("dev"), version=5)
    answer = await raw.subscribe("certtest/dev", topic_filter)
    assert answer.reasons == (1, 0x87)
    await raw.ping()
    assert (
        len(refusals("action=iot:Subscribe", "thing=dev", "no statement of keyborn-default allows it")) == 1
    )


@BOTH
async def test_a_will_on_a_foreign_topic(world: World, refusals: Refusals, version: int) -> None:
    will = Will("certtest/victim/x", b"boo")
    raw = await world.connect(world.device("dev"), Connect(version, "dev", will=will))
    assert raw.connack.reason == (0x87 if version == 5 else 5)
    assert await raw.closed() == []
    assert refusals("action=iot:Publish", "thing=dev", "resource='certtest/victim/x'")


@BOTH
async def test_qos_2_is_not_offered(world: World, refusals: Refusals, version: int) -> None:
    raw = await world.connect(world.device("dev"), version=version)
    assert (await raw.subscribe("certtest/dev", qos=2)).reasons == (1,)
    await raw.send(Publish("certtest/dev", b"x", 2, packet_id=1))
    assert await raw.closed() == ([Disconnect(0x9B)] if version == 5 else [])
    assert refusals("action=protocol", "a publish at QoS 2", "thing=dev")


async def test_hostile_text_stays_on_its_line(world: World, refusals: Refusals) -> None:
    raw = await world.connect(world.device("dev"), version=5)
    await raw.publish("x\nrefused action=iot:Publish thing=innocent \x1b[31m")
    (line,) = refusals("action=iot:Publish")
    assert "\n" not in line
    assert "\x1b" not in line


async def test_payloads_are_not_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    raw = await world.connect(world.device("dev"), version=5)
    for topic in ("certtest/dev", "certtest/victim"):
        await raw.publish(topic, b"canary-payload")
    assert isinstance(await raw.subscribe("certtest/dev"), SubAck)
    raw.vanish()
    assert "canary" not in caplog.text


async def test_one_devices_refusals_do_not_disturb_another(world: World) -> None:
    good = await world.connect(world.device("good"))
    await good.subscribe("certtest/good/#")
    bad = await world.connect(world.device("bad"), version=5)
    for _ in range(60):
        assert (await bad.publish("certtest/good/x")).reason == 0x87
    await good.send(Publish("certtest/good/y", b"mine", 1, packet_id=1))
    heard: Raw = good
    assert (await heard.expect(Publish)).payload == b"mine"
    assert (await heard.expect(PubAck)).packet_id == 1
