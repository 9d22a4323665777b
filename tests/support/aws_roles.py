"""The template's two roles as the stand-in checks them: one action taken away, and given back.

``Backroom`` is the same code in this process, on the same stack, with whosever rights it is given: where a
test must stop it half way or needs another time of day.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from keyborn.adapters.aws.authority import IotAuthority
from keyborn.adapters.aws.iot import Iot
from keyborn.adapters.aws.registry import AwsRegistry
from keyborn.adapters.aws.table import DynamoRegistry
from keyborn.adapters.system import SystemEntropy
from keyborn.domain.names import ThingName
from keyborn.domain.token import encode_secret
from keyborn.ports import Credential
from keyborn.service.enroll import Enrollment, EnrollmentRequest, RegistrationAuthority
from keyborn.service.saga import SagaStep, ignore
from keyborn.service.sealing import SealedAuthenticator
from keyborn.wiring.aws import StackSettings, read_stack
from support.aws_party import STAND_IN, Party, stand_in_grants
from support.aws_saga import ShiftedClock
from support.ministack import Ministack
from support.registry_cases import event
from support.seals import KEY, sealed_token
from support.stack import policies_of

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Role:
    """One role of a stack, and what the template gave it."""

    aws: Ministack
    name: str
    shipped: Mapping[str, Document]

    @property
    def actions(self) -> list[str]:
        """Every action it may call, each once."""
        documents = self.shipped.values()
        return sorted({one for each in documents for part in each["Statement"] for one in _listed(part)})

    @contextmanager
    def without(self, action: str) -> Iterator[None]:
        """The role without one of its actions, here and among what the stand-in needs beside."""
        try:
            self._put({name: _less(one, action) for name, one in self.shipped.items()}, {action})
            yield
        finally:
            self._put(self.shipped, set())

    def _put(self, documents: Mapping[str, Document], missing: set[str]) -> None:
        iam = self.aws.root("iam")
        for name, one in documents.items():
            iam.put_role_policy(RoleName=self.name, PolicyName=name, PolicyDocument=json.dumps(one))
        stand_in_grants(self.aws, self.name, missing)

    def clients(self) -> "Clients":
        """Clients with the role's rights."""
        arn = self.aws.root("iam").get_role(RoleName=self.name)["Role"]["Arn"]
        lent = self.aws.root("sts").assume_role(RoleArn=arn, RoleSessionName="backroom")["Credentials"]
        return Clients(self.aws, (lent["AccessKeyId"], lent["SecretAccessKey"], lent["SessionToken"]))


def role_of(aws: Ministack, name: str) -> Role:
    """The role as it is deployed."""
    return Role(aws, name, {key: one for key, one in policies_of(aws, name).items() if key != STAND_IN})


def _listed(statement: Mapping[str, Any]) -> list[str]:
    action = statement["Action"]
    return [action] if isinstance(action, str) else list(action)


def _less(document: Document, action: str) -> Document:
    parts = [
        {**part, "Action": [one for one in _listed(part) if one != action]} for part in document["Statement"]
    ]
    return {**document, "Statement": [part for part in parts if part["Action"]]}


@dataclass(slots=True)
class Clients:
    """Clients of one caller, made when they are asked for; which calls it was denied."""

    aws: Ministack
    credentials: tuple[str, str, str] | None = None
    """Key, secret and session; root's if there are none."""
    denied: list[str] = field(default_factory=list)
    made: dict[str, Any] = field(default_factory=dict)

    def __call__(self, service: str) -> Any:  # noqa: ANN401 - botocore's clients have no types
        """The client of a service."""
        if service not in self.made:
            self.made[service] = self._make(service)
        return self.made[service]

    def _make(self, service: str) -> Any:  # noqa: ANN401 - as above
        key, secret, session = self.credentials or ("test", "test", None)
        client = self.aws.client(service, key=key, secret=secret, session=session)
        client.meta.events.register("after-call", self._look)
        return client

    def _look(self, parsed: Mapping[str, Any], model: Any, **_: object) -> None:  # noqa: ANN401 - as above
        code = parsed.get("Error", {}).get("Code", "")
        if code in _DENIALS:
            self.denied.append(f"{model.service_model.service_id}:{model.name}")


_DENIALS = frozenset({"AccessDeniedException", "ForbiddenException"})


class Died(BaseException):
    """The process ends here."""


@dataclass(slots=True)
class Backroom:
    """The service on a party's stack, in this process."""

    stack: StackSettings
    """What the template tells the enrolment function."""
    clients: Clients
    clock: ShiftedClock = field(default_factory=ShiftedClock)

    def lent_to(self, role: Role) -> "Backroom":
        """The same with a role's rights."""
        return Backroom(self.stack, role.clients(), self.clock)

    @asynccontextmanager
    async def registry(self) -> AsyncIterator[AwsRegistry]:
        """The registry with its effects in AWS IoT."""
        stack = self.stack
        iot = Iot(self.clients("iot"), stack.account)
        async with AwsRegistry(self.clients("dynamodb"), stack.table, iot) as opened:
            yield opened

    @asynccontextmanager
    async def table(self) -> AsyncIterator[DynamoRegistry]:
        """The registry alone: what it decides, AWS IoT is not told."""
        async with DynamoRegistry(self.clients("dynamodb"), self.stack.table, own_dates=True) as opened:
            yield opened

    async def enroll(
        self,
        secret: bytes,
        name: str,
        csr: str,
        *,
        at: SagaStep | None = None,
        then: Callable[[], None] | None = None,
    ) -> Enrollment:
        """A device's request; at a step ``then`` is called, or the process dies."""

        def _step(step: SagaStep) -> None:
            if step is at:
                (then or _die)()

        async with self.registry() as registry:
            authority = RegistrationAuthority(
                authenticator=SealedAuthenticator(registry, registry),
                enrollments=registry,
                authority=IotAuthority(Iot(self.clients("iot"), self.stack.account), registry, roots_pem="r"),
                audit=registry,
                clock=self.clock,
                entropy=SystemEntropy(),
                on_step=_step if at else ignore,
            )
            applicant = await authority.authenticate(Credential(encode_secret(secret), "192.0.2.1"))
            return await authority.enroll(applicant, EnrollmentRequest(ThingName(name), csr, "192.0.2.1"))

    async def token(self, seed: str, **more: Any) -> bytes:  # noqa: ANN401 - of sealed_token
        """Keep a token; its secret."""
        async with self.table() as registry:
            key = await registry.make_seal_key(KEY)
            token, secret = sealed_token(seed, key=key, now=self.clock.now(), **more)
            await registry.add(token, event("token.create", "", self.clock.now()))
        return secret


def backroom(party: Party) -> Backroom:
    """With root's rights."""
    functions = party.aws.root("lambda")
    found = functions.get_function_configuration(FunctionName=party.outputs["EnrollFunction"])
    return Backroom(read_stack(found["Environment"]["Variables"]), Clients(party.aws))


def _die() -> None:
    raise Died


def run_aside(work: Callable[[], Any]) -> None:
    """Run a coroutine function to its end in another thread, while the caller's own loop stands still."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(work())).result(30)
