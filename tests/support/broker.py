"""A running gateway with devices and services: real TLS on loopback, a directory in memory, a bare client."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from keyborn.adapters.broker import Gateway, Limits, server_context
from keyborn.adapters.broker.decode import Decoder
from keyborn.adapters.broker.encode import encode
from keyborn.adapters.broker.message import Message
from keyborn.adapters.broker.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    Subscription,
)
from keyborn.adapters.system import SystemClock
from keyborn.domain.access import Badge, RightsOf
from keyborn.domain.access_policy.document import DEFAULT_POLICY, AccessPolicy, PolicyName
from keyborn.domain.access_policy.evaluate import rights_of as policies_in_force
from keyborn.domain.access_policy.parse import parse_document
from keyborn.domain.certificate import Certificate, CertificateStatus
from keyborn.domain.errors import NotFound, RegistryUnavailable
from keyborn.domain.names import CertificateId, KeyHash, ThingName, certificate_id
from keyborn.domain.thing import Thing, ThingKind, ThingStatus
from keyborn.policies import device_policy
from keyborn.ports import Clock
from support.decoding import feed
from support.pki import SERVER, Leaf, Pki, shared_pki
from support.rights import ALSO_LASTING, document, statement

P = TypeVar("P", bound=Packet)
PATIENCE = 10.0
"""Seconds a test waits for what must come; generous, because machines are slow, and never slept through."""


ANYTHING = "anything"
"""The name of a policy that allows everything."""


@dataclass
class Directory:
    """What the broker asks of the registry, with a switch for an outage and a gate for slowness."""

    certificates: dict[CertificateId, Certificate] = field(default_factory=dict)
    things: dict[ThingName, Thing] = field(default_factory=dict)
    policies: dict[PolicyName, AccessPolicy] = field(default_factory=dict)
    first_connections: list[CertificateId] = field(default_factory=list)
    available: bool = True
    open: asyncio.Event = field(default_factory=asyncio.Event)
    lookups: int = 0

    def __post_init__(self) -> None:
        self.open.set()

    async def certificate(self, certificate: CertificateId) -> Certificate | None:
        badge = await self.badge(certificate)
        return None if badge is None else badge.certificate

    async def badge(self, certificate: CertificateId) -> Badge | None:
        self.lookups += 1
        badge = self._badge(certificate)
        await self.open.wait()
        if not self.available:
            raise RegistryUnavailable
        return badge

    def _badge(self, certificate: CertificateId) -> Badge | None:
        found = self.certificates.get(certificate)
        if found is None:
            return None
        thing = self.thing(found.thing)
        names = (DEFAULT_POLICY,) if thing.policies is None else thing.policies
        return Badge(found, thing, tuple(self.policies[each] for each in names if each in self.policies))

    def thing(self, name: ThingName) -> Thing:
        made = Thing(name, ThingStatus.ACTIVE, KeyHash("0" * 64), now())
        return self.things.setdefault(name, made)

    async def connected(self, certificate: CertificateId, at: datetime) -> Certificate:
        self.first_connections.append(certificate)
        if certificate not in self.certificates:
            raise NotFound(what="certificate", name=certificate)
        found = replace(self.certificates[certificate], connected_at=at)
        self.certificates[certificate] = found
        return found

    def set_status(self, certificate: CertificateId, status: CertificateStatus) -> None:
        self.certificates[certificate] = replace(self.certificates[certificate], status=status)

    def put(self, name: str, document: str) -> None:
        """Keep a policy document."""
        policy = AccessPolicy(PolicyName(name), parse_document(document), now())
        self.policies[policy.name] = policy

    def attach(self, name: str, *policies: str) -> None:
        """Give a thing exactly these policies."""
        thing = self.thing(ThingName(name))
        self.things[thing.name] = replace(thing, policies=tuple(map(PolicyName, policies)))


@dataclass(frozen=True)
class Device:
    """A thing with certificate and key on disk."""

    thing: ThingName
    id: CertificateId
    chain: Path
    key: Path
    roots: Path

    @cached_property
    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.roots))
        context.load_cert_chain(self.chain, self.key)
        return context


class World:
    """A gateway and its devices."""

    def __init__(self, folder: Path, gateway: Gateway, directory: Directory, pki: Pki) -> None:
        self.folder = folder
        self.gateway = gateway
        self.directory = directory
        self.pki = pki
        self.clock = SystemClock()
        self.host, self.port = "127.0.0.1", 0
        self.roots = folder / "roots.pem"
        self.roots.write_text(pki.root_pem)
        self._clients: list[Raw] = []

    def device(
        self,
        name: str,
        *,
        status: CertificateStatus | None = CertificateStatus.ACTIVE,
        leaf: Leaf | None = None,
        not_after: datetime | None = None,
        kind: ThingKind = ThingKind.DEVICE,
    ) -> Device:
        """Make a device; with ``status`` None the registry does not learn of it."""
        leaf = leaf or self.pki.devices.leaf(name)
        number = len(list(self.folder.glob("*.crt")))
        chain, key = leaf.write(self.folder, f"{number}-{name}")
        device = Device(ThingName(name), certificate_id(leaf.der), chain, key, self.roots)
        if status is not None:
            thing = self.directory.thing(device.thing)
            self.directory.things[device.thing] = replace(thing, kind=kind)
            self.directory.certificates[device.id] = Certificate(
                device.id,
                device.thing,
                KeyHash("0" * 64),
                leaf.der,
                leaf.certificate.not_valid_before_utc,
                not_after or leaf.certificate.not_valid_after_utc,
                status,
            )
        return device

    def service(self, name: str) -> Device:
        """A program with an identity of its own, which may do anything."""
        device = self.device(name, kind=ThingKind.SERVICE)
        self.directory.attach(name, ANYTHING)
        return device

    async def listener(self, *filters: str, name: str = "ear") -> "Listener":
        """A service's session, MQTT 5, that has subscribed to ``filters`` at QoS 0."""
        raw = await self.connect(self.service(name), version=5)
        assert (await raw.subscribe(*filters, qos=0)).reasons == (0,) * len(filters)
        return Listener(raw)

    def say(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """Have the broker route a message that nobody published."""
        self.gateway._hub.publish(Message(topic, payload, qos=qos, retain=retain))

    async def dial(self, device: Device, version: int = 4) -> "Raw":
        """TLS only."""
        reader, writer = await asyncio.wait_for(
            asyncio.open_connection(self.host, self.port, ssl=device.context, server_hostname="localhost"),
            PATIENCE,
        )
        raw = Raw(reader, writer, version)
        self._clients.append(raw)
        return raw

    async def connect(self, device: Device, connect: Connect | None = None, version: int = 4) -> "Raw":
        """TLS and CONNECT; the answer is in ``connack``."""
        connect = connect or Connect(version, device.thing, keep_alive=60)
        raw = await self.dial(device, connect.version)
        await raw.send(connect)
        raw.connack = await raw.expect(ConnAck)
        return raw

    async def close_clients(self) -> None:
        for raw in self._clients:
            raw.writer.transport.abort()


class Raw:
    """A bare MQTT client that sends whatever it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, version: int) -> None:
        self.reader = reader
        self.writer = writer
        self.version = version
        self.connack = ConnAck(session_present=False, reason=-1)
        self._decoder = Decoder(1 << 20, version)
        self._packets: list[Packet] = []

    async def send(self, *packets: Packet) -> None:
        await self.send_bytes(b"".join(encode(packet, self.version) for packet in packets))

    async def send_bytes(self, data: bytes) -> None:
        self.writer.write(data)
        await asyncio.wait_for(self.writer.drain(), PATIENCE)

    async def next(self) -> Packet | None:
        """The next packet, or None at the end of the connection."""
        while not self._packets:
            try:
                data = await asyncio.wait_for(self.reader.read(1 << 16), PATIENCE)
            except (ConnectionError, ssl.SSLError):
                return None
            if not data:
                return None
            self._packets += feed(self._decoder, data)
        return self._packets.pop(0)

    async def expect(self, kind: type[P]) -> P:
        packet = await self.next()
        assert isinstance(packet, kind), f"wanted {kind.__name__}, got {packet!r}"
        return packet

    async def ping(self) -> None:
        """Show that the session is up, and that everything sent before has been handled."""
        await self.send(PingReq())
        await self.expect(PingResp)

    async def subscribe(self, *filters: str, qos: int = 1) -> SubAck:
        await self.send(Subscribe(7, tuple(Subscription(each, qos) for each in filters)))
        return await self.expect(SubAck)

    async def publish(self, topic: str, payload: bytes = b"x", *, retain: bool = False) -> PubAck:
        await self.send(Publish(topic, payload, 1, retain, packet_id=9))
        return await self.expect(PubAck)

    async def publish_and_hear(self, topic: str, payload: bytes, *, retain: bool = False) -> Publish:
        """Publish to our own subscription; returns what came back."""
        await self.send(Publish(topic, payload, 1, retain, packet_id=9))
        heard = await self.expect(Publish)
        await self.expect(PubAck)
        return heard

    async def closed(self) -> list[Packet]:
        """Everything until the connection ends."""
        packets = []
        while (packet := await self.next()) is not None:
            packets.append(packet)
        return packets

    async def leave(self) -> None:
        await self.send(Disconnect())
        assert await self.closed() == []

    def vanish(self) -> None:
        """Cut the connection without a word."""
        self.writer.transport.abort()


class Listener:
    """Somebody who hears everything that he asked for, and what he has heard so far."""

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        self.packets: list[Publish] = []

    @property
    def heard(self) -> list[tuple[str, bytes]]:
        return [(each.topic, each.payload) for each in self.packets]

    async def settle(self) -> list[tuple[str, bytes]]:
        """Everything that the broker has routed by now."""
        await self.raw.send(PingReq())
        while not isinstance(packet := await self.raw.next(), PingResp):
            assert isinstance(packet, Publish), packet
            self.packets.append(packet)
        return self.heard

    async def hears(self, *messages: tuple[str, bytes]) -> None:
        """Wait until there are as many messages, and compare them."""
        while len(self.packets) < len(messages):
            self.packets.append(await self.raw.expect(Publish))
        assert await self.settle() == list(messages)


@asynccontextmanager
async def running(
    folder: Path,
    *,
    limits: Limits | None = None,
    rights_of: RightsOf = policies_in_force,
    clock: Clock | None = None,
    pki: Pki | None = None,
) -> AsyncIterator[World]:
    """A gateway on a free port, stopped at the end."""
    pki = pki or shared_pki()
    directory = Directory()
    directory.put(DEFAULT_POLICY, device_policy())
    directory.put(ANYTHING, document(statement("Allow", "*", "*", Condition=ALSO_LASTING)))
    gateway = Gateway(directory=directory, clock=clock or SystemClock(), limits=limits, rights_of=rights_of)
    chain, key = pki.servers.leaf("broker", usage=SERVER, between=True).write(folder, "server")
    context = server_context(chain, key, pki.client_ca_pem)
    world = World(folder, gateway, directory, pki)
    world.host, world.port = await gateway.start("127.0.0.1", 0, context)
    try:
        yield world
    finally:
        await world.close_clients()
        await gateway.stop(1)


async def until(condition: Callable[[], bool], what: str = "it") -> None:
    """Poll until ``condition`` holds."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"{what} did not happen"
        await asyncio.sleep(0.005)


def now() -> datetime:
    return datetime.now(UTC)
