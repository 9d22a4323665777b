"""What a webhook is sent and may answer: others verify the question, we believe little of the answer."""

import base64
import json
import time

import pytest
from hypothesis import given, strategies as st
from standardwebhooks import Webhook

from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.group import WebhookRule
from keyborn.domain.names import GroupName, KeyHash, ThingName
from keyborn.domain.webhook import (
    MAX_REASON,
    Allowed,
    Denied,
    NoAnswer,
    message_id,
    read_answer,
    shown_secret,
    sign,
)

SECRET = bytes(range(32))
RULE = WebhookRule(
    "https://mes.example/ask", attributes=("line", "batch"), policies=(PolicyName("a"), PolicyName("b"))
)


def read(answer: object) -> Allowed | Denied:
    return read_answer(json.dumps(answer).encode(), RULE)


@given(st.binary(min_size=24, max_size=64), st.text(max_size=100))
def test_the_library_of_the_specification_verifies_our_signature(secret: bytes, text: str) -> None:
    body, seconds = json.dumps({"x": text}).encode(), int(time.time())
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(seconds),
        "webhook-signature": sign(secret, "msg_1", seconds, body),
    }
    assert Webhook(shown_secret(secret)).verify(body, headers) == {"x": text}


def test_the_secret_is_shown_as_its_libraries_take_it() -> None:
    word = shown_secret(SECRET)
    assert word.startswith("whsec_")
    assert base64.b64decode(word.removeprefix("whsec_")) == SECRET


def test_a_message_has_the_same_id_for_the_same_wish_and_no_other() -> None:
    def of(group: str, thing: str, key: str) -> str:
        return message_id(GroupName(group), ThingName(thing), KeyHash(key))

    assert of("g", "a", "k") == of("g", "a", "k")
    ids = {of("g", "a", "k"), of("h", "a", "k"), of("g", "b", "k"), of("g", "a", "l"), of("ga", "", "k")}
    assert len(ids) == 5
    assert all(each.isascii() and "." not in each and len(each) == 36 for each in ids)


def test_a_plain_yes_adds_nothing() -> None:
    assert read({"allow": True}) == Allowed({}, None)


def test_a_yes_may_add_what_the_group_leaves_to_it() -> None:
    answer = {"allow": True, "attributes": {"line": "7"}, "policies": ["b", "b"]}
    assert read(answer) == Allowed({"line": "7"}, (PolicyName("b"),))
    assert read({"allow": True, "policies": []}) == Allowed({}, ())


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("unknown serial number", "unknown serial number"),
        ("Not today.", "Not today"),
        ("a\nb\x1b[31mc\u202ed", "a?b?[31mc?d"),
        ("ä" * 9, "?" * 9),
        ("x" * 1000, "x" * MAX_REASON),
        ("", "it gave no reason"),
        (" . ", "it gave no reason"),
        (None, "it gave no reason"),
        (7, "it gave no reason"),
        ({}, "it gave no reason"),
    ],
)
def test_a_no_is_shown_in_one_harmless_line(reason: object, shown: str) -> None:
    assert read({"allow": False, "reason": reason}) == Denied(shown)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        [],
        True,
        "yes",
        None,
        {"allow": "true"},
        {"allow": 1},
        {"allow": 0},
        {"allow": None},
        {"Allow": True},
        {"allow": True, "allowed": True},
        {"allow": True, "attributes": {"owner": "x"}},
        {"allow": True, "attributes": {"line": 7}},
        {"allow": True, "attributes": ["line"]},
        {"allow": True, "attributes": {"line": "a b"}},
        {"allow": True, "attributes": {"line": "x" * 801}},
        {"allow": True, "policies": ["admin"]},
        {"allow": True, "policies": "a"},
        {"allow": True, "policies": [["a"]]},
        {"allow": True, "policies": {"a": 1}},
    ],
)
def test_anything_else_is_no_answer(answer: object) -> None:
    with pytest.raises(NoAnswer) as caught:
        read(answer)
    assert str(caught.value).isascii()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"yes",
        b"\xff",
        b"[" * 5000,
        b'{"allow": false, "allow": true}',
        b'{"allow": true',
        b'{"allow": tru',
    ],
)
def test_what_is_no_json_is_no_answer(body: bytes) -> None:
    with pytest.raises(NoAnswer):
        read_answer(body, RULE)


@given(
    st.dictionaries(
        st.sampled_from(["allow", "attributes", "policies", "reason"]),
        st.booleans() | st.text() | st.lists(st.text()) | st.dictionaries(st.text(), st.text()),
    )
)
def test_no_answer_gives_more_than_the_group_leaves_to_it(answer: dict[str, object]) -> None:
    try:
        word = read(answer)
    except NoAnswer:
        return
    if isinstance(word, Allowed):
        assert answer["allow"] is True
        assert set(word.attributes) <= set(RULE.attributes)
        assert set(word.policies or ()) <= set(RULE.policies)
