"""Random walks: clients do as they please and a model says what each must hear; and hostile bytes."""

import asyncio
import random
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from keyborn.adapters.broker import Limits
from keyborn.adapters.broker.encode import encode
from keyborn.adapters.broker.packets import (
    Connect,
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
)
from support.broker import Device, Raw, World, running

TOPICS = [f"t{number}" for number in range(4)]


@dataclass
class Player:
    """One device with a session that waits, and what it must have heard at least once."""

    device: Device
    version: int
    dice: random.Random
    raw: Raw | None = None
    wanted: set[str] = field(default_factory=set)
    owed: list[bytes] = field(default_factory=list)
    heard: list[bytes] = field(default_factory=list)

    @property
    def base(self) -> str:
        return f"certtest/{self.device.thing}"

    async def connect(self, world: World) -> None:
        properties: Properties = {Prop.SESSION_EXPIRY: 600} if self.version == 5 else {}
        connect = Connect(self.version, self.device.thing, clean_start=False, properties=properties)
        self.raw = await world.connect(self.device, connect)
        assert self.raw.connack.reason == 0

    async def settle(self, *, acknowledge: bool = True) -> None:
        """Take all that is on its way, up to the answer to a ping."""
        assert self.raw is not None
        await self.raw.send(PingReq())
        while not isinstance(packet := await self.raw.next(), PingResp):
            if isinstance(packet, Publish):
                self.heard.append(packet.payload)
                if acknowledge and packet.qos:
                    await self.raw.send(PubAck(packet.packet_id))
            else:
                assert isinstance(packet, PubAck | SubAck | UnsubAck), packet


class Walk:
    """A world, some players, and numbered messages."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.dice = random.Random(seed)
        self.players = [
            Player(world.device(f"dev-{number}"), 4 + number % 2, self.dice) for number in range(3)
        ]
        self.serial = 0
        self.done: dict[str, int] = defaultdict(int)

    async def step(self) -> None:
        player = self.dice.choice(self.players)
        actions = [self.publish, self.publish, self.publish, self.publish, self.settle]
        if player.raw is not None:
            actions += [self.subscribe, self.subscribe, self.unsubscribe, self.drop, self.drop]
        action = self.dice.choice(actions)
        await action(player)
        self.done[action.__name__] += 1

    async def publish(self, player: Player) -> None:
        """From the service to one of the player's topics, at QoS 1."""
        topic = self.dice.choice(TOPICS)
        self.serial += 1
        payload = str(self.serial).encode()
        self.world.say(f"{player.base}/{topic}", payload, qos=1)
        if topic in player.wanted:
            player.owed.append(payload)

    async def subscribe(self, player: Player) -> None:
        assert player.raw is not None
        topic = self.dice.choice(TOPICS)
        await player.raw.send(Subscribe(5, (Subscription(f"{player.base}/{topic}", 1),)))
        await player.settle()
        player.wanted.add(topic)

    async def unsubscribe(self, player: Player) -> None:
        assert player.raw is not None
        topic = self.dice.choice(TOPICS)
        await player.raw.send(Unsubscribe(6, (f"{player.base}/{topic}",)))
        await player.settle()
        player.wanted.discard(topic)

    async def drop(self, player: Player) -> None:
        """Vanish, having acknowledged or not, or be taken over by oneself."""
        assert player.raw is not None
        if self.dice.random() < 0.8:
            await player.settle(acknowledge=self.dice.random() < 0.2)
        if self.dice.random() < 0.3:
            await player.connect(self.world)
            return
        player.raw.vanish()
        player.raw = None

    async def settle(self, player: Player) -> None:
        if player.raw is None:
            await player.connect(self.world)
        await player.settle()

    async def finish(self) -> None:
        for player in self.players:
            await self.settle(player)
            await player.settle()


@pytest.mark.parametrize("seed", range(4))
async def test_nothing_owed_at_qos_1_is_lost_whatever_the_clients_do(tmp_path: Path, seed: int) -> None:
    async with running(tmp_path) as world:
        walk = Walk(world, seed)
        for _ in range(400):
            await walk.step()
        await walk.finish()
        for player in walk.players:
            once = list(dict.fromkeys(player.heard))
            assert once == player.owed, f"{player.device.thing}: in order, each at least once, nothing else"
        assert world.gateway._hub.budget.used == 0
        heard = sum(len(player.heard) for player in walk.players)
        owed = sum(len(player.owed) for player in walk.players)
        print(f"seed {seed}: {dict(walk.done)}, {owed} owed, {heard - owed} repeated")  # noqa: T201


HEADS = [0x10, 0x20, 0x30, 0x32, 0x34, 0x3B, 0x40, 0x50, 0x62, 0x70, 0x82, 0x90, 0xA2, 0xC0, 0xD0, 0xE0, 0xF0]


def hostile(dice: random.Random, version: int) -> bytes:
    """A few packets, some good, some broken, some noise."""
    good = [
        encode(PingReq(), version),
        encode(Publish("certtest/mad/x", b"y", 1, packet_id=3), version),
        encode(Subscribe(4, (Subscription("certtest/mad/#", 1),)), version),
        encode(Unsubscribe(5, ("certtest/mad/#",)), version),
        encode(PubAck(dice.randint(1, 9)), version),
    ]
    out = b""
    for _ in range(dice.randint(1, 5)):
        data = bytearray(dice.choice(good))
        match dice.randrange(4):
            case 0:
                data[dice.randrange(len(data))] = dice.randrange(256)
            case 1:
                body = dice.randbytes(dice.randrange(30))
                data = bytearray((dice.choice(HEADS), len(body))) + body
            case 2:
                del data[dice.randrange(len(data)) :]
            case _:
                pass
        out += data
    return out


async def test_hostile_bytes_over_a_real_session_hurt_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Seeded, bounded, counted: the broker stays up, and a well-behaved device notices nothing."""
    dice, ended = random.Random(7), 0
    async with running(tmp_path, limits=Limits(connect_seconds=2)) as world:
        good = await world.connect(world.device("good"))
        await good.subscribe("certtest/good/#", qos=1)
        mad = world.device("mad")
        for round_number in range(150):
            version = dice.choice([4, 5])
            raw = await world.connect(mad, Connect(version, "mad"))
            assert raw.connack.reason == 0
            await raw.send_bytes(hostile(dice, version))
            if dice.random() < 0.3:
                await good.ping()
            raw.vanish()
            ended += 1
            if round_number % 50 == 0:
                heard = await good.publish_and_hear("certtest/good/x", b"fine")
                await good.send(PubAck(heard.packet_id))
        assert not [each for each in caplog.records if each.levelname in {"ERROR", "CRITICAL"}]
        assert world.gateway.connected <= 2
        await asyncio.sleep(0)
        print(f"{ended} hostile sessions, no error logged")  # noqa: T201
