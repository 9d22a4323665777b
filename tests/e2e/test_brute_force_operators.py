"""API keys are guessed at full speed: nobody gets in, and who has a good key hardly notices."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keyborn.cli.console import ask
from support.brute_force import Attack, besiege, sieges
from support.figures import Figure
from support.server import Server, running
from support.walks import FULL

SECONDS = 60.0 if FULL else 1.0
GUESSES = "guesses of API keys"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path) as server:
        yield server


def attack_on(server: Server, *, patient: bool = True, connections: int = 16) -> Attack:
    root = next(row["pem"] for row in ask(server.data, "GET", "/v1/authorities") if row["role"] == "root")
    host, port = server.address
    return Attack(host, port, root, "GET", "/v1/things", "api-key", connections=connections, patient=patient)


def good_caller(server: Server) -> Callable[[], None]:
    """A viewer, on a connection of its own each time, as the commands are."""
    word = ask(server.data, "POST", "/v1/api-keys", {"name": "alice", "role": "viewer"})["apiKey"]
    headers = {"Authorization": f"Bearer {word}"}

    def _call() -> None:
        answer = server.request("GET", "/v1/things", headers=headers)
        assert answer.status == 200, answer.body

    return _call


def device(server: Server) -> Callable[[], None]:
    """A device that asks for what it needs before it renews."""

    def _call() -> None:
        assert server.request("GET", "/v1/nonce").status == 200

    return _call


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_api_keys_are_guessed_at_full_speed_and_good_keys_hardly_notice(
    server: Server, figure: Figure
) -> None:
    done = sieges(good_caller(server), attack_on(server, connections=64), SECONDS)
    figure(done[-1].told(GUESSES))
    if FULL:  # a second of a busy machine measures the machine
        assert not done[-1].harmed, done
    rows = ask(server.data, "GET", "/v1/audit", limit=1000)
    guesses = [row for row in rows if row["action"] == "admin.call" and row["actor"] == "unproved"]
    assert 1 <= len(guesses) <= 10 + 6 * (1.5 * len(done) * SECONDS / 60 + 1), "a trickle"


@pytest.mark.whole
@pytest.mark.timeout(600)
def test_devices_hardly_notice_either(server: Server, figure: Figure) -> None:
    done = sieges(device(server), attack_on(server, connections=64), 20)
    figure(done[-1].told(GUESSES))
    assert not done[-1].harmed, done


@pytest.mark.whole
@pytest.mark.timeout(600)
def test_a_new_connection_for_every_guess_stops_nobody(server: Server, figure: Figure) -> None:
    """What it costs are handshakes, before anything is asked: no budget of ours is about those."""
    attack = attack_on(server, patient=False, connections=8)
    siege = besiege(good_caller(server), attack, 20)
    assert siege.loot.successes == 0
    assert set(siege.loot.statuses) <= {"401", "429", "none", "left"}, siege.loot
    figure(siege.told(GUESSES))
