"""A service whose groups ask first and know registered keys: real rules, gate, conditions and authority."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from keyborn.adapters.memory import MemoryRegistry
from keyborn.adapters.system import SystemEntropy
from keyborn.cli.console import call_office, decode, request_of
from keyborn.domain.approval import Approval, ApprovalState
from keyborn.domain.audit import AuditEvent, AuditRecord
from keyborn.domain.errors import AwaitsApproval
from keyborn.domain.group import GroupDocument
from keyborn.domain.method import Method
from keyborn.domain.names import GroupName
from keyborn.domain.token import encode_secret
from keyborn.http import problems
from keyborn.http.admin_approvals import approval_routes
from keyborn.http.admin_registered import registered_routes
from keyborn.http.app import Service, build_app
from keyborn.http.bodies import BrokerAddress
from keyborn.http.dispatch import Dispatch
from keyborn.ports import Asked, Credential
from keyborn.service.admission import FailureBudget
from keyborn.service.approvals import ApprovalOffice
from keyborn.service.authenticate import TokenAuthenticator
from keyborn.service.conditions import GroupConditions
from keyborn.service.enroll import Enrollment, RegistrationAuthority
from keyborn.service.gate import GroupGate, KeptRules
from keyborn.service.methods import ConditionMethod
from keyborn.service.methods.ask import AskMethod
from keyborn.service.methods.registered import RegisteredMethod
from keyborn.service.quota import Quota
from keyborn.service.registering import RegisteredOffice, RegisteredPorts
from keyborn.service.sealing import RandomSecrets
from keyborn.service.tokens import FreshToken, TokenOffice
from support.office import SOURCE, OfficeWorld

LINE = GroupName("line-7")
ASKING = 'name = "line-7"\nthings = "*"\nmethods = ["ask"]\n'
REGISTERING = 'name = "line-7"\nthings = "*"\nmethods = ["registered"]\n'


class WaitingWorld(OfficeWorld):
    """One group, put by ``put``; what a device does and what an operator does."""

    def __init__(self, folder: Path, *, budget: FailureBudget | None = None, looks: bool = True) -> None:
        """``budget`` of each address for new requests; ``looks``: the method knows who has the name."""
        self.kept = MemoryRegistry()
        super().__init__(folder, self.kept)
        self.failures = FailureBudget(burst=1000)
        fleet = self.kept if looks else None
        self.asking = AskMethod(self.kept, self.clock, fleet=fleet, budget=budget)
        rules = KeptRules(self.kept)
        known: dict[Method, ConditionMethod] = {
            Method.ASK: self.asking,
            Method.REGISTERED: RegisteredMethod(self.kept),
        }
        tokens = TokenAuthenticator(self.kept)
        self._gate = GroupGate(tokens=tokens, rules=rules, methods={}, clock=self.clock)
        self._conditions = GroupConditions(rules, known)
        self.queue(None)
        self.approvals = ApprovalOffice(approvals=self.kept, listing=self.kept, clock=self.clock)
        self.tokens = TokenOffice(
            tokens=self.kept,
            listing=self.kept,
            clock=self.clock,
            secrets=RandomSecrets(SystemEntropy()),
            trust=lambda: ("https://localhost:8443", self.ca.root_fingerprint()),
            groups=self.kept,
        )
        ports = RegisteredPorts(self.kept, self.kept, self.kept)
        self.registering = RegisteredOffice(ports, clock=self.clock, reserved=frozenset({"localhost"}))

    def queue(self, quota: Quota | None) -> None:
        """Have everybody come to its turn under a quota, or none."""
        self.authority = RegistrationAuthority(
            authenticator=self._gate,
            conditions=self._conditions,
            enrollments=self.kept,
            authority=self.ca,
            audit=self.kept,
            clock=self.clock,
            entropy=SystemEntropy(),
            failures=self.failures,
            quota=quota,
        )

    async def put(self, text: str = ASKING) -> None:
        """Keep the group's document."""
        now = self.clock.now()
        document = GroupDocument(LINE, text, now)
        await self.kept.put_group(document, AuditEvent(now, "group.put", "done", LINE, "operator"))

    async def ask(
        self, name: str, csr: str, *, token: FreshToken | None = None, source: str = SOURCE
    ) -> Enrollment:
        """A device's request, with a token of the group or with nothing to show."""
        bearer = encode_secret(token.code.secret) if token else None
        group = None if token else LINE
        return await self.present(Credential(bearer, source, asked=Asked(name, csr, group)), name, csr)

    async def waits(self, name: str, csr: str, **more: Any) -> AwaitsApproval:  # noqa: ANN401 - as ``ask``
        """The same, where a person has to decide."""
        try:
            await self.ask(name, csr, **more)
        except AwaitsApproval as pending:
            return pending
        raise AssertionError("nobody was asked")

    async def pending(self) -> list[Approval]:
        """Every request that waits, or did when it expired."""
        return list(await self.kept.approvals(ApprovalState.PENDING, limit=1000))

    async def trail(self, *actions: str) -> list[AuditRecord]:
        """The records of those actions, or all."""
        found: list[AuditRecord] = []
        while page := await self.kept.records(after=found[-1].sequence if found else 0, limit=1000):
            found += page
        return [record for record in found if not actions or record.event.action in actions]

    async def names_taken(self) -> int:
        """How many things there are."""
        return len(await self.kept.things(limit=1000))

    def door(self) -> Dispatch:
        """What devices meet."""
        broker = BrokerAddress("localhost", 8883, "certtest", self.ca.roots_pem, self.ca.chain_pem)
        return build_app(Service(self.authority, broker, _ready))

    def desk(self) -> Starlette:
        """What the operator meets of it."""
        routes = approval_routes(self.approvals, self.clock, lambda: "operator")
        routes += registered_routes(self.registering, lambda: "operator")
        return Starlette(routes=routes, exception_handlers=problems.HANDLERS)


class WorldDesk:
    """Implements ``keyborn.cli.desk.Desk`` for a world in this process."""

    at_once = tells_publishers = has_roots = True
    words = ""

    def __init__(self, world: WaitingWorld) -> None:
        self._app = world.desk()

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: object) -> Any:  # noqa: ANN401 - JSON
        target, payload = request_of(path, body, query)
        return decode(*asyncio.run(call_office(self._app, method, target, payload)))


async def _ready() -> None:
    """It always is."""


def later(world: WaitingWorld, **span: float) -> None:
    """Let time pass."""
    world.clock.turn(timedelta(**span))
