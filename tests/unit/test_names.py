"""Thing names, key hashes, certificate ids, scopes."""

import hashlib
import string

import pytest
from hypothesis import given, strategies as st

from keyborn.domain.errors import InvalidThingName, ReservedThingName
from keyborn.domain.names import (
    NameScope,
    ThingName,
    certificate_id,
    fold_name,
    is_certificate_id,
    key_hash,
    parse_thing_name,
)

ALPHABET = string.ascii_letters + string.digits + ":_-"
names = st.text(ALPHABET, min_size=1, max_size=64).filter(lambda name: not name.lower().startswith("keyborn"))
globs = st.text(ALPHABET + "*?", min_size=1, max_size=64)


@given(names)
def test_any_word_of_the_set_is_a_name_as_it_is(name: str) -> None:
    assert parse_thing_name(name) == name


@pytest.mark.parametrize("name", ["a", "-", ":", "_", "0", "a" * 64, "lamp-1:kitchen_2", "AWS", "key-born"])
def test_the_edges_of_the_set_are_names(name: str) -> None:
    assert parse_thing_name(name) == name


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        (None, "not a string"),
        (7, "not a string"),
        (b"lamp", "not a string"),
        (["lamp"], "not a string"),
        ("", "empty"),
        ("a" * 65, "65 characters"),
        ("a" * 100_000, "100000 characters"),
        *[
            (f"lamp{bad}1", "cannot be part of it")
            for bad in [
                " ",
                "/",
                "+",
                "#",
                "$",
                "*",
                "?",
                ".",
                ",",
                "\n",
                "\0",
                "\r",
                "=",
                "é",
                "\u0661",  # a digit, in Arabic
                "\u212a",  # the Kelvin sign, whose lower case is k
                "\ud800",
            ]
        ],
        ("lamp\n", "cannot be part of it"),
    ],
)
def test_anything_else_is_refused_with_its_reason(name: object, detail: str) -> None:
    with pytest.raises(InvalidThingName, match=detail):
        parse_thing_name(name)


@pytest.mark.parametrize("name", ["keyborn", "keyborn-1", "KeyBorn", "KEYBORN_x", "keybornlamp"])
def test_names_of_the_service_are_reserved_in_any_case(name: str) -> None:
    with pytest.raises(ReservedThingName):
        parse_thing_name(name)


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST", "LocalHost"])
def test_host_names_of_the_service_are_reserved_in_any_case(name: str) -> None:
    with pytest.raises(ReservedThingName):
        parse_thing_name(name, reserved=frozenset({"localhost"}))
    assert parse_thing_name(name + "1", reserved=frozenset({"localhost"})) == name + "1"


@given(names, names)
def test_two_names_fold_alike_only_if_they_differ_by_case_alone(one: str, other: str) -> None:
    alike = fold_name(ThingName(one)) == fold_name(ThingName(other))
    assert alike == (one.casefold() == other.casefold())
    assert fold_name(ThingName(one.upper())) == fold_name(ThingName(one.lower()))


def test_hashes_are_lower_case_hex_sha256() -> None:
    assert key_hash(b"spki") == hashlib.sha256(b"spki").hexdigest()
    assert certificate_id(b"der") == hashlib.sha256(b"der").hexdigest()
    assert is_certificate_id(certificate_id(b"der"))


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "A" * 64, "g" * 64, "0" * 64 + "\n", " " * 64])
def test_other_shapes_are_not_certificate_ids(text: str) -> None:
    assert not is_certificate_id(text)


# ── scopes ────────────────────────────────────────────────────────────────────────────────────────────


@given(names, names)
def test_an_exact_scope_covers_just_its_name(pattern: str, name: str) -> None:
    scope = NameScope(pattern)
    assert scope.is_exact
    assert scope.covers(ThingName(pattern))
    assert scope.covers(ThingName(name)) == (name == pattern)


@pytest.mark.parametrize(
    ("pattern", "covered", "others"),
    [
        ("*", ["a", "lamp-1", "a" * 64], []),
        ("lamp-*", ["lamp-", "lamp-1", "lamp-1:2"], ["lamp", "Lamp-1", "a-lamp-1"]),
        ("lamp-?", ["lamp-1", "lamp--"], ["lamp-", "lamp-12", "LAMP-1"]),
        ("*-1", ["lamp-1", "-1"], ["lamp-12", "1"]),
        ("a*b*c", ["abc", "a1b2c", "abbcc"], ["ab", "acb", "abcd"]),
    ],
)
def test_a_glob_covers_byte_for_byte(pattern: str, covered: list[str], others: list[str]) -> None:
    scope = NameScope(pattern)
    assert not scope.is_exact
    assert [name for name in covered if not scope.covers(ThingName(name))] == []
    assert [name for name in others if scope.covers(ThingName(name))] == []


@given(globs, names)
def test_a_glob_agrees_with_a_matcher_written_for_this_test(pattern: str, name: str) -> None:
    reachable = {0}
    for mark in pattern:
        if mark == "*":
            reachable = set(range(min(reachable), len(name) + 1)) if reachable else set()
        else:
            reachable = {
                place + 1 for place in reachable if place < len(name) and (mark == "?" or name[place] == mark)
            }
    assert NameScope(pattern).covers(ThingName(name)) == (len(name) in reachable)


def test_a_hostile_glob_takes_no_time() -> None:
    assert not NameScope("*a" * 31 + "*b").covers(ThingName("a" * 64))


@pytest.mark.parametrize("pattern", ["", "a" * 65, "lamp[12]", "lamp/1", "a b", "lamp\n", "é", "!a"])
def test_a_pattern_that_no_name_could_match_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidThingName):
        NameScope(pattern)


@pytest.mark.parametrize(("pattern", "shown"), [("a*?/b", "'/'"), ("*é", r"'\\xe9'"), ("\0", r"'\\x00'")])
def test_the_character_that_a_pattern_cannot_have_is_shown_harmlessly(pattern: str, shown: str) -> None:
    with pytest.raises(InvalidThingName, match=f"{shown} cannot be part of the pattern"):
        NameScope(pattern)
