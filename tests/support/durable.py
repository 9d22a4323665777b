"""A broker on a file: a hub whose clocks tests set, a gateway that can be started again, and crashes."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from keyborn.adapters.broker import Gateway, Journal, Limits, server_context
from keyborn.adapters.broker.gate import Gate
from keyborn.adapters.broker.hub import Hub
from keyborn.adapters.broker.keeper import Keeper, Times
from keyborn.adapters.broker.message import Message
from keyborn.adapters.broker.packets import Connect, Prop, Properties, Subscription
from keyborn.adapters.broker.refusals import Refusals
from keyborn.adapters.broker.restore import Restorer
from keyborn.adapters.broker.session import Session
from keyborn.adapters.system import SystemClock
from keyborn.domain.access import Circumstances, ConnectAttribute, Principal, RightsOf
from keyborn.domain.certificate import Certificate, CertificateStatus
from keyborn.domain.names import CertificateId, KeyHash, ThingName
from keyborn.domain.thing import Thing, ThingStatus
from support.broker import Directory, World
from support.pki import SERVER, shared_pki
from support.rights import Anything, OwnTopics

START = datetime(2026, 1, 1, tzinfo=UTC)


class Records:
    """The fleet's side of the directory that tests have."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def thing(self, name: ThingName) -> Thing | None:
        return self._directory.things.get(name)


async def crash(journal: Journal) -> None:
    """End it as a killed process would: a commit under way may finish, what gathers is lost."""
    journal._closed = True
    journal._cancel()
    await journal._run(journal._file.close)
    journal._thread.shutdown()


class Time:
    """Both clocks: the wall's, and a monotonic one that starts anew with each run."""

    def __init__(self) -> None:
        self.wall = START
        self.reading = 1000.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.reading

    def pass_by(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.reading += seconds


class Shop:
    """A hub on a file, without sockets; ``open`` and ``close`` or ``crash`` as often as a test likes."""

    def __init__(self, path: Path, limits: Limits | None = None) -> None:
        self.path = path
        self.limits = limits or Limits()
        self.time = Time()
        self.directory = Directory()
        self.rights_of: RightsOf = lambda _badge, _circumstances: Anything()
        self.hub: Hub
        self.journal: Journal

    async def open(self) -> "Shop":
        self.journal = await Journal.open(self.path)
        refusals = Refusals(self.time.monotonic)
        keeper = Keeper(self.journal, Times(self.time, self.time.monotonic))
        self.hub = Hub(Gate(refusals), refusals, self.limits, self.time.monotonic, keeper=keeper)
        self.restorer = Restorer(
            self.hub,
            keeper,
            self.limits,
            directory=self.directory,
            records=Records(self.directory),
            rights_of=self.rights_of,
        )
        await self.restorer.restore()
        return self

    async def close(self) -> None:
        await self.journal.close()

    async def again(self, *, seconds: float = 0, crashed: bool = True) -> None:
        """End it, by a crash or not, let time pass, and start anew with another monotonic clock."""
        await (crash(self.journal) if crashed else self.journal.close())
        self.time.pass_by(seconds)
        self.time.reading = 50.0
        await self.open()

    # ── who is there ──────────────────────────────────────────────────────────────────────────────────

    def certify(self, name: str, *, until: timedelta = timedelta(days=365)) -> Principal:
        """A thing with a certificate, in the directory."""
        thing, certificate = ThingName(name), CertificateId((name * 64)[:64])
        self.directory.thing(thing)
        self.directory.certificates[certificate] = Certificate(
            certificate, thing, KeyHash("0" * 64), b"", START, START + until, CertificateStatus.ACTIVE
        )
        return Principal(certificate, thing, Anything())

    def set_status(self, name: str, status: ThingStatus) -> None:
        thing = self.directory.thing(ThingName(name))
        made = Thing(thing.name, status, thing.key_hash, thing.created_at)
        self.directory.things[thing.name] = made

    def join(self, name: str, *, expiry: int = 600, clean: bool = False) -> tuple[Session, "Ear"]:
        """Connect, as a connection does it."""
        ear = Ear()
        attached = self.hub.attach(name, self.certify(name), ear, clean=clean)
        assert attached is not None
        session, ear.present = attached
        ear.session = session
        asked = {ConnectAttribute.PERSISTENT} if expiry else set()
        session.circumstances = Circumstances(name, frozenset(asked))
        session.expiry = expiry
        self.hub.keep(session)
        return session, ear

    def waiting(self, name: str, *filters: str, expiry: int = 600) -> Session:
        """A session that waits for its client."""
        session, _ = self.join(name, expiry=expiry)
        for each in filters:
            self.hub.subscribe(session, Subscription(each, 1))
        self.hub.detach(session, None)
        return session

    def say(
        self,
        topic: str,
        payload: bytes = b"x",
        *,
        qos: int = 1,
        retain: bool = False,
        thing: str | None = None,
        lifetime: float | None = None,
    ) -> bool:
        expires = None if lifetime is None else self.time.reading + lifetime
        who = None if thing is None else self.certify(thing).thing
        return self.hub.publish(
            Message(
                topic, payload, qos=qos, retain=retain, thing=who, expires=expires, properties=b"\x01\x01"
            )
        )

    def session(self, name: str) -> Session:
        found = self.hub.sessions.find(name)
        assert found is not None, f"no session {name}"
        return found

    def rows(self, table: str) -> int:
        """How many rows the file has."""
        connection = self.journal._file._connection
        assert connection is not None
        ((count,),) = connection.execute(f"SELECT count(*) FROM {table}").fetchall()
        assert isinstance(count, int)
        return count

    def books(self) -> dict[str, int]:
        tables = ("sessions", "subscriptions", "messages", "deliveries", "retained")
        return {table: self.rows(table) for table in tables}


class Ear:
    """The outlet of a connected session: takes what it gets, as a sender does, and acknowledges when told."""

    def __init__(self) -> None:
        self.present = False
        self.session: Session | None = None
        self.ended: list[str] = []

    def deliver(self, message: Message, qos: int, *, retain: bool) -> None:
        if qos and self.session is not None:
            self.session.offer(message, qos, retain=retain)

    def displaced(self) -> None:
        self.ended.append("displaced")

    def removed(self, reason: str, _code: int) -> None:
        self.ended.append(reason)


def waiting_payloads(session: Session) -> list[bytes]:
    """What a session holds, in the order in which it will be sent."""
    flight = [session._in_flight[each] for each in session.unacknowledged()]
    return [each.message.payload for each in (*flight, *session._queue)]


# ── with sockets ──────────────────────────────────────────────────────────────────────────────────────


def lasting(version: int, name: str = "dev", **more: object) -> Connect:
    """A CONNECT whose session waits for its client."""
    properties: Properties = {Prop.SESSION_EXPIRY: 600} if version == 5 else {}
    connect = Connect(version, name, clean_start=False, keep_alive=60, properties=properties)
    return connect._replace(**more)  # type: ignore[arg-type] # fields by name


class DurableWorld(World):
    """A world whose gateway has a journal."""

    journal: Journal
    context: ssl.SSLContext


@asynccontextmanager
async def durable(
    folder: Path,
    directory: Directory | None = None,
    *,
    limits: Limits | None = None,
    crashed: bool = False,
) -> AsyncIterator[DurableWorld]:
    """A gateway on ``folder/broker.db``; devices of an earlier one go on with the same ``directory``."""
    pki = shared_pki()
    directory = directory or Directory()
    journal = await Journal.open(folder / "broker.db")
    gateway = Gateway(
        directory=directory,
        clock=SystemClock(),
        limits=limits,
        rights_of=OwnTopics(),
        journal=journal,
        records=Records(directory),
    )
    chain, key = pki.servers.leaf("broker", usage=SERVER, between=True).write(folder, "server")
    world = DurableWorld(folder, gateway, directory, pki)
    world.journal = journal
    world.context = server_context(chain, key, pki.client_ca_pem)
    world.host, world.port = await gateway.start("127.0.0.1", 0, world.context)
    try:
        yield world
    finally:
        if crashed:
            await crash(journal)
        await world.close_clients()
        await asyncio.wait_for(gateway.stop(1), 10)
        await journal.close()
