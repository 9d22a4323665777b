"""The function as a whole against the stand-in: how many round trips, who waits, whom a memory lets in."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from keyborn.adapters.aws.calls import within
from keyborn.adapters.aws.iot import Account, Iot
from keyborn.adapters.aws.registry import AwsRegistry
from keyborn.adapters.aws.roots import amazon_roots
from keyborn.adapters.system import SystemClock, SystemEntropy
from keyborn.domain.names import NameScope
from keyborn.domain.quota import Pacing
from keyborn.domain.thing import ThingStatus
from keyborn.domain.token import TokenId, encode_secret
from keyborn.http.lambda_handler import Answer, LambdaHandler
from keyborn.service import quota
from keyborn.service.tokens import TokenOffice, TokenWish
from keyborn.wiring.aws import StackSettings, build_enrollment
from support import ministack
from support.aws_rounds import RoundTrips
from support.csr_make import make_csr
from support.figures import Figure
from support.lambda_events import Context, enroll_event

ARN = f"arn:aws:iot:{ministack.REGION}:000000000000"
SAGA = [
    "TransactWriteItems",  # claim
    "UpdateItem",  # the next caller's slot, beside the claim
    "CreateCertificateFromCsr",
    "CreateThing",  # beside that
    "TransactWriteItems",  # store
    "AttachPolicy",  # and these three beside that
    "AttachThingPrincipal",
    "UpdateCertificate",
    "TransactWriteItems",  # the last word
]


@dataclass(slots=True)
class Wires:
    """The clients of all instances here, watched; making one takes longer than a test."""

    trips: RoundTrips = field(default_factory=RoundTrips)
    made: dict[str, object] = field(default_factory=dict)

    def client(self, service: str) -> object:
        """The one client of a service."""
        if service not in self.made:
            self.made[service] = self.trips.watch(ministack.shared().client(service))
        return self.made[service]


@dataclass(slots=True)
class Bench:
    """A stack, one instance of its function, and the operator."""

    stack: StackSettings
    wires: Wires
    handlers: list[LambdaHandler] = field(default_factory=list)

    @property
    def trips(self) -> RoundTrips:
        """What is called."""
        return self.wires.trips

    def instance(self, rate: float = 1000.0) -> LambdaHandler:
        """A new instance. The rate is far above what a test asks: each caller finds a spare slot."""
        stack = replace(self.stack, pacing=Pacing(rate))
        app = build_enrollment(stack, self.wires.client, roots=amazon_roots())
        self.handlers.append(LambdaHandler(app, within=within))
        return self.handlers[-1]

    @property
    def registry(self) -> AwsRegistry:
        """The operator's view."""
        iot = Iot(self.wires.client("iot"), self.stack.account)
        return AwsRegistry(ministack.dynamodb(), self.stack.table, iot)

    @property
    def office(self) -> TokenOffice:
        """Where the operator makes tokens."""
        registry = self.registry
        trust = ("https://localhost:8443", bytes(32))
        return TokenOffice(
            tokens=registry,
            listing=registry,
            clock=SystemClock(),
            entropy=SystemEntropy(),
            trust=lambda: trust,
        )

    def token(self, pattern: str, uses: int | None = 1) -> tuple[TokenId, str]:
        """A new token: its id and its secret."""
        fresh = asyncio.run(self.office.create(TokenWish(NameScope(pattern), uses, timedelta(hours=1))))
        return fresh.token.id, encode_secret(fresh.code.secret)

    def counted(self, handler: LambdaHandler, name: str, secret: str, csr: str = "") -> Answer:
        """The same, so slowly that what goes together is seen to."""
        self.trips.hold = 0.2
        try:
            return self.enroll(handler, name, secret, csr)
        finally:
            self.trips.hold = 0.0

    def enroll(self, handler: LambdaHandler, name: str, secret: str, csr: str = "") -> Answer:
        """Ask as a device does; what is called meanwhile is counted anew."""
        csr = csr or make_csr(name)[1]
        self.trips.clear()
        return handler(enroll_event(name, csr, secret), Context())


@pytest.fixture(scope="module")
def wires() -> Wires:
    return Wires()


@pytest.fixture
def bench(wires: Wires) -> Iterator[Bench]:
    ministack.forget_things()
    table = ministack.new_table()
    iot: Any = wires.client("iot")
    iot.create_thing_type(thingTypeName=f"{table}_device")
    document = json.dumps({"Version": "2012-10-17", "Statement": []})
    iot.create_policy(policyName=f"{table}_keyborn-default", policyDocument=document)
    account = Account(ARN, thing_type=f"{table}_device", policy_prefix=f"{table}_")
    bench = Bench(StackSettings("kb", table, account, ministack.REGION, "broker.example"), wires)
    yield bench
    for handler in bench.handlers:
        handler.close()


# ── round trips ───────────────────────────────────────────────────────────────────────────────────────


def test_a_warm_function_enrolls_a_device_of_a_fleet_in_four_round_trips(
    bench: Bench, figure: Figure
) -> None:
    handler, (_, secret) = bench.instance(), bench.token("lamp-*", None)
    assert bench.enroll(handler, "lamp-1", secret)["statusCode"] == 201
    answer = bench.counted(handler, "lamp-2", secret)
    assert answer["statusCode"] == 201, answer
    row = bench.trips.sequential()
    figure(f"AWS: a warm function enrolls with {len(bench.trips.trips)} calls in {len(row)} round trips")
    assert sorted(trip.operation for trip in bench.trips.trips) == sorted(SAGA)
    assert len(row) <= 4, row


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_a_token_not_known_yet_is_one_more_and_admission_none(
    bench: Bench, figure: Figure, *, warm: bool
) -> None:
    handler = bench.instance()
    if warm:
        bench.enroll(handler, "lamp-1", bench.token("lamp-1")[1])
    answer = bench.counted(handler, "lamp-2", bench.token("lamp-2")[1])
    assert answer["statusCode"] == 201, answer
    row = bench.trips.sequential()
    state = "warm" if warm else "cold"
    figure(f"AWS: a {state} function reads a token it does not know: {len(row)} round trips")
    more = Counter(trip.operation for trip in bench.trips.trips) - Counter(SAGA)
    assert more == ({} if warm else {"UpdateItem": 1}) | {"GetItem": 1}, "a cold one takes its own slot, too"
    assert len(row) <= 5, row


def test_after_a_pause_the_slot_taken_ahead_has_lapsed_and_a_new_one_is_a_round_trip(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    """A slot kept for long would be one more beside those of the moment: more than the quota."""
    monkeypatch.setattr(quota, "_STOCK_KEPT", 0.0)
    handler, (_, secret) = bench.instance(), bench.token("lamp-*", None)
    assert bench.enroll(handler, "lamp-1", secret)["statusCode"] == 201
    answer = bench.counted(handler, "lamp-2", secret)
    assert answer["statusCode"] == 201, answer
    row = bench.trips.sequential()
    figure(f"AWS: a function that had nothing to do enrolls in {len(row)} round trips")
    assert len(row) <= 5, row


def test_a_repeated_answer_is_three_round_trips_and_calls_nothing_of_aws_iot(
    bench: Bench, figure: Figure
) -> None:
    handler, (_, secret) = bench.instance(), bench.token("lamp-*", None)
    csr = make_csr("lamp-1")[1]
    first = bench.enroll(handler, "lamp-1", secret, csr)
    again = bench.counted(handler, "lamp-1", secret, csr)
    assert (again["statusCode"], again["body"]) == (200, first["body"])
    row = bench.trips.sequential()
    figure(f"AWS: a warm function repeats an answer in {len(row)} round trips")
    assert len(row) <= 3
    assert {trip.operation for trip in bench.trips.trips} <= {
        "TransactWriteItems",
        "TransactGetItems",
        "GetItem",
        "UpdateItem",
    }


# ── whose turn it is ──────────────────────────────────────────────────────────────────────────────────


def test_who_comes_too_early_is_told_when_to_return_and_leaves_nothing_but_a_place(bench: Bench) -> None:
    handler, (_, secret) = bench.instance(rate=0.05), bench.token("lamp-*", None)
    assert bench.enroll(handler, "lamp-1", secret)["statusCode"] == 201
    answer = bench.enroll(handler, "lamp-2", secret)
    assert answer["statusCode"] == 429, answer
    assert json.loads(answer["body"])["code"] == "queued"
    assert int(answer["headers"]["retry-after"]) >= 1
    assert {trip.operation for trip in bench.trips.trips} <= {"GetItem", "UpdateItem", "PutItem"}
    found = ministack.dynamodb().scan(TableName=bench.stack.table, ConsistentRead=True)["Items"]
    assert sum(item["pk"]["S"].startswith("place#") for item in found) == 1
    assert "lamp-2" not in str(found)


def test_two_instances_share_one_line(bench: Bench) -> None:
    one, other = bench.instance(rate=0.05), bench.instance(rate=0.05)
    secret = bench.token("lamp-*", None)[1]
    assert bench.enroll(one, "lamp-1", secret)["statusCode"] == 201
    assert bench.enroll(other, "lamp-2", secret)["statusCode"] == 429


def test_a_repeat_and_a_refusal_cost_no_turn(bench: Bench) -> None:
    """At one in twenty seconds there is one turn for all of this."""
    handler, (_, secret) = bench.instance(rate=0.05), bench.token("lamp-*", 1)
    csr = make_csr("lamp-1")[1]
    assert bench.enroll(handler, "other-1", secret)["statusCode"] == 403
    assert bench.enroll(handler, "lamp-1", secret, "no request")["statusCode"] == 400
    assert bench.enroll(handler, "lamp-1", secret, csr)["statusCode"] == 201
    assert bench.enroll(handler, "lamp-1", secret, csr)["statusCode"] == 429


def test_a_stranger_stands_in_no_line(bench: Bench) -> None:
    handler = bench.instance(rate=0.05)
    for _ in range(3):
        answer = bench.enroll(handler, "lamp-1", "A" * 43)
        assert answer["statusCode"] == 401
    secret = bench.token("lamp-1")[1]
    assert bench.enroll(handler, "lamp-1", secret)["statusCode"] == 201, "with the slot that was in stock"


# ── what is remembered ────────────────────────────────────────────────────────────────────────────────


def test_a_withdrawn_token_enrolls_nobody_and_repeats_nothing_though_it_is_remembered(bench: Bench) -> None:
    handler, (token, secret) = bench.instance(), bench.token("lamp-*", None)
    csr = make_csr("lamp-1")[1]
    assert bench.enroll(handler, "lamp-1", secret, csr)["statusCode"] == 201
    asyncio.run(bench.office.withdraw(token))
    for name, request in (("lamp-1", csr), ("lamp-1", ""), ("lamp-2", "")):
        answer = bench.enroll(handler, name, secret, request)
        assert bench.trips.sequential()[0] != "GetItem", "it was remembered"
        assert answer["statusCode"] == 401, answer
        assert json.loads(answer["body"])["code"] == "credential_refused"
    assert active_things(bench) == ["lamp-1"]


def test_a_used_up_token_enrolls_nobody_though_it_is_remembered(bench: Bench) -> None:
    """One instance remembers the token; another one takes its last use."""
    one, other = bench.instance(), bench.instance()
    secret = bench.token("lamp-*", 2)[1]
    assert bench.enroll(one, "lamp-1", secret)["statusCode"] == 201
    assert bench.enroll(other, "lamp-2", secret)["statusCode"] == 201
    answer = bench.enroll(one, "lamp-3", secret)
    assert json.loads(answer["body"])["code"] == "token_exhausted"
    assert active_things(bench) == ["lamp-1", "lamp-2"]


def active_things(bench: Bench) -> list[str]:
    """The things of this stack that have a certificate."""
    found = asyncio.run(bench.registry.things())
    return [thing.name for thing in found if thing.status is ThingStatus.ACTIVE]
