"""One worker: takes connections in, reads and checks requests, and asks the core for the rest.

    python -P -m keyborn.wiring.worker LINE CLAIMS TALLY LISTENER…

with descriptors that the core has left open. It has no private key but that of the listener's certificate,
writes no file, and ends when its line does.
"""

import asyncio
import logging
import os
import signal
import socket
import sqlite3
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from keyborn.adapters.ca import LiveContext, ReloadedContexts, https_context
from keyborn.adapters.data_folder import DataFolder
from keyborn.adapters.sql.looking import LookingRegistry
from keyborn.adapters.system import SystemClock, SystemEntropy
from keyborn.adapters.workers.calls import BY_NAME, OF_WORKER, Orders, Published, Told
from keyborn.adapters.workers.line import Line, Serve
from keyborn.adapters.workers.remote import (
    RemoteAuthority,
    RemoteDesk,
    RemoteNonces,
    RemoteRegistry,
    RemoteSessions,
    RemoteStrangers,
)
from keyborn.adapters.workers.tally import Tally
from keyborn.domain.errors import KeybornError
from keyborn.http.app import build_app
from keyborn.http.descriptors import OutOfDescriptors
from keyborn.http.forwarding import forwarding
from keyborn.http.observing import Observing
from keyborn.http.protocol import HttpLimits
from keyborn.http.server import HttpServer
from keyborn.ports import GroupingRegistry, Sessions
from keyborn.service.admission import LateRefusals
from keyborn.settings import read_settings_text
from keyborn.wiring.front import Parts, Place, build_service, crowded, new_lines
from keyborn.wiring.log_lines import log_to_stderr
from keyborn.wiring.plain import Front
from keyborn.wiring.watching import line_readings, new_meter

LOOK_EVERY = 1.0
"""Seconds between two looks at the file of the service's certificate, which the core renews."""
_log = logging.getLogger("keyborn.workers")


class WorkerRegistry(RemoteRegistry, LookingRegistry):
    """Reads by itself, has the core write."""

    def __init__(self, line: Line, claims: Line, path: Path) -> None:
        RemoteRegistry.__init__(self, line, claims)
        LookingRegistry.__init__(self, path)


class Trust:
    """The listener's context: follows the file of the certificate, and the roots that the core tells."""

    def __init__(self, chain: Path, authority: RemoteAuthority) -> None:
        """Raises OSError."""
        self._chain = chain
        self._authority = authority
        self._files = ReloadedContexts(chain)
        self._live = LiveContext(self._make)
        self.context = self._live.context

    def _make(self) -> ssl.SSLContext:
        made = https_context(self._chain, self._chain, self._authority.client_ca_pem())
        self._files.add(made)
        return made

    def refresh(self) -> None:
        """Go on with the file and the roots as they are; raises OSError."""
        self._files.reload_if_replaced()
        self._live.refresh()

    async def follow(self) -> None:
        """Look at the file for ever."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                self._files.reload_if_replaced()
            except OSError as trouble:
                _log.warning("the service certificate cannot be read: %s", trouble)


class Worker:
    """One worker, from its orders to its end."""

    def __init__(self, listeners: Sequence[socket.socket], tally: Tally) -> None:
        self._listeners = listeners
        self._tally = tally
        self._ended = asyncio.Event()
        self._authority: RemoteAuthority | None = None
        self._trust: Trust | None = None
        self._server: HttpServer | None = None
        self._meter, self._lines = new_meter(), new_lines()

    async def run(self, line_socket: socket.socket, claims_socket: socket.socket) -> None:
        """Serve until one of the lines ends."""
        loop = asyncio.get_running_loop()
        line = Line(OF_WORKER, self._serve, self._ended.set)
        claims = Line((), self._serve, self._ended.set)
        await loop.connect_accepted_socket(lambda: line, line_socket)
        await loop.connect_accepted_socket(lambda: claims, claims_socket)
        orders: Orders = await line.ask(BY_NAME["hello"])
        level = logging.INFO if orders.verbose else logging.WARNING
        log_to_stderr(orders.log_format, level, access=orders.access_log)
        self._lines = new_lines(orders.share)
        await self._begin(line, claims, orders)
        await line.ask(BY_NAME["ready"])
        await self._ended.wait()

    def _serve(self, name: str) -> Serve:
        serves: dict[str, Serve] = {
            "adopt": self._adopt,
            "figures": self._figures,
            "alive": self._alive,
            "end": self._end,
        }
        return serves[name]

    async def _begin(self, line: Line, claims: Line, orders: Orders) -> None:
        folder = DataFolder(Path(orders.data))
        registry = WorkerRegistry(line, claims, folder.registry)
        registry.open()
        self._authority = authority = RemoteAuthority(line, orders.published)
        self._trust = trust = Trust(folder.authority / "service.pem", authority)
        settings = read_settings_text(orders.settings)
        parts = self._parts(line, orders, registry, authority)
        place = Place(lambda: orders.url, orders.broker, orders.fallback)
        app = forwarding(build_app(build_service(parts, settings, place)), RemoteDesk(line))
        around = Front(settings).around(authority.client_ca_pem, parts.clock)
        observed = Observing(app, self._meter, access_log=orders.access_log)
        self._server = server = HttpServer(
            observed,
            limits=HttpLimits().shared_by(orders.share),
            around=around,
            count=self._count,
            crowded=lambda: crowded(self._lines),
        )
        behind = len(self._listeners) - orders.plain
        for listener in self._listeners[:behind]:
            server.listen_shared(listener, trust.context)
        for listener in self._listeners[behind:]:
            await server.listen_shared_plain(listener)
        self._following = asyncio.ensure_future(trust.follow())

    def _count(self) -> None:
        self._tally.value += 1

    async def _adopt(self, published: Published) -> None:
        """The roots have changed; one that cannot follow ends, and another one takes its place."""
        if self._authority is not None and self._trust is not None:
            self._authority.adopt(published)
            self._trust.refresh()

    async def _alive(self) -> None:
        """The loop turns: that it answers is all that it says."""

    async def _figures(self) -> Told:
        """What this process has counted."""
        listening = {} if self._server is None else self._server.readings()
        return Told(self._meter.snapshot(), listening | line_readings(self._lines))

    def _parts(
        self, line: Line, orders: Orders, registry: WorkerRegistry, authority: RemoteAuthority
    ) -> Parts:
        late = LateRefusals(most=max(64, 1000 // orders.share))
        return Parts(
            registry=cast("GroupingRegistry", registry),  # of its sides those that devices' requests lead to
            reports=registry,
            authority=authority,
            nonces=RemoteNonces(line),
            sessions=cast("Sessions", RemoteSessions(line)),
            clock=SystemClock(),
            entropy=SystemEntropy(),
            prove_writable=registry.prove_writable,
            late=late,
            meter=self._meter,
            lines=self._lines,
            shared_token=orders.shared_token,
            share=orders.share,
            enroll_strangers=RemoteStrangers(line, "enroll", late.hold),
            renew_strangers=RemoteStrangers(line, "renew", late.hold),
        )

    async def _end(self, grace: float) -> None:
        """Take nothing more in, finish what is under way."""
        if self._server is not None:
            await self._server.stop(grace)


def main(words: Sequence[str]) -> None:
    """Be a worker: the descriptors of its lines, of its tally, and of the listening sockets."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(
            number, signal.SIG_IGN
        )  # whoever sends them to everybody means the core, which says when
    line, claims, tally, *listeners = map(int, words)
    asyncio.run(_run((line, claims), tally, listeners))


async def _run(lines: tuple[int, int], tally: int, listeners: Sequence[int]) -> None:
    asyncio.get_running_loop().set_exception_handler(OutOfDescriptors())
    counted = Tally(tally)
    os.close(tally)
    worker = Worker([socket.socket(fileno=each) for each in listeners], counted)
    try:
        await worker.run(*(socket.socket(fileno=each) for each in lines))
    except (KeybornError, OSError, sqlite3.Error) as trouble:
        _log.error("a worker cannot begin: %s", trouble)
        os._exit(1)
    os._exit(0)  # the core is gone or has said so: nothing here is worth finishing


if __name__ == "__main__":
    main(sys.argv[1:])
