"""The world around a device on its journey: service, broker, and a network that loses what can be lost.

The service is the product's own, over a registry in memory; only HTTP and MQTT are left out.
"""

import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from keyborn.adapters.ca import EmbeddedAuthority
from keyborn.adapters.memory import MemoryRegistry
from keyborn.device.answer import Broker, Enrolled
from keyborn.device.home import Home
from keyborn.device.identity import Identity
from keyborn.device.keystore import FileKeyStore, KeyFacts
from keyborn.device.renewal import Successor, accept
from keyborn.device.roots import Change, weigh
from keyborn.device.signed import signed_request
from keyborn.domain.audit import AuditEvent
from keyborn.domain.certificate import Certificate, CertificateStatus
from keyborn.domain.errors import (
    BadNonce,
    BrokerUnreachable,
    KeybornError,
    Queued,
    RenewalRefused,
    ServiceUnreachable,
    SessionLost,
    SessionRefused,
    Throttled,
    Unavailable,
)
from keyborn.domain.names import NameScope, ThingName
from keyborn.domain.profile import CertificateProfile
from keyborn.domain.thing import ThingStatus
from keyborn.domain.token import encode_secret
from keyborn.ports import Clock, Credential
from keyborn.service.authenticate import TokenAuthenticator
from keyborn.service.enroll import EnrollmentRequest, RegistrationAuthority
from keyborn.service.nonces import MemoryNonces
from keyborn.service.renew import RenewalAuthority, RenewalPorts, SignedCaller
from keyborn.service.sealing import RandomSecrets
from keyborn.service.sweep import OverlapSweeper, Sweeper
from keyborn.service.tokens import TokenOffice, TokenWish
from keyborn.testing import Crash, SteppedLoop, World, run

T = TypeVar("T")
URL = "https://cloud.example"
THING = ThingName("gateway-1")
SOURCE = "192.0.2.1"
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Weather:
    """How likely each misfortune is, at each turn."""

    lost_request: float = 0.0
    lost_answer: float = 0.0
    no_broker: float = 0.0
    hang_up: float = 0.0
    """The broker closes without a reason, though the certificate is good."""
    dropped: float = 0.0
    """A session ends before its time."""
    power_cut: float = 0.0
    full_disk: float = 0.0
    outage: float = 0.0
    """The service, not the broker, is away for a while."""
    suspended: float = 0.0
    """An operator suspends the thing for a while; looked at every hour."""


OUTAGES = (HOUR, 24 * HOUR, 9 * 24 * HOUR)
SUSPENSIONS = (HOUR, 30 * HOUR)


class Cloud:
    """Service, registry and broker; a crash ends the process, and the next knows what the registry holds."""

    def __init__(
        self, world: World, ca: EmbeddedAuthority, profile: CertificateProfile, weather: Weather
    ) -> None:
        self.world = world
        self.weather = weather
        self.activated_at = self.back_at = world.clock.now()
        self.ca = ca
        self.profile = profile
        self.registry = MemoryRegistry()
        self.loop = SteppedLoop(world.clock)
        self.swept = world.clock.now()
        self.secret = self.run(self._token())
        self.start()

    def start(self) -> None:
        """A new process of the service."""
        self.world.reboot()
        seen = self.world.renewing(self.registry)
        authority = self.world.authority(self.ca)
        clock, entropy = self.world.clock, self.world.entropy
        self.enrolling = RegistrationAuthority(
            authenticator=TokenAuthenticator(seen), enrollments=seen, authority=authority, audit=seen,
            clock=clock, entropy=entropy, profile=self.profile,
        )  # fmt: skip
        self.renewing = RenewalAuthority(
            RenewalPorts(seen, seen, seen, seen), authority=authority, clock=clock, entropy=entropy,
            nonces=MemoryNonces(clock, entropy), profile=self.profile,
        )  # fmt: skip

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The registry itself, which waits for nothing."""
        return run(work)

    def call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """One request, answered, refused or not: what the client on the device makes of each."""
        try:
            return self.loop.run_until_complete(work())
        except Crash:
            self.start()
            raise ServiceUnreachable(url=URL, detail="the connection broke") from None
        except (Unavailable, Throttled, Queued, BadNonce) as passing:
            raise ServiceUnreachable(url=URL, detail=passing.code) from None
        except KeybornError as refusal:
            raise RenewalRefused(status=403, detail=str(refusal), code=refusal.code) from None

    async def enroll(self, csr: str) -> Certificate:
        applicant = await self.enrolling.authenticate(Credential(self.secret, SOURCE))
        return (await self.enrolling.enroll(applicant, EnrollmentRequest(THING, csr, SOURCE))).certificate

    async def renew(self, body: bytes) -> Certificate:
        caller = await self._caller(body, "/v1/renew")
        return (await self.renewing.renew(caller, json.loads(caller.payload)["csr"])).certificate

    async def confirm(self, body: bytes) -> Certificate:
        return await self.renewing.confirm(await self._caller(body, "/v1/renew/confirm"))

    async def _caller(self, body: bytes, path: str) -> SignedCaller:
        return await self.renewing.authenticate(body, [URL + path], SOURCE)

    def answer(self, certificate: Certificate) -> Enrolled:
        """As the wire would bring it."""
        leaf = x509.load_der_x509_certificate(certificate.der).public_bytes(Encoding.PEM).decode()
        broker = Broker("broker.example", 8883, None, "mqtts", THING, f"certtest/{THING}")
        return Enrolled(THING, certificate.id, leaf, self.ca.chain_pem(), self.ca.roots_pem(), broker)

    def active(self) -> list[str]:
        """The thing's active certificates, oldest first."""
        held = self.run(self.registry.certificates(THING))
        found = [each for each in held if each.status is CertificateStatus.ACTIVE]
        return [each.id for each in sorted(found, key=lambda each: each.not_before)]

    def live(self, certificate: str) -> bool:
        """Whether a broker takes it now."""
        known = self.run(self.registry.certificate(certificate))  # type: ignore[arg-type] # ids are strings
        return known is not None and known.live(self.world.clock.now())

    def pass_time(self, seconds: float) -> None:
        """Time goes by, and sweepers and operators with it."""
        self.world.clock.advance(timedelta(seconds=seconds))
        if self.world.clock.now() - self.swept >= HOUR:
            self.swept = self.world.clock.now()
            self.run(Sweeper(leftovers=self.registry, clock=self.world.clock).sweep())
            self.run(OverlapSweeper(successors=self.registry, clock=self.world.clock).sweep())
            self._suspend()

    @property
    def suspended(self) -> bool:
        thing = self.run(self.registry.thing(THING))
        return thing is not None and thing.status is ThingStatus.SUSPENDED

    def chance(self, likely: float) -> bool:
        return likely > 0 and self.world.random.random() < likely

    def _suspend(self) -> None:
        """An operator suspends the thing now and then, and thinks better of it."""
        thing, now = self.run(self.registry.thing(THING)), self.world.clock.now()
        if thing is None:
            return
        event = AuditEvent(now, "thing.status", "done", THING, "operator")
        if thing.status is ThingStatus.SUSPENDED and now >= self.activated_at:
            self.run(self.registry.set_status(THING, ThingStatus.ACTIVE, event))
        elif thing.status is ThingStatus.ACTIVE and self.chance(self.weather.suspended):
            self.activated_at = now + self.world.random.choice(SUSPENSIONS)
            self.run(self.registry.set_status(THING, ThingStatus.SUSPENDED, event))

    def is_away(self) -> bool:
        """Whether nobody answers at the service's address."""
        if self.chance(self.weather.outage):
            self.back_at = self.world.clock.now() + self.world.random.choice(OUTAGES)
        return self.world.clock.now() < self.back_at

    def grant_grace(self) -> None:
        """What an operator does for a device that was away for too long."""
        now = self.world.clock.now()
        event = AuditEvent(now, "thing.grace", "done", THING, "operator")
        self.run(self.registry.set_grace(THING, now + timedelta(days=7), event))

    def close(self) -> None:
        self.loop.close()

    async def _token(self) -> str:
        office = TokenOffice(
            tokens=self.registry, listing=self.registry, clock=self.world.clock,
            secrets=RandomSecrets(self.world.entropy), trust=lambda: (URL, b""),
        )  # fmt: skip
        fresh = await office.create(TokenWish(NameScope(THING), 1, timedelta(days=300)))
        return encode_secret(fresh.code.secret)


class Network:
    """Between device and cloud: every request and every answer may be lost on its way."""

    def __init__(self, cloud: Cloud, weather: Weather, cut: Callable[[str], None]) -> None:
        """``cut`` may end the device's power."""
        self.cloud = cloud
        self.weather = weather
        self._cut = cut

    def chance(self, likely: float) -> bool:
        return self.cloud.chance(likely)

    def travel(self, act: Callable[[], T]) -> T:
        """There and back."""
        if self.cloud.is_away():
            raise ServiceUnreachable(url=URL, detail="it is away")
        if self.chance(self.weather.lost_request):
            raise ServiceUnreachable(url=URL, detail="the request was lost")
        outcome = act()
        self._cut("answer under way")
        if self.chance(self.weather.lost_answer):
            raise ServiceUnreachable(url=URL, detail="the answer was lost")
        return outcome


@dataclass(frozen=True)
class DistantService:
    """The client's side of a renewal, as ``RenewalClient`` is it, without sockets."""

    home: Home
    network: Network
    clock: Clock

    def service_time(self, own: Identity) -> datetime | None:
        return self.network.travel(self.network.cloud.world.clock.now)

    def new_roots(self, own: Identity, moment: datetime) -> Change | None:
        """Its roots never change."""
        bundle = self.network.cloud.ca.roots_pem().encode()
        return weigh(bundle, self.home.roots.read_text(), moment, url=URL)

    def tell_roots(self, own: Identity) -> None:
        """Nobody asks here."""

    def renew(self, own: Identity, csr_pem: str, key: KeyFacts) -> Successor:
        cloud = self.network.cloud
        body = self._signed(own, "/v1/renew", json.dumps({"csr": csr_pem}).encode())
        certificate = self.network.travel(lambda: cloud.call(lambda: cloud.renew(body)))
        return accept(cloud.answer(certificate), own, key, self.home.roots.read_text(), self.clock.now())

    def confirm(self, own: Identity) -> None:
        cloud = self.network.cloud
        body = self._signed(own, "/v1/renew/confirm", b"{}")
        self.network.travel(lambda: cloud.call(lambda: cloud.confirm(body)))

    def _signed(self, own: Identity, path: str, payload: bytes) -> bytes:
        nonce = self.network.travel(lambda: self.network.cloud.call(self.network.cloud.renewing.nonce))
        return signed_request(
            FileKeyStore(self.home.key), certificate_id=own.certificate_id, url=URL + path, nonce=nonce,
            payload=payload,
        )  # fmt: skip


class DistantBroker:
    """The line to a broker that knows the registry, and looks at it while a session lasts."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.session: str | None = None

    def connect(self, home: Home, own: Identity) -> None:
        assert self.session is None, "two sessions of one device"
        cloud, weather = self.network.cloud, self.network.weather
        if self.network.chance(weather.no_broker):
            raise BrokerUnreachable(broker="b", detail="no way")
        if self.network.chance(weather.hang_up) or not cloud.live(own.certificate_id):
            raise SessionRefused(broker="b", detail="closed", thing=THING)
        at = cloud.world.clock.now()
        cloud.run(cloud.registry.connected(own.certificate_id, at))  # type: ignore[arg-type] # as above
        self.session = own.certificate_id

    def serve(self, seconds: float) -> None:
        assert self.session is not None
        dropped = self.network.chance(self.network.weather.dropped)
        self.network.cloud.pass_time(
            seconds * self.network.cloud.world.random.random() if dropped else seconds
        )
        if dropped or not self.network.cloud.live(self.session):
            raise SessionLost(broker="b", detail="it closed")

    def close(self) -> None:
        self.session = None
