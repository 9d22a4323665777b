"""Renewal over real HTTPS, on SQLite, with a clock that a test turns."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509

from keyborn.domain.audit import verify
from keyborn.domain.thing import ThingStatus
from support.csr_make import csr_for, make_key
from support.renewal_stage import CONFIRM, RENEW, RenewalStage, renewal_stage
from support.server import Answer
from support.signing import Signer

LATE = timedelta(days=91)
WEEK = timedelta(days=7)
MINUTE = timedelta(minutes=1)


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[RenewalStage]:
    async with renewal_stage(tmp_path) as made:
        yield made


def problem(answer: Answer, status: int, code: str, *words: str) -> None:
    """A refusal in words, which brings the next nonce all the same."""
    assert (answer.status, answer.json["code"]) == (status, code), answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.headers["replay-nonce"]) == 54
    assert answer.headers["cache-control"] == "no-store"
    for word in words:
        assert word in answer.json["detail"]


# ── nonces ────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_nonce_is_in_the_header_and_in_the_body(stage: RenewalStage) -> None:
    answer = await stage.ask("GET", "/v1/nonce")
    assert answer.status == 200
    assert answer.json == {"nonce": answer.headers["replay-nonce"]}
    assert answer.headers["cache-control"] == "no-store"
    again = await stage.ask("HEAD", "/v1/nonce")
    assert again.headers["replay-nonce"] != answer.headers["replay-nonce"]


async def test_the_nonce_of_an_answer_serves_the_next_request(stage: RenewalStage) -> None:
    first = await stage.device("sensor-1")
    following = first.next_key()
    answer = await stage.renew(first, following)
    second = following.with_certificate(answer.json["certificateId"])
    confirmed = await stage.send(CONFIRM, second.body(stage.url + CONFIRM, answer.headers["replay-nonce"]))
    assert confirmed.status == 200
    again = await stage.send(CONFIRM, second.body(stage.url + CONFIRM, confirmed.headers["replay-nonce"]))
    assert again.body == confirmed.body


async def test_a_replayed_request_is_refused_and_the_answer_mends_it(stage: RenewalStage) -> None:
    first = await stage.device("sensor-1")
    following = first.next_key()
    body = first.body(stage.url + RENEW, await stage.nonce(), following.wish)
    assert (await stage.send(RENEW, body)).status == 201
    refusal = await stage.send(RENEW, body)
    problem(refusal, 400, "bad_nonce", "Replay-Nonce")
    body = first.body(stage.url + RENEW, refusal.headers["replay-nonce"], following.wish)
    assert (await stage.send(RENEW, body)).status == 200


async def test_an_old_nonce_is_refused(stage: RenewalStage) -> None:
    first, nonce = await stage.device("sensor-1"), await stage.nonce()
    stage.clock.turn(timedelta(minutes=5))
    body = first.body(stage.url + CONFIRM, nonce)
    problem(await stage.send(CONFIRM, body), 400, "bad_nonce")


# ── from the old key to the new one ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("old", "new"), [("p256", "p256"), ("rsa2048", "p384"), ("p521", "rsa2048")])
async def test_a_device_renews_and_confirms(stage: RenewalStage, old: str, new: str) -> None:
    first = await stage.device("sensor-1", old)
    following = first.next_key(new)
    answer = await stage.renew(first, following)

    assert answer.status == 201, answer.body
    body = answer.json
    leaf = x509.load_pem_x509_certificate(body["certificatePem"].encode())
    assert leaf.public_key() == following.key.public_key()
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(body["chainPem"].encode()))
    assert body["thingName"] == body["mqtt"]["clientId"] == "sensor-1"
    second = following.with_certificate(body["certificateId"])
    assert await stage.active("sensor-1") == [first.certificate_id, second.certificate_id]

    confirmed = await stage.confirm(second)
    assert confirmed.status == 200
    assert confirmed.json == {
        "thingName": "sensor-1",
        "certificateId": second.certificate_id,
        "notAfter": body["notAfter"],
    }
    assert await stage.active("sensor-1") == [second.certificate_id]
    assert stage.sessions.reviewed == [{"sensor-1"}]
    problem(await stage.confirm(first), 403, "certificate_not_active", "revoked")
    verify(await stage.registry.records(limit=1000))


async def test_lost_answers_are_given_again_with_equal_bodies(stage: RenewalStage) -> None:
    first = await stage.device("sensor-1")
    following = first.next_key()
    answers = [await stage.renew(first, following) for _ in range(3)]
    assert [answer.status for answer in answers] == [201, 200, 200]
    assert len({answer.body for answer in answers}) == 1

    second = following.with_certificate(answers[0].json["certificateId"])
    confirmed = [await stage.confirm(second) for _ in range(3)]
    assert [answer.status for answer in confirmed] == [200, 200, 200]
    assert len({answer.body for answer in confirmed}) == 1
    assert await stage.active("sensor-1") == [second.certificate_id]


async def test_equal_requests_at_once_get_one_certificate(stage: RenewalStage) -> None:
    first = await stage.device("sensor-1")
    following = first.next_key()
    answers = await asyncio.gather(*(stage.renew(first, following) for _ in range(8)))
    assert {answer.status for answer in answers} <= {200, 201}
    assert len({answer.body for answer in answers}) == 1
    assert len(await stage.active("sensor-1")) == 2


async def test_two_keys_at_once_leave_one_successor(stage: RenewalStage) -> None:
    first = await stage.device("sensor-1")
    answers = await asyncio.gather(*(stage.renew(first, first.next_key()) for _ in range(6)))
    codes = {answer.json["code"] for answer in answers if answer.status >= 400}
    assert codes <= {"enrollment_interrupted"}
    assert len(await stage.active("sensor-1")) == 2


async def test_confirmations_at_once_are_one(stage: RenewalStage) -> None:
    first = await stage.device("sensor-1")
    second = await stage.renewed(first)
    answers = await asyncio.gather(*(stage.confirm(second) for _ in range(6)))
    assert {answer.status for answer in answers} == {200}
    records = await stage.registry.records(limit=1000)
    assert [each.event.action for each in records].count("renew.confirm") == 1


# ── who is refused ────────────────────────────────────────────────────────────────────────────────────


async def test_a_request_for_another_address_is_refused(stage: RenewalStage) -> None:
    first = await stage.device("sensor-1")
    for url in (
        f"https://elsewhere.example{RENEW}",
        f"{stage.url}{CONFIRM}",
        f"{stage.url}/v1/enroll",
        f"{stage.url}{RENEW}?again",
        f"{stage.url}/{RENEW}",
    ):
        body = first.body(url, await stage.nonce(), first.next_key().wish)
        refusal = await stage.send(RENEW, body)
        problem(refusal, 401, "signed_for_elsewhere", stage.url + RENEW)
        assert refusal.headers["www-authenticate"].startswith("JWS")
    assert await stage.active("sensor-1") == [first.certificate_id]


async def test_a_service_that_is_reached_under_another_name_takes_that_name(stage: RenewalStage) -> None:
    """As behind a gateway: what the request was addressed to, and what was signed, are the same."""
    first = await stage.device("sensor-1")
    body = first.body(f"https://gateway.example{CONFIRM}", await stage.nonce())
    headers = {"Content-Type": "application/jose+json", "Host": "gateway.example"}
    assert (await stage.ask("POST", CONFIRM, body, headers)).status == 200


@pytest.mark.parametrize("slash", ["", "/"])
async def test_a_service_behind_a_prefix_takes_the_url_of_its_codes(stage: RenewalStage, slash: str) -> None:
    first = await stage.device("sensor-1")
    stage.public_url = f"https://gateway.example/fleet{slash}"
    body = first.body(f"https://gateway.example/fleet{CONFIRM}", await stage.nonce())
    assert (await stage.send(CONFIRM, body)).status == 200
    body = first.body(f"https://gateway.example/other{CONFIRM}", await stage.nonce())
    problem(await stage.send(CONFIRM, body), 401, "signed_for_elsewhere", "https://gateway.example/fleet/v1")


async def test_a_request_with_two_hosts_is_none(stage: RenewalStage) -> None:
    """The Host header counts where there is one of it (RFC 9112, 3.2)."""
    first = await stage.device("sensor-1")
    body = first.body(f"https://evil.example{CONFIRM}", await stage.nonce())
    head = f"POST {CONFIRM} HTTP/1.1\r\nHost: evil.example\r\nHost: other.example\r\n"
    head += f"Content-Type: application/jose+json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    answer = await stage.raw(head.encode() + body)
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_a_confirmation_does_not_serve_as_a_renewal(stage: RenewalStage) -> None:
    first = await stage.device("sensor-1")
    body = first.body(stage.url + CONFIRM, await stage.nonce(), first.next_key().wish)
    problem(await stage.send(RENEW, body), 401, "signed_for_elsewhere")


async def test_a_wrong_key_and_an_unknown_certificate_are_refused_alike(stage: RenewalStage) -> None:
    first, other = await stage.device("sensor-1"), await stage.device("sensor-2")
    stranger = Signer("sensor-1", first.key, other.certificate_id)
    url = stage.url + RENEW
    answers = [
        await stage.send(RENEW, first.body(url, await stage.nonce(), first.next_key().wish, key=make_key())),
        await stage.send(RENEW, stranger.body(url, await stage.nonce(), first.next_key().wish)),
    ]
    for answer in answers:
        problem(answer, 401, "signature_refused")
    assert answers[0].body == answers[1].body


async def test_a_device_renews_only_itself(stage: RenewalStage) -> None:
    first, other = await stage.device("sensor-1"), await stage.device("sensor-2")
    problem(await stage.signed(RENEW, other, first.next_key().wish), 400, "csr_name_mismatch", "sensor-2")
    taken = {"csr": csr_for(other.key, "sensor-1")}
    problem(await stage.signed(RENEW, first, taken), 409, "key_in_use")
    own = {"csr": csr_for(first.key, "sensor-1")}
    problem(await stage.signed(RENEW, first, own), 400, "key_not_new", "new key")


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"[]", b'{"csr": 1}', b'{"csr": "x", "thingName": "sensor-2"}', b'{"csr": null}', b"\xff"],
)
async def test_a_payload_that_is_not_right_says_what_is_wrong(stage: RenewalStage, payload: bytes) -> None:
    first = await stage.device("sensor-1")
    problem(await stage.signed(RENEW, first, payload), 400, "jws_malformed", "its payload")


async def test_a_body_that_is_no_jws_is_refused(stage: RenewalStage) -> None:
    for body in (b"", b"{}", b"[" * 9000, b"\x00", json.dumps({"csr": "x"}).encode()):
        problem(await stage.send(RENEW, body), 400, "jws_malformed")
    problem(await stage.send(RENEW, b"x" * 16_385), 413, "too_large")


async def test_another_content_type_is_refused(stage: RenewalStage) -> None:
    first = await stage.device("sensor-1")
    body = first.body(stage.url + CONFIRM, await stage.nonce())
    for media in ("application/json", "text/plain", ""):
        problem(await stage.send(CONFIRM, body, media), 400, "jws_malformed", "Content-Type")
    assert (await stage.send(CONFIRM, body, "Application/JOSE+json; charset=utf-8")).status == 200


async def test_a_bearer_token_is_no_signature(stage: RenewalStage) -> None:
    headers = {"Authorization": "Bearer " + "A" * 43, "Content-Type": "application/jose+json"}
    problem(await stage.ask("POST", RENEW, b"{}", headers), 400, "jws_malformed")


async def test_a_suspended_or_revoked_device_is_refused(stage: RenewalStage) -> None:
    first = await stage.device("sensor-1")
    second = await stage.renewed(first)
    for status in (ThingStatus.SUSPENDED, ThingStatus.REVOKED):
        await stage.order("sensor-1", status)
        problem(await stage.renew(first, first.next_key()), 403, "thing_revoked", status.value)
        problem(await stage.confirm(second), 403, "thing_revoked", status.value)
    assert await stage.active("sensor-1") == []


# ── time ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_expired_device_renews_only_with_grace(stage: RenewalStage) -> None:
    first = await stage.device("sensor-1")
    stage.clock.turn(LATE)
    following = first.next_key()
    problem(await stage.renew(first, following), 403, "certificate_expired", "keyborn thing grace sensor-1")

    await stage.grace.grant("sensor-1", WEEK)
    stage.clock.turn(WEEK + MINUTE)
    problem(await stage.renew(first, following), 403, "certificate_expired")

    await stage.grace.grant("sensor-1", WEEK)
    other = Signer("sensor-1", make_key(), first.certificate_id)
    problem(await stage.renew(other, following), 401, "signature_refused")
    second = await stage.renewed(first)
    assert (await stage.confirm(second)).status == 200
    assert await stage.active("sensor-1") == [second.certificate_id]


async def test_a_successor_that_nobody_confirms_is_withdrawn(stage: RenewalStage) -> None:
    first = await stage.device("sensor-1")
    stage.clock.turn(timedelta(days=60))
    second = await stage.renewed(first)
    stage.clock.turn(WEEK - timedelta(hours=1))
    assert await stage.sweep() == 0
    stage.clock.turn(timedelta(hours=2))
    assert await stage.sweep() == 1

    assert await stage.active("sensor-1") == [first.certificate_id]
    assert stage.sessions.reviewed == [{"sensor-1"}]
    problem(await stage.confirm(second), 403, "certificate_not_active", "before")
    third = await stage.renewed(first)
    assert (await stage.confirm(third)).status == 200


async def test_ten_renewals_in_a_row(stage: RenewalStage) -> None:
    current = await stage.device("sensor-1")
    for _ in range(10):
        stage.clock.turn(timedelta(days=60))
        following = await stage.renewed(current)
        assert (await stage.confirm(following)).status == 200
        assert await stage.active("sensor-1") == [following.certificate_id]
        current = following


# ── what is never told ────────────────────────────────────────────────────────────────────────────────


async def test_neither_requests_nor_nonces_are_recorded(stage: RenewalStage) -> None:
    first = await stage.device("sensor-1")
    following = first.next_key()
    nonce = await stage.nonce()
    await stage.send(RENEW, first.body(stage.url + RENEW, nonce, following.wish))
    await stage.signed(RENEW, first, {"csr": "BEGIN nothing"})
    text = " ".join(str(each.event) for each in await stage.registry.records(limit=1000))
    assert "BEGIN" not in text
    assert nonce not in text
