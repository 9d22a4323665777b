"""The function as a whole against the stand-in: how many round trips, who waits, who is let in."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from time import monotonic, sleep
from typing import Any

import pytest

from keyborn.adapters.aws.iot import Account, Iot
from keyborn.adapters.aws.registry import AwsRegistry
from keyborn.adapters.aws.roots import amazon_roots
from keyborn.adapters.system import SystemClock, SystemEntropy
from keyborn.domain.names import NameScope
from keyborn.domain.quota import Pacing
from keyborn.domain.seal import RANDOM_BYTES, TokenFacts, seal
from keyborn.domain.thing import ThingStatus
from keyborn.domain.token import TokenId, encode_secret
from keyborn.http.lambda_handler import Answer, LambdaHandler
from keyborn.service import quota
from keyborn.service.sealing import SealedSecrets
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
    "UpdateItem",  # the slot, beside the claim
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
        self.handlers.append(build_enrollment(stack, self.wires.client, roots=amazon_roots()))
        self.handlers[-1].prepare()
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
            secrets=SealedSecrets(registry, SystemEntropy()),
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


def rounds(bench: Bench, handler: LambdaHandler, secret: str) -> int:
    """How many round trips one device's enrolment takes, one after the other; it makes just these calls."""
    answer = bench.counted(handler, "lamp-2", secret)
    assert answer["statusCode"] == 201, answer
    assert sorted(trip.operation for trip in bench.trips.trips) == sorted(SAGA)
    return len(bench.trips.sequential())


def test_a_function_that_has_just_begun_enrolls_in_four_round_trips(bench: Bench, figure: Figure) -> None:
    secret = bench.token("lamp-2")[1]
    number = rounds(bench, bench.instance(), secret)
    figure(f"AWS: a function that has just begun enrolls with {len(SAGA)} calls in {number} round trips")
    assert number <= 4


def test_a_function_that_serves_a_stream_enrolls_in_four_round_trips(bench: Bench, figure: Figure) -> None:
    handler, (_, secret) = bench.instance(), bench.token("lamp-*", None)
    assert bench.enroll(handler, "lamp-1", secret)["statusCode"] == 201
    number = rounds(bench, handler, secret)
    figure(f"AWS: a function that serves a stream enrolls in {number} round trips")
    assert number <= 4


def test_a_token_never_met_before_is_no_round_trip(bench: Bench, figure: Figure) -> None:
    handler = bench.instance()
    assert bench.enroll(handler, "lamp-1", bench.token("lamp-1")[1])["statusCode"] == 201
    number = rounds(bench, handler, bench.token("lamp-2")[1])
    figure(f"AWS: a function that meets a token for the first time enrolls in {number} round trips")
    assert number <= 4


def test_a_function_that_had_nothing_to_do_enrolls_in_four_round_trips(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    """What it had kept of a slot that nobody needed has lapsed."""
    monkeypatch.setattr(quota, "_KEPT", 0.0)
    handler, (_, secret) = bench.instance(), bench.token("lamp-*", None)
    csr = make_csr("lamp-1")[1]
    for status in (201, 200):  # the repeat leaves a slot behind
        assert bench.enroll(handler, "lamp-1", secret, csr)["statusCode"] == status
    number = rounds(bench, handler, secret)
    figure(f"AWS: a function that had nothing to do enrolls in {number} round trips")
    assert number <= 4


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


def test_who_claims_on_credit_where_no_slot_is_left_comes_again_and_goes_on_with_its_claim(
    bench: Bench,
) -> None:
    """Nothing was signed, and the claim waits for nobody's lease, though another instance answers then."""
    one, other = bench.instance(rate=0.5), bench.instance(rate=0.5)
    secret, csr = bench.token("lamp-*", None)[1], make_csr("lamp-2")[1]
    assert bench.enroll(one, "lamp-1", secret)["statusCode"] == 201
    answer = bench.enroll(other, "lamp-2", secret, csr)
    assert answer["statusCode"] == 429, answer
    operations = [trip.operation for trip in bench.trips.trips]
    assert "CreateCertificateFromCsr" not in operations
    assert operations.count("TransactWriteItems") == 2, "the claim, and its lease given back"
    assert statuses(bench) == {"lamp-1": ThingStatus.ACTIVE, "lamp-2": ThingStatus.CLAIMED}
    while answer["statusCode"] == 429:
        sleep(int(answer["headers"]["retry-after"]))
        answer = bench.enroll(one, "lamp-2", secret, csr)
    assert answer["statusCode"] == 200, "what it goes on with was recorded before"
    assert statuses(bench) == {"lamp-1": ThingStatus.ACTIVE, "lamp-2": ThingStatus.ACTIVE}


def test_a_repeat_and_a_refusal_cost_no_turn(bench: Bench) -> None:
    """At one in twenty seconds there is one turn for all of this."""
    handler, (_, secret) = bench.instance(rate=0.05), bench.token("lamp-*", 1)
    csr = make_csr("lamp-1")[1]
    assert bench.enroll(handler, "other-1", secret)["statusCode"] == 403
    assert bench.enroll(handler, "lamp-1", secret, "no request")["statusCode"] == 400
    assert bench.enroll(handler, "lamp-1", secret, csr)["statusCode"] == 201
    assert bench.enroll(handler, "lamp-1", secret, csr)["statusCode"] == 429


# ── who is let in ─────────────────────────────────────────────────────────────────────────────────────


def test_strangers_cost_no_call_but_the_records_of_their_refusals(bench: Bench) -> None:
    """And a look each second at most, whether there is another key."""
    secret, operations = bench.token("lamp-1")[1], Counter[str]()
    handler, begun = bench.instance(), monotonic()
    for forged in ("A" * 43, "B" * 90, secret[:-2] + "AA", secret[:43]) * 5:
        answer = bench.enroll(handler, "lamp-1", forged)
        operations += Counter(trip.operation for trip in bench.trips.trips)
        assert json.loads(answer["body"])["code"] in {"credential_refused", "throttled"}
    assert operations.keys() <= {"PutItem", "GetItem"}
    assert operations["GetItem"] <= monotonic() - begun
    assert bench.enroll(handler, "lamp-1", secret)["statusCode"] == 201


def test_a_seal_alone_gives_nothing(bench: Bench) -> None:
    """Whoever has read the key in the table can seal whatever he likes: no token of it was ever made."""
    (_, secret), handler = bench.token("lamp-1"), bench.instance()
    key = asyncio.run(bench.registry.seal_key())
    assert key is not None
    facts = TokenFacts(NameScope("*"), None, datetime.now(UTC) + timedelta(days=1))
    forged = encode_secret(seal(key, bytes(RANDOM_BYTES), facts))
    for name in ("lamp-1", "lamp-2"):
        answer = bench.enroll(handler, name, forged)
        assert json.loads(answer["body"])["code"] == "credential_refused"
    assert statuses(bench) == {}
    assert bench.enroll(handler, "lamp-1", secret)["statusCode"] == 201


def test_a_withdrawn_token_enrolls_nobody_and_repeats_nothing(bench: Bench) -> None:
    handler, (token, secret) = bench.instance(), bench.token("lamp-*", None)
    csr = make_csr("lamp-1")[1]
    assert bench.enroll(handler, "lamp-1", secret, csr)["statusCode"] == 201
    asyncio.run(bench.office.withdraw(token))
    for instance in (handler, bench.instance()):
        for name, request in (("lamp-1", csr), ("lamp-1", ""), ("lamp-2", "")):
            answer = bench.enroll(instance, name, secret, request)
            assert answer["statusCode"] == 401, answer
            assert json.loads(answer["body"])["code"] == "credential_refused"
        assert {trip.operation for trip in bench.trips.trips} <= {"PutItem"}, "it need not ask again"
    assert statuses(bench) == {"lamp-1": ThingStatus.ACTIVE}


def test_a_used_up_token_enrolls_nobody(bench: Bench) -> None:
    """One instance has met the token; another one takes its last use."""
    one, other = bench.instance(), bench.instance()
    secret = bench.token("lamp-*", 2)[1]
    assert bench.enroll(one, "lamp-1", secret)["statusCode"] == 201
    assert bench.enroll(other, "lamp-2", secret)["statusCode"] == 201
    answer = bench.enroll(one, "lamp-3", secret)
    assert json.loads(answer["body"])["code"] == "token_exhausted"
    assert statuses(bench) == {"lamp-1": ThingStatus.ACTIVE, "lamp-2": ThingStatus.ACTIVE}


def test_an_instance_that_began_before_there_was_any_token_takes_the_first_one(bench: Bench) -> None:
    handler = bench.instance()
    assert bench.enroll(handler, "lamp-1", "A" * 90)["statusCode"] == 401
    assert bench.enroll(handler, "lamp-1", bench.token("lamp-1")[1])["statusCode"] == 201


def statuses(bench: Bench) -> dict[str, ThingStatus]:
    """The things of this stack, and where each stands."""
    return {thing.name: thing.status for thing in asyncio.run(bench.registry.things())}
