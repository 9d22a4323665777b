"""Signed enrolments through the function, as API Gateway hands them over, by key and by certificate."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from keyborn.adapters.aws.iot import Iot
from keyborn.adapters.aws.registry import AwsRegistry
from keyborn.adapters.aws.roots import amazon_roots
from keyborn.adapters.system import SystemClock, SystemEntropy
from keyborn.domain.audit import AuditEvent
from keyborn.domain.group_key import GroupKey
from keyborn.domain.jws_enroll import Place
from keyborn.domain.names import GroupName, NameScope
from keyborn.http.lambda_handler import Answer, LambdaHandler
from keyborn.service.group_keys import GroupKeyOffice
from keyborn.service.groups import GroupOffice, GroupPorts
from keyborn.service.sealing import SealedSecrets
from keyborn.service.tokens import TokenWish
from keyborn.wiring.aws import StackSettings, build_enrollment
from support import ministack
from support.aws_function import stack_of_parts
from support.csr_make import make_csr
from support.factory import manufacturer
from support.lambda_events import Context, event
from support.signed_enrolling import YEAR, by_certificate, by_key, payload, toml

URL = "https://door.example"
ENROLL = "/v1/enroll"
ROOT = manufacturer()
DEVICE = ROOT.device("1")
FACTORY = f'[factory]\nauthorities = """\n{ROOT.pem}"""\nname = "sensor-{{serial_number}}"\n'


@pytest.fixture(scope="module")
def stack() -> StackSettings:
    return stack_of_parts(URL)


@pytest.fixture
def handler(stack: StackSettings) -> Iterator[LambdaHandler]:
    handler = build_enrollment(stack, ministack.shared().client, roots=amazon_roots())
    yield handler
    handler.close()


class Line:
    """The operator of a stack and the devices of its groups."""

    def __init__(self, stack: StackSettings, handler: LambdaHandler) -> None:
        iot = Iot(ministack.shared().client("iot"), stack.account)
        self.registry = AwsRegistry(ministack.dynamodb(), stack.table, iot)
        self.handler = handler
        self.clock = SystemClock()

    def group(self, name: str, methods: str = "group-key", more: str = "") -> GroupName:
        """As the operator's office on AWS does it."""
        ports = GroupPorts(self.registry, self.registry, self.registry)
        key = SealedSecrets(self.registry, SystemEntropy()).key
        office = GroupOffice(ports, clock=self.clock, entropy=SystemEntropy(), prepare=key)
        asyncio.run(office.put(name, toml(name, methods, more)))
        return GroupName(name)

    def key(self, group: GroupName, uses: int | None = None) -> GroupKey:
        office = GroupKeyOffice(
            tokens=self.registry,
            groups=self.registry,
            clock=self.clock,
            entropy=SystemEntropy(),
            trust=lambda: (URL, b""),
        )
        return asyncio.run(office.create(group, TokenWish(NameScope("*"), uses, YEAR))).held

    def place(self) -> Place:
        answer = self.handler(event("GET", "/v1/nonce"), Context())
        return Place(URL + ENROLL, answer["headers"]["replay-nonce"])

    def send(self, body: bytes) -> Answer:
        headers = {"content-type": "application/jose+json"}
        answer = self.handler(event("POST", ENROLL, body, headers=headers), Context())
        assert len(answer["headers"]["replay-nonce"]) == 54
        return answer

    def by_key(self, held: GroupKey, name: str, **said: object) -> bytes:
        wish = payload(name, make_csr(name)[1], **{"group": held.group, **said})
        return by_key(held.key, name, self.place(), wish)


@pytest.fixture
def line(stack: StackSettings, handler: LambdaHandler) -> Line:
    return Line(stack, handler)


def told(answer: Answer) -> tuple[int, str]:
    said: dict[str, Any] = json.loads(answer["body"])
    return answer["statusCode"], str(said.get("code", said.get("thingName")))


def test_a_derived_key_enrols_its_thing_once_and_again(line: Line) -> None:
    held = line.key(line.group("keys"))
    csr = make_csr("sensor-10")[1]
    first = line.send(by_key(held.key, "sensor-10", line.place(), payload("sensor-10", csr, "keys")))
    assert told(first) == (201, "sensor-10")
    again = line.send(by_key(held.key, "sensor-10", line.place(), payload("sensor-10", csr, "keys")))
    assert (again["statusCode"], again["body"]) == (200, first["body"])


def test_a_factory_certificate_enrols_the_name_that_it_says(line: Line) -> None:
    group = line.group("made", "factory", FACTORY)
    said = payload("sensor-1", make_csr("sensor-1")[1], group)
    body = by_certificate(DEVICE, place=line.place(), payload=said)
    assert told(line.send(body)) == (201, "sensor-1")
    assert told(line.send(body)) == (400, "bad_nonce")
    other = payload("sensor-2", make_csr("sensor-2")[1], group)
    refused = line.send(by_certificate(DEVICE, place=line.place(), payload=other))
    assert told(refused) == (403, "name_not_permitted")
    fake = by_certificate(
        manufacturer().device("3"), place=line.place(), payload=payload("sensor-3", "x", group)
    )
    assert told(line.send(fake)) == (401, "factory_refused")


def test_misuse_of_a_group_key_has_the_codes_that_it_has_elsewhere(line: Line) -> None:
    held, single = line.key(line.group("line-a")), line.key(line.group("line-b"), uses=1)
    withdrawn = line.key(held.group)
    assert told(line.send(line.by_key(single, "sensor-20"))) == (201, "sensor-20")
    now = line.clock.now()
    asyncio.run(
        line.registry.withdraw(
            withdrawn.id, AuditEvent(now, "token.withdraw", "done", withdrawn.id, "operator")
        )
    )
    wrong = by_key(held.key, "sensor-22", line.place(), payload("sensor-21", "csr", held.group))
    unknown = by_key(bytes(32), "sensor-21", line.place(), payload("sensor-21", "csr", held.group))
    elsewhere = by_key(
        held.key,
        "sensor-21",
        Place(URL + "/v1/renew", line.place().nonce),
        payload("sensor-21", "csr", "line-a"),
    )
    assert told(line.send(wrong)) == (401, "group_key_refused")
    assert told(line.send(unknown)) == (401, "group_key_refused")
    assert told(line.send(elsewhere)) == (401, "signed_for_elsewhere")
    assert told(line.send(line.by_key(withdrawn, "sensor-21"))) == (401, "group_key_refused")
    assert told(line.send(line.by_key(held, "sensor-21", group="line-b"))) == (403, "group_differs")
    assert told(line.send(line.by_key(single, "sensor-21"))) == (403, "group_key_exhausted")
    assert told(line.send(line.by_key(held, "sensor-20"))) == (409, "thing_name_taken")
    assert told(line.send(line.by_key(held, "sensor-21"))) == (201, "sensor-21")
