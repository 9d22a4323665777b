"""Templates, resource ARNs and matching."""

import pytest
from hypothesis import example, given, strategies as st

from keyborn.domain.access import Action
from keyborn.domain.access_policy.patterns import (
    KIND_OF,
    Bound,
    Resource,
    ResourceKind,
    Variable,
    Wildcard,
    bind,
    matcher,
    parse_resource,
    parse_template,
    plain,
)
from keyborn.domain.access_policy.variables import Scope, Unresolved
from support.policy_stage import ARN, badge, connected

RUN, ONE = Wildcard.RUN, Wildcard.ONE
SCOPE = Scope(badge(attributes={"room": "a#b"}), connected())


def read(text: str) -> Bound:
    bound = bind(parse_template(text), SCOPE)
    assert not isinstance(bound, Unresolved)
    return bound


def matches(pattern: str, text: str) -> bool:
    return matcher([read(pattern)]).matches(text)


def test_a_template_is_texts_wildcards_and_variables() -> None:
    assert parse_template("a/${iot:ClientId}/*?b") == ("a/", Variable("iot:ClientId"), "/", RUN, ONE, "b")


@pytest.mark.parametrize("text", ["$", "$$", "$aws/x", "a$", "$(*)", "}", "{}", "$ {x}"])
def test_a_dollar_without_a_brace_is_itself(text: str) -> None:
    assert plain(parse_template(text.replace("*", ""))) == text.replace("*", "")  # type: ignore[arg-type] # no variables


@pytest.mark.parametrize("character", ["*", "?", "$"])
def test_a_wildcard_in_braces_is_the_character(character: str) -> None:
    assert parse_template(f"${{{character}}}") == (character,)
    assert matches(f"a${{{character}}}b", f"a{character}b")
    assert not matches(f"a${{{character}}}b", "axb")


@pytest.mark.parametrize("text", ["${", "a${iot:ClientId", "${x}", "${}", "${**}", "${${*}}"])
def test_a_variable_that_is_not_one_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"closed|known"):
        parse_template(text)


def test_a_value_is_put_in_as_literal_text() -> None:
    assert read("things/${iot:ClientId}/*") == ("things/", "lamp", "/", RUN)


def test_the_first_variable_without_a_value_says_why() -> None:
    template = parse_template(
        "${iot:ClientId}/${iot:Connection.Thing.Attributes[room]}/${iot:Connection.Thing.ThingTypeName}"
    )
    assert bind(template, SCOPE) == Unresolved("its value holds #")


@pytest.mark.parametrize(
    ("pattern", "texts", "others"),
    [
        ("", [""], ["a", "\n"]),
        ("a", ["a"], ["A", "a\n", "\na", "aa", ""]),
        ("*", ["", "a", "a/b", "\n", "\r\n/\0"], []),
        ("a*", ["a", "ab", "a/b/c", "a\n"], ["b", "", "ba"]),
        ("*a", ["a", "ba", "/a", "\na", "aaa"], ["ab", "", "a\n"]),
        ("a*b", ["ab", "a/b", "abab", "a\n\nb"], ["a", "ba", "abc"]),
        ("a**b", ["ab", "axb"], ["a"]),
        ("**", ["", "x"], []),
        ("?", ["a", "/", "\n", "ä", "🔥", "?"], ["", "ab"]),
        ("a?c", ["abc", "a/c", "a\nc"], ["ac", "abbc"]),
        ("?*", ["a", "ab"], [""]),
        ("*?", ["a", "ab"], [""]),
        ("*?*", ["a", "abc"], [""]),
        ("a*?b", ["axb", "axxb"], ["ab"]),
        ("a/*/c", ["a/b/c", "a//c", "a/b/b/c"], ["a/c", "a/b/c/d"]),
        ("*ab*ab*", ["abab", "xabyabz"], ["ab", "aab"]),
        ("a*b?d*e", ["abcde", "a/bxd/e"], ["abde", "abcd"]),
        ("a.b", ["a.b"], ["axb"]),
        ("a*.b", ["a.b", "ax.b"], ["axb"]),
        ("[a]*(b)|c", ["[a](b)|c"], ["ab", "c"]),
        ("a/+/#", ["a/+/#"], ["a/b/c", "a/+/x"]),
        ("ÄÖ*ß", ["ÄÖß", "ÄÖxß"], ["äöß", "ÄÖss"]),
        ("é", ["é"], ["e\u0301"]),
    ],
)
def test_how_a_pattern_matches(pattern: str, texts: list[str], others: list[str]) -> None:
    assert [text for text in texts if not matches(pattern, text)] == []
    assert [text for text in others if matches(pattern, text)] == []


def test_several_patterns_match_what_any_of_them_does() -> None:
    several = matcher([read(text) for text in ("a", "b/*", "*c", "d?e", "f*g")])
    assert all(map(several.matches, ["a", "b/", "xc", "dxe", "fg"]))
    assert not any(map(several.matches, ["ab", "b", "cx", "de", "g", ""]))


def test_no_pattern_matches_nothing() -> None:
    assert not matcher([]).matches("")


def test_alternatives_do_not_run_into_each_other() -> None:
    several = matcher([read("a*b"), read("a*bc")])
    assert several.matches("abbc")
    assert not several.matches("abbcd")


alphabet = st.text("ab/\n", max_size=8)
pattern_parts: st.SearchStrategy[Bound] = st.lists(
    st.sampled_from([RUN, ONE]) | st.text("ab/.\n*", max_size=2), max_size=7
).map(tuple)


def naive(pattern: Bound, text: str) -> bool:
    """The words of the guide, character by character."""
    if not pattern:
        return not text
    first, rest = pattern[0], pattern[1:]
    if first is RUN:
        return any(naive(rest, text[count:]) for count in range(len(text) + 1))
    if first is ONE:
        return bool(text) and naive(rest, text[1:])
    assert isinstance(first, str)
    return text.startswith(first) and naive(rest, text[len(first) :])


@given(pattern_parts, alphabet)
@example((RUN, "a", RUN, "ab"), "aab")
@example(("a", RUN, "a"), "a")
@example((RUN, ONE, "a", RUN, ONE), "aaa")
def test_matching_is_what_the_guide_says_character_by_character(pattern: Bound, text: str) -> None:
    assert matcher([pattern]).matches(text) == naive(pattern, text)


@given(st.lists(pattern_parts, max_size=4), alphabet)
def test_a_list_of_patterns_is_one_or_another(patterns: list[Bound], text: str) -> None:
    assert matcher(patterns).matches(text) == any(naive(each, text) for each in patterns)


@pytest.mark.parametrize(
    "pattern",
    ["*a" * 900 + "b", "*?a" * 600 + "b", "*" * 2000 + "b", "?*" * 900 + "b", "*aa*ab" * 300 + "c"],
    ids=["stars", "stars and one", "only stars", "ones", "pairs"],
)
def test_a_pattern_full_of_stars_comes_to_an_end(pattern: str) -> None:
    """A matcher that tries again would need longer than the universe has."""
    assert not matches(pattern, "a" * 65_535)
    assert matches("*a" * 900, "a" * 65_535)


@pytest.mark.parametrize(
    ("text", "resource"),
    [
        ("*", Resource(None, (RUN,))),
        ("arn:aws:iot:*:*:*", Resource(None, (RUN,))),
        (f"{ARN}client/a:b", Resource(ResourceKind.CLIENT, ("a:b",))),
        (f"{ARN}topic/", Resource(ResourceKind.TOPIC, ())),
        (f"{ARN}topic//a", Resource(ResourceKind.TOPIC, ("/a",))),
        (f"{ARN}topicfilter/a/#", Resource(ResourceKind.FILTER, ("a/#",))),
        (f"{ARN}client/${{iot:ClientId}}", Resource(ResourceKind.CLIENT, (Variable("iot:ClientId"),))),
    ],
)
def test_a_resource_is_a_kind_and_a_template(text: str, resource: Resource) -> None:
    assert parse_resource(text) == resource


@pytest.mark.parametrize(
    "region", ["*", "us-east-1", "ap-southeast-2", "us-gov-west-1", "cn-north-1", "mx-central-1"]
)
def test_well_formed_regions(region: str) -> None:
    assert parse_resource(f"arn:aws:iot:{region}:*:topic/a").kind is ResourceKind.TOPIC


@pytest.mark.parametrize("region", ["", "**", "us", "us-east", "US-EAST-1", "us-east-1\n", "us-east-*", "?"])
def test_ill_formed_regions(region: str) -> None:
    with pytest.raises(ValueError, match="the region"):
        parse_resource(f"arn:aws:iot:{region}:*:topic/a")


def test_every_action_has_a_kind_of_resource() -> None:
    assert KIND_OF.keys() == set(Action)
