"""Names out of what a credential says: no value brings a wildcard, a brace or another name into them."""

import re

import pytest
from hypothesis import given, strategies as st

from keyborn.domain.errors import CredentialNameUnfit
from keyborn.domain.name_template import check_template, fields_of, fill, widest
from keyborn.domain.names import NameScope, ThingName, parse_thing_name

LETTERS = "abz09AZ:_-"
values = st.one_of(
    st.text(LETTERS, max_size=70),
    st.text(max_size=20),
    st.sampled_from(["*", "?", "a*", "{sub}", "..", "a\n", "a\0", "ä", "\ud800", "a b", "", "٣"]),
    st.integers(),
    st.none(),
    st.booleans(),
    st.lists(st.text(), max_size=2),
)


@pytest.mark.parametrize(
    ("template", "given", "name"),
    [
        ("{sub}", {"sub": "sensor-1"}, "sensor-1"),
        ("line-{line}-*", {"line": 7}, "line-7-*"),
        ("{a}{b}", {"a": "x", "b": "y"}, "xy"),
        ("{a}{a}", {"a": "x"}, "xx"),
        ("{https://x/y}", {"https://x/y": "z"}, "z"),
        ("fixed", {}, "fixed"),
        ("{a}", {"a": -7}, "-7"),
        ("{a}", {"a": "x" * 64}, "x" * 64),
    ],
)
def test_values_take_the_place_of_their_braces(template: str, given: dict[str, object], name: str) -> None:
    assert fill(template, given) == name


@pytest.mark.parametrize(
    "value",
    ["*", "a?", "", "a b", "a.b", "{b}", "ä", "a\n", "x" * 65, "٣", None, True, 1.5, ["a"], {"a": 1}, 10**18],
    ids=repr,
)
def test_a_value_that_no_name_has_is_refused_and_not_shown(value: object) -> None:
    with pytest.raises(CredentialNameUnfit) as caught:
        fill("a-{sub}", {"sub": value})
    assert caught.value.facts == {"field": "'sub'"}


def test_a_value_that_is_missing_is_refused() -> None:
    with pytest.raises(CredentialNameUnfit, match="'line'"):
        fill("{sub}-{line}", {"sub": "a"})


def test_a_name_that_grew_too_long_is_refused() -> None:
    with pytest.raises(CredentialNameUnfit):
        fill("a{sub}", {"sub": "x" * 64})


@given(st.sampled_from(["{sub}", "line-{sub}-*", "{sub}?{line}", "a{sub}b"]), values, values)
def test_hostile_values_give_a_pattern_with_the_templates_own_wildcards_or_nothing(
    template: str, sub: object, line: object
) -> None:
    try:
        filled = fill(template, {"sub": sub, "line": line})
    except CredentialNameUnfit:
        return
    scope = NameScope(filled)
    assert sum(filled.count(each) for each in "*?") == sum(template.count(each) for each in "*?")
    assert re.fullmatch(r"[A-Za-z0-9:_*?-]{1,64}", filled)
    plain = ThingName(filled.replace("*", "x").replace("?", "y"))
    assert scope.covers(plain)
    assert NameScope(widest(template)).covers(plain)


@given(st.text(LETTERS, min_size=1, max_size=20))
def test_without_wildcards_it_is_one_exact_name(sub: str) -> None:
    filled = fill("s-{sub}", {"sub": sub})
    assert parse_thing_name(filled) == f"s-{sub}"
    assert NameScope(filled).is_exact


def test_what_stands_in_braces_can_be_told() -> None:
    assert fields_of("a-{b}-{c}{b}-*") == {"b", "c"}
    assert widest("a-{b}-?{c}") == "a-*-?*"
    assert fields_of("abc") == frozenset()


@given(st.text(st.sampled_from("ab{}*? /."), max_size=12))
def test_a_template_that_passes_can_be_filled(template: str) -> None:
    try:
        check_template(template, pattern=True)
    except ValueError:
        return
    values = dict.fromkeys(fields_of(template), "v")
    NameScope(fill(template, values))


@pytest.mark.parametrize(
    "template", ["a" * 513, "", "{", "}", "{{a}}", "a}b{c", "a.b", "a b", "x" * 65, "{}"]
)
def test_a_template_that_gives_no_name_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_template(template)
