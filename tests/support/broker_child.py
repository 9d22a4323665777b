"""A process with a broker on a file, for tests that kill it or take its disk away.

Arguments: a folder, and what to do. ``serve``: tell port and devices in one line of JSON, until killed.
``limit``: meet a file size limit while devices publish, say what was acknowledged, recover, and be killed.
"""

import asyncio
import json
import os
import resource
import signal
import sys
from pathlib import Path

from keyborn.adapters.broker.packets import PubAck, Publish, Reason, Subscribe, Subscription
from keyborn.domain.errors import BrokerUnwritable
from keyborn.domain.names import ThingName
from support.broker import Device, Raw, until
from support.durable import DurableWorld, durable, lasting

TOPIC = "certtest/sub/t"
PAYLOAD = b"x" * 20_000


def say(*words: object) -> None:
    """One line, at once."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def described(device: Device) -> dict[str, str]:
    return {
        "thing": device.thing,
        "id": device.id,
        "chain": str(device.chain),
        "key": str(device.key),
        "roots": str(device.roots),
    }


async def subscribed(world: DurableWorld, name: str) -> Device:
    """A device whose persistent session waits for messages."""
    device = world.device(name)
    raw = await world.connect(device, lasting(4, name))
    await raw.subscribe(f"certtest/{name}/t")
    await raw.leave()
    return device


async def serve(folder: Path) -> None:
    async with durable(folder) as world:
        devices = [await subscribed(world, "sub"), world.service("pub")]
        say(json.dumps({"port": world.port, "devices": [described(each) for each in devices]}))
        await asyncio.Event().wait()


def allow(size: int) -> None:
    """How large a file may grow from now on."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))


class Pressed:
    """A broker whose files may not grow beyond a limit."""

    def __init__(self, world: DurableWorld) -> None:
        self.world = world
        self.service, self.other = world.service("pub"), world.device("other")
        self.acknowledged = 0
        self.number = 0

    async def publish(self, raw: Raw) -> int | None:
        """The reason in the answer, or None where the connection was closed without one."""
        self.number += 1
        await raw.send(Publish(TOPIC, f"{self.number:06}".encode() + PAYLOAD, 1, packet_id=7))
        answer = await raw.next()
        if isinstance(answer, PubAck) and not answer.reason:
            say("acknowledged", f"{self.number:06}")
            self.acknowledged += 1
        return answer.reason if isinstance(answer, PubAck) else None

    async def until_refused(self) -> None:
        raw = await self.world.connect(self.service, version=5)
        while (reason := await self.publish(raw)) == Reason.SUCCESS:
            assert self.number < 500, "the limit was not met"
        assert reason == Reason.QUOTA_EXCEEDED
        allow(1)  # SQLite would find room once more, by moving its log into the database
        assert await self.publish(raw) == Reason.QUOTA_EXCEEDED, "and goes on refusing"
        assert await raw.publish("certtest/pub/x") == PubAck(9), "what needs no file goes on"
        await raw.leave()

    async def others_refused(self) -> None:
        """MQTT 3.1.1 has no word for no; a subscription is not granted; an eviction says what is up."""
        raw = await self.world.connect(self.service)
        assert await self.publish(raw) is None
        raw = await self.world.connect(self.other, lasting(4, "other"))
        await raw.send(Subscribe(7, (Subscription("certtest/other/t", 1),)))
        assert await raw.closed() == []
        try:
            await self.world.gateway.evict(ThingName("third"), "revoked")
        except BrokerUnwritable:
            say("evict", "refused")

    async def recovered(self) -> None:
        await until(lambda: not self.world.journal.failing, "the recovery")
        raw = await self.world.connect(self.service, version=5)
        for _ in range(3):
            assert await self.publish(raw) == Reason.SUCCESS


async def limit(folder: Path) -> None:
    async with durable(folder) as world:
        device = await subscribed(world, "sub")
        await world.journal.durable()
        _, plenty = resource.getrlimit(resource.RLIMIT_FSIZE)
        pressed = Pressed(world)
        allow(600_000)
        await pressed.until_refused()
        await pressed.others_refused()
        allow(plenty)
        await pressed.recovered()
        say("recovered", json.dumps(described(device)))
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    task = {"serve": serve, "limit": limit}[sys.argv[2]]
    asyncio.run(task(Path(sys.argv[1])))
