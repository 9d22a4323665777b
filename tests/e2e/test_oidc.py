"""OIDC end to end: a real identity provider, a real service, devices that show its tokens."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from support.csr_make import make_csr
from support.device import keyborn, keyborn_json
from support.issuer import Provider, provider
from support.server import Answer, Server

GROUP = """\
name = "line-7"
things = "sensor-*"
methods = ["oidc"]
limit = 10000
[oidc]
issuer = "{issuer}"
audience = "keyborn"
name = "{{sub}}"
roots-file = "issuer-root.pem"
[oidc.claims]
factory = "7"
"""
_number = count(1)


@pytest.fixture(scope="module")
def issuer(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    """The provider, and the group that takes its tokens."""
    folder = tmp_path_factory.mktemp("issuer")
    with provider(folder) as running:
        put(server, running, folder)
        yield running


def put(server: Server, issuer: Provider, folder: Path, more: str = "") -> None:
    (folder / "issuer-root.pem").write_text(issuer.server.pki.root_pem)
    (folder / "line-7.toml").write_text(more + GROUP.format(issuer=issuer.url))
    keyborn("group", "put", folder / "line-7.toml", "--data", server.data)


def name() -> str:
    return f"sensor-{next(_number)}"


def token(issuer: Provider, thing: str, **claims: Any) -> str:  # noqa: ANN401 - any claim
    return issuer.token(datetime.now(UTC), **{"sub": thing, "jti": f"{thing}-{next(_number)}", **claims})


def ask(server: Server, thing: str, bearer: str, csr: str | None = None, **more: object) -> Answer:
    csr = csr or make_csr(thing)[1]
    body = {"thingName": thing, "csr": csr, "group": "line-7", **more}
    return server.post("/v1/enroll", body, bearer)


def trail(server: Server) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = keyborn_json("audit", "show", "--data", server.data)
    return rows


def test_a_device_enrols_with_the_token_of_its_provider(
    server: Server, issuer: Provider, tmp_path: Path
) -> None:
    thing = name()
    word = token(issuer, thing)
    (tmp_path / "token.jwt").write_text(word)
    words = ("enroll", "-", "--thing", thing, "--home", tmp_path / "home")
    code = server.token(thing=thing)["code"]
    made = keyborn_json(*words, "--group", "line-7", "--jwt-file", tmp_path / "token.jwt", typed=code)
    assert made["thing"] == thing
    assert server.thing(thing)["group"] == "line-7"
    done = [row for row in trail(server) if row["subject"] == thing and row["outcome"] == "done"]
    (enrolled,) = [row for row in done if row["action"] == "enroll"]
    assert enrolled["actor"].startswith("o")
    assert enrolled["details"]["issuer"] == issuer.url
    assert enrolled["details"]["subject"] == thing
    whole = server.log.read_text() + str(trail(server))
    assert not any(part in whole for part in word.split("."))


def test_the_same_token_again_is_the_same_certificate_and_for_anything_else_nothing(
    server: Server, issuer: Provider
) -> None:
    thing = name()
    word, csr = token(issuer, thing), make_csr(thing)[1]
    first, again = ask(server, thing, word, csr), ask(server, thing, word, csr)
    assert (first.status, again.status) == (201, 200)
    assert first.json == again.json
    fresh = ask(server, thing, token(issuer, thing), csr)
    assert (fresh.status, fresh.json["certificateId"]) == (200, first.json["certificateId"])
    other = ask(server, thing, word)
    assert (other.status, other.json["code"]) == (409, "thing_name_taken")


def test_a_pattern_gives_each_token_one_device(server: Server, issuer: Provider, tmp_path: Path) -> None:
    text = GROUP.format(issuer=issuer.url).replace("{sub}", "sensor-{line}-*").replace("line-7", "line-8", 1)
    (tmp_path / "issuer-root.pem").write_text(issuer.server.pki.root_pem)
    (tmp_path / "line-8.toml").write_text(text)
    keyborn("group", "put", tmp_path / "line-8.toml", "--data", server.data)
    word = token(issuer, "whoever", line="a")
    assert ask(server, "sensor-a-1", word, group="line-8").status == 201
    assert ask(server, "sensor-a-2", word, group="line-8").json["code"] == "id_token_used"
    assert ask(server, "sensor-b-1", word, group="line-8").json["code"] == "name_not_permitted"


Claims = Callable[[str, int], dict[str, Any]]
REFUSED: dict[str, tuple[Claims, int, str]] = {
    "expired": (lambda _, now: {"iat": now - 900, "nbf": None, "exp": now - 300}, 401, "id_token_expired"),
    "not yet good": (lambda _, now: {"nbf": now + 600, "exp": now + 900}, 401, "id_token_not_yet"),
    "good for too long": (lambda _, now: {"exp": now + 200_000}, 401, "id_token_lifetime"),
    "for somebody else": (lambda _, __: {"aud": "sts.example"}, 401, "id_token_audience"),
    "of another issuer": (lambda url, _: {"iss": url + "/b"}, 401, "id_token_issuer"),
    "without a date": (lambda _, __: {"exp": None}, 401, "id_token_malformed"),
    "of another factory": (lambda _, __: {"factory": "8"}, 403, "id_token_claim"),
    "for another name": (lambda _, __: {"sub": "sensor-0"}, 403, "name_not_permitted"),
    "with a wildcard": (lambda _, __: {"sub": "sensor-*"}, 403, "credential_name_unfit"),
}
"""What is wrong, by the provider's address and the time; and how that is answered."""


@pytest.mark.parametrize("case", REFUSED)
def test_each_wrong_token_is_refused_with_its_own_code_and_writes_nothing(
    server: Server, issuer: Provider, case: str
) -> None:
    claims, status, code = REFUSED[case]
    thing = name()
    answer = ask(
        server, thing, token(issuer, thing, **claims(issuer.url, int(datetime.now(UTC).timestamp())))
    )
    assert (answer.status, answer.json["code"]) == (status, code)
    assert issuer.url not in answer.body.decode()
    assert thing not in {row["thingName"] for row in keyborn_json("thing", "list", "--data", server.data)}


def test_keys_that_change_in_the_middle_of_traffic_refuse_no_valid_caller(
    server: Server, issuer: Provider, figure: Callable[[str], None]
) -> None:
    """Eight callers at a time; from one moment to the next the provider signs with another key."""

    def call(number: int) -> Answer:
        if number == 40:
            issuer.rotate("second")
        thing = f"sensor-{number}-turn"
        return ask(server, thing, token(issuer, thing))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(call, range(80)))
    refused = [answer.json["code"] for answer in answers if answer.status != 201]
    figure(f"OIDC: 80 callers over a change of the issuer's key, eight at a time: {len(refused)} refused")
    assert refused == []
    assert issuer.fetched <= 2 * max(1, server.about["workers"])  # each process remembers keys of its own
