"""Conditions and variables that do not hold when they seem to, or hold when they should not.

Sources: AWS IoT Core Developer Guide, "Thing policy variables" and "Using connectAttributes"; IAM User Guide,
"Single-valued vs. multivalued context keys" (``ForAllValues`` over nothing holds).
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from keyborn.domain.access import Action
from keyborn.domain.access_policy.document import Condition, Effect, Statement
from keyborn.domain.access_policy.lint_conditions import (
    ALL,
    SOME,
    attached,
    base,
    mentioned,
    renamed,
    rewritten,
    texts,
    tied,
)
from keyborn.domain.access_policy.lint_shapes import actions, resources, tokens, variables
from keyborn.domain.access_policy.lint_words import Finding, Severity, Spot
from keyborn.domain.access_policy.variables import (
    CERTIFICATE_ID,
    CONNECT_ATTRIBUTES,
    IS_ATTACHED,
    THING_PREFIX,
    THING_TYPE,
    is_list,
)

_TYPE_ATTRIBUTE = f"{THING_PREFIX}Attributes[type]"


def thing_type(spot: Spot) -> Iterator[Finding]:
    """Keyborn's things have no type."""
    statement = spot.statement
    if THING_TYPE not in mentioned(statement):
        return
    denies = statement.effect is Effect.DENY
    yield spot.finding(
        "thing_type",
        Severity.ERROR if denies else Severity.WARNING,
        "Resource" if THING_TYPE in variables(statement.resources) else "Condition",
        f"{THING_TYPE} never resolves: things have no type here, so this {'denies' if denies else 'allows'} "
        "nothing. Keep the type as an attribute of the thing.",
        rewritten(statement, THING_TYPE, _TYPE_ATTRIBUTE),
    )


def deny_variable(spot: Spot) -> Iterator[Finding]:
    """While a variable does not resolve, its Deny does not hold."""
    statement = spot.statement
    used = [each for each in variables(texts(statement)) if each != CERTIFICATE_ID]
    if statement.effect is Effect.DENY and used:
        in_resources = set(used) & set(variables(statement.resources))
        yield spot.finding(
            "variable_in_deny",
            Severity.WARNING,
            "Resource" if in_resources else "Condition",
            f"While {used[0]} does not resolve (another client id, no such value, a value with * $ + ? or #) "
            "this Deny does not hold. Deny fixed names and wildcards; keep variables for what is allowed.",
            _unvaried(statement),
        )


def never_attached(spot: Spot) -> Iterator[Finding]:
    """Thing variables resolve only where IsAttached is true."""
    statement = spot.statement
    uses = any(each.startswith(THING_PREFIX) for each in variables(texts(statement)))
    if attached(statement) == {"false"} and uses:
        yield spot.finding(
            "never_attached",
            Severity.ERROR,
            "Condition",
            f"Thing variables resolve only where {IS_ATTACHED} is true, and this asks for false: it never "
            "holds. Ask for true, or leave the variables out.",
            tied(statement) if statement.effect is Effect.ALLOW else _unvaried(statement),
        )


def all_of_nothing(spot: Spot) -> Iterator[Finding]:
    """``ForAllValues`` holds where there is no value at all."""
    statement = spot.statement
    loose = [each for each in statement.conditions if each.operator.startswith(ALL) and not is_list(each.key)]
    if loose:
        yield spot.finding(
            "all_of_nothing",
            Severity.WARNING,
            "Condition",
            f"{loose[0].operator} also holds where {loose[0].key} has no value at all. It has at most one: "
            f"write {base(loose[0].operator)}.",
            _conditioned(statement, loose, base),
        )


def deny_plain_connect(spot: Spot) -> Iterator[Finding]:
    """A plain CONNECT has no attributes, and all of nothing are on the list."""
    statement = spot.statement
    loose = [
        each
        for each in statement.conditions
        if each.key == CONNECT_ATTRIBUTES and each.operator.startswith(ALL) and "Not" not in each.operator
    ]
    if statement.effect is Effect.DENY and loose and Action.CONNECT in actions(statement):
        yield spot.finding(
            "deny_plain_connect",
            Severity.WARNING,
            "Condition",
            "ForAllValues holds for a plain CONNECT too, because it asks for nothing: this denies plain "
            "connections as well. ForAnyValue denies only those that ask for what is listed.",
            _conditioned(statement, loose, lambda operator: SOME + base(operator)),
        )


def attributes_without_connect(spot: Spot) -> Iterator[Finding]:
    """``iot:ConnectAttributes`` describes a CONNECT, nothing else."""
    statement = spot.statement
    others = tuple(each for each in statement.conditions if each.key != CONNECT_ATTRIBUTES)
    if others != statement.conditions and Action.CONNECT not in actions(statement):
        yield spot.finding(
            "attributes_without_connect",
            Severity.WARNING,
            "Condition",
            f"{CONNECT_ATTRIBUTES} describes a CONNECT, and this statement is about other actions. Put the "
            "condition on the statement that allows iot:Connect.",
            replace(statement, conditions=others),
        )


def _conditioned(statement: Statement, marked: list[Condition], rename: Callable[[str], str]) -> Statement:
    """The statement with other operators in the marked conditions."""
    changed = tuple(
        replace(each, operator=rename(each.operator)) if each in marked else each
        for each in statement.conditions
    )
    return replace(statement, conditions=changed)


def _unvaried(statement: Statement) -> Statement | None:
    """The statement with ``*`` for its variables; None where some stand in conditions."""
    if any(variables(each.values) for each in statement.conditions):
        return None
    marked = [each for each in resources(statement) if variables([each.name])]
    return renamed(statement, marked, _without_variables)


def _without_variables(name: str) -> str:
    """The name with ``*`` for every variable but the certificate id, which always resolves."""
    return "".join("*" if set(variables([each])) - {CERTIFICATE_ID} else each for each in tokens(name))
