"""The whole door of one backend in this process, every method behind it, and its operator.

On SQLite, in memory, and the function of AWS before its stand-in: requests go in as API Gateway hands them
over, so that all are asked the same way. What they need of the world is real: an issuer, a webhook, a
manufacturer.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from keyborn.adapters.aws.iot import Iot
from keyborn.adapters.aws.registry import AwsRegistry
from keyborn.adapters.aws.roots import amazon_roots
from keyborn.adapters.ca import open_authority
from keyborn.adapters.memory import MemoryRegistry
from keyborn.adapters.outbound import HttpsOutbound
from keyborn.adapters.sql import SqliteRegistry
from keyborn.adapters.system import SystemEntropy
from keyborn.domain.group import GroupDocument
from keyborn.domain.names import GroupName
from keyborn.domain.quota import Pacing
from keyborn.http.admin import Office
from keyborn.http.app import Service, build_app
from keyborn.http.bodies import BrokerAddress
from keyborn.http.lambda_handler import LambdaHandler
from keyborn.ports import GroupingRegistry, Searches
from keyborn.service.authenticate import TokenAuthenticator
from keyborn.service.enroll import RegistrationAuthority
from keyborn.service.nonces import MemoryNonces
from keyborn.service.renew import RenewalAuthority, RenewalPorts
from keyborn.service.sealing import RandomSecrets, SealedSecrets, Secrets
from keyborn.wiring.aws import StackSettings, build_enrollment
from keyborn.wiring.methods import Around, every_method
from keyborn.wiring.use_cases import Grouping, Offices
from support import ministack
from support.aws_function import stack_of_parts
from support.factory import Maker, manufacturer
from support.group_stage import write_toml
from support.issuer import AUDIENCE, Provider, provider
from support.lambda_events import Context, event
from support.office import TurnedClock
from support.registry_cases import event as told

URL = "https://ra.example"
TAKEN = ("refuse", "person", "replace")
WAYS = ("token", "group-key", "factory", "oidc", "registered", "ask")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Said:
    """What the door answered."""

    status: int
    body: str

    @property
    def json(self) -> dict[str, Any]:
        """The body, which has to be JSON."""
        decoded: dict[str, Any] = json.loads(self.body)
        return decoded

    @property
    def given(self) -> bool:
        """Whether a certificate came with it."""
        return self.status in {200, 201}

    @property
    def why(self) -> str:
        """The code of a refusal; else the status."""
        return str(self.json["code"]) if self.status >= 400 else str(self.status)


class Operated(GroupingRegistry, Searches, Protocol):
    """A registry that operators work on."""


@dataclass
class Ground:
    """One backend."""

    kind: str
    registry: Operated
    clock: TurnedClock
    secrets: Secrets
    issuer: Provider
    handlers: list[LambdaHandler]
    """Instances; everything here runs on the first one's loop."""
    maker: Maker = field(default_factory=manufacturer)
    _addresses: "count[int]" = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        grouping = Grouping(self.registry, SystemEntropy())
        offices = Offices(self.registry, self.clock, self.secrets, grouping=grouping)
        self.office: Office = offices.office(
            None, trust=lambda: (URL, bytes(32)), authorities=list, about=dict
        )

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the operator's work where the service does its own."""
        return self.handlers[0]._runner.run(work)

    def address(self) -> str:
        """Of a caller who was never seen: nobody is refused for what others tried."""
        number = next(self._addresses)
        return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"

    def event(self, path: str, body: bytes, media: str, bearer: str | None = None) -> dict[str, Any]:
        """A request as it arrives."""
        headers = {"content-type": media} | ({} if bearer is None else {"authorization": f"Bearer {bearer}"})
        asked = event("POST", path, body, headers=headers)
        asked["requestContext"]["http"]["sourceIp"] = self.address()
        return asked

    def post(
        self, path: str, body: bytes, media: str = "application/json", bearer: str | None = None
    ) -> Said:
        """Ask."""
        self.clock.turn(timedelta(seconds=1))  # budgets of credentials refill
        answer = self.handlers[0](self.event(path, body, media, bearer), Context())
        return Said(answer["statusCode"], answer["body"])

    def nonce(self) -> str:
        """A fresh one."""
        told = self.handlers[0](event("GET", "/v1/nonce"), Context())
        return str(json.loads(told["body"])["nonce"])

    # ── groups ────────────────────────────────────────────────────────────────────────────────────────

    def put_groups(self) -> None:
        """For each rule about taken names: every method, every method with a webhook, two methods."""
        for taken in TAKEN:
            self.put(f"line-{taken}", taken, WAYS)
            self.put(f"hook-{taken}", taken, [f"{way} + webhook" for way in WAYS])
            self.put(f"both-{taken}", taken, ["token + factory", "group-key + registered", "oidc + ask"])

    def put(self, name: str, taken: str, ways: Any, **more: Any) -> None:  # noqa: ANN401 - TOML
        """Keep a group's document."""
        roots = self.issuer.server.pki.root_pem
        table: dict[str, Any] = {"name": name, "things": "*", "methods": list(ways), "taken": taken, **more}
        said = " ".join(ways)
        if "factory" in said:
            table["factory"] = {"authorities": self.maker.pem, "name": "{common_name}"}
        if "oidc" in said:
            oidc = {"issuer": self.issuer.url, "audience": AUDIENCE, "name": "{sub}", "roots": roots}
            table["oidc"] = oidc
        if "webhook" in said:
            table["webhook"] = {"url": f"{self.issuer.url}/may", "roots": roots}
        if "ask" in said or taken == "person":
            table["ask"] = {"pending": 100_000}
        now = self.clock.now()
        document = GroupDocument(GroupName(name), write_toml(table), now, webhook_secret=bytes(range(32)))
        self.run(self.registry.put_group(document, told("group.put", name, now)))


@contextlib.contextmanager
def local_ground(folder: Path, kind: str) -> Iterator[Ground]:
    """Our own authority over ``memory`` or ``sqlite``, wired as ``keyborn serve`` does it."""
    clock = TurnedClock(datetime.now(UTC).replace(microsecond=0))
    registry = MemoryRegistry() if kind == "memory" else SqliteRegistry(folder / "registry.db")
    folder.chmod(0o700)
    app = build_app(_service(cast("Operated", registry), clock, folder))
    handler = LambdaHandler(app)
    with provider(folder) as issuer:
        secrets = RandomSecrets(SystemEntropy())
        ground = Ground(kind, cast("Operated", registry), clock, secrets, issuer, [handler])
        try:
            if isinstance(registry, SqliteRegistry):
                ground.run(registry.open())
            yield _ready(ground)
        finally:
            if isinstance(registry, SqliteRegistry):
                ground.run(registry.close())
            handler.close()


def _service(registry: GroupingRegistry, clock: TurnedClock, folder: Path) -> Service:
    entropy = SystemEntropy()
    ca, nonces = open_authority(folder / "ca", clock=clock, entropy=entropy), MemoryNonces(clock, entropy)
    around = Around(clock, nonces, HttpsOutbound())
    gate, conditions = every_method(registry, TokenAuthenticator(registry), around)
    authority = RegistrationAuthority(
        authenticator=gate,
        enrollments=registry,
        authority=ca,
        audit=registry,
        clock=clock,
        entropy=entropy,
        conditions=conditions,
    )
    ports = RenewalPorts(registry, registry, registry, registry)
    renewal = RenewalAuthority(ports, authority=ca, nonces=nonces, clock=clock, entropy=entropy)
    broker = BrokerAddress("localhost", 8883, "certtest", ca.roots_pem, ca.chain_pem)

    async def _well() -> None:
        await asyncio.sleep(0)

    return Service(authority, broker, _well, renewal, lambda: URL, nonces)


@contextlib.contextmanager
def aws_ground(folder: Path, *, instances: int = 1) -> Iterator[Ground]:
    """The enrolment function over DynamoDB and IoT of the stand-in."""
    clock = TurnedClock(datetime.now(UTC).replace(microsecond=0))
    stack: StackSettings = replace(stack_of_parts(URL), pacing=Pacing(10_000))
    client: Callable[[str], object] = ministack.shared().root
    handlers = [build_enrollment(stack, client, roots=amazon_roots(), clock=clock) for _ in range(instances)]
    registry = AwsRegistry(client("dynamodb"), stack.table, Iot(client("iot"), stack.account))
    with provider(folder) as issuer:
        secrets = SealedSecrets(registry, SystemEntropy())
        asyncio.run(secrets.key())  # as it is before the first group is put
        ground = Ground("aws", cast("Operated", registry), clock, secrets, issuer, handlers)
        try:
            yield _ready(ground)
        finally:
            for one in handlers:
                one.close()


def _ready(ground: Ground) -> Ground:
    allow = json.dumps({"allow": True}).encode()
    ground.issuer.server.script("/may", lambda exchange: exchange.send(200, allow))
    ground.put_groups()
    return ground
