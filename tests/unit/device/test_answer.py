"""Answers: every member has its type and limit, and no bytes do anything but parse or be refused."""

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from keyborn.device.answer import MAX_SENTENCE, Fallback, Malformed, clean, parse_enrolled, parse_problem

GOOD: dict[str, Any] = {
    "thingName": "gateway-1",
    "certificateId": "0" * 64,
    "certificatePem": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    "chainPem": "",
    "notAfter": "2027-01-01T00:00:00Z",
    "mqtt": {
        "endpoint": "a1-ats.iot.eu-west-1.amazonaws.com",
        "port": 443,
        "alpn": "x-amzn-mqtt-ca",
        "fallback": {"port": 444, "alpn": "mqtt"},
        "protocol": "mqtts",
        "clientId": "gateway-1",
        "topic": "certtest/gateway-1",
        "rootsPem": "",
    },
}


def changed(name: str, value: object) -> bytes:
    outer, _, inner = name.partition(".")
    answer = json.loads(json.dumps(GOOD))
    if inner:
        answer[outer][inner] = value
    else:
        answer[outer] = value
    return json.dumps(answer).encode()


def test_a_good_answer_is_read() -> None:
    answer = parse_enrolled(json.dumps(GOOD).encode())
    assert answer.thing == "gateway-1"
    assert (answer.broker.port, answer.broker.alpn) == (443, "x-amzn-mqtt-ca")


def test_unknown_members_and_a_missing_alpn_do_not_matter() -> None:
    assert parse_enrolled(changed("future", {"x": 1})).broker.alpn
    assert parse_enrolled(changed("mqtt.alpn", None)).broker.alpn is None


def test_a_second_port_is_read_where_there_is_one() -> None:
    assert parse_enrolled(json.dumps(GOOD).encode()).broker.fallback == Fallback(444, "mqtt")
    assert parse_enrolled(changed("mqtt.fallback", None)).broker.fallback is None


def test_an_answer_from_before_there_was_a_second_port_names_none() -> None:
    older = json.loads(json.dumps(GOOD))
    del older["mqtt"]["fallback"]
    assert parse_enrolled(json.dumps(older).encode()).broker.fallback is None


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ({}, "port is not a port"),
        ({"port": 0, "alpn": "mqtt"}, "port is not a port"),
        ({"port": True, "alpn": "mqtt"}, "port is not a port"),
        ({"port": 443}, "alpn is missing"),
        ({"port": 443, "alpn": None}, "alpn is missing"),
        ({"port": 443, "alpn": ""}, "alpn is missing"),
        ({"port": 443, "alpn": "a b"}, "alpn is missing"),
        ({"port": 443, "alpn": "a" * 256}, "alpn is missing"),
    ],
)
def test_half_a_second_port_is_refused(value: object, what: str) -> None:
    """It would be found out when the first port cannot be reached, on a device that nobody stands beside."""
    with pytest.raises(Malformed, match=rf"mqtt\.fallback\.{what}"):
        parse_enrolled(changed("mqtt.fallback", value))


MEMBERS = [*GOOD, *(f"mqtt.{name}" for name in GOOD["mqtt"])]


@pytest.mark.parametrize("name", [name for name in MEMBERS if name != "notAfter"])
@pytest.mark.parametrize("value", [7, True, [], {}, "\x00", "x" * 70_000, 1e400])
def test_a_member_of_another_kind_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(Malformed, match=name.partition(".")[0]):
        parse_enrolled(changed(name, value if name != "mqtt.port" or value != 7 else -7))


OPTIONAL = {"notAfter", "mqtt.alpn", "mqtt.fallback"}


@pytest.mark.parametrize("name", [name for name in MEMBERS if name not in OPTIONAL])
def test_a_missing_member_is_refused(name: str) -> None:
    with pytest.raises(Malformed, match=name):
        parse_enrolled(changed(name, None))


@pytest.mark.parametrize("port", [0, -1, 65_536, 8883.0, "8883", True])
def test_what_is_no_port(port: object) -> None:
    with pytest.raises(Malformed, match="port"):
        parse_enrolled(changed("mqtt.port", port))


@pytest.mark.parametrize("name", ["keyborn", "Keyborn-1"])
def test_a_reserved_name_is_a_name_here(name: str) -> None:
    """Whether it is ours is checked against the request, not against a list."""
    assert parse_enrolled(changed("thingName", name)).thing == name


@given(st.binary(max_size=300))
def test_no_bytes_do_anything_but_be_refused(body: bytes) -> None:
    with pytest.raises(Malformed):
        parse_enrolled(body)
    code, detail = parse_problem(body, "secret")
    assert code is None or code.isascii()
    assert detail == "" or detail.isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(MEMBERS), JSON)
def test_no_value_of_any_member_does_anything_but_parse_or_be_refused(name: str, value: object) -> None:
    try:
        answer = parse_enrolled(changed(name, value))
    except Malformed:
        return
    told = [answer.thing, answer.broker.endpoint, answer.broker.client_id, answer.broker.topic]
    assert all(each.isascii() and each.isprintable() for each in told)


def test_a_problem_gives_code_and_sentence() -> None:
    body = json.dumps({"code": "thing_name_taken", "detail": "Choose another.\nNow."}).encode()
    assert parse_problem(body, "secret") == ("thing_name_taken", "Choose another. Now.")


@pytest.mark.parametrize("body", [b"", b"oops", b"[]", b'{"code": 7, "detail": []}', b'{"code": "\\u001b"}'])
def test_what_is_no_problem_gives_nothing(body: bytes) -> None:
    assert parse_problem(body, "s") == (None, "")


@given(st.text(max_size=2000), st.text(min_size=8, max_size=43, alphabet="abcdefgh"))
def test_a_cleaned_sentence_is_one_line_without_the_secret(text: str, secret: str) -> None:
    cleaned = clean(text[:50] + secret + text[50:], secret)
    assert secret not in cleaned
    assert cleaned.isprintable()
    assert len(cleaned) <= MAX_SENTENCE


@pytest.mark.parametrize("host", ["", "a..b", ".a", "-", "a" * 64, "a.-b", "a:1", "a" + ".a" * 127])
def test_an_endpoint_that_cannot_be_looked_up_is_refused(host: str) -> None:
    with pytest.raises(Malformed, match="endpoint"):
        parse_enrolled(changed("mqtt.endpoint", host))
