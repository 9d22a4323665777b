"""Operators at a real service, over real TLS: who is let in, what is told, what stays away from whom."""

import base64
import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keyborn.cli.audit import _record
from keyborn.cli.console import ask
from keyborn.domain.api_key import ApiKeyWord
from keyborn.domain.audit import verify
from support.csr_make import make_csr
from support.device import keyborn
from support.server import Answer, Server, running

ROLES = ("viewer", "approver", "admin")


def key(server: Server, role: str = "viewer", **more: object) -> dict[str, Any]:
    made: dict[str, Any] = ask(server.data, "POST", "/v1/api-keys", {"name": "alice", "role": role, **more})
    return made


def call(
    server: Server, method: str, path: str, word: str | None = None, body: object = None, **headers: str
) -> Answer:
    if word is not None:
        headers["Authorization"] = f"Bearer {word}"
    raw = b"" if body is None else json.dumps(body).encode()
    return server.request(method, path, raw, headers)


def trail(server: Server, action: str = "") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = ask(server.data, "GET", "/v1/audit", limit=1000)
    return [row for row in rows if action in ("", row["action"])]


@pytest.fixture(scope="module")
def keys(server: Server) -> dict[str, str]:
    return {role: key(server, role)["apiKey"] for role in ROLES}


@pytest.mark.parametrize("role", ROLES)
def test_every_role_looks_and_only_an_admin_changes(server: Server, keys: dict[str, str], role: str) -> None:
    for path in ("/v1/things", "/v1/tokens", "/v1/policies", "/v1/audit", "/v1/about", "/v1/roots"):
        assert call(server, "GET", path, keys[role]).status == 200
    made = call(server, "POST", "/v1/tokens", keys[role], {"thing": f"lamp-{role}"})
    assert made.status == (201 if role == "admin" else 403)
    for method, path in (("POST", "/v1/api-keys"), ("POST", "/v1/roots/next"), ("DELETE", "/v1/roots/old")):
        refused = call(server, method, path, keys[role], {})
        assert (refused.status, refused.json["code"]) == (403, "local_only")


def test_the_key_says_where_and_whom_to_believe(server: Server) -> None:
    made = key(server)
    word = ApiKeyWord.decode(made["apiKey"])
    assert word.url == server.about["url"]
    assert word.fingerprint.hex() == made["fingerprint"] == _plain(server.about["fingerprint"])


def _plain(fingerprint: str) -> str:
    return fingerprint.replace(":", "").lower()


def test_devices_keep_their_routes(server: Server, keys: dict[str, str]) -> None:
    """Two of them share a path with an operator's, and neither opens with the other's credential."""
    assert call(server, "GET", "/v1/nonce").status == 200
    told = call(server, "POST", "/v1/roots", keys["admin"], {})
    assert told.status in (400, 401)
    assert told.json["code"] not in {"api_key_missing", "api_key_refused"}
    _, csr = make_csr("lamp-9")
    refused = server.enroll("lamp-9", csr, keys["admin"])
    assert (refused.status, refused.json["code"]) == (401, "credential_refused")
    raw = ApiKeyWord.decode(keys["admin"]).secret
    bare = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    refused = server.enroll("lamp-9", csr, bare)
    assert (refused.status, refused.json["code"]) == (401, "credential_refused")


def test_a_device_s_token_is_nothing_here(server: Server) -> None:
    token = server.token(thing="lamp-8")
    for word in (token["secret"], token["code"]):
        refused = call(server, "GET", "/v1/things", word)
        assert (refused.status, refused.json["code"]) == (401, "api_key_refused")


def test_a_device_s_certificate_is_nothing_here(server: Server, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    private, csr = make_csr("lamp-7")
    answer = server.enroll("lamp-7", csr, server.token(thing="lamp-7")["secret"])
    assert answer.status == 201, answer.body
    chain = tmp_path / "device.pem"
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    chain.write_text(pem + answer.json["certificatePem"] + answer.json["chainPem"])
    context = ssl.create_default_context(cadata=_root(server))
    context.load_cert_chain(chain)
    server._context, kept = context, server.context()
    try:
        refused = call(server, "GET", "/v1/things")
    finally:
        server._context = kept
    assert (refused.status, refused.json["code"]) == (401, "api_key_missing")


def _root(server: Server) -> str:
    rows = ask(server.data, "GET", "/v1/authorities")
    return str(next(row["pem"] for row in rows if row["role"] == "root"))


def test_unknown_wrong_and_withdrawn_are_the_same_answer(server: Server) -> None:
    made = key(server, "admin")
    ask(server.data, "DELETE", f"/v1/api-keys/{made['id']}")
    word = ApiKeyWord.decode(made["apiKey"])
    unknown = ApiKeyWord(word.url, word.fingerprint, bytes(32)).encode()
    told = {
        (answer.status, str(answer.json | {"requestId": ""}), answer.headers["www-authenticate"])
        for answer in (call(server, "GET", "/v1/things", each) for each in (made["apiKey"], unknown, "x"))
    }
    assert len(told) == 1


def test_a_withdrawal_counts_at_once(server: Server) -> None:
    made = key(server, "viewer")
    assert call(server, "GET", "/v1/things", made["apiKey"]).status == 200
    ask(server.data, "DELETE", f"/v1/api-keys/{made['id']}")
    assert call(server, "GET", "/v1/things", made["apiKey"]).status == 401


def test_a_key_expires(server: Server) -> None:
    made = key(server, "admin", ttl=1)
    deadline = time.monotonic() + 10
    while (answer := call(server, "GET", "/v1/things", made["apiKey"])).status == 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert (answer.status, answer.json["code"]) == (401, "api_key_expired")
    assert made["expires"] in answer.json["detail"]


@pytest.mark.parametrize("path", ["/v1/tokens", "/v1/policies/p", "/v1/services", "/v1/things/x/status"])
def test_a_body_is_read_only_from_who_may(server: Server, keys: dict[str, str], path: str) -> None:
    method = "PUT" if "policies" in path else "POST"
    huge = b"x" * 200_000
    headers = {"Authorization": f"Bearer {keys['admin']}"}
    assert server.request(method, path, huge, headers).status == 413
    assert server.request(method, path, huge, {"Authorization": f"Bearer {keys['viewer']}"}).status == 403
    assert server.request(method, path, huge).status == 401


def test_every_call_is_in_a_trail_that_holds(server: Server, keys: dict[str, str]) -> None:
    viewer = ApiKeyWord.decode(keys["viewer"])
    before = len(trail(server))
    for _ in range(30):
        assert call(server, "GET", "/v1/authorities", keys["viewer"]).status == 200
    assert call(server, "DELETE", "/v1/tokens/t0", keys["viewer"]).status == 403
    assert call(server, "DELETE", "/v1/tokens/t0", keys["admin"]).status == 404
    rows = [row for row in trail(server)[before:] if row["action"] == "admin.call"]
    told = {(row["subject"], row["outcome"]): row for row in rows}
    looked = told["GET /v1/authorities", "done"]
    assert looked["actor"].startswith("a")
    assert looked["actor"].endswith(" alice")
    assert looked["source"] == "127.0.0.1"
    assert ("DELETE /v1/tokens/{token:path}", "role_too_low") in told
    assert ("DELETE /v1/tokens/{token:path}", "not_found") in told
    assert len(rows) <= 3
    assert viewer.secret.hex() not in json.dumps(trail(server))
    verify([_record(row) for row in trail(server)])


def test_counts_are_told_when_the_service_ends(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        word = key(server)["apiKey"]
        for _ in range(25):
            assert call(server, "GET", "/v1/about", word).status == 200
        server.stop()
        rows = trail(server, "admin.call")
    assert [int(row["details"]["calls"]) for row in rows] == [1, 24]


def test_no_secret_is_in_any_file_of_the_service(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        made = key(server, "admin")
        word = ApiKeyWord.decode(made["apiKey"])
        assert call(server, "GET", "/v1/things", made["apiKey"]).status == 200
        assert call(server, "GET", "/v1/things", made["apiKey"] + "x").status == 401
        assert call(server, "GET", f"/v1/things/{made['apiKey']}", made["apiKey"]).status == 404
        server.stop()
    canaries = [word.secret, word.secret.hex().encode(), made["apiKey"].encode()[60:100]]
    seen = [tmp_path / "server.log", *(path for path in server.data.rglob("*") if path.is_file())]
    assert len(seen) > 5
    for path in seen:
        raw = path.read_bytes()
        assert not any(canary in raw for canary in canaries), path


def test_a_method_that_no_route_has_is_told_those_of_all_routes_of_its_path(server: Server) -> None:
    """RFC 9110, 15.5.6: devices post their roots where operators read who believes which."""
    answer = call(server, "PATCH", "/v1/roots", None)
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD, POST"


# ── switched off ──


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("alone"), "--no-remote-admin") as server:
        yield server


def test_a_service_that_is_not_operated_from_elsewhere_has_no_such_routes(alone: Server) -> None:
    word = key(alone, "admin")["apiKey"]
    assert alone.about["remoteAdmin"] is False
    for method, path in (("GET", "/v1/things"), ("POST", "/v1/tokens"), ("GET", "/v1/audit")):
        assert call(alone, method, path, word, {}).status == 404
    assert call(alone, "GET", "/v1/roots", word).status == 405, "devices post theirs"
    assert set(call(alone, "GET", "/openapi.json").json["components"]["securitySchemes"]) == {"token"}
    assert ask(alone.data, "GET", "/v1/things") == []


def test_who_makes_a_key_that_nobody_answers_is_told(alone: Server, server: Server) -> None:
    words = ("api-key", "create", "--name", "a", "--role", "viewer", "--data")
    assert "answers nobody elsewhere" in keyborn(*words, alone.data).stderr
    assert keyborn(*words, server.data).stderr == ""


def test_the_setting_is_kept(alone: Server) -> None:
    assert "remote_admin = false" in (alone.data / "server.toml").read_text()
