"""The routes of a running service, over real TLS: statuses, problem documents, headers."""

import json
from base64 import b64encode
from collections import Counter

import pytest
from cryptography import x509

from support.csr_hostile import as_json, hostile
from support.csr_make import csr_for, make_csr, make_key
from support.figures import Figure
from support.server import Answer, Server

PROBLEM = "application/problem+json"


def test_a_new_enrolment_answers_201_with_all_a_device_needs(server: Server) -> None:
    key, csr = make_csr("routes-1")
    answer = server.enroll("routes-1", csr, server.token(thing="routes-1")["secret"])
    assert answer.status == 201
    assert answer.headers["content-type"] == "application/json"
    body = answer.json
    leaf = x509.load_pem_x509_certificate(body["certificatePem"].encode())
    assert leaf.public_key() == key.public_key()
    assert body["thingName"] == "routes-1"
    assert body["notAfter"] == leaf.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert body["mqtt"]["port"] == server.mqtt[1]
    assert body["mqtt"]["clientId"] == "routes-1"
    assert body["mqtt"]["topic"] == "certtest/routes-1"
    members = {"endpoint", "port", "alpn", "fallback", "protocol", "clientId", "topic", "rootsPem"}
    assert set(body["mqtt"]) == members
    issuer = x509.load_pem_x509_certificate(body["chainPem"].encode())
    leaf.verify_directly_issued_by(issuer)
    issuer.verify_directly_issued_by(x509.load_pem_x509_certificate(body["mqtt"]["rootsPem"].encode()))


def test_the_same_enrolment_again_answers_200_with_an_equal_body(server: Server) -> None:
    secret, (_, csr) = server.token(thing="routes-2")["secret"], make_csr("routes-2")
    first, again = (server.enroll("routes-2", csr, secret) for _ in range(2))
    assert (first.status, again.status) == (201, 200)
    assert first.body == again.body


def test_the_compatibility_door_answers_200_with_the_bare_pem(server: Server) -> None:
    secret, (_, csr) = server.token(thing="routes-3")["secret"], make_csr("AWS IoT Certificate")
    answer = server.post("/getCertificate", {"thingName": "routes-3", "csr": csr, "more": 1}, secret)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.body.startswith(b"-----BEGIN CERTIFICATE-----\n")
    assert answer.body.count(b"BEGIN CERTIFICATE") == 1


def test_the_same_csr_under_a_second_name_is_told_to_make_a_new_key(server: Server) -> None:
    _, csr = make_csr("AWS IoT Certificate")
    answers = [
        server.post("/getCertificate", {"thingName": name, "csr": csr}, server.token(thing=name)["secret"])
        for name in ("routes-4", "routes-5")
    ]
    problem(answers[1], 409, "key_in_use", "make a new key")


@pytest.mark.parametrize(
    ("given", "status", "code"),
    [
        (b"", 400, "malformed_request"),
        (b"{", 400, "malformed_request"),
        (b"[]", 400, "malformed_request"),
        (b"null", 400, "malformed_request"),
        (b"\xff\xfe", 400, "malformed_request"),
        (b'{"thingName": "a"}', 400, "malformed_request"),
        (b'{"csr": "a"}', 400, "malformed_request"),
        (b'{"thingName": 1, "csr": "a"}', 400, "malformed_request"),
        (b'{"thingName": "a", "csr": ["a"]}', 400, "malformed_request"),
        (b'{"thingName": "a", "csr": null}', 400, "malformed_request"),
        (b'{"thingName": "a", "csr": "a", "other": 1}', 400, "malformed_request"),
        (b'{"thingName": "a", "csr": "a", "attributes": {"a": 1}}', 400, "malformed_request"),
        (b"[" * 16000, 400, "malformed_request"),
        (b'{"thingName": "a\\u0000", "csr": "a"}', 400, "invalid_thing_name"),
        (b'{"thingName": "\\ud800", "csr": "a"}', 400, None),
        (b'{"thingName": "a", "csr": "x"}', 400, "csr_malformed"),
        (b'{"thingName": "keyborn-x", "csr": "x"}', 400, "reserved_thing_name"),
        (b'{"thingName": "a", "csr": "' + b"x" * 5000 + b'"}', 400, "csr_too_large"),
        (b"x" * 16385, 413, "too_large"),
    ],
)
def test_a_body_that_is_not_right_says_what_is_wrong(
    server: Server, given: bytes, status: int, code: str | None
) -> None:
    secret = server.token()["secret"]
    problem(server.post("/v1/enroll", given, secret), status, code)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Basic " + b64encode(b"a:b").decode(),
        "Bearer " + "A" * 43,
        "x",
    ],
)
def test_without_a_valid_token_the_answer_is_401_and_says_how(server: Server, header: str | None) -> None:
    body = json.dumps({"thingName": "routes-6", "csr": make_csr("routes-6")[1]}).encode()
    headers = {} if header is None else {"Authorization": header}
    answer = server.request("POST", "/v1/enroll", body, headers)
    problem(answer, 401, "credential_missing" if header is None else "credential_refused", "token")
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("wish", "name", "status", "code"),
    [
        ({"thing": "taken-2"}, "taken-3", 403, "name_not_permitted"),
        ({"thing": "taken-1"}, "taken-1", 409, "thing_name_taken"),
        ({"match": "*"}, "Taken-1", 409, "thing_name_case"),
    ],
)
def test_what_the_registry_forbids_has_its_own_code(
    server: Server, wish: dict[str, object], name: str, status: int, code: str
) -> None:
    server.enroll("taken-1", make_csr("taken-1")[1], server.token(thing="taken-1")["secret"])
    answer = server.enroll(name, make_csr(name)[1], server.token(**wish)["secret"])
    problem(answer, status, code)


def test_a_withdrawn_token_is_refused(server: Server) -> None:
    from keyborn.cli.console import ask

    token = server.token(thing="routes-9")
    ask(server.data, "DELETE", f"/v1/tokens/{token['id']}")
    answer = server.enroll("routes-9", make_csr("routes-9")[1], token["secret"])
    assert answer.status == 401


def test_one_key_is_one_thing(server: Server) -> None:
    key, names = make_key(), ("routes-10", "routes-11")
    answers = [server.enroll(name, csr_for(key, name), server.token(thing=name)["secret"]) for name in names]
    statuses = [answer.status for answer in answers]
    assert statuses == [201, 409]


def test_hostile_requests_are_refused_with_their_code_and_none_is_a_5xx(
    server: Server, figure: Figure
) -> None:
    rows = [row for row in hostile() if as_json(row[1])]
    unexpected, statuses = [], Counter[int]()
    for number, (name, text, code) in enumerate(rows):
        if number % 90 == 0:  # one token's refusals are throttled after a hundred
            secret = server.token(thing="sensor-1", uses=0)["secret"]
        answer = server.post("/v1/enroll", {"thingName": "sensor-1", "csr": text}, secret)
        statuses[answer.status] += 1
        if answer.status not in (400, 413) or answer.json["code"] not in {
            code,
            "malformed_request",
            "too_large",
        }:
            unexpected.append((name, code, answer.status, answer.body))
    figure(f"hostile requests over HTTPS: {len(rows)}, by status {dict(statuses)}, no 5xx")
    assert len(rows) >= 500
    assert not unexpected
    assert server.request("GET", "/readyz").status == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_is_plain(server: Server, path: str) -> None:
    assert server.request("GET", path).status == 200


def test_the_trust_bundle_is_the_root_of_the_enrolment_code(server: Server) -> None:
    answer = server.request("GET", "/v1/trust-bundle")
    assert answer.headers["content-type"] == "application/pem-certificate-chain"
    root = x509.load_pem_x509_certificate(answer.body)
    from cryptography.hazmat.primitives.hashes import SHA256

    assert root.fingerprint(SHA256()).hex() == server.token()["fingerprint"]


def test_openapi_is_3_1_and_names_every_route(server: Server) -> None:
    document = server.request("GET", "/openapi.json").json
    assert document["openapi"].startswith("3.1")
    devices = {
        path
        for path, methods in document["paths"].items()
        if any("operator" not in one.get("tags", []) for one in methods.values())
    }
    assert devices == {
        "/v1/enroll", "/getCertificate", "/v1/trust-bundle", "/healthz", "/readyz", "/openapi.json",
        "/v1/nonce", "/v1/renew", "/v1/renew/confirm", "/v1/roots",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/v1/enroll", 405),
        ("DELETE", "/healthz", 405),
        ("GET", "/%00", 404),
        ("GET", "/v1/messages", 404),
    ],
)
def test_what_is_not_there_is_a_problem_document_too(
    server: Server, method: str, path: str, status: int
) -> None:
    answer = server.request(method, path)
    problem(answer, status, None)
    if status == 405:
        assert answer.headers["allow"]


def problem(answer: Answer, status: int, code: str | None, says: str = "") -> None:
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == PROBLEM
    body = answer.json
    assert body["status"] == status
    assert body["title"]
    assert body["detail"].endswith(".") or says == "" or says in body["detail"]
    assert says in body["detail"]
    if code is not None:
        assert body["code"] == code
