"""Conditions: operators and whether they hold.

Source: IAM User Guide, "IAM JSON policy elements: Condition operators", "Conditions with multiple context
keys or values" and "Single-valued vs. multivalued context keys": the values of one key are alternatives, or
with a negated operator all excluded; everything else must hold together. A key without a value fails a plain
operator, passes a negated one, passes ``ForAllValues:`` and fails ``ForAnyValue:``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from keyborn.domain.access import ConnectAttribute
from keyborn.domain.access_policy.document import Condition
from keyborn.domain.access_policy.hints import meant, shown
from keyborn.domain.access_policy.patterns import Bound, Variable, bind, matcher, parse_template, plain
from keyborn.domain.access_policy.variables import (
    CONNECT_ATTRIBUTES,
    IS_ATTACHED,
    Scope,
    Unresolved,
    check_key,
    is_list,
)


class Comparison(Enum):
    """How one value is compared."""

    EQUAL = auto()
    FOLDED = auto()
    LIKE = auto()


class Quantifier(Enum):
    """How many of a key's values must pass."""

    ALL = "ForAllValues"
    ANY = "ForAnyValue"


@dataclass(frozen=True, slots=True)
class Operator:
    """A condition operator, taken apart."""

    comparison: Comparison
    negated: bool = False
    quantifier: Quantifier | None = None


BOOL = "Bool"
_PLAIN = {
    BOOL: Operator(Comparison.EQUAL),
    "StringEquals": Operator(Comparison.EQUAL),
    "StringNotEquals": Operator(Comparison.EQUAL, negated=True),
    "StringEqualsIgnoreCase": Operator(Comparison.FOLDED),
    "StringNotEqualsIgnoreCase": Operator(Comparison.FOLDED, negated=True),
    "StringLike": Operator(Comparison.LIKE),
    "StringNotLike": Operator(Comparison.LIKE, negated=True),
}
OPERATORS = _PLAIN | {
    f"{quantifier.value}:{name}": Operator(operator.comparison, operator.negated, quantifier)
    for quantifier in Quantifier
    for name, operator in _PLAIN.items()
    if name != BOOL
}
"""Every operator that is known here."""

_POSSIBLE: Mapping[str, Sequence[str]] = {
    IS_ATTACHED: ("true", "false"),
    CONNECT_ATTRIBUTES: tuple(sorted(ConnectAttribute)),
}


def check_operator(name: str) -> None:
    """Refuse an unknown operator; raises ValueError with a sentence."""
    if name in OPERATORS:
        return
    if name.endswith("IfExists"):
        raise ValueError(f"{shown(name)} is not known here; write the operator without IfExists")
    raise ValueError(f"{shown(name)} is not an operator that is known here{meant(name, OPERATORS)}")


def check(condition: Condition) -> None:
    """Refuse a condition that cannot be meant; raises ValueError with a sentence."""
    check_operator(condition.operator)
    check_key(condition.key)
    _check_pairing(condition)
    if not condition.values and OPERATORS[condition.operator].quantifier is not Quantifier.ALL:
        raise ValueError("the list of values is empty, which only ForAllValues: can mean")
    for value in condition.values:
        parse_template(value)
    _check_values(condition)


def _check_pairing(condition: Condition) -> None:
    """Which operators a key takes."""
    operator, key = condition.operator, condition.key
    if operator == BOOL and key != IS_ATTACHED:
        raise ValueError(f"Bool is for {IS_ATTACHED}; {key} is a text, so use StringEquals or StringLike")
    if operator != BOOL and key == IS_ATTACHED:
        raise ValueError(f"{key} is true or false; use Bool")
    if is_list(key) and OPERATORS[operator].quantifier is None:
        raise ValueError(
            f"{key} is a list; say how many of its values are meant: ForAllValues:{operator} or"
            f" ForAnyValue:{operator}"
        )


def _check_values(condition: Condition) -> None:
    """Keys of which all values are known: each value written must be able to match one of them."""
    if condition.key not in _POSSIBLE:
        return
    possible = _POSSIBLE[condition.key]
    comparison = OPERATORS[condition.operator].comparison
    for value in condition.values:
        bound = tuple(part for part in parse_template(value) if not isinstance(part, Variable))
        variable = len(bound) < len(parse_template(value))
        if variable or not any(map(_test(comparison, [bound]), possible)):
            raise ValueError(
                f"{shown(value)} is not a value of {condition.key}; it has {' and '.join(possible)}"
            )


def holds(condition: Condition, scope: Scope) -> bool:
    """Whether a checked condition holds for a connection."""
    operator = OPERATORS[condition.operator]
    given = scope.look_up(condition.key)
    given = () if isinstance(given, Unresolved) else given
    passes = _test(operator.comparison, _bound_values(condition, scope))
    results = [passes(each) != operator.negated for each in given]
    if operator.quantifier is Quantifier.ANY:
        return any(results)
    if operator.quantifier is Quantifier.ALL or results:
        return all(results)
    return operator.negated


def _bound_values(condition: Condition, scope: Scope) -> list[Bound]:
    """The values as written; one with a variable that does not resolve matches nothing and is left out."""
    bound = (bind(parse_template(value), scope) for value in condition.values)
    return [each for each in bound if not isinstance(each, Unresolved)]


def _test(comparison: Comparison, values: Sequence[Bound]) -> Callable[[str], bool]:
    """Whether a given text is any of ``values``."""
    if comparison is Comparison.LIKE:
        return matcher(values).matches
    if comparison is Comparison.EQUAL:
        return frozenset(map(plain, values)).__contains__
    folded = frozenset(plain(each).lower() for each in values)
    return lambda given: given.lower() in folded
