"""What was acknowledged arrives, although the broker was killed, or its disk refused, in the middle."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from keyborn.adapters.broker.packets import ConnAck, Connect, PubAck, Publish
from keyborn.domain.certificate import Certificate, CertificateStatus
from keyborn.domain.names import CertificateId, KeyHash, ThingName
from support.broker import PATIENCE, Device, Directory, Raw
from support.child_process import child
from support.durable import START, durable, lasting

TOPIC = "certtest/sub/t"
UNDER_WAY = 50


def lines(process: "subprocess.Popen[str]") -> Iterator[str]:
    assert process.stdout is not None
    yield from process.stdout


def device_of(row: dict[str, str]) -> Device:
    paths = (Path(row[name]) for name in ("chain", "key", "roots"))
    return Device(ThingName(row["thing"]), CertificateId(row["id"]), *paths)


async def dial(port: int, device: Device, connect: Connect) -> Raw:
    reader, writer = await asyncio.wait_for(
        asyncio.open_connection("127.0.0.1", port, ssl=device.context, server_hostname="localhost"), PATIENCE
    )
    raw = Raw(reader, writer, connect.version)
    await raw.send(connect)
    raw.connack = await raw.expect(ConnAck)
    return raw


@dataclass
class Sent:
    """What a publisher knows."""

    acknowledged: list[int] = field(default_factory=list)
    count: int = 0

    async def publish_until(self, raw: Raw, enough: int) -> None:
        """Keep ``UNDER_WAY`` messages under way until ``enough`` have been acknowledged."""
        while len(self.acknowledged) < enough:
            while self.count - len(self.acknowledged) < UNDER_WAY:
                self.count += 1
                await raw.send(Publish(TOPIC, b"%d" % self.count, 1, packet_id=self.count))
            await self.hear(raw)

    async def hear(self, raw: Raw) -> bool:
        answer = await raw.next()
        if answer is None:
            return False
        assert answer == PubAck(len(self.acknowledged) + 1), "in the order of the publishes"
        self.acknowledged.append(answer.packet_id)
        return True


def known(row: dict[str, str]) -> Directory:
    """A registry that knows the device of the process that is gone, but not its key."""
    directory, device = Directory(), device_of(row)
    directory.thing(device.thing)
    directory.thing(ThingName("pub"))
    directory.certificates[device.id] = Certificate(
        device.id,
        device.thing,
        KeyHash("0" * 64),
        b"",
        START,
        START.replace(year=2040),
        CertificateStatus.ACTIVE,
    )
    return directory


async def heard_after(folder: Path, row: dict[str, str]) -> list[bytes]:
    """Start a broker on the file; what the subscriber gets, which has renewed its certificate meanwhile."""
    async with durable(folder, known(row)) as world:
        raw = await world.connect(world.device("sub"), lasting(4, "sub"))
        assert raw.connack.session_present
        heard: list[bytes] = []
        waiting = sum(session.queued + session.in_flight for session in world.gateway._hub.sessions)
        while len(heard) < waiting:
            message = await raw.expect(Publish)
            heard.append(message.payload)
            await raw.send(PubAck(message.packet_id))
        await raw.ping()
        return heard


@pytest.mark.parametrize("enough", [1, 120, 700])
async def test_every_acknowledged_message_survives_a_kill(tmp_path: Path, enough: int) -> None:
    with child(tmp_path, "serve", "support.broker_child") as process:
        told = json.loads(await asyncio.to_thread(next, lines(process)))
        subscriber, publisher = map(device_of, told["devices"])
        raw = await dial(told["port"], publisher, Connect(4, "pub", clean_start=True, keep_alive=60))
        sent = Sent()
        await sent.publish_until(raw, enough)
        os.kill(process.pid, signal.SIGKILL)
        while await sent.hear(raw):
            pass
        raw.vanish()
    heard = await heard_after(tmp_path, told["devices"][0])
    assert len(sent.acknowledged) >= enough
    assert heard == [b"%d" % number for number in range(1, len(heard) + 1)], "in order, none twice"
    assert len(heard) >= len(sent.acknowledged)
    assert subscriber.thing == "sub"


async def test_a_kill_between_delivery_and_acknowledgement_means_a_second_delivery(tmp_path: Path) -> None:
    with child(tmp_path, "serve", "support.broker_child") as process:
        told = json.loads(await asyncio.to_thread(next, lines(process)))
        subscriber, publisher = map(device_of, told["devices"])
        ear = await dial(told["port"], subscriber, lasting(4, "sub"))
        assert ear.connack.session_present
        raw = await dial(told["port"], publisher, Connect(4, "pub", clean_start=True, keep_alive=60))
        await Sent().publish_until(raw, 10)
        first = [await ear.expect(Publish) for _ in range(10)]
        os.kill(process.pid, signal.SIGKILL)
        for each in (ear, raw):
            each.vanish()
    async with durable(tmp_path, known(told["devices"][0])) as world:
        again = await world.connect(world.device("sub"), lasting(4, "sub"))
        second = [await again.expect(Publish) for _ in range(10)]
        assert second == [each._replace(dup=True) for each in first]


async def test_a_full_disk_refuses_recovers_and_has_lost_nothing(tmp_path: Path) -> None:
    """RLIMIT_FSIZE makes every write beyond it fail (EFBIG), as a full disk does."""
    said: dict[str, list[str]] = {}
    with child(tmp_path, "limit", "support.broker_child") as process:
        for line in await asyncio.to_thread(lambda: list(lines(process))):
            word, _, rest = line.strip().partition(" ")
            said.setdefault(word, []).append(rest)
        assert process.wait(30) == -signal.SIGKILL
    assert said["evict"] == ["refused"]
    assert len(said["acknowledged"]) > 10
    heard = [
        payload[:6].decode() for payload in await heard_after(tmp_path, json.loads(said["recovered"][0]))
    ]
    assert set(said["acknowledged"]) <= set(heard)
    assert heard == sorted(set(heard)), "in order, none twice"
