"""A running service: everything meets here, and nowhere else.

One process, the core, holds a data folder: certificate authority, registry writer and broker. HTTPS is
answered by workers beside it, or by the core itself (docs/adr/0028): they know one another by ports alone.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

from keyborn.adapters.broker.gateway import Gateway
from keyborn.adapters.broker.journal import Journal
from keyborn.adapters.broker.tls import server_context
from keyborn.adapters.ca import (
    EmbeddedAuthority,
    FolderNotary,
    ServiceIdentity,
    https_context,
    open_authority,
    service_names,
)
from keyborn.adapters.data_folder import DataFolder
from keyborn.adapters.sql import SqliteRegistry
from keyborn.adapters.system import SystemClock, SystemEntropy
from keyborn.adapters.workers.calls import Orders
from keyborn.domain.access_policy.document import DEFAULT_POLICY
from keyborn.domain.errors import InvalidSetting
from keyborn.domain.names import NameScope
from keyborn.domain.token import TokenId
from keyborn.http.admin import Office, build_admin
from keyborn.http.app import build_app
from keyborn.http.bodies import fingerprint_text
from keyborn.http.dispatch import Dispatch
from keyborn.http.observing import Observing
from keyborn.http.protocol import HttpLimits
from keyborn.http.remote import remote_routes
from keyborn.http.server import Around, HttpServer
from keyborn.policies import device_policy
from keyborn.ports import Clock, Entropy, Sessions
from keyborn.service.admission import LateRefusals
from keyborn.service.audit import AuditOffice
from keyborn.service.meter import Meter
from keyborn.service.nonces import MemoryNonces
from keyborn.service.operators import OperatorDoor
from keyborn.service.saga import StepListener, ignore
from keyborn.service.sealing import RandomSecrets
from keyborn.service.tokens import TokenWish
from keyborn.service.watching import Watching
from keyborn.settings import Address, ServerSettings, write_settings
from keyborn.wiring.crew import Alone, Crew, Listener, core_of, published
from keyborn.wiring.front import Parts, Place, build_service, crowded, new_lines
from keyborn.wiring.listening import listening as _listening
from keyborn.wiring.offices import audit_ports, authority_rows, public_url, revocation_mirror, roots_ports
from keyborn.wiring.plain import Front
from keyborn.wiring.roots import FolderRoots, Listening
from keyborn.wiring.signing import SigningInPlace
from keyborn.wiring.upkeep import Chores, Upkeep
from keyborn.wiring.use_cases import Grouping, Offices, Retention
from keyborn.wiring.watching import Here, new_meter, scraped, watch

OPEN_ENROLLMENT = TokenWish(NameScope("*"), uses=100, ttl=timedelta(hours=1))
_log = logging.getLogger("keyborn.serve")


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How this run differs from the settings file."""

    open_enrollment: bool = False
    passphrase: bytes | None = None
    on_step: StepListener = ignore
    """Hears nothing of what workers do."""
    workers: int = 0
    """Processes that answer HTTPS; 0: this one does."""
    meter: Meter | None = None
    """Where this process counts; None: one of its own."""
    access_log: bool = False
    """Whether each request on the HTTPS listener is a line of the log."""
    log_format: str = "text"
    """How workers write theirs."""


@dataclass(frozen=True, slots=True)
class Running:
    """What a started service tells: where it is, and whom to trust."""

    url: str
    fingerprint: Callable[[], bytes]
    """Of the root that enrolment codes pin, which a change of the root exchanges."""
    https: Address
    mqtt: Address
    mqtt_alpn: Address | None = None
    plain_http: str = ""
    """Where proxies are answered, as settings write it; empty where they are not."""
    metrics: Address | None = None


@dataclass(frozen=True, slots=True)
class _Brokers:
    """Where the broker listens."""

    plain: Address
    alpn: Address | None = None


class LocalService:
    """Registration authority, certificate authority, registry and broker of one data folder."""

    def __init__(
        self, folder: DataFolder, settings: ServerSettings, options: ServeOptions | None = None
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._options = options or ServeOptions()
        self._clock: Clock = SystemClock()
        self._entropy: Entropy = SystemEntropy()
        self._signing = SigningInPlace()
        self._registry = SqliteRegistry(
            folder.registry, signer=self._signing, on_grant=self._signing.telling(self._options.on_step)
        )
        self._mirror = revocation_mirror(folder, settings)
        self._nonces = MemoryNonces(self._clock, self._entropy)
        self._late = LateRefusals()
        self._meter, self._lines = self._options.meter or new_meter(), new_lines()
        self._offices = Offices(
            self._registry,
            self._clock,
            RandomSecrets(self._entropy),
            settings.reserved_names,
            grace=self._registry,
            grouping=Grouping(self._registry, self._entropy),
            keys=self._registry,
            entropy=self._entropy,
            retention=Retention(self._registry, settings.retention_days),
        )
        self._door = OperatorDoor(self._registry, self._registry, self._clock)
        self._url = ""
        self._front = Front(settings)
        passphrase = self._options.passphrase
        self._notary = FolderNotary(folder.authority, self._entropy, passphrase=passphrase)
        ports = audit_ports(self._registry, self._notary, self._clock)
        self._audit = AuditOffice(ports, lambda: self._url)
        chores = Chores(self._audit, self._door, self._mirror, self._offices.pruning())
        self._upkeep = Upkeep(self._registry, self._clock, chores, is_forgetful=settings.retention_days > 0)
        self._tasks: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def run(self) -> AsyncIterator[Running]:
        """Serve for as long as the context lasts; leaving it drains, and loses nothing.

        The caller holds the folder's lock. Raises leaves of OperatorError or InvalidSetting.
        """
        async with AsyncExitStack() as stack:
            await self._registry.open()
            stack.push_async_callback(self._registry.close)
            await self._mirror.open()
            await self._offices.policies(None).ship(
                DEFAULT_POLICY, device_policy(self._settings.topic_prefix)
            )
            authority = self._signing.authority = self._open_authority()
            await self._notary.prepare()
            stack.push_async_callback(self._upkeep.vouch)  # when nothing decides any more
            identity = self._open_identity(authority)
            live = Listening(authority, identity)
            gateway, brokers = await self._start_broker(stack, authority, live)
            running = await self._start_http(stack, authority, live, gateway, brokers)
            stack.push_async_callback(self._end_tasks)
            self._spawn(identity.keep_fresh())
            self._spawn(self._upkeep.sweep(gateway))
            self._spawn(self._upkeep.forget())
            yield running

    def _open_authority(self) -> EmbeddedAuthority:
        passphrase = self._options.passphrase
        return open_authority(
            self._folder.authority, clock=self._clock, entropy=self._entropy, passphrase=passphrase
        )

    def _open_identity(self, authority: EmbeddedAuthority) -> ServiceIdentity:
        names = service_names([*self._settings.names, self._settings.https.host, self._settings.mqtt.host])
        identity = ServiceIdentity(
            self._folder.authority, authority, names=names, clock=self._clock, entropy=self._entropy
        )
        identity.prepare()
        return identity

    async def _start_broker(
        self, stack: AsyncExitStack, authority: EmbeddedAuthority, live: Listening
    ) -> tuple[Gateway, _Brokers]:
        path = live.certificate
        context = live.context(lambda: server_context(path, path, authority.client_ca_pem()))
        journal = await Journal.open(self._folder.broker)
        stack.push_async_callback(journal.close)
        gateway = Gateway(
            directory=self._registry, clock=self._clock, journal=journal, records=self._registry
        )
        stack.push_async_callback(gateway.stop, 2.0)
        wanted, second = self._settings.mqtt, self._settings.mqtt_alpn
        with _listening(wanted):
            plain = Address(*await gateway.start(wanted.host, wanted.port, context))
        if second is None:
            return gateway, _Brokers(plain)
        with _listening(second):
            alpn = Address(*await gateway.start(second.host, second.port, context, require_alpn=True))
        return gateway, _Brokers(plain, alpn)

    async def _start_http(
        self,
        stack: AsyncExitStack,
        authority: EmbeddedAuthority,
        live: Listening,
        gateway: Gateway,
        brokers: _Brokers,
    ) -> Running:
        place = Place(lambda: self._url, self._endpoint(brokers.plain), _fallback(self._settings, brokers))
        parts = await self._parts(authority, gateway)
        app = build_app(build_service(parts, self._settings, place))
        stack.push_async_callback(self._upkeep.tell_calls)  # after the last of them
        around = self._around(authority)
        front = await self._listen(stack, app, live, around)
        self._url = url = public_url(self._settings, front.address)
        here = Here(self._meter, self._lines, [*front.readers, gateway.readings])
        watching = watch(here, self._registry, self._clock, front.told)
        metrics = await scraped(stack, watching, self._settings.metrics)
        running = Running(
            url, authority.root_fingerprint, front.address, brokers.plain, brokers.alpn, front.plain, metrics
        )
        office = self._office(running, gateway, front, watching)
        if self._settings.remote_admin:  # only now is known what the office tells of the listener
            app.add(remote_routes(office, self._door))
        if isinstance(front, Crew):
            orders = partial(self._orders, place, parts, front)
            await stack.enter_async_context(front.working(core_of(parts, self._registry, orders)))
        control = HttpServer(build_admin(office), limits=HttpLimits(send=None))  # a watcher may pause
        stack.push_async_callback(control.stop, 0.5)
        await control.listen_unix(self._folder.bind_control())
        return running

    def _around(self, authority: EmbeddedAuthority) -> Around:
        """What each request passes first: proxies are settled, then it is counted."""
        front = self._front.around(authority.client_ca_pem, self._clock)
        meter, access_log = self._meter, self._options.access_log
        return lambda app: front(Observing(app, meter, access_log=access_log))

    async def _listen(
        self, stack: AsyncExitStack, app: Dispatch, live: Listening, around: Around
    ) -> "Crew | Alone":
        """Bind the addresses; with workers nobody answers there before they do."""
        wanted, path = self._settings.https, live.certificate
        if self._options.workers:
            with _listening(wanted):
                listener = await Listener.bind(wanted.host, wanted.port)
            stack.callback(listener.close)
            plain = await self._front.bind(stack)
            return Crew(app, listener, live, self._options.workers, plain)
        server = HttpServer(app, around=around, crowded=lambda: crowded(self._lines))
        context = live.context(lambda: https_context(path, path, live.client_ca_pem()))
        stack.push_async_callback(server.stop)
        with _listening(wanted):
            bound = await server.listen_tls(wanted.host, wanted.port, context)
        return Alone(server, Address(*bound), live, await self._front.listen(stack, server))

    def _orders(self, place: Place, parts: Parts, crew: Crew) -> Orders:
        """What a worker that begins now is told."""
        assert isinstance(parts.authority, EmbeddedAuthority)
        return Orders(
            data=str(self._folder.path.absolute()),
            settings=write_settings(self._settings),
            url=self._url,
            broker=place.broker,
            fallback=place.fallback,
            published=published(parts.authority),
            share=self._options.workers,
            shared_token=parts.shared_token,
            verbose=_log.isEnabledFor(logging.INFO),
            log_format=self._options.log_format,
            access_log=self._options.access_log,
            plain=crew.plain_count,
        )

    def _endpoint(self, broker: Address) -> tuple[str, int]:
        return self._settings.public_host(broker), broker.port

    async def _parts(self, authority: EmbeddedAuthority, sessions: Sessions) -> Parts:
        return Parts(
            registry=self._registry,
            reports=self._registry,
            authority=authority,
            nonces=self._nonces,
            sessions=sessions,
            clock=self._clock,
            entropy=self._entropy,
            prove_writable=self._registry.prove_writable,
            late=self._late,
            meter=self._meter,
            lines=self._lines,
            shared_token=await self._shared_token(),
            on_step=self._options.on_step,
        )

    async def _shared_token(self) -> TokenId | None:
        if not self._options.open_enrollment:
            return None
        if not self._settings.https.is_loopback:
            raise InvalidSetting(setting="--open-enrollment", detail="it goes with a loopback address only")
        shared = await self._offices.tokens(lambda: ("", b"")).create(
            OPEN_ENROLLMENT, actor="open-enrollment"
        )
        _log.warning("open enrolment for an hour: anybody on this machine may enrol up to 100 things")
        return shared.token.id

    def _office(
        self, running: Running, sessions: Sessions, front: "Crew | Alone", watching: Watching
    ) -> Office:
        folder, passphrase = self._folder, self._options.passphrase
        keeper = FolderRoots(folder, self._clock, self._entropy, passphrase=passphrase, adopt=front.adopt)
        office = self._offices.office(
            sessions,
            trust=lambda: (running.url, running.fingerprint()),
            authorities=lambda: authority_rows(folder),
            about=lambda: (
                about_row(running)
                | {"remoteAdmin": self._settings.remote_admin, "workers": self._options.workers}
                | {"requests": front.requests}
            ),
            roots=roots_ports(folder, self._registry, keeper, self._clock),
            audit=self._audit,
            watching=watching,
        )
        return replace(office, mirror=self._mirror)

    def _spawn(self, work: Awaitable[None]) -> None:
        self._tasks.append(asyncio.ensure_future(work))

    async def _end_tasks(self) -> None:
        """A cancellation that something awaited swallows (a write that fails just then) is repeated."""
        ending: set[asyncio.Task[None]] = {task for task in self._tasks if not task.done()}
        while ending:
            for task in ending:
                task.cancel()
            _, ending = await asyncio.wait(ending, timeout=1.0)


def _fallback(settings: ServerSettings, brokers: _Brokers) -> int | None:
    """The second port, as devices are told; nothing for one that the endpoint's name does not lead to."""
    plain, second = brokers.plain, brokers.alpn
    if second is None or settings.public_host(second) != settings.public_host(plain):
        return None
    return second.port


def about_row(running: Running) -> dict[str, Any]:
    """What a running service says of itself."""
    return {
        "url": running.url,
        "fingerprint": fingerprint_text(running.fingerprint()),
        "https": str(running.https),
        "mqtt": str(running.mqtt),
        "mqttAlpn": str(running.mqtt_alpn) if running.mqtt_alpn is not None else None,
        "plainHttp": running.plain_http or None,
        "metrics": str(running.metrics) if running.metrics is not None else None,
    }
