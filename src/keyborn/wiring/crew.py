"""The workers as the core sees them: listening sockets, lines, orders, and the word when to end."""

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from starlette.types import ASGIApp

from keyborn.adapters.ca import EmbeddedAuthority, Material
from keyborn.adapters.workers.calls import BY_NAME, OF_CORE, Orders, Published, Told
from keyborn.adapters.workers.claims import ClaimLines
from keyborn.adapters.workers.handover import Core, Handover, Sides
from keyborn.adapters.workers.line import Line
from keyborn.adapters.workers.nursery import Nursery, Place
from keyborn.domain.errors import KeybornError, SystemTrouble
from keyborn.http.doorway import BACKLOG
from keyborn.http.forwarding import AnsweringDesk
from keyborn.http.server import HttpServer
from keyborn.service.issuing import RecordedSigner
from keyborn.service.strangers import Strangers
from keyborn.service.watching import Reader
from keyborn.settings import Address
from keyborn.wiring.front import Parts
from keyborn.wiring.plain import BoundPlace
from keyborn.wiring.pulse import Pulse
from keyborn.wiring.roots import Listening

COMMAND: tuple[str, ...] = (sys.executable, "-P", "-m", "keyborn.wiring.worker")
"""``-P``: nothing is imported from the folder in which the service happens to be started."""
_START = 20.0
"""Seconds that workers may take to begin."""
_ADOPT = 5.0
"""Seconds that a worker may take to follow new roots."""
_TELL = 2.0
"""Seconds that a worker may take to say what it has counted."""
_DRAIN, _SPARE = 5.0, 2.0
"""Seconds for answers under way, and for the process to end after that."""
_log = logging.getLogger("keyborn.workers")


def published(authority: EmbeddedAuthority) -> Published:
    """What workers know of the authority."""
    return Published(authority.roots_pem(), authority.intermediates_pem(), authority.client_ca_pem())


def core_of(parts: Parts, registry: Sides, orders: Callable[[], Orders]) -> Core:
    """What the core hands over to its workers. Strangers are counted here, whichever worker they meet."""
    books = {door: Strangers(parts.registry, parts.clock) for door in ("enroll", "renew")}
    return Core(
        registry=registry,
        prove_writable=parts.prove_writable,
        sign=RecordedSigner(parts.authority).sign,
        nonces=parts.nonces,
        review=parts.sessions.review,
        strangers=books,
        orders=orders,
    )


class Listener:
    """An address that is bound and listened at, and served by workers alone."""

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        self.sockets = sockets

    @staticmethod
    async def bind(host: str, port: int) -> "Listener":
        """Bind as asyncio does (every address of a name; port 0 picks one); raises OSError."""
        loop = asyncio.get_running_loop()
        bound = await loop.create_server(asyncio.Protocol, host, port, start_serving=False)
        try:
            sockets = [each.dup() for each in bound.sockets]
        finally:
            bound.close()
        for each in sockets:
            each.listen(BACKLOG)
        return Listener(sockets)

    @property
    def address(self) -> Address:
        """The first of them."""
        host, port = self.sockets[0].getsockname()[:2]
        return Address(host, port)

    def close(self) -> None:
        """This process listens no more. Repeating is harmless."""
        for each in self.sockets:
            each.close()


class Alone:
    """No workers: this process answers HTTPS itself."""

    def __init__(self, server: HttpServer, address: Address, live: Listening, plain: str) -> None:
        """``plain``: where proxies are answered; empty where they are not."""
        self._server = server
        self._live = live
        self.address = address
        self.plain = plain
        self.readers = [server.readings]

    async def told(self) -> Sequence[Told]:
        """What other processes have counted: there are none."""
        return ()

    @property
    def requests(self) -> int:
        """How many requests have been answered."""
        return self._server.requests

    async def adopt(self, material: Material) -> None:
        """Go on with other roots."""
        self._live.adopt(material)


class Crew:
    """The workers of one running service."""

    def __init__(
        self,
        app: ASGIApp,
        listener: Listener,
        live: Listening,
        count: int,
        plain: BoundPlace | None,
        *,
        claims: ClaimLines,
    ) -> None:
        """``app`` answers what is not for devices; ``plain``: where proxies are answered.

        ``claims``: where the registry reads what workers claim.
        """
        self._app = app
        self._listener = listener
        self._live = live
        self._core: Core | None = None
        self.address = listener.address
        self._closing: set[asyncio.Future[None]] = set()
        self.plain = "" if plain is None else plain.shown
        behind = [] if plain is None else plain.sockets
        self.plain_count = len(behind)
        self.readers: list[Reader] = []
        self._pulse: asyncio.Future[None] | None = None
        sockets = [*listener.sockets, *behind]
        self._nursery = Nursery(COMMAND, sockets, count, self._attend, claims.add)

    @property
    def requests(self) -> int:
        """How many requests all of them have answered."""
        return self._nursery.requests

    @asynccontextmanager
    async def working(self, core: Core) -> AsyncIterator[None]:
        """Have them work, with ``core`` behind them, for as long as the context lasts.

        Raises SystemTrouble if they do not begin.
        """
        self._core = core
        try:
            await self._nursery.start()
            if not await self._nursery.serving(_START):
                raise SystemTrouble(reason="the worker processes do not begin")
            self._pulse = asyncio.ensure_future(
                Pulse(self._nursery.places, self._nursery.kill, _START).keep()
            )
            yield
        finally:
            if self._pulse is not None:
                self._pulse.cancel()
            await self._end()

    async def told(self) -> Sequence[Told]:
        """What each worker has counted; one that does not answer in time is left out."""
        lines = [place.line for place in self._nursery.places if place.ready and place.line is not None]
        return [each for each in await asyncio.gather(*map(self._ask_figures, lines)) if each is not None]

    async def _ask_figures(self, line: Line) -> Told | None:
        with contextlib.suppress(KeybornError, TimeoutError):
            async with asyncio.timeout(_TELL):
                told: Told = await line.ask(BY_NAME["figures"])
                return told
        return None

    async def adopt(self, material: Material) -> None:
        """Go on with other roots, and have every worker follow.

        One that does not is replaced by one that begins with them.
        """
        self._live.adopt(material)
        news = published(self._live.authority)
        following = [self._follow(place, news) for place in self._nursery.places if place.greeted]
        await asyncio.gather(*following)

    async def _follow(self, place: Place, news: Published) -> None:
        line = place.line
        try:
            async with asyncio.timeout(_ADOPT):
                if line is not None:
                    await line.ask(BY_NAME["adopt"], news)
        except (KeybornError, TimeoutError):
            _log.warning("worker %d does not follow the new roots: it is replaced", place.number)
            self._nursery.kill(place)

    async def _end(self) -> None:
        """New connections are refused from here on; what is under way is answered."""
        self._nursery.end()
        self._listener.close()
        await asyncio.gather(*(self._dismiss(place) for place in self._nursery.places))
        await self._nursery.stop(_SPARE)

    async def _dismiss(self, place: Place) -> None:
        line = place.line
        if line is None:
            return
        with contextlib.suppress(KeybornError, TimeoutError):
            async with asyncio.timeout(_DRAIN + _SPARE):
                await line.ask(BY_NAME["end"], _DRAIN)
        line.close()

    def _attend(self, place: Place) -> Line:
        assert self._core is not None
        desk = AnsweringDesk(self._app)

        def _greeted() -> None:
            place.greeted = True

        def _ready() -> None:
            place.ready = True
            self._nursery.tell()

        handover = Handover(self._core, desk, _greeted, _ready)
        return Line(OF_CORE, handover.serve, partial(self._lost, place, desk))

    def _lost(self, place: Place, desk: AnsweringDesk) -> None:
        """A worker without a line is of no use: it goes by itself, or is helped."""
        closing = asyncio.ensure_future(desk.close_all())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        if not self._nursery.is_ending:
            self._nursery.kill(place)
