"""The default policy holds a device to its own client id and topics, whatever it asks for."""

import pytest
from hypothesis import given, strategies as st

from keyborn.domain.access import Action
from keyborn.domain.access_policy.document import AccessPolicy, PolicyName
from keyborn.domain.access_policy.evaluate import rights_of
from keyborn.domain.access_policy.parse import parse_document
from keyborn.policies import device_policy
from support.policy_stage import NOW, badge, connected

DEFAULT = AccessPolicy(PolicyName("keyborn-default"), parse_document(device_policy()), NOW)


def allowed(action: Action, resource: str, thing: str = "lamp-1") -> bool:
    ruling = rights_of(badge(DEFAULT, name=thing), connected(thing)).decide(action, resource)
    assert ruling.reason
    return ruling.allowed


TOPIC_ACTIONS = [Action.PUBLISH, Action.RECEIVE, Action.RETAIN, Action.SUBSCRIBE]


@pytest.mark.parametrize("action", TOPIC_ACTIONS)
@pytest.mark.parametrize("topic", ["certtest/lamp-1", "certtest/lamp-1/", "certtest/lamp-1/a/b"])
def test_a_device_has_its_own_topics(action: Action, topic: str) -> None:
    assert allowed(action, topic)


@pytest.mark.parametrize("action", TOPIC_ACTIONS)
@pytest.mark.parametrize(
    "topic",
    [
        "",
        "#",
        "+",
        "certtest",
        "certtest/#",
        "certtest/+",
        "certtest/+/x",
        "certtest/lamp-10",
        "certtest/lamp-1x/y",
        "certtest/lamp-2",
        "Certtest/lamp-1",
        "certtest/LAMP-1",
        "/certtest/lamp-1",
        "other/lamp-1",
        "$SYS/certtest/lamp-1",
    ],
)
def test_a_device_has_nothing_else(action: Action, topic: str) -> None:
    assert not allowed(action, topic)


def test_a_filter_below_the_own_topic_is_the_device_s_own() -> None:
    assert allowed(Action.SUBSCRIBE, "certtest/lamp-1/#")
    assert allowed(Action.SUBSCRIBE, "certtest/lamp-1/+/x")


def test_a_client_id_is_the_thing_name_byte_for_byte() -> None:
    assert allowed(Action.CONNECT, "lamp-1")
    for other in ("", "lamp-2", "LAMP-1", "lamp-1 ", "certtest/lamp-1"):
        assert not allowed(Action.CONNECT, other)


@given(st.sampled_from(Action), st.text(), st.from_regex(r"[A-Za-z0-9:_-]{1,64}", fullmatch=True))
def test_no_resource_makes_the_rules_fail(action: Action, resource: str, thing: str) -> None:
    if allowed(action, resource, thing):
        own = f"certtest/{thing}"
        assert resource in (thing, own) or resource.startswith(own + "/")
