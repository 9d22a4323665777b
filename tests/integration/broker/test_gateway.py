"""The service's side of the broker: eviction, changed rules, renewal of its certificate, shutdown."""

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pytest

from keyborn.adapters.broker import Gateway, server_context
from keyborn.adapters.broker.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Prop,
    PubAck,
    Publish,
    Reason,
    Will,
)
from keyborn.domain.access import Action, Badge, Circumstances, Ruling
from keyborn.domain.certificate import Certificate, CertificateStatus
from keyborn.domain.names import CertificateId, ThingName
from keyborn.domain.thing import ThingKind
from keyborn.ports import Sessions
from support.broker import PATIENCE, World, running, until
from support.pki import SERVER
from support.rights import OwnTopics

Refusals = Callable[..., list[str]]
DEV = ThingName("dev")
TOPIC = "certtest/dev/t"
WILL = Will("certtest/dev/will", b"gone", 1)


def lasting(**more: object) -> Connect:
    """MQTT 5, a session that waits, a will."""
    connect = Connect(5, "dev", clean_start=False, keep_alive=60, will=WILL)
    return connect._replace(properties={Prop.SESSION_EXPIRY: 60}, **more)  # type: ignore[arg-type] # by name


async def test_the_gateway_is_what_the_ports_ask_for(world: World) -> None:
    sessions: Sessions = world.gateway
    await sessions.review([DEV])
    assert await sessions.evict(DEV, "nobody there") == 0


# ── eviction ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", [4, 5])
async def test_an_evicted_thing_is_out_at_once_and_its_will_is_not_sent(world: World, version: int) -> None:
    ear = await world.listener("#")
    device = world.device("dev")
    raw = await world.connect(device, Connect(version, "dev", keep_alive=60, will=WILL))
    other = await world.connect(world.device("other"))
    began = time.perf_counter()
    world.directory.set_status(device.id, CertificateStatus.REVOKED)
    assert await world.gateway.evict(DEV, "revoked") == 1
    assert await raw.closed() == ([Disconnect(0x98)] if version == 5 else [])
    print(f"evicted in {1000 * (time.perf_counter() - began):.1f} ms")  # noqa: T201 - the figure is evidence
    assert time.perf_counter() - began < 1
    assert (await world.connect(device)).connack.reason == 5
    await other.ping()
    assert await ear.settle() == []
    assert await world.gateway.evict(DEV, "revoked") == 0


async def test_nothing_retained_or_queued_of_an_evicted_thing_is_left(world: World) -> None:
    device = world.device("dev")
    raw = await world.connect(device, lasting())
    await raw.subscribe("certtest/dev/#")
    await raw.send(Publish("certtest/dev/kept", b"x", 1, retain=True, packet_id=1))
    await raw.expect(Publish)
    await raw.expect(PubAck)
    await raw.leave()
    world.say(TOPIC, b"queued")
    assert await world.gateway.evict(DEV, "suspended") == 0
    again = await world.connect(device, lasting())
    assert not again.connack.session_present
    await again.subscribe("certtest/dev/#")
    await again.ping()


async def test_an_evicted_reader_that_does_not_read_is_cut_all_the_same(world: World) -> None:
    raw = await world.connect(world.device("dev"), version=5)
    await raw.subscribe(TOPIC)
    raw.writer.transport.pause_reading()  # type: ignore[attr-defined] # the TLS transport has it
    for _ in range(50):
        world.say(TOPIC, b"x" * 120_000)
    assert await world.gateway.evict(DEV, "revoked") == 1
    assert world.gateway.connected == 0
    began = asyncio.get_running_loop().time()
    await until(lambda: not world.gateway._links)
    took = asyncio.get_running_loop().time() - began
    print(f"an evicted reader that does not read: cut after {took:.2f} s")  # noqa: T201 - the figure is evidence
    assert took < 0.9, "gone within a second, whether it reads or not"


async def test_the_first_use_of_a_successor_ends_its_predecessors_open_sessions(world: World) -> None:
    """Somebody else holds the old key, under a client id of his own; the new one is promoted coming in."""
    old = world.service("svc")
    held = await world.connect(old, Connect(5, "svc-elsewhere", keep_alive=60))
    await held.ping()
    new = world.device("svc", leaf=world.pki.devices.leaf("svc"), kind=ThingKind.SERVICE)
    connected = world.directory.connected

    async def _promote(certificate: CertificateId, at: datetime) -> Certificate:
        world.directory.set_status(old.id, CertificateStatus.INACTIVE)
        return await connected(certificate, at)

    world.directory.connected = _promote  # type: ignore[method-assign] # as the registry does it
    raw = await world.connect(new, Connect(5, "svc", keep_alive=60))
    assert await held.closed() == [Disconnect(Reason.NOT_AUTHORIZED)]
    await raw.ping()


async def test_who_is_evicted_during_admission_is_not_let_in(world: World) -> None:
    device = world.device("dev")
    await (await world.connect(device)).leave()
    world.directory.open.clear()
    raw = await world.dial(device, 5)
    await raw.send(Connect(5, "dev"))
    await until(lambda: world.directory.lookups == 2)
    world.directory.set_status(device.id, CertificateStatus.REVOKED)
    await world.gateway.evict(DEV, "revoked")
    world.directory.open.set()
    assert (await raw.expect(ConnAck)).reason == 0x88
    assert (await world.connect(device, version=5)).connack.reason == 0x87


# ── rules that change ─────────────────────────────────────────────────────────────────────────────────


@dataclass
class Shrinking(OwnTopics):
    """Own topics, minus what has been taken away."""

    taken: set[tuple[Action, str]] = field(default_factory=set)

    def decide(self, badge: Badge, circumstances: Circumstances, action: Action, resource: str) -> Ruling:
        if (action, resource) in self.taken:
            return Ruling(allowed=False, reason="taken away")
        return super().decide(badge, circumstances, action, resource)


async def test_narrower_rules_reach_open_sessions(tmp_path: Path, refusals: Refusals) -> None:
    rules = Shrinking()
    async with running(tmp_path, rights_of=rules) as world:
        raw = await world.connect(world.device("dev"), version=5)
        await raw.subscribe("certtest/dev/a", "certtest/dev/b")
        rules.taken = {(Action.RECEIVE, "certtest/dev/a"), (Action.PUBLISH, "certtest/dev/c")}
        for qos in (0, 1):
            world.say("certtest/dev/a", b"no", qos=qos)
            world.say("certtest/dev/b", b"yes", qos=qos)
            assert (await raw.expect(Publish)).payload == b"yes"
        assert (await raw.publish("certtest/dev/c")).reason == 0x87
        assert refusals("action=iot:Receive", "thing=dev", "resource='certtest/dev/a'", "reason='taken away'")
        rules.taken = {(Action.SUBSCRIBE, "certtest/dev/b")}
        await world.gateway.review()
        world.say("certtest/dev/b", b"no")
        await raw.ping()
        rules.taken = {(Action.CONNECT, "dev")}
        await world.gateway.review()
        assert await raw.closed() == [Disconnect(0x87)]


async def test_receive_is_asked_for_queued_and_retained_messages_too(
    tmp_path: Path, refusals: Refusals
) -> None:
    rules = Shrinking()
    async with running(tmp_path, rights_of=rules) as world:
        device = world.device("dev")
        raw = await world.connect(device, lasting(will=None))
        await raw.subscribe(TOPIC)
        await raw.leave()
        world.say(TOPIC, b"queued")
        world.say("certtest/dev/kept", b"retained", retain=True)
        rules.taken = {(Action.RECEIVE, TOPIC), (Action.RECEIVE, "certtest/dev/kept")}
        again = await world.connect(device, lasting(will=None))
        await again.subscribe("certtest/dev/kept")
        await again.ping()
        for resource in (TOPIC, "certtest/dev/kept"):
            assert len(refusals("action=iot:Receive", f"resource='{resource}'")) == 1
        rules.taken.clear()
        world.say(TOPIC, b"next")
        assert (await again.expect(Publish)).payload == b"next"


async def test_retaining_needs_its_own_permission(tmp_path: Path, refusals: Refusals) -> None:
    rules = Shrinking({(Action.RETAIN, TOPIC)})
    async with running(tmp_path, rights_of=rules) as world:
        raw = await world.connect(world.device("dev"), version=5)
        assert (await raw.publish(TOPIC)).reason == 0
        assert (await raw.publish(TOPIC, retain=True)).reason == 0x87
        will = Will(TOPIC, b"x", retain=True)
        assert (await world.connect(world.device("dev"), Connect(5, "dev", will=will))).connack.reason == 0x87
        assert len(refusals("action=iot:RetainPublish", "thing=dev")) == 2


async def test_a_will_that_has_become_forbidden_is_not_sent(tmp_path: Path, refusals: Refusals) -> None:
    rules = Shrinking()
    async with running(tmp_path, rights_of=rules) as world:
        ear = await world.listener("#")
        raw = await world.connect(world.device("dev"), Connect(4, "dev", will=WILL))
        rules.taken = {(Action.PUBLISH, WILL.topic)}
        raw.vanish()
        await until(lambda: len(refusals("action=iot:Publish", f"resource='{WILL.topic}'")) == 1)
        assert await ear.settle() == []


# ── its own certificate, and the end ──────────────────────────────────────────────────────────────────


async def test_a_renewed_certificate_is_shown_to_new_connections(world: World, tmp_path: Path) -> None:
    first = world.pki.servers.leaf("first", usage=SERVER, between=True)
    second = world.pki.servers.leaf("second", usage=SERVER, between=True)
    context = server_context(*first.write(tmp_path, "first"), world.pki.client_ca_pem)
    gateway = Gateway(directory=world.directory, clock=world.clock, rights_of=OwnTopics())
    host, port = await gateway.start("127.0.0.1", 0, context)

    async def shown() -> bytes | None:
        client = world.device("dev").context
        _, writer = await asyncio.open_connection(host, port, ssl=client, server_hostname="localhost")
        tls = writer.get_extra_info("ssl_object")
        assert isinstance(tls, ssl.SSLObject)
        writer.close()
        return tls.getpeercert(binary_form=True)

    assert await shown() == first.der
    context.load_cert_chain(*second.write(tmp_path, "second"))
    assert await shown() == second.der
    await gateway.stop(1)


async def test_stopping_says_goodbye_sends_no_will_and_ends_everything(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        ear = await world.listener("#")
        new = await world.connect(world.device("dev"), lasting())
        old = await world.connect(world.device("old"))
        silent, writer = await asyncio.open_connection(world.host, world.port)
        await until(lambda: len(world.gateway._links) == 4)
        stopping = asyncio.create_task(world.gateway.stop(5))
        assert await new.closed() == [Disconnect(0x8B)]
        assert await old.closed() == []
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(silent.readexactly(1), PATIENCE)
        assert await ear.raw.closed() == [Disconnect(0x8B)], "and no will before it"
        for raw in (new, old, ear.raw):
            raw.writer.close()
        writer.close()
        await asyncio.wait_for(stopping, PATIENCE)
        assert not world.gateway._links
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection(world.host, world.port)
        await world.gateway.stop(1)


async def test_clients_that_do_not_go_are_cut_when_the_grace_is_over(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        raw = await world.connect(world.device("dev"))
        raw.writer.transport.pause_reading()  # type: ignore[attr-defined] # the TLS transport has it
        began = time.perf_counter()
        await world.gateway.stop(0.2)
        assert time.perf_counter() - began < 2
        assert not world.gateway._links


async def test_a_fault_in_the_directory_does_not_hang_the_client(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(world.directory, "badge", broken)
    raw = await world.connect(world.device("dev"), version=5)
    assert raw.connack.reason == 0x88
    assert "admission of certificate" in caplog.text
