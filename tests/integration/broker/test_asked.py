"""The rules are asked at every place where they must be, about the right resource, by the right principal."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio

from keyborn.adapters.broker.packets import Connect, Prop, Properties, PubAck, Publish, Will
from keyborn.domain.access import Action, Badge, Circumstances, Ruling
from support.broker import Raw, World, running, until
from support.rights import OwnTopics

TOPIC = "certtest/dev/t"
ALIAS: Properties = {Prop.TOPIC_ALIAS: 1}


class Question(NamedTuple):
    badge: Badge
    circumstances: Circumstances
    action: Action
    resource: str


class Listening(OwnTopics):
    """Own topics, and a list of every question."""

    def __init__(self) -> None:
        self.questions: list[Question] = []

    def decide(self, badge: Badge, circumstances: Circumstances, action: Action, resource: str) -> Ruling:
        self.questions.append(Question(badge, circumstances, action, resource))
        return super().decide(badge, circumstances, action, resource)

    def take(self) -> list[tuple[Action, str]]:
        """What was asked since the last call."""
        asked = [(each.action, each.resource) for each in self.questions]
        self.questions.clear()
        return asked


@pytest.fixture
def rules() -> Listening:
    return Listening()


@pytest_asyncio.fixture
async def watched(tmp_path: Path, rules: Listening) -> AsyncIterator[World]:
    async with running(tmp_path, rights_of=rules) as world:
        yield world


async def join(world: World, rules: Listening, connect: Connect | None = None) -> Raw:
    raw = await world.connect(world.device("dev"), connect or Connect(5, "dev"))
    assert raw.connack.reason == 0
    rules.take()
    return raw


async def test_connecting_asks_about_the_client_id(watched: World, rules: Listening) -> None:
    device = watched.device("dev")
    await watched.connect(device, Connect(5, "dev"))
    (question,) = rules.questions
    assert (question.action, question.resource) == (Action.CONNECT, "dev")
    assert question.badge.thing.name == "dev"
    assert question.badge.certificate.id == device.id
    assert question.circumstances == Circumstances("dev")


@pytest.mark.parametrize("retain", [False, True])
async def test_a_will_is_asked_for_at_the_door_and_again_when_it_is_sent(
    watched: World,
    rules: Listening,
    retain: bool,  # noqa: FBT001 - a case
) -> None:
    will = Will("certtest/dev/will", b"bye", 1, retain)
    wanted = [(Action.PUBLISH, will.topic)] + [(Action.RETAIN, will.topic)] * retain
    raw = await watched.connect(watched.device("dev"), Connect(4, "dev", will=will))
    assert rules.take() == [(Action.CONNECT, "dev"), *wanted]
    raw.vanish()
    await until(lambda: len(rules.questions) == len(wanted))
    assert rules.take() == wanted


@pytest.mark.parametrize("qos", [0, 1])
async def test_publishing_asks_and_retaining_asks_besides(watched: World, rules: Listening, qos: int) -> None:
    raw = await join(watched, rules)
    packet = Publish(TOPIC, b"x", qos, packet_id=qos)
    await raw.send(packet, packet._replace(retain=True, payload=b""))
    if qos:
        await raw.expect(PubAck)
        await raw.expect(PubAck)
    await raw.ping()
    assert rules.take() == [(Action.PUBLISH, TOPIC), (Action.PUBLISH, TOPIC), (Action.RETAIN, TOPIC)]


async def test_an_alias_is_asked_about_as_its_topic_each_time(watched: World, rules: Listening) -> None:
    raw = await join(watched, rules)
    await raw.send(Publish(TOPIC, b"x", properties=ALIAS), Publish("", b"x", properties=ALIAS))
    await raw.ping()
    assert rules.take() == [(Action.PUBLISH, TOPIC)] * 2


async def test_subscribing_asks_about_the_filter_as_it_is_written(watched: World, rules: Listening) -> None:
    raw = await join(watched, rules)
    await raw.subscribe("certtest/dev/#", "certtest/+/x", "#")
    wanted = ["certtest/dev/#", "certtest/+/x", "#"]
    assert rules.take() == [(Action.SUBSCRIBE, each) for each in wanted]


@pytest.mark.parametrize("qos", [0, 1])
async def test_each_live_delivery_asks(watched: World, rules: Listening, qos: int) -> None:
    raw = await join(watched, rules)
    await raw.subscribe("certtest/dev/#", qos=qos)
    rules.take()
    for _ in range(3):
        watched.say(TOPIC, b"x", qos=qos)
    for _ in range(3):
        await raw.expect(Publish)
    assert rules.take() == [(Action.RECEIVE, TOPIC)] * 3


async def test_each_queued_delivery_asks_when_it_is_queued_and_when_it_is_sent(
    watched: World, rules: Listening
) -> None:
    device = watched.device("dev")
    lasting = Connect(4, "dev", clean_start=False)
    raw = await watched.connect(device, lasting)
    await raw.subscribe(TOPIC)
    await raw.leave()
    rules.take()
    watched.say(TOPIC, b"x", qos=1)
    assert rules.take() == [(Action.RECEIVE, TOPIC)]
    again = await watched.connect(device, lasting)
    await again.expect(Publish)
    resumed = [(Action.CONNECT, "dev"), (Action.SUBSCRIBE, TOPIC), (Action.RECEIVE, TOPIC)]
    assert rules.take() == resumed, "a resumed session is asked about its subscriptions too"
    again.vanish()
    await until(lambda: watched.gateway.connected == 0)
    third = await watched.connect(device, lasting)
    assert (await third.expect(Publish)).dup
    assert rules.take() == resumed, "a redelivery asks like a delivery"


async def test_each_retained_delivery_asks(watched: World, rules: Listening) -> None:
    for name in ("a", "b"):
        watched.say(f"certtest/dev/{name}", b"x", retain=True)
    raw = await join(watched, rules)
    await raw.subscribe("certtest/dev/+")
    for _ in range(2):
        await raw.expect(Publish)
    wanted = [(Action.RECEIVE, "certtest/dev/a"), (Action.RECEIVE, "certtest/dev/b")]
    assert sorted(rules.take()) == [*wanted, (Action.SUBSCRIBE, "certtest/dev/+")]
