"""Which filters take which topics, said three times: by table, by a naive reference, and by the trees."""

import re

import pytest
from hypothesis import given, strategies as st

from keyborn.adapters.broker.limits import Limits
from keyborn.adapters.broker.topics import (
    FilterTree,
    TopicTree,
    filter_fault,
    matches,
    size_fault,
    topic_fault,
)

LEVEL = st.sampled_from(["", "a", "b", "c", "$SYS"])
TOPIC = st.lists(LEVEL, min_size=1, max_size=4).map("/".join).filter(bool)
FILTER = st.lists(LEVEL | st.just("+"), min_size=1, max_size=4).flatmap(
    lambda levels: st.sampled_from(["/".join(levels), "/".join([*levels, "#"]), "#"])
)


def reference(topic_filter: str, topic: str) -> bool:
    """The rule of MQTT 5 section 4.7, as a regular expression and nothing like the code."""
    if topic.startswith("$") and topic_filter[0] in "+#":
        return False
    pattern = re.escape(topic_filter).replace(r"\+", "[^/]*")
    if topic_filter == "#":
        pattern = ".*"
    elif topic_filter.endswith("/#"):
        pattern = pattern.removesuffix(r"/\#") + "(/.*)?"
    return re.fullmatch(pattern, topic) is not None


@pytest.mark.parametrize(
    ("topic_filter", "topic", "wanted"),
    [
        ("sport/#", "sport", True),
        ("sport/#", "sport/tennis/player1", True),
        ("sport/#", "sports", False),
        ("#", "/", True),
        ("#", "$SYS/uptime", False),
        ("+/uptime", "$SYS/uptime", False),
        ("$SYS/#", "$SYS/uptime", True),
        ("$SYS/+", "$SYS/uptime", True),
        ("sport/+", "sport", False),
        ("sport/+", "sport/", True),
        ("+", "/finance", False),
        ("/+", "/finance", True),
        ("+/+", "/finance", True),
        ("a/+/c", "a/b/c", True),
        ("a/+/c", "a/b/d", False),
        ("a/b", "a/b", True),
        ("a/b", "a/B", False),
        ("certtest/dev", "certtest/dev/x", False),
    ],
)
def test_filters_take_what_the_specification_says(topic_filter: str, topic: str, wanted: bool) -> None:  # noqa: FBT001
    assert matches(topic_filter, topic) is wanted
    assert reference(topic_filter, topic) is wanted


@given(FILTER.filter(bool), TOPIC)
def test_matching_agrees_with_the_reference(topic_filter: str, topic: str) -> None:
    assert matches(topic_filter, topic) is reference(topic_filter, topic)


@given(st.lists(FILTER.filter(bool), max_size=12), st.lists(TOPIC, max_size=6))
def test_the_filter_tree_finds_what_matching_finds(filters: list[str], topics: list[str]) -> None:
    tree: FilterTree[int, str] = FilterTree()
    for key, each in enumerate(filters):
        tree.add(each, key, each)
    for topic in topics:
        found = sorted(key for key, _ in tree.match(topic))
        assert found == [key for key, each in enumerate(filters) if matches(each, topic)]


@given(st.lists(TOPIC, max_size=12, unique=True), st.lists(FILTER.filter(bool), max_size=6))
def test_the_topic_tree_finds_what_matching_finds(topics: list[str], filters: list[str]) -> None:
    tree: TopicTree[str] = TopicTree()
    for topic in topics:
        tree.put(topic, topic)
    for each in filters:
        assert sorted(tree.select(each)) == sorted(topic for topic in topics if matches(each, topic))


@given(st.lists(st.tuples(FILTER.filter(bool), st.integers(0, 2), st.booleans()), max_size=20))
def test_adding_and_removing_leaves_what_a_dictionary_would(steps: list[tuple[str, int, bool]]) -> None:
    tree: FilterTree[int, str] = FilterTree()
    model: dict[tuple[str, int], str] = {}
    for topic_filter, key, add in steps:
        if add:
            tree.add(topic_filter, key, topic_filter)
            model[topic_filter, key] = topic_filter
        else:
            assert tree.remove(topic_filter, key) == model.pop((topic_filter, key), None)
    for topic in ("a", "a/b", "$SYS/a", "/"):
        found = sorted((value, key) for key, value in tree.match(topic))
        assert found == sorted(entry for entry in model if matches(entry[0], topic))
    for topic_filter, key in list(model):
        tree.remove(topic_filter, key)
    assert tree._root.below == {}, "empty branches stay in memory"


def test_a_topic_may_be_dropped_and_dropped_again() -> None:
    tree: TopicTree[str] = TopicTree()
    tree.put("a/b", "x")
    assert tree.drop("a/b") == "x"
    assert tree.drop("a/b") is None
    assert tree.drop("a") is None


@pytest.mark.parametrize("topic", ["", "a/+", "#", "a/#", "a+b"])
def test_what_is_no_topic_has_a_reason(topic: str) -> None:
    assert topic_fault(topic)


@pytest.mark.parametrize("topic", ["a", "/", " ", "a//b", "$SYS/x", "é/ü"])
def test_a_topic_has_no_fault(topic: str) -> None:
    assert topic_fault(topic) is None


@pytest.mark.parametrize(
    "topic_filter", ["", "a#", "#/a", "a/#/b", "a+", "+a/b", "a/b+/c", "##", "a/#/#", "\0", "a/\0/#"]
)
def test_what_is_no_filter_has_a_reason(topic_filter: str) -> None:
    assert filter_fault(topic_filter)


@pytest.mark.parametrize("topic_filter", ["a", "#", "+", "a/#", "+/+/#", "/", "a/+/b"])
def test_a_filter_has_no_fault(topic_filter: str) -> None:
    assert filter_fault(topic_filter) is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("x" * 256, None),
        ("x" * 257, "longer than 256 bytes"),
        ("é" * 128, None),
        ("é" * 129, "longer than 256 bytes"),
        ("/" * 7, None),
        ("/" * 8, "more than 7 slashes"),
    ],
)
def test_the_limits_are_those_of_aws(text: str, fault: str | None) -> None:
    assert size_fault(text, Limits()) == fault
