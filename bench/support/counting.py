"""What an enrolment and the sweeper ask of AWS, counted on the stand-in: calls, and DynamoDB's units.

Units are computed from the items as the table holds them after each call (DynamoDB Developer Guide, "Read
and write capacity units"): writing takes a unit for each begun kilobyte, twice that in a transaction; reading
consistently a unit for each begun four kilobytes, twice that in a transaction.
"""

import asyncio
import base64
import io
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from keyborn.adapters.aws.iot import Account, Iot
from keyborn.adapters.aws.registry import AwsRegistry
from keyborn.adapters.aws.roots import amazon_roots
from keyborn.adapters.system import SystemClock, SystemEntropy
from keyborn.domain.names import GroupName, NameScope
from keyborn.domain.quota import Pacing
from keyborn.domain.token import encode_secret
from keyborn.http.lambda_handler import LambdaHandler
from keyborn.service.groups import GroupOffice, GroupPorts
from keyborn.service.sealing import SealedSecrets
from keyborn.service.tokens import TokenOffice, TokenWish
from keyborn.wiring.aws import StackSettings, SweepHandler, build_enrollment
from support import ministack
from support.csr_make import make_csr
from support.lambda_events import Context, enroll_event

KB = 1024
MANY = 20
"""Devices that are enrolled for the count of the sweeper's work."""
GROUP = "line-7"
GROUP_FILE = f"""\
name = "{GROUP}"
things = "gateway-*"
methods = ["token"]
limit = 100000
rate = "1000/h"
"""
"""A group as its operator writes it."""
ENDPOINT = "a1b2c3d4e5f6g7-ats.iot.eu-central-1.amazonaws.com"


@dataclass(slots=True)
class Units:
    """What was asked."""

    writes: float = 0.0
    reads: float = 0.0
    calls: Counter[str] = field(default_factory=Counter)
    stored: int = 0
    """Bytes that stay in the table."""


@dataclass(slots=True)
class Meter:
    """Hooks on the clients of one stack; ``units`` since the last ``begin``."""

    aws: ministack.Ministack
    table: str
    units: Units = field(default_factory=Units)
    _look: Any = None
    """A client that is not counted."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._look = self.aws.client("dynamodb")

    def client(self, service: str) -> Any:  # noqa: ANN401 - botocore's clients have no types
        """A client that is counted."""
        client = self.aws.client(service)
        client.meta.events.register("provide-client-params", self._begun)
        client.meta.events.register("after-call", self._done)
        return client

    def begin(self) -> None:
        """Count anew."""
        self.units = Units()

    def _begun(self, params: dict[str, Any], context: dict[str, Any], **_: object) -> None:
        context["asked"] = params

    def _done(self, parsed: dict[str, Any], model: Any, context: dict[str, Any], **_: object) -> None:  # noqa: ANN401 - botocore's
        with self._lock:  # calls go side by side
            self._add(model, parsed, context.get("asked", {}))

    def _add(self, model: Any, parsed: dict[str, Any], params: Mapping[str, Any]) -> None:  # noqa: ANN401 - as above
        self.units.calls[model.name] += 1
        if "Item" in params or "UpdateExpression" in params:
            self.units.writes += self._write(params)
        elif model.name == "DeleteItem":
            self.units.writes += 1
        elif model.name == "TransactWriteItems":
            asked = [part for one in params["TransactItems"] for part in one.values()]
            self.units.writes += 2 * sum(map(self._write, asked))
        elif model.name == "TransactGetItems":
            found = [one.get("Item", {}) for one in parsed.get("Responses", [])]
            self.units.reads += 2 * sum(begun(size(item), 4 * KB) for item in found)
        elif model.name in {"GetItem", "Query"}:
            found = parsed.get("Items", [parsed.get("Item", {})])
            consistent = 1.0 if params.get("ConsistentRead") else 0.5
            self.units.reads += consistent * begun(sum(map(size, found)), 4 * KB)

    def _write(self, params: Mapping[str, Any]) -> int:
        if "Item" in params:
            return begun(size(params["Item"]), KB)
        found = self._look.get_item(TableName=self.table, Key=params["Key"], ConsistentRead=True)
        return begun(size(found.get("Item", {})), KB)

    def held(self) -> int:
        """Bytes in the table, with the hundred that DynamoDB adds to each item for storage."""
        pages = self._look.get_paginator("scan").paginate(TableName=self.table)
        return sum(size(item) + 100 for page in pages for item in page["Items"])


def begun(count: int, block: int) -> int:
    """How many blocks were begun; one at least."""
    return max(1, -(-count // block))


def size(item: Mapping[str, Any]) -> int:
    """An item's bytes (DynamoDB Developer Guide, "DynamoDB item sizes and formats")."""
    return sum(len(name.encode()) + _value(value) for name, value in item.items())


def _value(value: Mapping[str, Any]) -> int:
    ((kind, held),) = value.items()
    if kind == "S":
        return len(held.encode())
    if kind == "B":
        return len(held if isinstance(held, bytes) else base64.b64decode(held))
    if kind == "N":
        return -(-len(held.strip("-0.")) // 2) + 1
    if kind == "L":
        return 3 + sum(1 + _value(one) for one in held)
    if kind == "M":
        return 3 + sum(1 + len(name.encode()) + _value(one) for name, one in held.items())
    return 1


@dataclass(frozen=True, slots=True)
class Counted:
    """All that was counted."""

    enrollment: Units
    """One device of a fleet, by a function that knows the token."""
    member: Units
    """The same with a token of a group that has a limit and a rate."""
    sweep_each: Units
    """What the sweeper does for one enrolment: chaining its event, and tidying."""
    idle: Units
    """One run of the sweeper with nothing to do."""


@contextmanager
def _world(aws: ministack.Ministack) -> Iterator[tuple[Meter, StackSettings]]:
    table = ministack.new_table(aws.client("dynamodb"))
    iot = aws.client("iot")
    iot.create_thing_type(thingTypeName=f"{table}_device")
    document = json.dumps({"Version": "2012-10-17", "Statement": []})
    iot.create_policy(policyName=f"{table}_keyborn-default", policyDocument=document)
    arn = f"arn:aws:iot:{ministack.REGION}:000000000000"
    account = Account(arn, thing_type=f"{table}_device", policy_prefix=f"{table}_")
    pacing = Pacing(1000.0)
    stack = StackSettings("keyborn", table, account, ministack.REGION, ENDPOINT, pacing=pacing)
    yield Meter(aws, table), stack


def count(aws: ministack.Ministack) -> Counted:
    """Enroll some devices on a new table of ``aws`` and count."""
    with _world(aws) as (meter, stack):
        handler = build_enrollment(stack, meter.client, roots=amazon_roots())
        sweep = SweepHandler(stack, meter.client, out=io.StringIO())
        try:
            secret = _fleet_token(aws, stack, None)
            _enroll(handler, "gateway-0000", secret)
            sweep({}, Context(50_000))
            before = meter.held()
            for number in range(1, MANY + 1):
                meter.begin()
                _enroll(handler, f"gateway-{number:04}", secret)
            enrollment = meter.units
            meter.begin()
            sweep({}, Context(50_000))
            busy = meter.units
            enrollment.stored = (meter.held() - before) // MANY
            meter.begin()
            sweep({}, Context(50_000))
            idle = meter.units
            member = _member(aws, stack, meter, handler)
        finally:
            handler.close()
            sweep.close()
    each = Units((busy.writes - idle.writes) / MANY, (busy.reads - idle.reads) / MANY)
    return Counted(enrollment, member, each, idle)


def _member(aws: ministack.Ministack, stack: StackSettings, meter: Meter, handler: LambdaHandler) -> Units:
    """The third device of a group: the first one makes the group's items."""
    registry = _registry(aws, stack)
    office = GroupOffice(
        GroupPorts(registry, registry, registry), clock=SystemClock(), entropy=SystemEntropy()
    )
    asyncio.run(office.put(GROUP, GROUP_FILE))
    secret = _fleet_token(aws, stack, GroupName(GROUP))
    for number in range(1, 4):
        meter.begin()
        _enroll(handler, f"gateway-9{number:03}", secret)
    return meter.units


def _registry(aws: ministack.Ministack, stack: StackSettings) -> AwsRegistry:
    return AwsRegistry(aws.client("dynamodb"), stack.table, Iot(aws.client("iot"), stack.account))


def _fleet_token(aws: ministack.Ministack, stack: StackSettings, group: GroupName | None) -> str:
    """A token for all of them, as an operator makes one."""
    registry = _registry(aws, stack)
    office = TokenOffice(
        tokens=registry,
        listing=registry,
        clock=SystemClock(),
        secrets=SealedSecrets(registry, SystemEntropy()),
        trust=lambda: ("https://a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com", b""),
        groups=registry,
    )
    wish = TokenWish(NameScope("gateway-*"), None, timedelta(hours=1), group=group)
    fresh = asyncio.run(office.create(wish))
    return encode_secret(fresh.code.secret)


def _enroll(handler: LambdaHandler, name: str, secret: str) -> None:
    answer = handler(enroll_event(name, make_csr(name)[1], secret), Context())
    if answer["statusCode"] != 201:
        raise RuntimeError(answer["body"])
