"""Where the methods of enrolment are tried: a service on this machine, and the function before the stand-in.

Both are asked over real TLS sockets from any address of 127.0.0.0/8, have an operator, a clock that can be
turned, and tell everything that they hold, so that nothing can be written unseen.
"""

import asyncio
import hashlib
import http.client
import json
import sqlite3
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import pytest

from keyborn.adapters.aws.iot import Account, Iot
from keyborn.adapters.aws.registry import AwsRegistry
from keyborn.adapters.aws.table.keys import APPROVALS
from keyborn.adapters.data_folder import DataFolder
from keyborn.adapters.system import SystemClock, SystemEntropy
from keyborn.cli.console import ask, call_office, decode, request_of
from keyborn.domain.quota import Pacing
from keyborn.http.admin import Office, build_admin
from keyborn.http.lambda_handler import LambdaHandler
from keyborn.policies import device_policy
from keyborn.service.sealing import SealedSecrets
from keyborn.settings import Address, ServerSettings, write_settings
from keyborn.wiring.aws import StackSettings, build_enrollment
from keyborn.wiring.service import LocalService, Running
from keyborn.wiring.use_cases import Grouping, Offices
from support import ministack
from support.aws_device import broker_root
from support.lambda_events import Context, event
from support.rude_service import Exchange, RudeService, rude_service
from support.server import PATIENCE, Answer

Rows = frozenset[str]
"""Everything that a registry holds, but its audit trail, and what AWS IoT holds."""
OTHER_BOOKS = frozenset({"audit", "checkpoints", "pulse", "schema_versions"})
"""Tables of the database that requests may write to: the trail, its checkpoints, the sign of life."""
_OTHER_ITEMS = ("audit", "event", "check", "head", "nonce#", "bucket", "place#")
"""Beginnings of partitions on AWS that requests may write to: the trail, spent nonces, the line."""
_sources = count(2)


@dataclass
class TurnedClock:
    """The true time, and what a test adds to it."""

    ahead: timedelta = timedelta(0)

    def now(self) -> datetime:
        """The time here."""
        return SystemClock().now() + self.ahead


class Ground(Protocol):
    """One backend."""

    clock: TurnedClock

    @property
    def url(self) -> str:
        """Of the service."""
        ...

    @property
    def context(self) -> ssl.SSLContext:
        """What a device trusts."""
        ...

    def order(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: object) -> Any:  # noqa: ANN401 - JSON
        """The operator's word; raises ``Refused``."""
        ...

    def rows(self) -> Rows:
        """All that is kept."""
        ...

    def is_request(self, row: str) -> bool:
        """Whether a row is about a request that waits for a person."""
        ...

    def active(self, thing: str) -> list[str]:
        """The ids of a thing's active certificates; on AWS by AWS IoT's own word."""
        ...


class Trail:
    """A ground's audit trail, as it grows."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._after = 0

    def news(self) -> list[dict[str, Any]]:
        """What has been recorded since this was asked last."""
        found: list[dict[str, Any]] = []
        while page := self._ground.order("GET", "/v1/audit", after=self._after, limit=1000):
            found += page
            self._after = page[-1]["sequence"]
        return found


def new_source() -> str:
    """An address from which nobody has failed yet: each has a budget of failures."""
    number = next(_sources)
    return f"127.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def exchange(
    ground: Ground,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    source: str | None = None,
) -> Answer:
    """One request on a connection of its own, from ``source``; POST where it has a body."""
    host, _, port = ground.url.removeprefix("https://").rpartition(":")
    connection = http.client.HTTPSConnection(
        host, int(port), timeout=PATIENCE, context=ground.context, source_address=(source or new_source(), 0)
    )
    try:
        connection.request("GET" if body is None else "POST", path, body, dict(headers or {}))
        answer = connection.getresponse()
        named = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, named, answer.read())
    finally:
        connection.close()


# ── one machine ───────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Machine:
    """``LocalService`` with HTTPS, broker and control socket, in a thread of this process."""

    data: Path
    clock: TurnedClock
    running: Running
    _context: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        """Of the service."""
        return self.running.url

    @property
    def context(self) -> ssl.SSLContext:
        """See ``Ground``."""
        if self._context is None:
            rows = ask(self.data, "GET", "/v1/authorities")
            root = next(row["pem"] for row in rows if row["role"] == "root")
            self._context = ssl.create_default_context(cadata=root)
        return self._context

    def order(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: object) -> Any:  # noqa: ANN401 - JSON
        """See ``Ground``: through the control socket."""
        return ask(self.data, method, path, body, **query)

    def rows(self) -> Rows:
        """See ``Ground``: every row of every other table."""
        with self._read() as database:
            found = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            tables = sorted(name for (name,) in found if name not in OTHER_BOOKS)
            return frozenset(
                f"{table} {row!r}" for table in tables for row in database.execute(f'SELECT * FROM "{table}"')
            )

    def is_request(self, row: str) -> bool:
        """See ``Ground``."""
        return row.startswith("approvals ")

    def active(self, thing: str) -> list[str]:
        """See ``Ground``."""
        rows = self.order("GET", f"/v1/things/{thing}")["certificates"]
        return [row["certificateId"] for row in rows if row["status"] == "active"]

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(f"file:{DataFolder(self.data).registry}?mode=ro", uri=True)
        try:
            yield database
        finally:
            database.close()


@contextmanager
def open_machine(folder: Path) -> Iterator[Machine]:
    """A running service whose clock is the ground's."""
    clock, data = TurnedClock(), DataFolder(folder / "data")
    data.create()
    settings = ServerSettings(https=Address("127.0.0.1", 0), mqtt=Address("127.0.0.1", 0))
    data.settings.write_text(write_settings(settings))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keyborn.wiring.service.SystemClock", lambda: clock)
        service = LocalService(data, settings)
    thread = _Served(service)
    thread.start()
    try:
        yield Machine(data.path, clock, thread.wait())
    finally:
        thread.end()


class _Served(threading.Thread):
    """Runs a service until it is told to end."""

    def __init__(self, service: LocalService) -> None:
        super().__init__(name="service")
        self._service = service
        self._began = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._running: Running | None = None

    def run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._began.set()
            self._loop.close()

    async def _serve(self) -> None:
        async with self._service.run() as self._running:
            self._began.set()
            await self._end.wait()

    def wait(self) -> Running:
        """Where it is."""
        assert self._began.wait(PATIENCE)
        assert self._running is not None
        return self._running

    def end(self) -> None:
        if self.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
        self.join(PATIENCE)


# ── AWS ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Aws:
    """The function's own handler behind TLS; table and AWS IoT are the stand-in's."""

    stack: StackSettings
    door: RudeService
    clock: TurnedClock
    office: Office
    _context: ssl.SSLContext | None = None
    _runner: asyncio.Runner = field(default_factory=asyncio.Runner)

    @property
    def url(self) -> str:
        """Of the service."""
        return self.door.url

    @property
    def context(self) -> ssl.SSLContext:
        """See ``Ground``."""
        if self._context is None:
            self._context = ssl.create_default_context(cadata=self.door.pki.root_pem)
        return self._context

    def order(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: object) -> Any:  # noqa: ANN401 - JSON
        """See ``Ground``: as ``keyborn --aws`` works, in the operator's own process."""
        target, payload = request_of(path, body, query)
        return decode(*self._runner.run(call_office(build_admin(self.office), method, target, payload)))

    def rows(self) -> Rows:
        """See ``Ground``: every other item, and all things and certificates of AWS IoT."""
        kept = {_text(item) for item in self._items() if not item["pk"]["S"].startswith(_OTHER_ITEMS)}
        return frozenset(kept | self._in_iot())

    def is_request(self, row: str) -> bool:
        """See ``Ground``: the list of those that wait, those that were decided, and how many wait."""
        pk = json.loads(row).get("pk", {}).get("S", "")
        return pk in APPROVALS.values() or pk.startswith("waiting#")

    def active(self, thing: str) -> list[str]:
        """See ``Ground``."""
        iot = ministack.shared().root("iot")
        found = iot.list_thing_principals(thingName=thing)["principals"]
        ids = [arn.rpartition("/")[2] for arn in found]
        told = [iot.describe_certificate(certificateId=one)["certificateDescription"] for one in ids]
        return [one["certificateId"] for one in told if one["status"] == "ACTIVE"]

    def _items(self) -> Iterator[dict[str, Any]]:
        more: dict[str, Any] = {}
        while True:
            page = ministack.dynamodb().scan(TableName=self.stack.table, ConsistentRead=True, **more)
            yield from page["Items"]
            if "LastEvaluatedKey" not in page:
                return
            more = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def _in_iot(self) -> set[str]:
        iot = ministack.shared().root("iot")
        pages = iot.get_paginator("list_certificates").paginate(pageSize=250)
        held = {f"{one['certificateId']} {one['status']}" for page in pages for one in page["certificates"]}
        things = iot.get_paginator("list_things").paginate(maxResults=250)
        return held | {_text(one) for page in things for one in page["things"]}

    def close(self) -> None:
        self._runner.close()


def _text(item: Mapping[str, Any]) -> str:
    return json.dumps(item, sort_keys=True, default=str)


@contextmanager
def open_aws(folder: Path) -> Iterator[Aws]:
    """The function behind a door of its own."""
    clock = TurnedClock()
    with rude_service(folder) as door:
        stack = _stack(door.url)
        client = ministack.shared().client
        handler = build_enrollment(stack, client, roots=broker_root() + door.pki.root_pem, clock=clock)
        handler.prepare()
        for path in ("/v1/enroll", "/v1/nonce", "/getCertificate"):
            door.script(path, _Handed(handler))
        ground = Aws(stack, door, clock, _office(stack, door, clock))
        try:
            yield ground
        finally:
            ground.close()
            handler.close()


class _Handed:
    """Requests as API Gateway hands them on; one at a time, as an instance gets them."""

    def __init__(self, handler: LambdaHandler) -> None:
        self._handler = handler
        self._lock = threading.Lock()

    def __call__(self, exchange: Exchange) -> None:
        seen = exchange.seen
        headers = {name.lower(): value for name, value in seen.headers.items()}
        asked = event(seen.method, seen.path, seen.body or None, headers=headers)
        asked["requestContext"]["http"]["sourceIp"] = exchange.handler.client_address[0]
        with self._lock:
            answer = self._handler(asked, Context())
        exchange.send(answer["statusCode"], answer["body"].encode(), **answer["headers"])


def _stack(url: str) -> StackSettings:
    """What the template makes, as far as enrolling needs it; admission lets everybody in at once."""
    aws, table = ministack.shared(), ministack.new_table()
    iot = aws.root("iot")
    account = Account(f"arn:aws:iot:{ministack.REGION}:000000000000", f"{table}_device", f"{table}_")
    iot.create_thing_type(thingTypeName=account.thing_type)
    iot.create_policy(policyName=f"{table}_keyborn-default", policyDocument=device_policy())
    return StackSettings(
        "kb", table, account, ministack.REGION, "localhost", aws.mqtt_port, url=url, pacing=Pacing(10_000.0)
    )


def _office(stack: StackSettings, door: RudeService, clock: TurnedClock) -> Office:
    registry = AwsRegistry(
        ministack.dynamodb(), stack.table, Iot(ministack.shared().root("iot"), stack.account)
    )
    root = hashlib.sha256(ssl.PEM_cert_to_DER_cert(door.pki.root_pem)).digest()
    entropy = SystemEntropy()
    grouping, secrets = Grouping(registry, entropy, own_dates=False), SealedSecrets(registry, entropy)
    asyncio.run(secrets.key())  # as a stack has it from its first day: nonces come of it, too
    offices = Offices(
        registry,
        clock,
        secrets,
        frozenset({"localhost"}),
        grace=registry,
        grouping=grouping,
    )
    return offices.office(None, trust=lambda: (stack.url, root), authorities=tuple, about=dict)
