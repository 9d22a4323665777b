"""A service over real HTTPS in this process, on SQLite, with a clock to turn: for what takes weeks."""

import asyncio
import http.client
import ssl
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from keyborn.adapters.ca import (
    EmbeddedAuthority,
    ServiceIdentity,
    https_context,
    open_authority,
    service_names,
)
from keyborn.adapters.sql import SqliteRegistry
from keyborn.adapters.system import SystemEntropy
from keyborn.domain.names import NameScope, ThingName
from keyborn.domain.thing import ThingStatus
from keyborn.domain.token import encode_secret
from keyborn.http.app import Service, build_app
from keyborn.http.bodies import BrokerAddress
from keyborn.http.server import HttpServer
from keyborn.ports import Credential
from keyborn.service.authenticate import TokenAuthenticator
from keyborn.service.enroll import EnrollmentRequest, RegistrationAuthority
from keyborn.service.grace import GraceOffice
from keyborn.service.nonces import MemoryNonces
from keyborn.service.renew import RenewalAuthority, RenewalPorts
from keyborn.service.sealing import RandomSecrets
from keyborn.service.sweep import OverlapSweeper
from keyborn.service.things import Order, ThingOffice
from keyborn.service.tokens import TokenOffice, TokenWish
from support.csr_make import csr_for, make_key
from support.office import TurnedClock, folder
from support.server import Answer
from support.signing import NextKey, Signer

PATIENCE = 20.0
JOSE = "application/jose+json"
RENEW, CONFIRM = "/v1/renew", "/v1/renew/confirm"


@dataclass
class Sessions:
    """A broker that only notes whom it was to look at again."""

    reviewed: list[Collection[ThingName] | None] = field(default_factory=list)

    async def evict(self, name: ThingName, reason: str) -> int:
        """No session is open."""
        return 0

    async def review(self, names: Collection[ThingName] | None = None) -> None:
        """Note it."""
        self.reviewed.append(names)


@dataclass
class RenewalStage:
    """The service, and devices that ask it."""

    registry: SqliteRegistry
    clock: TurnedClock
    ca: EmbeddedAuthority
    registration: RegistrationAuthority
    sessions: Sessions
    url: str = ""
    public_url: str = ""
    """What codes tell, if that is not simply ``url``."""
    context: ssl.SSLContext | None = None

    # ── devices ───────────────────────────────────────────────────────────────────────────────────────

    async def device(self, name: str, key_type: str = "p256") -> Signer:
        """A device with its first certificate."""
        office = TokenOffice(
            tokens=self.registry,
            listing=self.registry,
            clock=self.clock,
            secrets=RandomSecrets(SystemEntropy()),
            trust=lambda: (self.url, self.ca.root_fingerprint()),
        )
        secret = encode_secret((await office.create(TokenWish(NameScope(name)))).code.secret)
        key = make_key(key_type)
        applicant = await self.registration.authenticate(Credential(secret, "127.0.0.1"))
        request = EnrollmentRequest(name, csr_for(key, name), "127.0.0.1")
        enrolled = await self.registration.enroll(applicant, request)
        return Signer(name, key, enrolled.certificate.id)

    async def nonce(self) -> str:
        """A fresh one."""
        return (await self.ask("GET", "/v1/nonce")).headers["replay-nonce"]

    async def send(self, path: str, body: bytes, media: str = JOSE) -> Answer:
        """POST a body as it is."""
        return await self.ask("POST", path, body, {"Content-Type": media})

    async def signed(self, path: str, signer: Signer, payload: object = None) -> Answer:
        """POST a request with a nonce of its own."""
        return await self.send(path, signer.body(self.url + path, await self.nonce(), payload))

    async def renew(self, signer: Signer, following: NextKey) -> Answer:
        """Ask for a successor."""
        return await self.signed(RENEW, signer, following.wish)

    async def renewed(self, signer: Signer) -> Signer:
        """A successor that must be given."""
        following = signer.next_key()
        answer = await self.renew(signer, following)
        assert answer.status == 201, answer.body
        return following.with_certificate(answer.json["certificateId"])

    async def confirm(self, signer: Signer) -> Answer:
        """Confirm."""
        return await self.signed(CONFIRM, signer)

    async def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own."""
        return await asyncio.to_thread(self._ask, method, path, body, headers or {})

    def _ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        address = self.url.removeprefix("https://")
        connection = http.client.HTTPSConnection(address, timeout=PATIENCE, context=self.context)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, told, answer.read())
        finally:
            connection.close()

    async def raw(self, request: bytes) -> bytes:
        """What is answered to bytes of one's own."""
        host, port = self.url.removeprefix("https://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), ssl=self.context)
        writer.write(request)
        try:
            return await asyncio.wait_for(reader.read(), PATIENCE)
        finally:
            writer.close()

    # ── the operator, the sweeper, and who looks ──────────────────────────────────────────────────────

    async def order(self, name: str, status: ThingStatus) -> None:
        """Suspend, activate, revoke, retire."""
        office = ThingOffice(
            fleet=self.registry,
            directory=self.registry,
            lifecycle=self.registry,
            sessions=self.sessions,
            clock=self.clock,
        )
        await office.carry_out(Order(name, status))

    @property
    def grace(self) -> GraceOffice:
        """Who grants grace."""
        return GraceOffice(fleet=self.registry, grace=self.registry, clock=self.clock)

    async def sweep(self) -> int:
        """Withdraw what was not confirmed in time."""
        sweeper = OverlapSweeper(successors=self.registry, clock=self.clock, sessions=self.sessions)
        return await sweeper.sweep()

    async def active(self, name: str) -> list[str]:
        """Ids of a thing's active certificates, oldest first."""
        held = await self.registry.certificates(ThingName(name))
        return [one.id for one in held if one.status == "active"]


@asynccontextmanager
async def renewal_stage(path: Path) -> AsyncIterator[RenewalStage]:
    """Serve for the duration of a test. TLS is of now; what the service decides is as its clock says."""
    private, clock, entropy = (
        folder(path),
        TurnedClock(datetime.now(UTC).replace(microsecond=0)),
        SystemEntropy(),
    )
    ca = open_authority(private / "ca", clock=clock, entropy=entropy)
    names = service_names(["127.0.0.1"])
    identity = ServiceIdentity(private / "ca", ca, names=names, clock=clock, entropy=entropy)
    identity.prepare()
    async with SqliteRegistry(private / "registry.db") as registry:
        stage = _stage(registry, clock, ca)
        server = HttpServer(build_app(_service(stage)))
        chain, key = identity.server_chain_path, identity.server_key_path
        host, port = await server.listen_tls("127.0.0.1", 0, https_context(chain, key, ca.client_ca_pem()))
        stage.url = f"https://{host}:{port}"
        stage.context = ssl.create_default_context(cadata=ca.roots_pem())
        try:
            yield stage
        finally:
            await server.stop(0.1)


def _stage(registry: SqliteRegistry, clock: TurnedClock, ca: EmbeddedAuthority) -> RenewalStage:
    registration = RegistrationAuthority(
        authenticator=TokenAuthenticator(registry),
        enrollments=registry,
        authority=ca,
        audit=registry,
        clock=clock,
        entropy=SystemEntropy(),
    )
    return RenewalStage(registry, clock, ca, registration, Sessions())


def _service(stage: RenewalStage) -> Service:
    registry = stage.registry
    renewal = RenewalAuthority(
        RenewalPorts(registry, registry, registry, registry, registry),
        authority=stage.ca,
        nonces=MemoryNonces(stage.clock, SystemEntropy()),
        clock=stage.clock,
        entropy=SystemEntropy(),
        sessions=stage.sessions,
    )
    broker = BrokerAddress("127.0.0.1", 8883, "certtest", stage.ca.roots_pem, stage.ca.chain_pem)

    async def _ready() -> None:
        return

    return Service(stage.registration, broker, _ready, renewal, lambda: stage.public_url or stage.url)
