"""What a device of the stack may not do, the broker refuses: other things' topics, names and filters.

The policy is the template's, the certificates came through the API, the clients are paho's.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from keyborn.device.drain import STRIKES
from keyborn.device.home import Home
from support.aws_crowd import Crowd, crowd
from support.aws_party import Party
from support.denied import VERSIONS as VERSIONS_OF_AGENT, started
from support.figures import Figure
from support.talker import V5, V311, Identity, Talker

VERSIONS = pytest.mark.parametrize("version", [V311, V5], ids=["3.1.1", "5"])
DENIED = 0x87


@pytest.fixture(scope="module")
def party(stack: Party) -> Party:
    return stack


@pytest.fixture(scope="module")
def people(party: Party, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    with crowd(party, tmp_path_factory.mktemp("people")) as made:
        yield made


@pytest.fixture(scope="module")
def ear(people: Crowd) -> Talker:
    return people.ear("ear-1")


@pytest.fixture(scope="module")
def lamp(people: Crowd) -> Identity:
    return people.device("lamp-1")


@pytest.fixture(scope="module")
def other(people: Crowd) -> Identity:
    return people.device("lamp-2")


def arrived(ear: Talker, people: Crowd, mark: str) -> list[str]:
    """Every topic that something has arrived on: what the ear says itself comes after all of it."""
    assert ear.publish("marks", mark) == 0
    ear.hears(mark)
    return [message.topic for message in ear.heard if message.topic != "marks"]


# ── what is its own ──


@VERSIONS
def test_its_own_topics_and_filters_are_granted(
    people: Crowd, lamp: Identity, version: MQTTProtocolVersion
) -> None:
    talker = people.talker(lamp, version).connect()
    assert talker.is_in
    assert talker.subscribe("certtest/lamp-1/#") == [1]
    assert talker.publish("certtest/lamp-1/up", f"own-{int(version)}") == 0
    talker.hears(f"own-{int(version)}")
    talker.leave()


# ── another thing's topic ──


@VERSIONS
@pytest.mark.parametrize(
    "topic", ["certtest/lamp-2", "certtest/lamp-2/up", "certtest", "certtest/lamp-10", "x"]
)
def test_a_message_for_another_topic_reaches_nobody(
    people: Crowd, ear: Talker, lamp: Identity, version: MQTTProtocolVersion, topic: str
) -> None:
    talker = people.talker(lamp, version).connect()
    assert talker.is_in
    answer = talker.publish(topic, "not mine")
    if version is V5:
        assert answer == DENIED
        assert talker.is_in
    else:
        assert answer is None
        assert not talker.is_in
    assert topic not in arrived(ear, people, f"after-{topic}-{int(version)}")
    talker.leave()


# ── another client id ──


@VERSIONS
@pytest.mark.parametrize("name", ["lamp-2", "lamp-10", "LAMP-1", "x"])
def test_another_client_id_gets_no_session(
    people: Crowd, lamp: Identity, other: Identity, version: MQTTProtocolVersion, name: str
) -> None:
    """With the certificate of lamp-1: neither the name of a device that there is nor any other."""
    assert other.name == "lamp-2"
    talker = people.talker(lamp, version, client_id=name).connect()
    assert not talker.is_in
    talker.leave()


@VERSIONS
def test_who_tries_another_s_name_does_not_disturb_it(
    people: Crowd, lamp: Identity, other: Identity, version: MQTTProtocolVersion
) -> None:
    """AWS ends the older session of a client id, once the newer one is let in."""
    rightful = people.talker(other, version).connect()
    assert rightful.is_in
    people.talker(lamp, version, client_id="lamp-2").connect().leave()
    assert rightful.publish("certtest/lamp-2", "still here") == 0
    assert rightful.is_in
    rightful.leave()


# ── a filter outside its own ──


@VERSIONS
@pytest.mark.parametrize(
    "topic_filter",
    ["#", "+/#", "certtest/#", "certtest/+", "certtest/+/in", "certtest/lamp-2", "certtest/lamp-2/#"],
)
def test_a_filter_outside_its_own_brings_nothing(
    people: Crowd, ear: Talker, lamp: Identity, version: MQTTProtocolVersion, topic_filter: str
) -> None:
    talker = people.talker(lamp, version).connect()
    assert talker.is_in
    answer = talker.subscribe(topic_filter)
    if version is V5:
        assert answer == [DENIED]
        assert talker.is_in
    else:
        assert answer in ([], [0x80])
    assert ear.publish("certtest/lamp-2/in", "a secret of lamp-2") == 0
    arrived(ear, people, f"filter-{topic_filter}-{int(version)}")
    assert talker.payloads() == []
    talker.leave()


# ── the device's own agent ──


@pytest.mark.slow
@pytest.mark.parametrize("old", VERSIONS_OF_AGENT.values(), ids=VERSIONS_OF_AGENT)
def test_the_agent_sets_a_denied_message_aside_and_does_not_reconnect_for_ever(
    people: Crowd, tmp_path: Path, figure: Figure, *, old: bool
) -> None:
    """Where the broker answers with a reason, at once; where it hangs up, after three times."""
    name = f"agent-{int(old)}"
    people.device(name)
    home = Home(people.folder / name)
    stage = started(home, tmp_path / "agent.log", f"certtest/{name}", "certtest/lamp-2", old=old)
    try:
        outcome = stage.flow()
        assert outcome["outcome"] == "quarantined"
        stage.is_reported("hangs up on it" if old else "Not authorized")
        stage.stays_quiet()
        assert stage.sessions() <= (STRIKES + 2 if old else 1)
    finally:
        stage.agent.close()
    figure(f"denied on AWS, MQTT {'3.1.1' if old else '5'}: {stage.sessions()} sessions for all")


# ── the device's own command ──


def test_the_command_says_what_was_refused_and_what_is_its_own(
    party: Party, people: Crowd, lamp: Identity
) -> None:
    home = people.folder / "lamp-1"
    done = party.keyborn("publish", "certtest/lamp-2", "hello", "--home", home, expect=1)
    assert "The broker refused the message for certtest/lamp-2" in done.stderr
    assert "certtest/lamp-1" in done.stderr
    done = party.keyborn("subscribe", "certtest/#", "--timeout", "9", "--home", home, expect=1)
    assert "certtest/#" in done.stderr
    assert party.keyborn("publish", "certtest/lamp-1", "hello", "--home", home).stdout == "delivered\n"
    assert lamp.name == "lamp-1"
