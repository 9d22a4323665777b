"""How lint reads conditions, and how it writes statements anew."""

from collections.abc import Callable
from dataclasses import replace

from keyborn.domain.access_policy.document import Condition, Statement
from keyborn.domain.access_policy.lint_shapes import Resource, once, resources, variables
from keyborn.domain.access_policy.variables import CLIENT_ID, IS_ATTACHED, THING_NAME

ATTRIBUTE = "iot:Connection.Thing.Attributes["
ALL, SOME = "ForAllValues:", "ForAnyValue:"

OWN_NAME = f"${{{THING_NAME}}}"
"""The variable that names the thing itself: what corrected statements are bound to."""


def base(operator: str) -> str:
    """The operator without its set prefix."""
    return operator.removeprefix(ALL).removeprefix(SOME)


def texts(statement: Statement) -> tuple[str, ...]:
    """Every place where a variable may stand: resources and the values of conditions."""
    return statement.resources + tuple(value for each in statement.conditions for value in each.values)


def mentioned(statement: Statement) -> tuple[str, ...]:
    """Names of the variables and of the condition keys."""
    return variables(texts(statement)) + tuple(each.key for each in statement.conditions)


def attached(statement: Statement) -> frozenset[str]:
    """Every value that some condition accepts for IsAttached, in lower case."""
    found = (
        each.values for each in statement.conditions if each.key == IS_ATTACHED and each.operator == "Bool"
    )
    return frozenset(value.lower() for values in found for value in values)


def ties_client(statement: Statement) -> bool:
    """Whether the conditions leave no client id but the thing's name, or ones that are listed."""
    return attached(statement) == {"true"} or any(_names_client(each) for each in statement.conditions)


def _names_client(condition: Condition) -> bool:
    """Whether this compares the client id with something that is not wide itself."""
    if condition.key not in (CLIENT_ID, THING_NAME) or condition.operator != base(condition.operator):
        return False
    if condition.operator in ("StringEquals", "StringEqualsIgnoreCase"):
        return True
    return condition.operator == "StringLike" and not any(each[:1] in ("*", "?") for each in condition.values)


def tied(statement: Statement) -> Statement:
    """The statement for clients only whose thing has the client id as its name."""
    others = tuple(each for each in statement.conditions if each.key != IS_ATTACHED)
    return replace(statement, conditions=(*others, Condition("Bool", IS_ATTACHED, ("true",))))


def rewritten(statement: Statement, old: str, new: str) -> Statement:
    """The statement with one text exchanged in resources, condition keys and values."""
    return replace(
        statement,
        resources=tuple(each.replace(old, new) for each in statement.resources),
        conditions=tuple(
            Condition(
                each.operator, each.key.replace(old, new), tuple(v.replace(old, new) for v in each.values)
            )
            for each in statement.conditions
        ),
    )


def renamed(statement: Statement, marked: list[Resource], rename: Callable[[str], str]) -> Statement:
    """The statement with other names in the marked resources; several may become one."""
    chosen = {each.text for each in marked}
    changed = (
        each.named(each.kind, rename(each.name)) if each.text in chosen else each.text
        for each in resources(statement)
    )
    return replace(statement, resources=once(changed))
