"""What a served broker does for devices that fall silent, go away and come back, or outlive the server."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from keyborn.adapters.broker.packets import (
    NO_PROPERTIES,
    ConnAck,
    Connect,
    PingReq,
    PingResp,
    Prop,
    Properties,
    PubAck,
    Publish,
    Will,
)
from support.broker import Raw
from support.figures import Figure
from support.server import Server, running
from support.stage import Stage, staged
from support.talker import LISTENS, V5, V311, Identity, Party, Talker, until

BEATING = Path(__file__).with_name("clients") / "beating_device.py"
SLACK = 0.75
"""Seconds that a busy machine may take to notice that a time is over."""
MANY = 50
BOTH = pytest.mark.parametrize("protocol", [V311, V5], ids=["3.1.1", "5"])
ENDS = pytest.mark.parametrize("end", [Server.stop, Server.kill], ids=["SIGTERM", "SIGKILL"])
End = Callable[[Server], object]
Version = MQTTProtocolVersion


@pytest.fixture
def stage(server: Server, tmp_path: Path) -> Iterator[Stage]:
    with staged(server, tmp_path) as stage:
        yield stage


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Party]:
    """A server that no other test uses, to be stopped or killed."""
    with running(tmp_path) as server:
        party = Party(server, tmp_path)
        yield party
        party.end()


@dataclass
class Times:
    """When a talker heard what, monotonic."""

    talker: Talker
    heard: list[tuple[float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.talker.client.on_message = self._note

    def _note(self, _client: object, _data: object, message: Any) -> None:  # noqa: ANN401 - paho's
        self.heard.append((time.monotonic(), message.payload.decode()))

    def of(self, payload: str) -> list[float]:
        return [at for at, what in self.heard if what == payload]


async def raw_client(server: Server, identity: Identity, connect: Connect) -> Raw:
    """A bare client that has been answered."""
    reader, writer = await asyncio.open_connection(*server.mqtt, ssl=identity.context)
    raw = Raw(reader, writer, connect.version)
    await raw.send(connect)
    raw.connack = await raw.expect(ConnAck)
    return raw


def lasting(identity: Identity, version: int) -> Connect:
    """A CONNECT for a session that waits for its client."""
    properties: Properties = {Prop.SESSION_EXPIRY: 600} if version == 5 else NO_PROPERTIES
    return Connect(version, identity.name, clean_start=False, keep_alive=60, properties=properties)


# ── silence ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("keep_alive", [1, 2])
@pytest.mark.parametrize("pings", [0, 1], ids=["from the start", "after a ping"])
async def test_a_silent_client_is_closed_after_one_and_a_half_intervals_and_its_will_is_sent(
    stage: Stage, figure: Figure, version: int, keep_alive: int, pings: int
) -> None:
    device, times = stage.device(), Times(stage.ear)
    will = Will(f"certtest/{device.name}/will", b"gone", qos=1)
    began = time.monotonic()
    raw = await raw_client(
        stage.server, device, Connect(version, device.name, keep_alive=keep_alive, will=will)
    )
    for _ in range(pings):
        await asyncio.sleep(0.2)
        began = time.monotonic()
        await raw.send(PingReq())
        await raw.expect(PingResp)
    await raw.closed()
    closed = time.monotonic() - began
    until(lambda: bool(times.of("gone")), "the will is sent")
    heard = times.of("gone")[0] - began
    raw.vanish()
    figure(f"keep-alive {keep_alive} s: closed after {closed:.2f} s, will heard after {heard:.2f} s")
    assert 1.5 * keep_alive <= closed <= 1.5 * keep_alive + SLACK
    assert 1.5 * keep_alive <= heard <= 1.5 * keep_alive + SLACK


def test_a_device_that_is_stopped_is_dead_after_one_and_a_half_intervals(
    stage: Stage, figure: Figure
) -> None:
    """SIGSTOP: the socket stays open, and the kernel goes on acknowledging."""
    device, times, keep_alive = stage.device(), Times(stage.ear), 2
    files = [str(each) for each in (device.certificate, device.key, device.roots)]
    host, port = stage.server.mqtt
    words = [sys.executable, str(BEATING), host, str(port), device.name, *files, str(keep_alive)]
    process = subprocess.Popen(words)
    try:
        until(lambda: len(times.of("beat")) > 3, "it is up")
        os.kill(process.pid, signal.SIGSTOP)
        until(lambda: bool(times.of("gone")), "the will is sent")
    finally:
        process.kill()
        process.wait()
    silent = times.of("gone")[0] - times.of("beat")[-1]
    figure(
        f"keep-alive {keep_alive} s: the will of a stopped process came {silent:.2f} s after its last word"
    )
    assert 1.5 * keep_alive - 0.1 <= silent <= 1.5 * keep_alive + SLACK, "0.1: on its way to who listens"


# ── absence ───────────────────────────────────────────────────────────────────────────────────────────


@BOTH
def test_what_waited_for_an_absent_device_comes_in_order_when_it_is_back(
    stage: Stage, protocol: Version
) -> None:
    device = stage.device()
    topic = f"certtest/{device.name}/orders"
    away(stage.party, device, protocol)
    sent = [str(number) for number in range(MANY)]
    for payload in sent:
        stage.say(topic, payload)
    back = stage.party.talker(device, protocol=protocol, session=600).connect()
    assert back.resumed
    stage.say(topic, "now")
    back.hears("now")
    assert back.payloads() == [*sent, "now"]
    assert {(each.qos, each.dup, each.retain) for each in back.heard} == {(1, False, False)}


def away(party: Party, device: Identity, protocol: Version = V311, session: int = 600) -> None:
    """A device subscribes, for a session that lasts, and goes away."""
    talker = party.talker(device, protocol=protocol, session=session).connect()
    assert talker.subscribe(f"certtest/{device.name}/#") == [1]
    talker.leave()


async def received(raw: Raw, count: int) -> list[Publish]:
    return [await raw.expect(Publish) for _ in range(count)]


@pytest.mark.parametrize("version", [4, 5])
async def test_what_was_not_acknowledged_comes_again_marked_as_a_duplicate(
    stage: Stage, version: int
) -> None:
    device = stage.device()
    raw = await raw_client(stage.server, device, lasting(device, version))
    await raw.subscribe(f"certtest/{device.name}/#")
    for payload in ("one", "two", "three"):
        await asyncio.to_thread(stage.say, f"certtest/{device.name}/orders", payload)
    first = await received(raw, 3)
    assert [each.dup for each in first] == [False] * 3
    await raw.send(PubAck(first[0].packet_id))
    await raw.ping()
    raw.vanish()
    again = await raw_client(stage.server, device, lasting(device, version))
    assert again.connack.session_present
    second = await received(again, 2)
    assert [(each.payload, each.dup) for each in second] == [(b"two", True), (b"three", True)]
    assert [each.packet_id for each in second] == [each.packet_id for each in first[1:]]
    await again.send(*(PubAck(each.packet_id) for each in second))
    await again.ping()
    again.vanish()
    last = await raw_client(stage.server, device, lasting(device, version))
    await last.ping()  # its answer is the first packet: nothing is left
    last.vanish()


def test_a_session_that_has_waited_too_long_is_forgotten_with_its_queue(stage: Stage) -> None:
    device = stage.device()
    away(stage.party, device, V5, session=1)
    stage.say(f"certtest/{device.name}/orders", "too late")
    until(lambda: f"session expired client={device.name}" in stage.server.log.read_text(), "it has expired")
    back = stage.party.talker(device, protocol=V5, session=1).connect()
    assert not back.resumed
    assert back.subscribe(f"certtest/{device.name}/#") == [1]
    stage.say(f"certtest/{device.name}/orders", "in time")
    back.hears("in time")
    assert back.payloads() == ["in time"]


# ── restarts ──────────────────────────────────────────────────────────────────────────────────────────


def speaker(party: Party, name: str = "speaker") -> Talker:
    return party.talker(party.service(name, "Publish topic/*", "RetainPublish topic/*", *LISTENS)).connect()


@ENDS
@BOTH
def test_queue_subscription_and_retained_message_outlive_the_server(
    own: Party, protocol: Version, end: End
) -> None:
    device, boss = own.device("sleeper"), speaker(own)
    away(own, device, protocol)
    sent = [str(number) for number in range(MANY)]
    for payload in sent:
        assert boss.publish("certtest/sleeper/orders", payload) == 0
    assert boss.publish("news/today", "rain", retain=True) == 0
    end(own.server)
    own.server.start()
    back = own.talker(device, protocol=protocol, session=600).connect()
    assert back.resumed
    newcomer = own.talker(boss.identity).connect()
    assert newcomer.subscribe("news/#") == [1]
    newcomer.hears("rain")
    assert newcomer.heard[0].retain
    assert newcomer.publish("certtest/sleeper/orders", "after") == 0
    back.hears("after")
    assert back.payloads() == [*sent, "after"], (
        "all of the queue, in order, and the subscription still counts"
    )


@ENDS
@pytest.mark.parametrize("version", [4, 5])
async def test_what_was_not_acknowledged_comes_again_from_the_next_server(
    own: Party, version: int, end: End
) -> None:
    device, boss = own.device("unsure"), speaker(own)
    raw = await raw_client(own.server, device, lasting(device, version))
    await raw.subscribe("certtest/unsure/#")
    for payload in ("one", "two"):
        assert await asyncio.to_thread(boss.publish, "certtest/unsure/orders", payload) == 0
    first = await received(raw, 2)
    await raw.ping()
    await asyncio.to_thread(end, own.server)
    raw.vanish()
    await asyncio.to_thread(own.server.start)
    again = await raw_client(own.server, device, lasting(device, version))
    assert again.connack.session_present
    second = await received(again, 2)
    assert [each.payload for each in second] == [b"one", b"two"]
    if end is Server.stop:
        assert [(each.dup, each.packet_id) for each in second] == [(True, each.packet_id) for each in first]
    again.vanish()


def test_a_kill_in_the_midst_of_publishing_loses_nothing_that_was_acknowledged(
    own: Party, figure: Figure
) -> None:
    device = own.device("sleeper")
    away(own, device)
    acknowledged: list[str] = []
    boss = own.service("speaker", "Publish topic/*")
    for round_ in range(3):
        talker = own.talker(boss).connect()
        thread = threading.Thread(target=_publish_on, args=(talker, round_, acknowledged), daemon=True)
        before = len(acknowledged)
        thread.start()
        until(lambda: len(acknowledged) > before + MANY, "messages are acknowledged")  # noqa: B023 - waited for at once
        own.server.kill()
        thread.join(20)
        own.server.start()
    back = own.talker(device, session=600).connect()
    assert back.resumed
    back.hears(acknowledged[-1])
    order = dict.fromkeys(back.payloads())
    figure(f"killed 3 times: {len(acknowledged)} messages acknowledged, {len(order)} delivered")
    assert [each for each in order if each in set(acknowledged)] == acknowledged, "all of them, in order"


def _publish_on(talker: Talker, round_: int, acknowledged: list[str]) -> None:
    """Publish without end, until the connection is gone; note what is acknowledged."""
    number = 0
    while talker.publish("certtest/sleeper/data", f"{round_}-{number}") == 0:
        acknowledged.append(f"{round_}-{number}")
        number += 1


def test_a_session_whose_time_is_over_does_not_come_back_with_the_server(own: Party) -> None:
    device, boss = own.device("late"), speaker(own)
    away(own, device, V5, session=1)
    assert boss.publish("certtest/late/orders", "too late") == 0
    own.server.kill()
    time.sleep(1.1)
    own.server.start()
    back = own.talker(device, protocol=V5, session=600).connect()
    assert not back.resumed
    assert back.payloads() == []
