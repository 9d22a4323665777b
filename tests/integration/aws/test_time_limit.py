"""A function whose AWS throttles for ever answers before its time limit, and leaves nothing active."""

import asyncio
import inspect
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from keyborn.adapters.aws.iot import Account, Iot
from keyborn.adapters.aws.registry import AwsRegistry
from keyborn.adapters.system import SystemClock, SystemEntropy
from keyborn.domain.names import NameScope
from keyborn.domain.quota import Pacing
from keyborn.domain.token import encode_secret
from keyborn.http.lambda_handler import RESERVE, Answer, LambdaHandler
from keyborn.service.sealing import SealedSecrets
from keyborn.service.tokens import TokenOffice, TokenWish
from keyborn.wiring import aws as wiring
from keyborn.wiring.aws import StackSettings, build_enrollment
from support import ministack
from support.aws_faults import ENDLESS, Fault, Faults, Plan
from support.csr_make import make_csr
from support.lambda_events import Context, enroll_event

ARN = f"arn:aws:iot:{ministack.REGION}:000000000000"
LIMIT = RESERVE + 0.9
"""Seconds that the function has: little more than what it keeps back."""
OF_AWS_IOT = [
    "CreateCertificateFromCsr",
    "CreateThing",
    "AttachPolicy",
    "AttachThingPrincipal",
    "UpdateCertificate",
]
OF_DYNAMODB = ["GetItem", "TransactWriteItems", "UpdateItem"]


@dataclass(slots=True)
class Bench:
    """A function and the faults of its AWS."""

    handler: LambdaHandler
    dynamodb: Faults
    iot: Faults
    secret: str

    def enroll(self, name: str, csr: str = "") -> tuple[Answer, float]:
        """Ask as a device does; the answer and how long it took."""
        sent = enroll_event(name, csr or make_csr(name)[1], self.secret)
        begun = time.monotonic()
        answer = self.handler(sent, Context(round(LIMIT * 1000)))
        return answer, time.monotonic() - begun

    def certificates(self) -> dict[str, str]:
        """Every certificate of the account and its status."""
        found = self.iot.client.list_certificates()["certificates"]
        return {one["certificateId"]: one["status"] for one in found}


@pytest.fixture(scope="module")
def clients() -> dict[str, Faults]:
    return {name: Faults(ministack.shared().client(name)) for name in ("dynamodb", "iot")}


@pytest.fixture
def bench(clients: dict[str, Faults]) -> Iterator[Bench]:
    ministack.forget_things()
    table, iot = ministack.new_table(), clients["iot"].client
    iot.create_thing_type(thingTypeName=f"{table}_device")
    document = json.dumps({"Version": "2012-10-17", "Statement": []})
    iot.create_policy(policyName=f"{table}_keyborn-default", policyDocument=document)
    account = Account(ARN, thing_type=f"{table}_device", policy_prefix=f"{table}_")
    stack = StackSettings("kb", table, account, ministack.REGION, "broker.example", pacing=Pacing(1000.0))
    handler = build_enrollment(stack, lambda name: clients[name].client, roots="roots")
    yield Bench(handler, clients["dynamodb"], clients["iot"], fleet_token(table, iot, account))
    handler.close()
    for one in clients.values():
        one.plan()


def fleet_token(table: str, iot: Any, account: Account) -> str:  # noqa: ANN401 - clients have no types
    registry = AwsRegistry(ministack.dynamodb(), table, Iot(iot, account))
    office = TokenOffice(
        tokens=registry,
        listing=registry,
        clock=SystemClock(),
        secrets=SealedSecrets(registry, SystemEntropy()),
        trust=lambda: ("https://localhost:8443", bytes(32)),
    )
    fresh = asyncio.run(office.create(TokenWish(NameScope("*"), None, timedelta(hours=1))))
    return encode_secret(fresh.code.secret)


@pytest.mark.parametrize("operation", OF_AWS_IOT)
def test_what_aws_iot_throttles_for_ever_is_429_in_time_and_leaves_nothing_active(
    bench: Bench, operation: str
) -> None:
    name, before = f"{operation}-1", bench.certificates()
    csr = make_csr(name)[1]
    bench.iot.plan(Plan(Fault.THROTTLED, times=ENDLESS, operations={operation}))
    answer, took = bench.enroll(name, csr)
    bench.iot.plan()
    assert took < LIMIT
    assert answer["statusCode"] == 429, answer
    problem = json.loads(answer["body"])
    assert problem["code"] == "aws_throttled"
    assert f"iot:{operation}" in problem["detail"]
    assert name not in problem["detail"].replace(operation, "", 1)
    assert 2 <= int(answer["headers"]["retry-after"]) <= 6
    assert {status for one, status in bench.certificates().items() if one not in before} <= {"INACTIVE"}

    answer, _ = bench.enroll(name, csr)
    if operation == "UpdateCertificate":  # it could not be switched off either: the sweeper looks first
        assert json.loads(answer["body"])["code"] == "enrollment_interrupted"
        return
    assert answer["statusCode"] in {200, 201}, answer
    made = {one: status for one, status in bench.certificates().items() if one not in before}
    assert [one for one, status in made.items() if status == "ACTIVE"] == [
        json.loads(answer["body"])["certificateId"]
    ]


@pytest.mark.parametrize("operation", OF_DYNAMODB)
def test_what_dynamodb_throttles_for_ever_is_429_in_time(bench: Bench, operation: str) -> None:
    name, before = f"{operation}-1", bench.certificates()
    bench.dynamodb.plan(Plan(Fault.THROTTLED, times=ENDLESS, operations={operation}))
    answer, took = bench.enroll(name)
    bench.dynamodb.plan()
    assert took < LIMIT
    assert answer["statusCode"] == 429, answer
    assert json.loads(answer["body"])["code"] in {"aws_throttled", "queued"}
    assert int(answer["headers"]["retry-after"]) >= 1
    assert bench.certificates() == before


@pytest.mark.parametrize("fault", [Fault.BROKEN, Fault.UNREACHED])
@pytest.mark.parametrize("operation", ["CreateCertificateFromCsr", "AttachPolicy"])
def test_an_outage_of_aws_iot_is_503_in_time_and_leaves_nothing_active(
    bench: Bench, operation: str, fault: Fault
) -> None:
    before = bench.certificates()
    bench.iot.plan(Plan(fault, times=ENDLESS, operations={operation}))
    answer, took = bench.enroll("lamp-1")
    bench.iot.plan()
    assert took < LIMIT
    assert (answer["statusCode"], json.loads(answer["body"])["code"]) == (503, "aws_outage")
    assert {status for one, status in bench.certificates().items() if one not in before} <= {"INACTIVE"}


def test_a_call_without_an_answer_ends_within_what_is_kept_back() -> None:
    """The reserve is as long as one such call; both numbers are written down once each."""
    text = inspect.getsource(wiring.clients)
    seconds = [float(text.split(f"{word}=")[1].split(",")[0]) for word in ("connect_timeout", "read_timeout")]
    assert sum(seconds) + 0.5 < RESERVE
