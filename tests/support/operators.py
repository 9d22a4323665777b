"""Operators of one office in memory: keys of each role, a clock to turn, calls as the network brings them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast
from urllib.parse import unquote

from starlette.applications import Starlette

from keyborn.adapters.memory import MemoryRegistry
from keyborn.adapters.system import SystemEntropy
from keyborn.domain.api_key import ApiKeyWord, Role
from keyborn.domain.audit import AuditEvent
from keyborn.domain.roots import RootSet
from keyborn.http import problems
from keyborn.http.admin import Office
from keyborn.http.remote import remote_routes
from keyborn.ports import RootKeeper
from keyborn.service.admission import FailureBudget
from keyborn.service.api_keys import ApiKeyOffice, ApiKeyWish, FreshApiKey
from keyborn.service.audit import AuditOffice, AuditPorts
from keyborn.service.operators import OperatorDoor
from keyborn.service.roots import RootNames, RootsPorts
from keyborn.service.sealing import RandomSecrets
from keyborn.wiring.use_cases import Grouping, Offices, Retention
from support.exports import NOTARY
from support.office import TurnedClock

URL, FINGERPRINT = "https://gateway.example:8443", bytes(range(32))
HERE = "192.0.2.7"
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Told:
    """Status and JSON of an answer."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def code(self) -> str | None:
        """The problem's code, or None."""
        return self.body["code"] if self.status >= 400 else None


@dataclass(slots=True)
class OperatorWorld:
    """An office with every route but for a real root, and its door."""

    clock: TurnedClock = field(default_factory=TurnedClock)
    registry: MemoryRegistry = field(default_factory=MemoryRegistry)
    pauses: list[float] = field(default_factory=list)
    """How long refusals were held back."""
    keys: ApiKeyOffice = field(init=False)
    door: OperatorDoor = field(init=False)
    office: Office = field(init=False)
    app: Starlette = field(init=False)

    def __post_init__(self) -> None:
        entropy = SystemEntropy()
        self.keys = ApiKeyOffice(self.registry, self.clock, entropy, lambda: (URL, FINGERPRINT))
        budget = FailureBudget(burst=5)
        self.door = OperatorDoor(
            self.registry, self.registry, self.clock, failures=budget, sleep=self._sleep, fraction=lambda: 0.5
        )
        registry = self.registry
        offices = Offices(
            registry,
            self.clock,
            RandomSecrets(entropy),
            frozenset({"localhost"}),
            grace=registry,
            grouping=Grouping(registry, entropy),
            keys=registry,
            entropy=entropy,
            retention=Retention(registry),
        )
        names = RootNames(RootSet("0" * 64), "root")
        ports = RootsPorts(registry, registry, cast("RootKeeper", None), registry, self.clock, lambda: names)
        self.office = offices.office(
            None,
            trust=lambda: (URL, FINGERPRINT),
            authorities=tuple,
            about=dict,
            roots=ports,
            audit=AuditOffice(AuditPorts(registry, registry, NOTARY, self.clock), lambda: URL),
        )
        self.app = Starlette(
            routes=remote_routes(self.office, self.door), exception_handlers=problems.HANDLERS
        )

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def key(self, role: Role, ttl: timedelta = DAY, name: str = "alice") -> FreshApiKey:
        """A key that is good."""
        return await self.keys.create(ApiKeyWish(name, role, ttl))

    async def ask(
        self,
        method: str,
        target: str,
        word: ApiKeyWord | str | None = None,
        body: object = None,
        *,
        source: str = HERE,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> Told:
        """One call, as it comes from the network."""
        if word is not None:
            text = word if isinstance(word, str) else f"Bearer {word.encode()}"
            headers = (*headers, (b"authorization", text.encode()))
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        return await call(self.app, method, target, raw, headers=headers, source=source)

    async def events(self, action: str = "") -> list[AuditEvent]:
        """The trail, or what of it is of one action."""
        records = [record.event for record in await self.registry.records()]
        return [event for event in records if action in ("", event.action)]


async def call(
    app: Starlette,
    method: str,
    target: str,
    payload: bytes = b"",
    *,
    headers: tuple[tuple[bytes, bytes], ...] = (),
    source: str = HERE,
) -> Told:
    """Call an application without a socket."""
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},  # else a streamed answer waits for the end of us
        "method": method,
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"content-length", str(len(payload)).encode()), *headers],
        "http_version": "1.1",
        "scheme": "https",
        "client": (source, 1),
        "server": None,
        "root_path": "",
    }
    started: dict[str, Any] = {}
    chunks: list[bytes] = []

    async def _receive() -> dict[str, Any]:
        return {"type": "http.request", "body": payload, "more_body": False}

    async def _send(message: Any) -> None:  # noqa: ANN401 - ASGI
        if message["type"] == "http.response.start":
            started.update(message)
        else:
            chunks.append(message.get("body", b""))

    await app(scope, _receive, _send)
    told = {name.decode(): value.decode() for name, value in started["headers"]}
    raw = b"".join(chunks)
    is_json = raw and "json" in told.get("content-type", "") and not raw.count(b"\n")
    return Told(started["status"], json.loads(raw) if is_json else None, told)
