"""The agent's lines: what is an order, what is not, and that no bytes do more than be refused."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from keyborn.device.agent import protocol
from keyborn.device.agent.protocol import Ask, Look, Publish, Renew, Status, Subscribe, Unsubscribe, Wake
from keyborn.device.messages import Draft
from keyborn.device.session import Received
from keyborn.domain.errors import InvalidLine, InvalidSetting, InvalidTopic, KeybornError, MessageTooLarge

ORDERS: list[tuple[dict[str, Any], protocol.Order]] = [
    ({"op": "publish", "topic": "a/b", "payload": "ü"}, Publish(Draft("a/b", "ü".encode()))),
    (
        {"op": "publish", "topic": "a", "payloadBase64": "AP8=", "qos": 0, "lifetime": 60, "wait": 5},
        Publish(Draft("a", b"\x00\xff", 0, 60.0), 5.0),
    ),
    ({"op": "publish", "topic": "a", "payload": "", "lifetime": None}, Publish(Draft("a", b""))),
    ({"op": "outcome", "id": 7}, Ask(7)),
    ({"op": "outcome", "id": 7, "wait": 1.5, "ref": "x"}, Ask(7, 1.5)),
    ({"op": "subscribe", "filter": "a/#"}, Subscribe("a/#")),
    ({"op": "unsubscribe", "filter": "a/#"}, Unsubscribe("a/#")),
    ({"op": "status"}, Status()),
    ({"op": "look"}, Look()),
    ({"op": "renew", "ref": 1}, Renew()),
    ({"op": "wake"}, Wake()),
]


@pytest.mark.parametrize(("members", "order"), ORDERS)
def test_an_order_is_read(members: dict[str, Any], order: protocol.Order) -> None:
    assert protocol.order_of(protocol.decode(json.dumps(members).encode())) == order


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"x",
        b"[]",
        b"17",
        b"null",
        b'"publish"',
        b'{"op":"status"',
        b'{"op":"status"}}',
        b"\xff\xfe{}",
        '{"op":"status"}'.encode("utf-16"),
        b'{"op":"outcome","id":NaN}',
        b'{"wait":Infinity}',
        b'{"id":' + b"9" * 5000 + b"}",
        b"[" * 200_000,
        b'{"a":' * 40_000,
        b" " * (protocol.MAX_LINE + 1),
    ],
)
def test_what_is_no_json_object_is_no_line(line: bytes) -> None:
    with pytest.raises(InvalidLine):
        protocol.decode(line)


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"op": None},
        {"op": []},
        {"op": "stop"},
        {"op": "status", "more": 1},
        {"op": "publish", "topic": "a"},
        {"op": "publish", "payload": "a"},
        {"op": "publish", "topic": 1, "payload": "a"},
        {"op": "publish", "topic": "a", "payload": "a", "payloadBase64": "YQ=="},
        {"op": "publish", "topic": "a", "payload": None},
        {"op": "publish", "topic": "a", "payload": "\ud800"},
        {"op": "publish", "topic": "a", "payloadBase64": "not base64!"},
        {"op": "publish", "topic": "a", "payloadBase64": "ü"},
        {"op": "publish", "topic": "a", "payload": "a", "qos": True},
        {"op": "publish", "topic": "a", "payload": "a", "qos": "1"},
        {"op": "publish", "topic": "a", "payload": "a", "wait": -1},
        {"op": "publish", "topic": "a", "payload": "a", "wait": 1e9},
        {"op": "publish", "topic": "a", "payload": "a", "wait": None},
        {"op": "publish", "topic": "a", "payload": "a", "lifetime": "1"},
        {"op": "publish", "topic": "a", "payload": "a", "wait": 10**400},
        {"op": "publish", "topic": "a", "payload": "a", "retain": True},
        {"op": "outcome"},
        {"op": "outcome", "id": 0},
        {"op": "outcome", "id": 2**63},
        {"op": "outcome", "id": True},
        {"op": "outcome", "id": 1.0},
        {"op": "subscribe"},
        {"op": "subscribe", "filter": ["a"]},
    ],
)
def test_an_order_that_is_wrong_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(InvalidLine):
        protocol.order_of(members)


@pytest.mark.parametrize(
    ("members", "wrong"),
    [
        ({"op": "publish", "topic": "a/#", "payload": ""}, InvalidTopic),
        ({"op": "publish", "topic": "$SYS/x", "payload": ""}, InvalidTopic),
        ({"op": "publish", "topic": "\ud800", "payload": ""}, InvalidTopic),
        ({"op": "publish", "topic": "a", "payload": "x" * 131073}, MessageTooLarge),
        ({"op": "publish", "topic": "a", "payload": "", "qos": 2}, InvalidSetting),
        ({"op": "publish", "topic": "a", "payload": "", "lifetime": 0}, InvalidSetting),
        ({"op": "subscribe", "filter": "a/#/b"}, InvalidTopic),
    ],
)
def test_what_no_broker_takes_is_refused_in_its_own_words(
    members: dict[str, Any], wrong: type[KeybornError]
) -> None:
    with pytest.raises(wrong):
        protocol.order_of(members)


@pytest.mark.parametrize("ref", ["x", "x" * 64, 0, -1, 2**63 - 1])
def test_a_reference_comes_back(ref: str | int) -> None:
    assert protocol.ref_of({"ref": ref}) == ref
    assert json.loads(protocol.encode({"a": 1}, ref)) == {"ref": ref, "a": 1}


@pytest.mark.parametrize("ref", [None, "x" * 65, 2**63, True, 1.5, [], {}])
def test_what_is_no_reference_is_left_out(ref: object) -> None:
    assert protocol.ref_of({"ref": ref}) is None


texts = st.text('ab/#"\\\n\0ü\ud800', max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
members_of_orders = st.dictionaries(
    st.sampled_from(
        ["op", "ref", "topic", "payload", "payloadBase64", "qos", "lifetime", "wait", "id", "filter"]
    ),
    st.sampled_from(["publish", "outcome", "subscribe", "status", "a/b", "AA==", 0, 1]) | json_values,
)


@given(st.binary(max_size=300) | members_of_orders.map(lambda made: json.dumps(made).encode()))
def test_any_bytes_are_an_order_or_are_refused(line: bytes) -> None:
    try:
        members = protocol.decode(line)
        ref = protocol.ref_of(members)
        protocol.encode({}, ref)
        protocol.order_of(members)
    except KeybornError as wrong:
        json.loads(protocol.encode(protocol.problem(wrong)))


@given(st.binary(max_size=100), st.booleans(), st.sampled_from([0, 1]))
def test_a_message_is_the_same_on_the_other_side(payload: bytes, retain: bool, qos: int) -> None:  # noqa: FBT001 - drawn
    received = Received("a/b", payload, qos, retain)
    told = json.loads(protocol.encode(protocol.message(received)))
    assert protocol.received_of(told["message"]) == received


def test_a_line_is_one_line_whatever_is_in_it() -> None:
    line = protocol.encode(protocol.message(Received("a", b"x\ny\r\n", 1, retain=False)), "r\n")
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")


def test_the_largest_payload_fits_into_a_line() -> None:
    body = {"op": "publish", "topic": "t" * 256, "payloadBase64": base64.b64encode(bytes(131072)).decode()}
    line = json.dumps({**body, "ref": "r" * 64}).encode()
    order = protocol.order_of(protocol.decode(line))
    assert isinstance(order, Publish)
    assert len(order.draft.payload) == 131072
