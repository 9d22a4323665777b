"""paho, unmodified, against a served broker: what it may, what it may not, and who wins."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from support.server import Server
from support.stage import DENIED, TAKEN_OVER, Stage, served, staged
from support.talker import V5, V311, Talker, until

pytestmark = pytest.mark.parametrize("protocol", [V311, V5], ids=["3.1.1", "5"])
Version = MQTTProtocolVersion


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from served(tmp_path_factory)


@pytest.fixture
def stage(server: Server, tmp_path: Path) -> Iterator[Stage]:
    with staged(server, tmp_path) as stage:
        yield stage


def device(stage: Stage, protocol: Version) -> Talker:
    talker = stage.party.talker(stage.device(), protocol=protocol).connect()
    assert talker.is_in
    return talker


def test_it_connects_with_the_certificate_that_it_enrolled(stage: Stage, protocol: Version) -> None:
    talker = stage.party.talker(stage.device(), protocol=protocol)
    assert not stage.connected(talker.identity)
    assert talker.connect().is_in
    assert stage.connected(talker.identity)


def test_its_message_is_acknowledged_and_a_service_hears_it(stage: Stage, protocol: Version) -> None:
    talker = device(stage, protocol)
    topic = f"certtest/{talker.client_id}/data"
    assert talker.publish(topic, "hello") == 0
    assert stage.heard() == [(topic, "hello")]


def test_it_hears_what_it_has_subscribed_to(stage: Stage, protocol: Version) -> None:
    talker = device(stage, protocol)
    assert talker.subscribe(f"certtest/{talker.client_id}/#") == [1]
    stage.say(f"certtest/{talker.client_id}/orders", "open")
    talker.hears("open")
    assert talker.heard[0].qos == 1


def test_a_publish_for_another_thing_is_denied_and_reaches_nobody(stage: Stage, protocol: Version) -> None:
    talker, topic = device(stage, protocol), f"certtest/{stage.device().name}"
    assert talker.publish(topic, "forged") == (DENIED if protocol is V5 else None)
    assert talker.is_in == (protocol is V5), "3.1.1 has no word for no: the connection is closed"
    assert stage.heard() == []
    stage.refused("action=iot:Publish", f"thing={talker.client_id}", topic)


def test_a_subscription_to_another_thing_is_denied_and_brings_nothing(
    stage: Stage, protocol: Version
) -> None:
    talker, other = device(stage, protocol), stage.device().name
    assert talker.subscribe(f"certtest/{other}/#") == ([DENIED] if protocol is V5 else [])
    assert talker.is_in == (protocol is V5)
    stage.say(f"certtest/{other}/orders", "not for you")
    if protocol is V5:
        assert talker.subscribe(f"certtest/{talker.client_id}") == [1]
        stage.say(f"certtest/{talker.client_id}", "for you")
        talker.hears("for you")
    assert "not for you" not in talker.payloads()
    stage.refused("action=iot:Subscribe", f"thing={talker.client_id}", f"certtest/{other}/#")


def test_another_things_client_id_is_denied_and_that_thing_stays_in(stage: Stage, protocol: Version) -> None:
    victim, thief = device(stage, protocol), stage.device()
    forger = stage.party.talker(thief, protocol=protocol, client_id=victim.client_id).connect()
    assert not forger.is_in
    assert forger.answer.value == DENIED
    stage.refused("action=iot:Connect", f"thing={thief.name}", f"resource={victim.client_id}")
    assert victim.publish(f"certtest/{victim.client_id}") == 0, "takeover only after admission"
    assert victim.is_in


def test_the_newer_of_two_connections_goes_on_and_the_older_one_ends(stage: Stage, protocol: Version) -> None:
    old = device(stage, protocol)
    new = stage.party.talker(old.identity, protocol=protocol).connect()
    until(old.closed.is_set, "the older one ends")
    if protocol is V5:
        assert old.ended_with.value == TAKEN_OVER
    assert new.publish(f"certtest/{new.client_id}", "newer") == 0
    assert new.is_in
    assert [payload for _, payload in stage.heard()] == ["newer"]
