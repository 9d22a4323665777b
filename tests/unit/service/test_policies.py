"""Policies as use cases: kept, attached, in force at once, explained."""

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass, field

import pytest

from keyborn.domain.access import Action, Circumstances, ConnectAttribute
from keyborn.domain.access_policy.document import DEFAULT_POLICY
from keyborn.domain.errors import (
    InvalidPolicy,
    InvalidPolicyName,
    NotFound,
    PolicyInUse,
    TooManyPolicies,
)
from keyborn.domain.names import ThingName
from keyborn.policies import device_policy
from keyborn.service.policies import PolicyOffice, Question
from support.office import OfficeWorld

TOPIC = "arn:aws:iot:*:*:topic/"
PLAIN = Circumstances("sensor")


def allowing(*topics: str) -> str:
    """A document that lets its holder connect as ``sensor`` and publish to ``topics``."""
    connect = {"Effect": "Allow", "Action": "iot:Connect", "Resource": "arn:aws:iot:*:*:client/sensor"}
    publish = {"Effect": "Allow", "Action": "iot:Publish", "Resource": [TOPIC + each for each in topics]}
    return json.dumps({"Version": "2012-10-17", "Statement": [connect, publish]})


@dataclass
class Broker:
    """Notes what it is asked to review."""

    reviewed: list[object] = field(default_factory=list)

    async def evict(self, name: ThingName, reason: str) -> int:
        raise AssertionError("a policy evicts nobody")

    async def review(self, names: Collection[ThingName] | None = None) -> None:
        self.reviewed.append(names)


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def office(world: OfficeWorld, broker: Broker) -> PolicyOffice:
    return world.policies(broker)


def asking(topic: str, action: Action = Action.PUBLISH, document: str | None = None) -> Question:
    return Question("sensor", action, topic, PLAIN, document)


async def test_a_change_counts_a_version_and_is_reviewed_on_every_session(
    office: PolicyOffice, broker: Broker
) -> None:
    first = await office.put("narrow", allowing("a"))
    second = await office.put("narrow", allowing("b"))
    assert (first.policy.version, second.policy.version) == (1, 2)
    assert broker.reviewed == [None, None]
    assert (await office.show("narrow")).policy.document.text == allowing("b")
    assert [each.name for each in await office.page()] == ["narrow"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "not json",
        allowing("a").replace("2012-10-17", "2008-10-17"),
        allowing("a").replace("iot:Publish", "iot:Pubish"),
        allowing("a").replace("Effect", "Efect"),
        allowing("a").replace("Allow", "Permit"),
        allowing("${iot:Connection.Thing.Nmae}"),
        allowing("a").replace("topic/a", "topicfilter/a"),
        allowing("x" * 2100),
    ],
)
async def test_a_document_that_is_no_policy_changes_nothing(
    world: OfficeWorld, office: PolicyOffice, broker: Broker, text: str
) -> None:
    await office.put("narrow", allowing("a"))
    before = await world.outcomes()
    with pytest.raises(InvalidPolicy) as refused:
        await office.put("narrow", text)
    assert len(str(refused.value)) > 40, "it says where, what, and how to fix it"
    assert (await office.show("narrow")).policy.document.text == allowing("a")
    assert (await world.outcomes(), broker.reviewed) == (before, [None])


@pytest.mark.parametrize("name", ["", "with space", "x" * 129, "a/b", "ä"])
async def test_a_name_that_aws_would_not_take_is_refused(office: PolicyOffice, name: str) -> None:
    with pytest.raises(InvalidPolicyName):
        await office.put(name, allowing("a"))


async def test_white_space_does_not_count_towards_the_size(office: PolicyOffice) -> None:
    text = allowing(*("x" * 200 + str(number) for number in range(7)))
    assert (await office.put("long", json.dumps(json.loads(text), indent=40))).policy.version == 1


async def test_what_keyborn_ships_gives_way_to_the_operator_s(office: PolicyOffice) -> None:
    await office.ship(DEFAULT_POLICY, device_policy("certtest"))
    await office.ship(DEFAULT_POLICY, device_policy("fleet"))
    shipped = (await office.show(DEFAULT_POLICY)).policy
    assert (shipped.shipped, shipped.document.text) == (True, device_policy("fleet"))
    await office.put(DEFAULT_POLICY, allowing("a"))
    await office.ship(DEFAULT_POLICY, device_policy("certtest"))
    own = (await office.show(DEFAULT_POLICY)).policy
    assert (own.shipped, own.document.text, own.version) == (False, allowing("a"), 3)


async def test_attached_and_detached_at_once_for_that_thing_alone(
    world: OfficeWorld, office: PolicyOffice, broker: Broker
) -> None:
    await office.ship(DEFAULT_POLICY, device_policy("certtest"))
    await office.put("narrow", allowing("extra"))
    await world.enrolled("sensor")
    broker.reviewed.clear()
    both = await office.attach("narrow", "sensor")
    assert both.policies == (DEFAULT_POLICY, "narrow")
    assert (await office.simulate(asking("extra"))).explanation.allowed
    assert await office.users("narrow") == ["sensor"]
    one = await office.detach(DEFAULT_POLICY, "sensor")
    assert one.policies == ("narrow",)
    assert not (await office.simulate(asking("certtest/sensor"))).explanation.allowed
    none = await office.detach("narrow", "sensor")
    assert none.policies == ()
    assert not (await office.simulate(asking("extra"))).explanation.allowed
    assert broker.reviewed == [["sensor"]] * 3


async def test_orders_about_what_is_not_there_say_so(
    world: OfficeWorld, office: PolicyOffice, broker: Broker
) -> None:
    await world.enrolled("sensor")
    for refused in (
        office.attach("narrow", "sensor"),
        office.detach("narrow", "nobody"),
        office.remove("narrow"),
        office.show("narrow"),
        office.simulate(Question("nobody", Action.PUBLISH, "a", PLAIN)),
    ):
        with pytest.raises(NotFound):
            await refused
    assert not broker.reviewed


async def test_a_policy_in_use_stays_and_the_default_one_always_is(
    world: OfficeWorld, office: PolicyOffice
) -> None:
    await office.ship(DEFAULT_POLICY, device_policy("certtest"))
    await office.put("narrow", allowing("a"))
    await world.enrolled("sensor")
    await office.attach("narrow", "sensor")
    for name in ("narrow", DEFAULT_POLICY):
        with pytest.raises(PolicyInUse):
            await office.remove(name)
    await office.detach("narrow", "sensor")
    await office.remove("narrow")
    assert [each.name for each in await office.page()] == [DEFAULT_POLICY]


async def test_ten_policies_and_no_more(world: OfficeWorld, office: PolicyOffice) -> None:
    await world.enrolled("sensor")
    for number in range(10):
        await office.put(f"p{number}", allowing(f"t{number}"))
        if number < 9:
            await office.attach(f"p{number}", "sensor")
    with pytest.raises(TooManyPolicies):
        await office.attach("p9", "sensor")


async def test_a_simulation_says_which_statement_and_what_the_variables_are(
    world: OfficeWorld, office: PolicyOffice
) -> None:
    await office.ship(DEFAULT_POLICY, device_policy("certtest"))
    await world.enrolled("sensor")
    said = await office.simulate(asking("certtest/sensor/data"))
    assert said.explanation.allowed
    assert said.live
    assert DEFAULT_POLICY in said.explanation.reason
    values = {each.name: each.value for each in said.explanation.variables}
    assert values["iot:Connection.Thing.ThingName"] == "sensor"
    other = await office.simulate(asking("certtest/other"))
    assert not other.explanation.allowed
    assert other.explanation.deciding is None


async def test_a_simulation_minds_will_session_and_client_id(
    world: OfficeWorld, office: PolicyOffice
) -> None:
    await world.enrolled("sensor")
    document = allowing("a")
    will = Circumstances("sensor", frozenset({ConnectAttribute.WILL}))
    for circumstances, allowed in ((PLAIN, True), (will, False), (Circumstances("other"), False)):
        question = Question("sensor", Action.CONNECT, circumstances.client_id, circumstances, document)
        assert (await office.simulate(question)).explanation.allowed is allowed


async def test_a_document_is_tried_without_being_kept(world: OfficeWorld, office: PolicyOffice) -> None:
    await world.enrolled("sensor")
    assert (await office.simulate(asking("a", document=allowing("a")))).explanation.allowed
    assert not await office.page()
    with pytest.raises(InvalidPolicy):
        await office.simulate(asking("a", document="{"))


async def test_a_simulation_tells_that_the_certificate_is_of_no_use(
    world: OfficeWorld, office: PolicyOffice
) -> None:
    from keyborn.domain.thing import ThingStatus
    from keyborn.service.things import Order

    await world.enrolled("sensor")
    await world.things().carry_out(Order("sensor", ThingStatus.SUSPENDED))
    said = await office.simulate(asking("a", document=allowing("a")))
    assert said.explanation.allowed
    assert not said.live


async def test_every_change_is_in_the_trail_once(world: OfficeWorld, office: PolicyOffice) -> None:
    await office.put("narrow", allowing("a"))
    await office.put("narrow", allowing("a"))
    await world.enrolled("sensor")
    await office.attach("narrow", "sensor")
    await office.attach("narrow", "sensor")
    await office.detach("narrow", "sensor")
    await office.detach("narrow", "sensor")
    await office.remove("narrow")
    events = [record.event for record in await world.registry.records()]
    actions = [(event.action, event.subject) for event in events if event.action.startswith("policy.")]
    assert actions == [
        ("policy.put", "narrow"),
        ("policy.attach", "sensor"),
        ("policy.detach", "sensor"),
        ("policy.remove", "narrow"),
    ]


async def test_a_slip_in_the_name_of_a_policy_to_detach_does_not_look_like_success(
    world: OfficeWorld, office: PolicyOffice
) -> None:
    await world.enrolled("sensor")
    with pytest.raises(NotFound, match="keyborn-defualt"):
        await office.detach("keyborn-defualt", "sensor")
    await office.put("narrow", allowing("a"))
    assert (await office.detach("narrow", "sensor")).policies is None, "one that is there need not be held"


async def test_the_trail_says_which_text_was_put(world: OfficeWorld, office: PolicyOffice) -> None:
    await office.put("narrow", allowing("a"))
    event = (await world.registry.records())[-1].event
    assert event.details["documentHash"] == hashlib.sha256(allowing("a").encode()).hexdigest()
