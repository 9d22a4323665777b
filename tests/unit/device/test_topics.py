"""Topics, filters and payloads: MQTT's rules and AWS IoT's limits."""

import pytest
from hypothesis import given, strategies as st

from keyborn.device.topics import check_filter, check_payload, check_topic, is_shared, unshared
from keyborn.domain.errors import InvalidTopic, MessageTooLarge


@pytest.mark.parametrize(
    "topic", ["a", "certtest/gateway-1", "a//b", "/a", "1/2/3/4/5/6/7/8", "ü" * 128, "x" * 256]
)
def test_what_can_be_published_to(topic: str) -> None:
    assert check_topic(topic) == topic
    assert check_filter(topic) == topic


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "a/#",
        "+",
        "a+b",
        "$aws/things",
        "x" * 257,
        "ü" * 129,
        "1/2/3/4/5/6/7/8/9",
        "a\x00",
        "a\nb",
        "a\ud800",
    ],
)
def test_what_cannot_be_published_to(topic: str) -> None:
    with pytest.raises(InvalidTopic):
        check_topic(topic)


@pytest.mark.parametrize("text", ["#", "+", "a/#", "+/b/#", "a/+/b", "$SYS/#", "+/+"])
def test_what_can_be_subscribed_to(text: str) -> None:
    assert check_filter(text) == text


@pytest.mark.parametrize("text", ["", "a#", "#/a", "a/#/b", "a+", "+a/b", "##", "++", "x" * 257, "\x7f"])
def test_what_cannot_be_subscribed_to(text: str) -> None:
    with pytest.raises(InvalidTopic):
        check_filter(text)


@pytest.mark.parametrize(
    ("text", "filter_"),
    [
        ("$share/g/a", "a"),
        ("$share/g/a/+/#", "a/+/#"),
        ("$share/g/#", "#"),
        ("$share/g//a", "/a"),
        ("$share/" + "g" * 256 + "/1/2/3/4/5/6/7/8", "1/2/3/4/5/6/7/8"),
    ],
)
def test_a_filter_can_be_shared_by_a_group(text: str, filter_: str) -> None:
    assert check_filter(text) == text
    assert (is_shared(text), unshared(text)) == (True, filter_)
    assert (is_shared(filter_), unshared(filter_)) == (False, filter_)


@pytest.mark.parametrize(
    "text",
    [
        "$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/#", "$share/g#/a",
        "$share/g/a#",
        "$share/g/a\n", "$share/g\n/a", "$share/g/1/2/3/4/5/6/7/8/9", "$share/" + "g" * 257 + "/a",
        "$share/g/" + "x" * 257,
    ],
)  # fmt: skip
def test_what_no_group_can_share(text: str) -> None:
    with pytest.raises(InvalidTopic):
        check_filter(text)
    with pytest.raises(InvalidTopic):
        check_topic(text)


@given(st.text(max_size=300))
def test_every_text_is_taken_or_refused(text: str) -> None:
    for check in (check_topic, check_filter):
        try:
            assert check(text) == text
        except InvalidTopic:
            continue
        assert 1 <= len(text.encode()) <= 256


def test_the_largest_payload_and_one_more() -> None:
    assert check_payload(bytes(131_072))
    with pytest.raises(MessageTooLarge):
        check_payload(bytes(131_073))
