"""A renewal through the function, as API Gateway hands it over: real keys, signed requests, nonces."""

import io
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from keyborn.adapters.aws.iot import Account
from keyborn.adapters.aws.roots import amazon_roots
from keyborn.domain.names import CertificateId
from keyborn.domain.renewal import OVERLAP
from keyborn.http.lambda_handler import Answer, LambdaHandler
from keyborn.wiring.aws import StackSettings, SweepHandler, build_enrollment
from support import ministack
from support.aws_function import ARN, secret_for, stack_of_parts
from support.aws_saga import ShiftedClock
from support.csr_make import make_csr
from support.lambda_events import DOMAIN, Context, enroll_event, event
from support.signing import Signer

URL = "https://door.example"
RENEW, CONFIRM = "/v1/renew", "/v1/renew/confirm"


@pytest.fixture(scope="module")
def stack() -> StackSettings:
    return stack_of_parts(URL)


@pytest.fixture
def handler(stack: StackSettings) -> Iterator[LambdaHandler]:
    handler = build_enrollment(stack, ministack.shared().client, roots=amazon_roots())
    yield handler
    handler.close()


class Device:
    """One that keeps its nonce, as RFC 8555 has it."""

    def __init__(
        self, stack: StackSettings, handler: LambdaHandler, name: str, key_type: str = "p256"
    ) -> None:
        self.handler = handler
        key, csr = make_csr(name, key_type)
        answer = handler(enroll_event(name, csr, secret_for(stack, name)), Context())
        assert answer["statusCode"] == 201, answer
        self.signer = Signer(name, key, CertificateId(json.loads(answer["body"])["certificateId"]))
        self.nonce = self.fresh()

    def fresh(self) -> str:
        answer = self.handler(event("GET", "/v1/nonce"), Context())
        assert answer["headers"]["replay-nonce"] == json.loads(answer["body"])["nonce"]
        assert answer["headers"]["cache-control"] == "no-store"
        return answer["headers"]["replay-nonce"]

    def post(self, path: str, payload: object = None, *, by: Signer | None = None, at: str = URL) -> Answer:
        body = (by or self.signer).body(f"{at}{path}", self.nonce, payload)
        headers = {"content-type": "application/jose+json"}
        answer = self.handler(event("POST", path, body, headers=headers), Context())
        self.nonce = answer["headers"]["replay-nonce"]
        return answer


def status_of(certificate: str) -> str:
    found = ministack.shared().client("iot").describe_certificate(certificateId=certificate)
    status: str = found["certificateDescription"]["status"]
    return status


def told(answer: Answer) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(answer["body"])
    return said


@pytest.mark.parametrize("key_type", ["p256", "p384", "rsa2048"])
def test_a_device_renews_and_confirms(stack: StackSettings, handler: LambdaHandler, key_type: str) -> None:
    device = Device(stack, handler, f"dev-{key_type}", key_type)
    following = device.signer.next_key(key_type)

    first, again = device.post(RENEW, following.wish), device.post(RENEW, following.wish)

    assert (first["statusCode"], again["statusCode"]) == (201, 200), first
    assert first["body"] == again["body"]
    answer = told(first)
    assert answer["mqtt"]["topic"] == f"plant/dev-{key_type}"
    successor = following.with_certificate(answer["certificateId"])
    assert status_of(successor.certificate_id) == status_of(device.signer.certificate_id) == "ACTIVE"

    confirmed, repeated = device.post(CONFIRM, by=successor), device.post(CONFIRM, by=successor)

    assert (confirmed["statusCode"], repeated["statusCode"]) == (200, 200), confirmed
    assert told(confirmed)["certificateId"] == successor.certificate_id
    assert status_of(successor.certificate_id) == "ACTIVE"
    assert status_of(device.signer.certificate_id) == "REVOKED"
    refused = device.post(RENEW, device.signer.next_key().wish)
    assert told(refused)["code"] == "certificate_not_active"


def test_the_address_of_the_api_itself_will_do_and_that_of_another_service_will_not(
    stack: StackSettings, handler: LambdaHandler
) -> None:
    device = Device(stack, handler, "dev-address")
    other = device.post(RENEW, device.signer.next_key().wish, at="https://elsewhere.example")
    assert told(other)["code"] == "signed_for_elsewhere"
    assert f"{URL}{RENEW}" in told(other)["detail"]
    own = device.post(RENEW, device.signer.next_key().wish, at=f"https://{DOMAIN}")
    assert own["statusCode"] == 201, own


def test_a_request_that_comes_twice_is_taken_once(stack: StackSettings, handler: LambdaHandler) -> None:
    device = Device(stack, handler, "dev-twice")
    nonce = device.nonce
    assert device.post(CONFIRM)["statusCode"] == 200
    device.nonce = nonce
    assert told(device.post(CONFIRM))["code"] == "bad_nonce"
    assert device.post(CONFIRM)["statusCode"] == 200, "the refusal carried a nonce that is good"


def test_two_functions_know_each_others_nonces(stack: StackSettings, handler: LambdaHandler) -> None:
    device = Device(stack, handler, "dev-two")
    other = build_enrollment(stack, ministack.shared().client, roots="")
    device.handler = other
    assert device.post(CONFIRM)["statusCode"] == 200
    other.close()


def test_strangers_are_told_nothing(stack: StackSettings, handler: LambdaHandler) -> None:
    device = Device(stack, handler, "dev-known")
    unknown = Signer("dev-known", device.signer.key, CertificateId("0" * 64))
    forged = Signer("dev-known", device.signer.next_key().key, device.signer.certificate_id)
    answers = [device.post(RENEW, device.signer.next_key().wish, by=each) for each in (unknown, forged)]
    assert {one["statusCode"] for one in answers} == {401}
    assert {told(one)["code"] for one in answers} == {"signature_refused"}
    assert len({told(one)["detail"] for one in answers}) == 1


def test_before_the_first_token_a_nonce_is_good_for_nothing() -> None:
    """A stack that was made a moment ago: there is no key yet, and nobody to sign."""
    stack = StackSettings(
        "kb", ministack.new_table(), Account(ARN), "eu-central-1", "broker.example", url=URL
    )
    handler = build_enrollment(stack, ministack.shared().client, roots="")
    assert handler(event("GET", "/v1/nonce"), Context())["statusCode"] == 200
    handler.close()


def test_the_sweeper_withdraws_what_nobody_confirmed(stack: StackSettings, handler: LambdaHandler) -> None:
    device = Device(stack, handler, "dev-silent")
    given = told(device.post(RENEW, device.signer.next_key().wish))["certificateId"]
    assert status_of(given) == "ACTIVE"
    later = ShiftedClock(OVERLAP + timedelta(hours=1))
    sweeper = SweepHandler(stack, ministack.shared().client, clock=later, out=io.StringIO())
    answers = [sweeper({}, Context(50_000)) for _ in range(2)]
    sweeper.close()
    assert [one["troubles"] for one in answers] == [[], []]
    assert answers[0]["withdrawn"] >= 1
    assert answers[1]["withdrawn"] == 0
    assert not listed(given)
    assert status_of(device.signer.certificate_id) == "ACTIVE"


def listed(certificate: str) -> bool:
    """Whether AWS IoT has it still."""
    found = ministack.shared().client("iot").list_certificates(pageSize=250)["certificates"]
    return certificate in {one["certificateId"] for one in found}


def test_of_two_keys_the_second_is_kept(stack: StackSettings, handler: LambdaHandler) -> None:
    """A device that renewed twice with two keys keeps the second; the first is refused for good."""
    device = Device(stack, handler, "dev-two-keys")
    one, two = device.signer.next_key(), device.signer.next_key()
    first = told(device.post(RENEW, one.wish))["certificateId"]
    second = told(device.post(RENEW, two.wish))["certificateId"]
    assert (status_of(first), status_of(second)) == ("REVOKED", "ACTIVE")
    assert told(device.post(CONFIRM, by=one.with_certificate(first)))["code"] == "certificate_not_active"
    assert told(device.post(RENEW, one.wish))["code"] == "key_revoked"
    assert device.post(CONFIRM, by=two.with_certificate(second))["statusCode"] == 200
