"""A running service: everything meets here, and nowhere else.

One process holds a data folder: HTTP, certificate authority, registry writer and broker (docs/adr/0008). The
parts know one another through ports alone, so that workers can move to processes of their own.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from keyborn.adapters.broker.gateway import Gateway
from keyborn.adapters.broker.journal import Journal
from keyborn.adapters.broker.tls import AWS_ALPN, server_context
from keyborn.adapters.ca import (
    EmbeddedAuthority,
    FolderNotary,
    Material,
    ServiceIdentity,
    https_context,
    open_authority,
    service_names,
)
from keyborn.adapters.data_folder import DataFolder
from keyborn.adapters.outbound import HttpsOutbound
from keyborn.adapters.sql import SqliteRegistry
from keyborn.adapters.system import SystemClock, SystemEntropy
from keyborn.domain.access_policy.document import DEFAULT_POLICY
from keyborn.domain.errors import AddressUnavailable, InvalidSetting, KeybornError
from keyborn.domain.names import NameScope
from keyborn.http.admin import Office, build_admin
from keyborn.http.app import Service, build_app
from keyborn.http.bodies import BrokerAddress, MqttFallback, fingerprint_text
from keyborn.http.protocol import HttpLimits
from keyborn.http.remote import remote_routes
from keyborn.http.server import HttpServer, quiet_uvicorn
from keyborn.policies import device_policy
from keyborn.ports import Authenticator, Clock, Entropy, Sessions
from keyborn.service.admission import LateRefusals
from keyborn.service.approvals import ApprovalSweeper
from keyborn.service.audit import AuditOffice
from keyborn.service.authenticate import OpenEnrollment, TokenAuthenticator
from keyborn.service.enroll import RegistrationAuthority
from keyborn.service.lifetimes import GroupLifetimes
from keyborn.service.nonces import MemoryNonces
from keyborn.service.operators import OperatorDoor
from keyborn.service.readiness import Readiness
from keyborn.service.renew import RenewalAuthority, RenewalPorts
from keyborn.service.saga import StepListener, ignore
from keyborn.service.sealing import RandomSecrets
from keyborn.service.sweep import OverlapSweeper, Sweeper
from keyborn.service.tokens import TokenWish
from keyborn.settings import Address, ServerSettings
from keyborn.wiring.methods import Around, every_method
from keyborn.wiring.offices import (
    audit_ports,
    authority_rows,
    public_url,
    revocation_mirror,
    roots_ports,
)
from keyborn.wiring.roots import FolderRoots, Listening
from keyborn.wiring.use_cases import Grouping, Offices

OPEN_ENROLLMENT = TokenWish(NameScope("*"), uses=100, ttl=timedelta(hours=1))
SWEEP_EVERY = 60.0
_log = logging.getLogger("keyborn.serve")


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How this run differs from the settings file."""

    open_enrollment: bool = False
    passphrase: bytes | None = None
    on_step: StepListener = ignore


@dataclass(frozen=True, slots=True)
class Running:
    """What a started service tells: where it is, and whom to trust."""

    url: str
    fingerprint: Callable[[], bytes]
    """Of the root that enrolment codes pin, which a change of the root exchanges."""
    https: Address
    mqtt: Address
    mqtt_alpn: Address | None = None


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
        self._registry = SqliteRegistry(folder.registry)
        self._mirror = revocation_mirror(folder, settings)
        self._nonces = MemoryNonces(self._clock, self._entropy)
        self._late = LateRefusals()
        self._offices = Offices(
            self._registry,
            self._clock,
            RandomSecrets(self._entropy),
            settings.reserved_names,
            grace=self._registry,
            grouping=Grouping(self._registry, self._entropy),
            keys=self._registry,
            entropy=self._entropy,
        )
        self._door = OperatorDoor(self._registry, self._registry, self._clock)
        self._url = ""
        passphrase = self._options.passphrase
        self._notary = FolderNotary(folder.authority, self._entropy, passphrase=passphrase)
        ports = audit_ports(self._registry, self._notary, self._clock)
        self._audit = AuditOffice(ports, lambda: self._url)
        self._tasks: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def run(self) -> AsyncIterator[Running]:
        """Serve for as long as the context lasts; leaving it drains, and loses nothing.

        The caller holds the folder's lock. Raises leaves of OperatorError or InvalidSetting.
        """
        quiet_uvicorn()
        async with AsyncExitStack() as stack:
            await self._registry.open()
            stack.push_async_callback(self._registry.close)
            await self._mirror.open()
            await self._offices.policies(None).ship(
                DEFAULT_POLICY, device_policy(self._settings.topic_prefix)
            )
            authority = self._open_authority()
            await self._notary.prepare()
            stack.push_async_callback(self._vouch)  # when nothing decides any more
            identity = self._open_identity(authority)
            live = Listening(authority, identity)
            gateway, brokers = await self._start_broker(stack, authority, live)
            running = await self._start_http(stack, authority, live, gateway, brokers)
            stack.push_async_callback(self._end_tasks)
            self._spawn(identity.keep_fresh())
            self._spawn(self._sweep(gateway))
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
        path = live.certificate
        context = live.context(lambda: https_context(path, path, authority.client_ca_pem()))
        app = build_app(await self._service(authority, brokers, gateway))
        server = HttpServer(app)
        stack.push_async_callback(self._tell_calls)  # after the last of them
        stack.push_async_callback(server.stop)
        wanted = self._settings.https
        with _listening(wanted):
            host, port = await server.listen_tls(wanted.host, wanted.port, context)
        self._url = url = public_url(self._settings, Address(host, port))
        running = Running(url, authority.root_fingerprint, Address(host, port), brokers.plain, brokers.alpn)
        office = self._office(running, gateway, lambda: server.requests, live.adopt)
        if self._settings.remote_admin:  # only now is known what the office tells of the listener
            app.router.routes += remote_routes(office, self._door)
        control = HttpServer(build_admin(office), limits=HttpLimits(send=None))  # a watcher may pause
        stack.push_async_callback(control.stop, 0.5)
        await control.listen_unix(self._folder.bind_control())
        return running

    async def _service(self, authority: EmbeddedAuthority, brokers: _Brokers, sessions: Sessions) -> Service:
        around = Around(self._clock, self._nonces, HttpsOutbound())
        gate, conditions = every_method(self._registry, await self._tokens(), around)
        registration = RegistrationAuthority(
            authenticator=gate,
            enrollments=self._registry,
            authority=authority,
            audit=self._registry,
            clock=self._clock,
            entropy=self._entropy,
            profile=self._settings.profile,
            reserved_names=self._settings.reserved_names,
            conditions=conditions,
            slow=self._late,
            on_step=self._options.on_step,
        )
        broker = BrokerAddress(
            endpoint=self._settings.public_host(brokers.plain),
            port=brokers.plain.port,
            topic_prefix=self._settings.topic_prefix,
            roots_pem=authority.roots_pem,
            chain_pem=authority.chain_pem,
            fallback=_fallback(self._settings, brokers),
        )
        readiness = Readiness(self._registry.prove_writable, self._clock)
        renewal = self._renewal(authority, sessions)
        return Service(registration, broker, readiness.check, renewal, lambda: self._url, self._nonces)

    def _renewal(self, authority: EmbeddedAuthority, sessions: Sessions) -> RenewalAuthority:
        """Renewals have slots of their own: a crowd of newcomers keeps no device from renewing."""
        registry = self._registry
        return RenewalAuthority(
            RenewalPorts(registry, registry, registry, registry, registry),
            authority=authority,
            nonces=self._nonces,
            clock=self._clock,
            entropy=self._entropy,
            profile=self._settings.profile,
            sessions=sessions,
            lifetimes=GroupLifetimes(registry, registry),
            late=self._late,
            on_step=self._options.on_step,
        )

    async def _tokens(self) -> Authenticator:
        tokens = TokenAuthenticator(self._registry)
        if not self._options.open_enrollment:
            return tokens
        if not self._settings.https.is_loopback:
            raise InvalidSetting(setting="--open-enrollment", detail="it goes with a loopback address only")
        shared = await self._offices.tokens(lambda: ("", b"")).create(
            OPEN_ENROLLMENT, actor="open-enrollment"
        )
        _log.warning("open enrolment for an hour: anybody on this machine may enrol up to 100 things")
        return OpenEnrollment(self._registry, shared.token.id, tokens)

    def _office(
        self,
        running: Running,
        sessions: Sessions,
        requests: Callable[[], int],
        adopt: Callable[[Material], None],
    ) -> Office:
        folder, passphrase = self._folder, self._options.passphrase
        keeper = FolderRoots(folder, self._clock, self._entropy, passphrase=passphrase, adopt=adopt)
        office = self._offices.office(
            sessions,
            trust=lambda: (running.url, running.fingerprint()),
            authorities=lambda: authority_rows(folder),
            about=lambda: (
                about_row(running) | {"remoteAdmin": self._settings.remote_admin, "requests": requests()}
            ),
            roots=roots_ports(folder, self._registry, keeper, self._clock),
            audit=self._audit,
        )
        return replace(office, mirror=self._mirror)

    def _spawn(self, work: Awaitable[None]) -> None:
        self._tasks.append(asyncio.ensure_future(work))

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _vouch(self) -> None:
        """Sign where the audit trail ends; what keeps it from being signed is for the operator to see to."""
        try:
            await self._audit.vouch()
        except KeybornError as trouble:
            _log.error("the end of the audit trail is not signed: %s", trouble)

    async def _tell_calls(self) -> None:
        """The counts of operators' calls go into the trail before it is closed."""
        try:
            await self._door.book.tell()
        except KeybornError as trouble:
            _log.error("calls of operators could not be counted in the trail: %s", trouble)

    async def _sweep(self, sessions: Sessions) -> None:
        """Settle leftovers and sign the audit trail, now and every minute."""
        sweeper = Sweeper(leftovers=self._registry, clock=self._clock)
        overlap = OverlapSweeper(successors=self._registry, clock=self._clock, sessions=sessions)
        approvals = ApprovalSweeper(listing=self._registry, clock=self._clock)
        while True:
            try:
                if dropped := await sweeper.sweep():
                    _log.info("swept %d unfinished enrolments", dropped)
                if withdrawn := await overlap.sweep():
                    _log.warning("withdrew %d certificates that nobody confirmed in time", withdrawn)
                if forgotten := await approvals.sweep():
                    _log.info("forgot %d requests that had expired", forgotten)
                await self._door.book.tell(self._clock.now())
                await self._mirror.keep()  # what no operator waits for: keys that renewals have retired
            except KeybornError as trouble:
                _log.warning("the sweeper will try again: %s", trouble)
            await self._vouch()
            await asyncio.sleep(SWEEP_EVERY)


def _fallback(settings: ServerSettings, brokers: _Brokers) -> MqttFallback | None:
    """The second port, as devices are told; nothing for one that the endpoint's name does not lead to."""
    plain, second = brokers.plain, brokers.alpn
    if second is None or settings.public_host(second) != settings.public_host(plain):
        return None
    return MqttFallback(second.port, AWS_ALPN)


def about_row(running: Running) -> dict[str, Any]:
    """What a running service says of itself."""
    return {
        "url": running.url,
        "fingerprint": fingerprint_text(running.fingerprint()),
        "https": str(running.https),
        "mqtt": str(running.mqtt),
        "mqttAlpn": str(running.mqtt_alpn) if running.mqtt_alpn is not None else None,
    }


@contextlib.contextmanager
def _listening(address: Address) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        detail = (error.strerror or str(error)).rpartition(": ")[2]  # asyncio tells the address once more
        raise AddressUnavailable(address=address, detail=detail) from None
