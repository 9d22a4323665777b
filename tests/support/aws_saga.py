"""A whole service on the stand-in: table, IoT, a foreign certificate, processes that come and go."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from keyborn.adapters.aws.admission import DynamoLine
from keyborn.adapters.aws.authority import IotAuthority
from keyborn.adapters.aws.calls import Patience
from keyborn.adapters.aws.iot import Account, Iot
from keyborn.adapters.aws.nonces import TableNonces
from keyborn.adapters.aws.registry import (
    LEASE as LEASE,  # noqa: PLC0414 - for the tests
    AwsRegistry,
)
from keyborn.adapters.aws.revoker import Revoker
from keyborn.adapters.aws.settle import Settled, Settlement
from keyborn.adapters.aws.tempo import Tempo
from keyborn.adapters.system import SystemEntropy
from keyborn.domain.access_policy.document import DEFAULT_POLICY, AccessPolicy, PolicyName
from keyborn.domain.audit import AuditEvent
from keyborn.domain.certificate import Certificate
from keyborn.domain.group import Terms
from keyborn.domain.names import ThingName
from keyborn.domain.quota import Pacing
from keyborn.domain.token import encode_secret
from keyborn.ports import Credential
from keyborn.service.enroll import Enrollment, EnrollmentRequest, RegistrationAuthority
from keyborn.service.quota import Quota, QuotaGate
from keyborn.service.renew import RenewalAuthority, RenewalPorts
from keyborn.service.sealing import SealedAuthenticator
from keyborn.service.sweep import OverlapSweeper, Sweeper
from keyborn.service.things import ThingOffice
from support import ministack
from support.aws_faults import Faults
from support.csr_make import make_csr
from support.registry_cases import document, event
from support.seals import KEY, KeyAtHand, sealed_token
from support.signing import NextKey, Signer

ACCOUNT = Account(f"arn:aws:iot:{ministack.REGION}:000000000000", "keyborn-device", "kb-")
LAMP = ThingName("lamp-1")
SOURCE = "192.0.2.1"
RENEW_AT, CONFIRM_AT = "https://door.example/v1/renew", "https://door.example/v1/renew/confirm"
ROOMY = Pacing(1000.0)
IMPATIENT = Patience(whole=0.15, first=0.002, longest=0.01)


@dataclass(slots=True)
class ShiftedClock:
    """The machine's time, and what was skipped."""

    ahead: timedelta = timedelta(0)

    def now(self) -> datetime:
        """The time, aware, UTC, whole milliseconds."""
        now = datetime.now(UTC) + self.ahead
        return now.replace(microsecond=now.microsecond // 1000 * 1000)


@dataclass(frozen=True, slots=True)
class Process:
    """One process of the service: what it remembers goes with it."""

    registry: AwsRegistry
    authority: RegistrationAuthority
    iot: Iot
    secret: bytes
    """Of the stage's token."""
    renewal: RenewalAuthority

    async def renew(self, signer: Signer, following: NextKey) -> Enrollment:
        """What a device asks for, with the key that it has."""
        body = signer.body(RENEW_AT, await self.renewal.nonce())
        caller = await self.renewal.authenticate(body, [RENEW_AT], SOURCE)
        return await self.renewal.renew(caller, following.csr)

    async def confirm(self, signer: Signer) -> Certificate:
        """The same with its new key."""
        body = signer.body(CONFIRM_AT, await self.renewal.nonce())
        return await self.renewal.confirm(await self.renewal.authenticate(body, [CONFIRM_AT], SOURCE))

    async def enroll(
        self,
        csr: str,
        attributes: Mapping[str, str] | None = None,
        secret: bytes | None = None,
        name: str = LAMP,
        terms: Terms | None = None,
    ) -> Enrollment:
        """What a device asks for, with the stage's token; ``terms`` as a group's gate gives them."""
        applicant = await self.authority.authenticate(
            Credential(encode_secret(secret or self.secret), "192.0.2.1")
        )
        applicant = replace(applicant, terms=terms)
        request = EnrollmentRequest(name, csr, "192.0.2.1", attributes)
        return await self.authority.enroll(applicant, request)


@dataclass(slots=True)
class Stage:
    """An account with the service in it, as the template makes it, and a certificate of somebody else's."""

    stack: ministack.Ministack
    dynamodb: Faults
    iot: Faults
    line: Faults
    """The client of admission, which asks the table beside the others."""
    data: Any
    clock: ShiftedClock = field(default_factory=ShiftedClock)
    table: str = ""
    foreign: str = ""
    csr: str = ""
    secret: bytes = b""
    closed: list[str] = field(default_factory=list)
    """URLs of the connections that were to be deleted."""
    attached: list[str] = field(default_factory=list)
    """How certificates were to be attached to things: the stand-in does not keep that."""

    async def prepare(self) -> None:
        """Begin anew."""
        self.stack.reset()
        self.dynamodb.plan()
        self.iot.plan()
        self.line.plan()
        self.closed.clear()
        self.attached.clear()
        self.clock = ShiftedClock()
        self.table = ministack.new_table(self.dynamodb.client)
        self.iot.client.create_thing_type(thingTypeName=ACCOUNT.thing_type)
        alien = self.iot.client.create_certificate_from_csr(certificateSigningRequest=make_csr("alien")[1])
        self.foreign = alien["certificateId"]
        self.csr = make_csr(LAMP)[1]
        async with self.process() as one:
            await self.put(one, DEFAULT_POLICY)
            await one.registry.make_seal_key(KEY)
            self.secret = await self.token(one, "secret")

    @contextmanager
    def held(self, moment: str) -> Iterator[tuple[asyncio.Event, asyncio.Event]]:
        """The next call at a botocore hook (``after-call.iot.AttachPolicy``) waits: it came; it may go on."""
        came, go = asyncio.Event(), asyncio.Event()
        loop, events = asyncio.get_running_loop(), self.iot.client.meta.events
        first = threading.Lock()

        def hold(**_: object) -> None:
            if first.acquire(blocking=False):
                loop.call_soon_threadsafe(came.set)
                asyncio.run_coroutine_threadsafe(go.wait(), loop).result(30)

        events.register_first(moment, hold)
        try:
            yield came, go
        finally:
            go.set()
            events.unregister(moment, hold)

    async def put(self, one: Process, name: str, action: str = "*") -> AccessPolicy:
        """Keep a policy."""
        policy = AccessPolicy(PolicyName(name), document(action), self.clock.now(), 1, shipped=False)
        return await one.registry.put_policy(policy, self.event("policy.put"))

    async def token(self, one: Process, secret: str, **more: Any) -> bytes:  # noqa: ANN401 - of sealed_token
        """Keep a token; its secret."""
        token, shown = sealed_token(secret, now=self.clock.now(), **more)
        await one.registry.add(token, self.event("token.create"))
        return shown

    def event(self, action: str = "test") -> AuditEvent:
        """An event of this moment."""
        return event(action, LAMP, self.clock.now())

    @asynccontextmanager
    async def process(
        self, *, threads: int = 16, patience: Patience | None = None, quota: Quota | None = None
    ) -> AsyncIterator[Process]:
        """A process of the service; without a ``quota`` of its own it finds a spare slot each time."""
        quota = quota or QuotaGate(DynamoLine(self.line.client, self.table, ROOMY), ROOMY)
        iot = Iot(self.iot.client, ACCOUNT, patience=patience)
        opened = AwsRegistry(
            self.dynamodb.client, self.table, iot, lease=LEASE, patience=patience, threads=threads
        )
        async with opened as registry:
            door = SealedAuthenticator(KeyAtHand(), registry)
            authority = RegistrationAuthority(
                authenticator=door,
                enrollments=registry,
                authority=IotAuthority(iot, registry, roots_pem="roots"),
                audit=registry,
                clock=self.clock,
                entropy=SystemEntropy(),
                quota=quota,
                leases=registry,
                late=door,
            )
            yield Process(registry, authority, iot, self.secret, self._renewal(registry, iot, quota))

    def _renewal(self, registry: AwsRegistry, iot: Iot, quota: Quota) -> RenewalAuthority:
        return RenewalAuthority(
            RenewalPorts(registry, registry, registry, registry),
            authority=IotAuthority(iot, registry, roots_pem="roots"),
            nonces=TableNonces(registry, self.clock, SystemEntropy()),
            clock=self.clock,
            entropy=SystemEntropy(),
            quota=quota,
            leases=registry,
        )

    async def device(self) -> Signer:
        """The lamp with its first certificate."""
        key, csr = make_csr(LAMP)
        async with self.process() as one:
            enrolled = (await one.enroll(csr)).certificate
        return Signer(LAMP, key, enrolled.id)

    def things(self, one: Process) -> ThingOffice:
        """The operator's orders, with the connections they end."""
        registry = one.registry
        return ThingOffice(
            fleet=registry,
            directory=registry,
            lifecycle=registry,
            sessions=Revoker(self.data),
            clock=self.clock,
        )

    async def settle(self, after: timedelta = timedelta(0), *, patience: Patience | None = None) -> Settled:
        """The sweeper's run, some time later."""
        self.clock.ahead += after
        async with self.process(patience=patience) as one:
            settlement = Settlement(
                registry=one.registry,
                iot=one.iot,
                clock=self.clock,
                sweep=Sweeper(leftovers=one.registry, clock=self.clock).sweep,
                overlap=OverlapSweeper(successors=one.registry, clock=self.clock).sweep,
                sessions=Revoker(self.data),
                updates=Tempo(200.0),
                looks=Tempo(200.0),
            )
            return await settlement.settle()

    # ── what is there ─────────────────────────────────────────────────────────────────────────────────

    def certificates(self) -> dict[str, str]:
        """Every certificate of the account but the foreign one, with its status."""
        found = self.iot.client.list_certificates()["certificates"]
        return {one["certificateId"]: one["status"] for one in found if one["certificateId"] != self.foreign}

    def active(self) -> list[str]:
        """Those that are ACTIVE."""
        return [one for one, status in self.certificates().items() if status == "ACTIVE"]

    def policies(self, certificate: str) -> list[str]:
        """What a certificate has."""
        target = f"{ACCOUNT.prefix}:cert/{certificate}"
        return sorted(
            one["policyName"] for one in self.iot.client.list_attached_policies(target=target)["policies"]
        )

    def principals(self, name: str = LAMP) -> list[str]:
        """The certificates of a thing; [] if there is none."""
        found = self.iot.client.list_thing_principals(thingName=name)["principals"]
        return [one.rpartition("/")[2] for one in found]

    def thing_names(self) -> list[str]:
        """All things."""
        return [one["thingName"] for one in self.iot.client.list_things()["things"]]

    def statuses(self) -> set[str]:
        """Which there are among those of ours."""
        return set(self.certificates().values())

    def assert_foreign_untouched(self) -> None:
        """Somebody else's certificate is as it was."""
        found = self.iot.client.describe_certificate(certificateId=self.foreign)["certificateDescription"]
        assert found["status"] == "INACTIVE"

    def assert_enrolled(self, certificate: str) -> None:
        """The device has exactly this one, complete."""
        assert self.active() == [certificate]
        assert self.policies(certificate) == [f"kb-{DEFAULT_POLICY}"]
        assert self.thing_names() == [LAMP]
        assert [one for one in self.principals() if one in self.active()] == [certificate]
        assert set(self.attached) == {"EXCLUSIVE_THING"}
        self.assert_foreign_untouched()


def make_stage(stack: ministack.Ministack) -> Stage:
    """A stage with clients of its own; DeleteConnection, which the stand-in lacks, is answered here."""
    data = stack.client("iot-data")
    table, iot, line = (Faults(stack.client(name)) for name in ("dynamodb", "iot", "dynamodb"))
    stage = Stage(stack, table, iot, line, data)
    data.meta.events.register("before-send.iot-data.DeleteConnection", _answerer(stage.closed))

    def note(params: dict[str, Any], **_: object) -> None:
        stage.attached.append(params.get("thingPrincipalType", "none"))

    stage.iot.client.meta.events.register("provide-client-params.iot.AttachThingPrincipal", note)
    return stage


def _answerer(closed: list[str]) -> Callable[..., AWSResponse]:
    def answer(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        closed.append(request.url)
        return AWSResponse(request.url, 200, {}, NoBody())

    return answer


class NoBody:
    """An answer without a word."""

    def read(self, *_: int) -> bytes:
        """Nothing."""
        return b""

    def stream(self, *_: object, **__: object) -> list[bytes]:
        """Nothing."""
        return []
