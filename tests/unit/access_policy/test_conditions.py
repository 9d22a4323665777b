"""Condition operators: the IAM User Guide's tables, on the keys of a connection."""

import pytest
from hypothesis import given, strategies as st

from keyborn.domain.access import ConnectAttribute
from keyborn.domain.access_policy.conditions import OPERATORS, check, holds
from keyborn.domain.access_policy.document import Condition
from keyborn.domain.access_policy.variables import Scope
from support.policy_stage import badge, connected

KEY = "iot:Connection.Thing.Attributes[room]"
ASKED = "iot:ConnectAttributes"
WILL, PERSISTENT = ConnectAttribute.WILL, ConnectAttribute.PERSISTENT


def room(value: str | None) -> Scope:
    return Scope(badge(attributes={} if value is None else {"room": value, "twin": value}), connected())


def condition(operator: str, *values: str, key: str = KEY) -> Condition:
    made = Condition(operator, key, values)
    check(made)
    return made


def asks(operator: str, values: tuple[str, ...], *asked: ConnectAttribute) -> bool:
    return holds(condition(operator, *values, key=ASKED), Scope(badge(), connected("lamp", *asked)))


@pytest.mark.parametrize(
    ("operator", "values", "value", "expected"),
    [
        ("StringEquals", ["a"], "a", True),
        ("StringEquals", ["a"], "A", False),
        ("StringEquals", ["a"], "a\n", False),
        ("StringEquals", ["a", "b"], "b", True),
        ("StringEquals", ["a", "b"], "c", False),
        ("StringEquals", ["a*"], "ab", False),
        ("StringEquals", ["a*"], "a*", True),
        ("StringEquals", ["a?"], "a?", True),
        ("StringEquals", ["a${*}"], "a*", True),
        ("StringEquals", ["${$}{x}"], "${x}", True),
        ("StringEquals", [""], "", True),
        ("StringNotEquals", ["a"], "b", True),
        ("StringNotEquals", ["a", "b"], "b", False),
        ("StringNotEquals", ["a", "b"], "c", True),
        ("StringEqualsIgnoreCase", ["aB"], "Ab", True),
        ("StringEqualsIgnoreCase", ["ä"], "Ä", True),
        ("StringEqualsIgnoreCase", ["a*"], "AB", False),
        ("StringNotEqualsIgnoreCase", ["aB"], "Ab", False),
        ("StringNotEqualsIgnoreCase", ["aB"], "c", True),
        ("StringLike", ["a*"], "a/b\nc", True),
        ("StringLike", ["A*"], "ab", False),
        ("StringLike", ["a?"], "ab", True),
        ("StringLike", ["a?"], "a", False),
        ("StringLike", ["a${*}"], "ab", False),
        ("StringLike", ["x", "*b"], "ab", True),
        ("StringLike", ["*"], "", True),
        ("StringNotLike", ["a*"], "ab", False),
        ("StringNotLike", ["a*", "b*"], "b", False),
        ("StringNotLike", ["a*", "b*"], "c", True),
    ],
)
def test_one_value_against_those_written(
    operator: str, values: list[str], value: str, *, expected: bool
) -> None:
    scope = room(value)
    assert holds(condition(operator, *values), scope) is expected
    for quantifier in ("ForAllValues", "ForAnyValue"):
        assert holds(condition(f"{quantifier}:{operator}", *values), scope) is expected


@pytest.mark.parametrize("operator", sorted(OPERATORS.keys() - {"Bool"}))
def test_a_key_without_a_value(operator: str) -> None:
    expected = operator.startswith("ForAllValues:") or (":" not in operator and "Not" in operator)
    assert holds(condition(operator, "a", "*"), room(None)) is expected


@pytest.mark.parametrize(
    ("operator", "values", "asked", "expected"),
    [
        ("ForAllValues:StringEquals", (), (), True),
        ("ForAllValues:StringEquals", (), (WILL,), False),
        ("ForAllValues:StringEquals", ("LastWill",), (), True),
        ("ForAllValues:StringEquals", ("LastWill",), (WILL,), True),
        ("ForAllValues:StringEquals", ("LastWill",), (WILL, PERSISTENT), False),
        ("ForAllValues:StringEquals", ("LastWill", "PersistentConnect"), (WILL, PERSISTENT), True),
        ("ForAllValues:StringNotEquals", ("PersistentConnect",), (), True),
        ("ForAllValues:StringNotEquals", ("PersistentConnect",), (WILL,), True),
        ("ForAllValues:StringNotEquals", ("PersistentConnect",), (WILL, PERSISTENT), False),
        ("ForAllValues:StringNotEquals", (), (WILL, PERSISTENT), True),
        ("ForAnyValue:StringEquals", ("PersistentConnect",), (), False),
        ("ForAnyValue:StringEquals", ("PersistentConnect",), (WILL,), False),
        ("ForAnyValue:StringEquals", ("PersistentConnect",), (WILL, PERSISTENT), True),
        ("ForAnyValue:StringNotEquals", ("PersistentConnect",), (), False),
        ("ForAnyValue:StringNotEquals", ("PersistentConnect",), (PERSISTENT,), False),
        ("ForAnyValue:StringNotEquals", ("PersistentConnect",), (WILL, PERSISTENT), True),
        ("ForAnyValue:StringNotEquals", ("PersistentConnect", "LastWill"), (WILL, PERSISTENT), False),
        ("ForAllValues:StringLike", ("*",), (WILL, PERSISTENT), True),
        ("ForAllValues:StringNotLike", ("*",), (), True),
        ("ForAllValues:StringNotLike", ("Last*",), (WILL,), False),
        ("ForAnyValue:StringEqualsIgnoreCase", ("lastwill",), (WILL,), True),
    ],
)
def test_what_a_connect_asks_for(
    operator: str,
    values: tuple[str, ...],
    asked: tuple[ConnectAttribute, ...],
    *,
    expected: bool,
) -> None:
    assert asks(operator, values, *asked) is expected


@pytest.mark.parametrize(
    ("values", "client_id", "expected"),
    [
        (("true",), "lamp", True),
        (("true",), "other", False),
        (("false",), "lamp", False),
        (("false",), "other", True),
        (("true", "false"), "other", True),
    ],
)
def test_being_attached(values: tuple[str, ...], client_id: str, *, expected: bool) -> None:
    made = condition("Bool", *values, key="iot:Connection.Thing.IsAttached")
    assert holds(made, Scope(badge(), connected(client_id))) is expected


def test_a_value_may_be_a_variable() -> None:
    twin = condition("StringEquals", "${iot:Connection.Thing.Attributes[twin]}")
    assert holds(twin, room("kitchen"))
    assert not holds(condition("StringEquals", "${iot:ClientId}"), room("kitchen"))
    assert holds(condition("StringLike", "*${iot:ClientId}"), room("a/lamp"))


@pytest.mark.parametrize("operator", sorted(OPERATORS.keys() - {"Bool"}))
def test_a_variable_without_a_value_matches_nothing_not_even_itself(operator: str) -> None:
    """The twin has the key's own value, which holds a special character and is not substituted."""
    made = condition(operator, "${iot:Connection.Thing.Attributes[twin]}")
    assert holds(made, room("a*")) is ("Not" in operator)
    assert holds(made, room("a")) is ("Not" not in operator)


def test_beside_a_variable_without_a_value_the_other_values_count() -> None:
    made = condition("StringEquals", "${iot:Connection.Thing.ThingTypeName}", "kitchen")
    assert holds(made, room("kitchen"))


def test_a_substituted_value_is_literal_in_a_like() -> None:
    scope = Scope(badge(attributes={"room": "a.b"}), connected("a.b"))
    assert (
        holds(condition("StringLike", "${iot:Connection.Thing.Attributes[room]}", key="iot:ClientId"), scope)
        is False
    )
    under_name = Scope(badge(name="a:b", attributes={"room": "a:b"}), connected("a:b"))
    assert holds(condition("StringLike", "${iot:ClientId}"), under_name)


texts = st.text("aAb*?\n", max_size=3)


@given(st.lists(texts, min_size=1, max_size=3), texts)
def test_a_negated_operator_is_the_opposite_for_a_key_with_a_value(values: list[str], value: str) -> None:
    for operator in ("StringEquals", "StringEqualsIgnoreCase", "StringLike"):
        negated = operator.replace("String", "StringNot")
        scope = room(value)
        assert holds(condition(operator, *values), scope) is not holds(condition(negated, *values), scope)


@given(st.lists(texts, min_size=1, max_size=3), texts)
def test_equal_texts_are_equal_without_case_as_well(values: list[str], value: str) -> None:
    if holds(condition("StringEquals", *values), room(value)):
        assert holds(condition("StringEqualsIgnoreCase", *values), room(value))


@given(st.sets(st.sampled_from(ConnectAttribute)), st.sets(st.sampled_from(ConnectAttribute), min_size=1))
def test_the_set_operators_are_inclusion_and_overlap(
    asked: set[ConnectAttribute], written: set[ConnectAttribute]
) -> None:
    values = tuple(sorted(written))
    assert asks("ForAllValues:StringEquals", values, *asked) is (asked <= written)
    assert asks("ForAnyValue:StringEquals", values, *asked) is bool(asked & written)
    assert asks("ForAllValues:StringNotEquals", values, *asked) is not bool(asked & written)
    assert asks("ForAnyValue:StringNotEquals", values, *asked) is bool(asked - written)
