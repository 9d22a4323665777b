"""Tokens and group keys are guessed at full speed: nobody gets in, and devices hardly notice.

All of it comes from one address, which good devices have too, as behind one router.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keyborn.cli.console import ask
from keyborn.domain.group_key import GroupKey
from keyborn.domain.jws import MEDIA_TYPE
from keyborn.domain.jws_enroll import Place
from keyborn.domain.token import EnrollmentCode, encode_secret
from support.brute_force import GROUP_KEY, RANDOM, Attack, Siege, besiege, sieges
from support.csr_make import make_csr
from support.figures import Figure
from support.server import Server, running
from support.signed_enrolling import by_key, payload, toml
from support.walks import FULL

SECONDS = 60.0 if FULL else 1.0
ENROLL = "/v1/enroll"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path) as server:
        ask(server.data, "PUT", "/v1/groups/line-7", {"document": toml("line-7", "group-key")})
        yield server


@pytest.fixture
def held(server: Server) -> GroupKey:
    made = ask(server.data, "POST", "/v1/groups/line-7/keys", {"match": "*"})
    return GroupKey.decode(made["groupKey"])


def attack_on(server: Server, bearer: str, *, path: str = ENROLL, method: str = "POST") -> Attack:
    root = next(row["pem"] for row in ask(server.data, "GET", "/v1/authorities") if row["role"] == "root")
    host, port = server.address
    _, csr = make_csr("sensor-9")
    body = payload("sensor-9", csr, "line-7" if bearer.startswith(GROUP_KEY) else None).decode()
    body = body if method == "POST" else ""
    return Attack(host, port, root, method, path, bearer, body, connections=64)


def token_holder(server: Server) -> Callable[[], None]:
    """A device that asks for what it was given, with a good token."""
    secret = encode_secret(EnrollmentCode.decode(server.token(thing="gateway-1")["code"]).secret)
    _, csr = make_csr("gateway-1")
    assert server.enroll("gateway-1", csr, secret).status == 201

    def _call() -> None:
        answer = server.enroll("gateway-1", csr, secret)
        assert answer.status == 200, answer.body

    return _call


def key_holder(server: Server, held: GroupKey) -> Callable[[], None]:
    """The same with a key that was derived from the group's: a nonce, then a signed request."""
    _, csr = make_csr("sensor-1")

    def _call() -> None:
        nonce = server.request("GET", "/v1/nonce").json["nonce"]
        place = Place(f"{server.about['url']}{ENROLL}", nonce)
        body = by_key(held.key, "sensor-1", place, payload("sensor-1", csr, "line-7"))
        answer = server.request("POST", ENROLL, body, {"Content-Type": MEDIA_TYPE})
        assert answer.status in {200, 201}, answer.body

    _call()
    return _call


def require_unharmed(siege: Siege) -> None:
    if FULL:  # a second of a busy machine measures the machine
        assert not siege.harmed, siege


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_tokens_are_guessed_and_devices_with_good_ones_hardly_notice(server: Server, figure: Figure) -> None:
    done = sieges(token_holder(server), attack_on(server, RANDOM), SECONDS)
    figure(done[-1].told("guesses of tokens"))
    require_unharmed(done[-1])
    rows = [row for row in ask(server.data, "GET", "/v1/audit", limit=1000) if row["actor"] == "unproved"]
    assert 1 <= len(rows) <= 10 + 6 * (1.5 * len(done) * SECONDS / 60 + 1), "a trickle"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "known",
    [
        pytest.param(True, id="of a key that is there"),
        pytest.param(False, id="of no key", marks=pytest.mark.whole),
    ],
)
def test_macs_are_guessed_and_devices_with_good_keys_hardly_notice(
    server: Server, held: GroupKey, figure: Figure, *, known: bool
) -> None:
    attack = attack_on(server, GROUP_KEY + (held.id if known else ""))
    done = sieges(key_holder(server, held), attack, SECONDS)
    assert "401" in done[0].loot.statuses
    figure(done[-1].told("guesses of group keys"))
    require_unharmed(done[-1])


@pytest.mark.whole
@pytest.mark.timeout(600)
def test_a_flood_of_nonces_keeps_nobody_from_using_one(
    server: Server, held: GroupKey, figure: Figure
) -> None:
    attack = attack_on(server, "", path="/v1/nonce", method="GET")
    siege = besiege(key_holder(server, held), attack, SECONDS)
    assert set(siege.loot.statuses) <= {"200", "429", "none"}, siege.loot
    figure(siege.told("nonces"))
