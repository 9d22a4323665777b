"""The listener: accepts, keeps the books of connections, and is the broker's face to the service."""

import asyncio
import ssl
from collections.abc import Collection
from itertools import islice

from keyborn.adapters.broker.admission import Doorkeeper
from keyborn.adapters.broker.client import House
from keyborn.adapters.broker.connection import Connection
from keyborn.adapters.broker.gate import Gate
from keyborn.adapters.broker.hub import Hub
from keyborn.adapters.broker.journal import Journal
from keyborn.adapters.broker.keeper import Keeper, Times
from keyborn.adapters.broker.limits import Limits
from keyborn.adapters.broker.link import RECEIVE_BUFFER, Link
from keyborn.adapters.broker.refusals import LOG, Refusals, line
from keyborn.adapters.broker.restore import Records, Restorer
from keyborn.adapters.broker.review import Reviewer
from keyborn.adapters.broker.session import Budget
from keyborn.adapters.broker.tls import AWS_ALPN
from keyborn.adapters.broker.turns import Turns
from keyborn.domain.access import Principal, RightsOf
from keyborn.domain.access_policy.evaluate import rights_of as policies_in_force
from keyborn.domain.names import ThingName, certificate_id
from keyborn.ports import Clock, DeviceDirectory

_BACKLOG = 1024
_TICK = 1.0
_LOOK_AT = 16


class Gateway:
    """The embedded broker; implements the port Sessions.

    One per event loop. With a journal, persistent sessions, their QoS 1 messages and retained messages
    outlive this object: ``start`` takes back what an earlier one has left, if ``records`` knows its things as
    good. Without one they live as long as this object. Whoever opened the journal closes it, after ``stop``.
    """

    def __init__(
        self,
        *,
        directory: DeviceDirectory,
        clock: Clock,
        limits: Limits | None = None,
        rights_of: RightsOf = policies_in_force,
        journal: Journal | None = None,
        records: Records | None = None,
    ) -> None:
        """Raises ValueError for a journal without ``records``."""
        self._limits = limits = Limits() if limits is None else limits
        self._refusals = Refusals()
        gate = Gate(self._refusals)
        self._doorkeeper = Doorkeeper(directory, gate, clock, limits, rights_of)
        keeper = None if journal is None else Keeper(journal, Times(clock, self._now))
        self._hub = Hub(gate, self._refusals, limits, self._now, keeper=keeper)
        self._restorer: Restorer | None = None
        if keeper is not None:
            if records is None:
                raise ValueError("a journal needs the records of those whose sessions it keeps")
            self._restorer = Restorer(
                self._hub, keeper, limits, directory=directory, records=records, rights_of=rights_of
            )
        self._reviewer = Reviewer(self._hub, self._doorkeeper)
        self._admissions = self._failed = 0
        self._reviews: set[asyncio.Task[None]] = set()
        self._house = House(
            hub=self._hub,
            gate=gate,
            doorkeeper=self._doorkeeper,
            refusals=self._refusals,
            clock=clock,
            now=self._now,
            limits=limits,
            turns=Turns(),
            pending=Budget(limits.pending_bytes),
            admitted=self._admitted,
            met=self._met,
        )
        self._buffer = memoryview(bytearray(RECEIVE_BUFFER))
        self._links: set[Link] = set()
        self._pending: dict[Link, None] = {}
        self._open: dict[Link, Connection] = {}
        self._servers: list[asyncio.Server] = []
        self._ticker: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────

    async def start(
        self, host: str, port: int, context: ssl.SSLContext, *, require_alpn: bool = False
    ) -> tuple[str, int]:
        """Listen with ``context`` (see ``server_context``); returns the bound address.

        Raises OSError; where there is a journal BrokerFileUnusable and BrokerUnwritable, and what the
        directory raises.

        May be called again for another address. With ``require_alpn`` a client must ask for AWS IoT's
        protocol name, as on AWS's port 443; a handshake that has not agreed on it is refused.
        """
        restorer, self._restorer = self._restorer, None
        if restorer is not None:
            await restorer.restore()
        loop = asyncio.get_running_loop()
        alpn = AWS_ALPN if require_alpn else None

        def _link() -> Link:
            return Link(context, self._buffer, self._limits, self, alpn=alpn)

        server = await loop.create_server(_link, host, port, backlog=_BACKLOG)
        self._servers.append(server)
        if self._ticker is None:
            self._tick()
        bound = server.sockets[0].getsockname()
        LOG.info("%s", line("listening", host=bound[0], port=bound[1], alpn=alpn))
        return bound[0], bound[1]

    async def stop(self, grace: float) -> None:
        """Take no more connections, say goodbye (MQTT 5: 0x8B), cut who is not gone after ``grace`` seconds.

        No wills are sent: the clients have not vanished, the service has.
        """
        if not self._servers:
            return
        servers, self._servers = self._servers, []
        for server in servers:
            server.close()
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        for review in self._reviews:
            review.cancel()
        for connection in list(self._open.values()):
            connection.shut_down()
        for link in list(self._pending):
            link.abort()
        await self._until_idle(grace)
        for link in list(self._links):
            link.abort()
        await self._until_idle(1)
        for server in servers:
            await server.wait_closed()

    async def _until_idle(self, seconds: float) -> None:
        self._idle.clear()
        if self._links:
            try:
                await asyncio.wait_for(self._idle.wait(), seconds)
            except TimeoutError:
                LOG.info("%s", line("connections outlast the grace", count=len(self._links)))

    def _tick(self) -> None:
        self._hub.tick()
        self._ticker = asyncio.get_running_loop().call_later(_TICK, self._tick)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    # ── the ports ─────────────────────────────────────────────────────────────────────────────────────

    async def evict(self, name: ThingName, reason: str) -> int:
        """Close the thing's open sessions, wills not sent, queued and retained messages purged; how many.

        Call it after the registry has recorded the new state: a connection whose admission is under way is
        refused, and a later one meets that state. When it returns, no restart brings back what was purged.
        Raises BrokerUnwritable: all is done, but may not outlive a crash; the registry's word is asked then.
        """
        self._doorkeeper.evicted(name)
        closed = self._hub.remove(name, reason)
        if self._hub.keeper is not None:
            await self._hub.keeper.journal.durable()
        return closed

    async def review(self, names: Collection[ThingName] | None = None) -> None:
        """Read the badges of those things' sessions again (None: of all), after the registry has changed.

        When it returns, no open or waiting session acts on older policies. Whoever gives up waiting does not
        stop it.
        """
        await asyncio.shield(self._begin_review(names))

    def _begin_review(self, names: Collection[ThingName] | None) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._reviewer.review(names))
        self._reviews.add(task)
        task.add_done_callback(self._reviews.discard)
        return task

    @property
    def connected(self) -> int:
        """How many clients are connected and admitted."""
        return sum(session.outlet is not None for session in self._hub.sessions)

    def readings(self) -> dict[str, dict[str, float]]:
        """The broker's figures, as ``service.figures.Readings``."""
        connected = self.connected
        sessions: dict[str, float] = {"connected": connected, "waiting": len(self._hub.sessions) - connected}
        numbers: dict[str, float] = {
            "connections": len(self._links),
            "admissions_total": self._admissions,
            "handshakes_failed_total": self._failed,
            "evictions_total": self._hub.evicted,
            "refusals_total": self._refusals.count,
        }
        return {"keyborn_broker_sessions": sessions} | {
            f"keyborn_broker_{name}": {"": number} for name, number in numbers.items()
        }

    # ── the links' owner ──────────────────────────────────────────────────────────────────────────────

    def accepted(self, link: Link) -> None:
        """A TCP connection is there; if there is no room, it goes or makes a silent one go."""
        self._links.add(link)
        self._pending[link] = None
        if len(self._pending) > self._limits.pending:
            goes = self._silent() or link
            self._refuse(goes, "too many connections wait for admission")
            del self._pending[goes]
            goes.abort()

    def _silent(self) -> Link | None:
        """One of the oldest connections that keeps us waiting, so that silent ones do not hold the room."""
        patience = self._limits.patience_seconds
        oldest = islice(self._pending, _LOOK_AT)
        return next((link for link in oldest if link.keeps_us_waiting(patience)), None)

    def opened(self, link: Link, certificate: bytes) -> Connection:
        """The handshake is done."""
        connection = Connection(self._house, link, certificate_id(certificate))
        self._open[link] = connection
        return connection

    def failed(self, link: Link, reason: str) -> None:
        """There was no handshake."""
        self._failed += 1
        self._refuse(link, reason)

    def gone(self, link: Link) -> None:
        """A TCP connection is gone."""
        self._links.discard(link)
        self._pending.pop(link, None)
        self._open.pop(link, None)
        if not self._links:
            self._idle.set()

    def _admitted(self, link: Link) -> None:
        self._admissions += 1
        self._pending.pop(link, None)

    def _met(self, principal: Principal) -> None:
        """Sessions of the certificate before this one, under other client ids, are not for long."""
        for session in self._hub.sessions:
            other = session.principal
            if other.thing == principal.thing and other.certificate != principal.certificate:
                self._begin_review([principal.thing])
                return

    def _refuse(self, link: Link, reason: str) -> None:
        host = link.peer.rpartition(":")[0]
        self._refusals.refuse(host, action="handshake", reason=reason, peer=link.peer)
