"""Who has connected, the stack knows: a rule of AWS IoT puts it down, the sweeper carries out what it means.

Devices enrolled through the stack's door, the clients are paho's, over mutual TLS.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.aws_crowd import Crowd, crowd
from support.aws_party import Party
from support.talker import Identity, until


@pytest.fixture
def people(stack: Party, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    stack.sweep()  # what other tests' devices left
    with crowd(stack, tmp_path_factory.mktemp("people")) as made:
        yield made


def seen(party: Party) -> dict[str, dict[str, Any]]:
    """The connections that were put down, by certificate."""
    return {item["sk"]["S"]: item for item in party.items() if item["pk"]["S"] == "seen"}


def connect(people: Crowd, identity: Identity) -> None:
    """Connect, leave, and wait until it was put down."""
    talker = people.talker(identity).connect()
    assert talker.is_in
    talker.leave()
    until(lambda: identity.certificate_id in seen(people.party), "the connection is put down")


def shown(party: Party, thing: str) -> dict[str, dict[str, Any]]:
    """What an operator is shown of a thing's certificates, by id."""
    told = json.loads(party.keyborn("thing", "show", thing, "--json", "--aws", party.stack).stdout)
    return {one["certificateId"]: one for one in told["certificates"]}


def replacement(people: Crowd, name: str, number: int) -> Identity:
    """The thing's identity of a new key, with a token that allows it."""
    party, home = people.party, people.folder / f"{name}-{number}"
    made = party.keyborn("token", "create", "--thing", name, "--replace", "--aws", party.stack)
    code = made.stdout.splitlines()[-1]
    done = party.keyborn("enroll", "-", "--thing", name, "--home", home, "--json", typed=code)
    files = (home / "device.key", home / "device.crt", home / "roots.pem")
    return Identity(name, json.loads(done.stdout)["certificateId"], *files)


def test_the_first_connection_is_known_after_a_sweep_and_what_was_put_down_is_gone(people: Crowd) -> None:
    party, lamp = people.party, people.device("seen-1")
    connect(people, lamp)
    assert set(seen(party)[lamp.certificate_id]) == {"pk", "sk", "at", "ttl"}
    assert shown(party, "seen-1")[lamp.certificate_id]["firstConnected"] is None

    assert party.sweep()["troubles"] == []

    first = shown(party, "seen-1")[lamp.certificate_id]["firstConnected"]
    assert first is not None
    assert lamp.certificate_id not in seen(party)

    connect(people, lamp)
    assert party.sweep()["troubles"] == []
    assert shown(party, "seen-1")[lamp.certificate_id]["firstConnected"] == first
    assert lamp.certificate_id not in seen(party)


@pytest.mark.timeout(240)
def test_a_replaced_key_is_off_for_good_once_the_new_one_has_connected_and_may_be_replaced_again(
    people: Crowd,
) -> None:
    party, old = people.party, people.device("seen-2")
    connect(people, old)
    new = replacement(people, "seen-2", 2)
    assert {old.certificate_id, new.certificate_id} <= party.active()

    connect(people, new)
    assert party.sweep()["troubles"] == []

    assert new.certificate_id in party.active()
    assert party.certificates().get(old.certificate_id) in {"REVOKED", None}
    back = people.talker(old).connect()
    assert not back.is_in

    third = replacement(people, "seen-2", 3)
    connect(people, third)
    assert party.sweep()["troubles"] == []
    assert third.certificate_id in party.active()
    assert new.certificate_id not in party.active()


def test_somebody_else_s_connection_leaves_nothing(people: Crowd) -> None:
    party = people.party
    people.ear("stranger")
    (stranger,) = [one.identity.certificate_id for one in people.talkers]
    until(lambda: stranger in seen(party), "the connection is put down")
    before = [item for item in party.items() if item["pk"]["S"] != "seen"]

    assert party.sweep()["troubles"] == []

    assert stranger not in seen(party)
    assert [item for item in party.items() if item["pk"]["S"] != "seen"] == before
    assert party.certificates()[stranger] == "ACTIVE"


def test_what_somebody_publishes_there_himself_is_not_taken_for_a_connection(people: Crowd) -> None:
    """Who may publish anything may not publish what AWS IoT says: its own topics are closed to all."""
    party, victim = people.party, people.device("seen-3")
    word = json.dumps({"principalIdentifier": victim.certificate_id, "timestamp": 1})
    people.ear("forger").publish("$aws/events/presence/connected/seen-3", word)
    people.ear("witness")  # whose connection comes after it
    witness = people.talkers[-1].identity.certificate_id
    until(lambda: witness in seen(party), "the connection is put down")
    assert victim.certificate_id not in seen(party)
