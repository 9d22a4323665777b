"""Why a policy decides as it does: one line for every statement, and the variables with their values.

It looks at the same bound statements as ``evaluate``, one after the other instead of all at once.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from keyborn.domain.access import Action, Badge, Circumstances
from keyborn.domain.access_policy.document import Condition, Effect, PolicyName, Statement
from keyborn.domain.access_policy.evaluate import (
    BoundResource,
    BoundStatement,
    bind_policies,
    default_ruling,
)
from keyborn.domain.access_policy.patterns import (
    KIND_OF,
    Variable,
    matcher,
    parse_resource,
    parse_template,
    plain,
)
from keyborn.domain.access_policy.variables import Scope, Unresolved

_SHOWN = 8
"""Resources that a line names."""


class Verdict(StrEnum):
    """What was decided, and how."""

    ALLOWED = "allowed"
    DENIED_BY_DEFAULT = "denied by default"
    DENIED_BY_STATEMENT = "denied by a statement"


@dataclass(frozen=True, slots=True)
class StatementNote:
    """One statement: whether it matched, and why or why not."""

    policy: PolicyName
    number: int
    """From 1, in its document."""
    sid: str | None
    effect: Effect
    matched: bool
    line: str


@dataclass(frozen=True, slots=True)
class VariableNote:
    """A variable that the policies use, and either its value or why it has none."""

    name: str
    value: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole decision."""

    verdict: Verdict
    reason: str
    """As the ruling gives it."""
    deciding: StatementNote | None
    """None where no statement matched."""
    variables: tuple[VariableNote, ...]
    """In the order of their first use."""
    statements: tuple[StatementNote, ...]
    """Of all policies, in order."""

    @property
    def allowed(self) -> bool:
        """Whether it may."""
        return self.verdict is Verdict.ALLOWED


def explain(badge: Badge, circumstances: Circumstances, action: Action, resource: str) -> Explanation:
    """Say what ``rights_of(badge, circumstances).decide(action, resource)`` decides, and why."""
    scope = Scope(badge, circumstances)
    statements = bind_policies(badge, circumstances)
    notes = tuple(_note(each, scope, action, resource) for each in statements)
    matched = [(each, note) for each, note in zip(statements, notes, strict=True) if note.matched]
    # The first of those that deny, else the first of those that allow.
    decisive = min(matched, key=lambda pair: not pair[0].denies, default=None)
    ruling = decisive[0].ruling() if decisive else default_ruling(badge, circumstances, action)
    return Explanation(
        verdict=_verdict(decisive[0] if decisive else None),
        reason=ruling.reason,
        deciding=decisive[1] if decisive else None,
        variables=tuple(_variable(name, scope) for name in _used(statements)),
        statements=notes,
    )


def _verdict(decisive: BoundStatement | None) -> Verdict:
    if decisive is None:
        return Verdict.DENIED_BY_DEFAULT
    return Verdict.DENIED_BY_STATEMENT if decisive.denies else Verdict.ALLOWED


def _note(statement: BoundStatement, scope: Scope, action: Action, resource: str) -> StatementNote:
    matched, line = False, _silence(statement, scope, action)
    if line is None:
        matched = statement.matcher(action).matches(resource)
        line = _match(statement, action, resource) if matched else _misses(statement, action)
    written = statement.statement
    return StatementNote(statement.policy, statement.number, written.sid, written.effect, matched, line)


def _silence(statement: BoundStatement, scope: Scope, action: Action) -> str | None:
    """Why it says nothing of the action, whatever the resource; None where it does."""
    if statement.speaks_of(action):
        return None
    if not statement.names(action):
        return f"it is about {_listed(statement.statement.actions)}"
    if statement.failed is not None:
        return f"its condition does not hold: {_condition(statement.failed, scope)}"
    asked = _listed(sorted(scope.circumstances.attributes))
    return f"the client asks for {asked}, and it has no condition on iot:ConnectAttributes"


def _condition(condition: Condition, scope: Scope) -> str:
    given = scope.look_up(condition.key)
    found = f"there is none: {given.reason}" if isinstance(given, Unresolved) else f"it is {_listed(given)}"
    wanted = " or ".join(condition.values) or "nothing"
    return f"{condition.operator} {condition.key} {wanted}, and {found}"


def _match(statement: BoundStatement, action: Action, resource: str) -> str:
    """The first resource that matches."""
    matching = next(
        each
        for each in statement.resources
        if each.is_for(action)
        and not isinstance(each.bound, Unresolved)
        and matcher([each.bound]).matches(resource)
    )
    return f"{_bound(matching)} matches"


def _misses(statement: BoundStatement, action: Action) -> str:
    """What each of the first resources is instead."""
    misses = [_miss(each, action) for each in statement.resources[:_SHOWN]]
    more = len(statement.resources) - len(misses)
    return "; ".join([*misses, f"nor does any of {more} more"] if more else misses)


def _miss(each: BoundResource, action: Action) -> str:
    if not each.is_for(action):
        return f"{_bound(each)} is not about {action}, whose resources are {KIND_OF[action]}/…"
    if isinstance(each.bound, Unresolved):
        return f"{_bound(each)} matches nothing: {each.bound.reason}"
    return f"{_bound(each)} does not match"


def _bound(each: BoundResource) -> str:
    """The last part of the ARN, with values where there are any."""
    kind = each.resource.kind
    if kind is None:
        return "*"
    if isinstance(each.bound, Unresolved):
        return each.text.split(":", 5)[5]
    return f"{kind}/{plain(each.bound)}"


def _used(statements: Iterable[BoundStatement]) -> Sequence[str]:
    """The names of the variables, each once."""
    return list(dict.fromkeys(name for each in statements for name in _variables(each.statement)))


def _variables(statement: Statement) -> Iterator[str]:
    templates = [parse_resource(text).template for text in statement.resources]
    templates += [parse_template(value) for each in statement.conditions for value in each.values]
    for template in templates:
        yield from (part.name for part in template if isinstance(part, Variable))


def _variable(name: str, scope: Scope) -> VariableNote:
    value = scope.resolve(name)
    if isinstance(value, Unresolved):
        return VariableNote(name, None, value.reason)
    return VariableNote(name, value, None)


def _listed(words: Iterable[str]) -> str:
    return " and ".join(words)
