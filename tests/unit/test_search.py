"""What an operator looks for: read once, and the range of names that a prefix stands for."""

import string

import pytest
from hypothesis import given, strategies as st

from keyborn.domain.errors import InvalidGroupName, InvalidSetting
from keyborn.domain.names import ThingName
from keyborn.domain.search import Search, parse_search
from keyborn.domain.thing import ThingStatus

LETTERS = string.ascii_letters + string.digits + ":_-"
NAMES = st.text(LETTERS, min_size=1, max_size=64).map(ThingName)
PREFIXES = st.text(LETTERS, max_size=5)


@given(NAMES, PREFIXES, NAMES | st.none())
def test_the_range_holds_exactly_the_names_with_the_prefix(
    name: ThingName, prefix: str, after: ThingName | None
) -> None:
    search = Search(prefix)
    inside = search.begin(after) < name < search.end
    assert inside == (name.startswith(prefix) and name > (after or ""))


@given(PREFIXES, NAMES)
def test_a_name_made_of_the_prefix_is_in_its_range(prefix: str, rest: ThingName) -> None:
    name = (prefix + rest)[:64]
    assert Search(prefix).begin(None) < name < Search(prefix).end


def test_what_is_asked_for_is_read() -> None:
    asked = parse_search(prefix="pump-", where=["site=north", "note="], group="line-7", status="suspended")
    assert asked == Search("pump-", {"site": "north", "note": ""}, asked.group, ThingStatus.SUSPENDED)
    assert asked.group == "line-7"
    assert parse_search().is_open
    assert not asked.is_open


def test_a_value_may_hold_what_a_key_may_not() -> None:
    assert parse_search(where=["a=b", "a=b"]).where == {"a": "b"}


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        (["site"], "KEY=VALUE"),
        (["=north"], "KEY=VALUE"),
        (["site=a b"], "KEY=VALUE"),
        (["site=a=b"], "KEY=VALUE"),
        (["site=" + "x" * 801], "KEY=VALUE"),
        (["k" * 129 + "=x"], "KEY=VALUE"),
        (["site=a", "site=b"], "one value"),
        (["a=1", "b=1", "c=1", "d=1"], "more than 3"),
    ],
)
def test_attributes_that_no_thing_can_have_are_refused(where: list[str], sentence: str) -> None:
    with pytest.raises(InvalidSetting, match=sentence) as refused:
        parse_search(where=where)
    assert refused.value.facts["setting"] == "--where"


@pytest.mark.parametrize("prefix", ["a b", "x" * 65, "ü", "a*", "a~", "a\n", "%"])
def test_a_prefix_of_no_name_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidSetting, match="no name of a thing begins like that"):
        parse_search(prefix=prefix)


def test_a_word_that_is_no_status_and_a_group_that_is_none_are_refused() -> None:
    with pytest.raises(InvalidSetting, match="one of claimed, active"):
        parse_search(status="gone")
    with pytest.raises(InvalidGroupName):
        parse_search(group="Line 7")
