"""What lint says: findings, where they are, and the corrected statement as JSON."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from keyborn.domain.access_policy.document import PolicyDocument, Statement


class Severity(StrEnum):
    """How bad it is."""

    ERROR = "error"
    """It can never do what it says, or AWS refuses it: `policy put` refuses it too."""
    WARNING = "warning"
    """It works, and gives more, or less, than it seems to."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One trap in one document."""

    code: str
    severity: Severity
    where: str
    """``statement 2, Resource``, counted from 1; or ``document``."""
    sentence: str
    """What happens, and what to do."""
    corrected: str | None
    """What to write in place of ``statement``, as indented JSON, where that can be said."""
    statement: int | None = None
    """Index of the statement, from 0; None where the finding is about the whole document."""


Rule = Callable[[PolicyDocument], Iterator[Finding]]
"""One trap; yields nothing for a document that does not have it."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A statement and its place in the document."""

    index: int
    statement: Statement

    @property
    def title(self) -> str:
        """``statement 2``, counted from 1."""
        return f"statement {self.index + 1}"

    def finding(
        self,
        code: str,
        severity: Severity,
        element: str,
        sentence: str,
        fixed: Statement | None = None,
    ) -> Finding:
        """A finding about ``element`` of this statement; ``fixed`` is what to write in its place."""
        where = f"{self.title}, {element}" if element else self.title
        corrected = write_statement(fixed) if fixed is not None and _can_be_written(fixed) else None
        return Finding(code, severity, where, sentence, corrected, self.index)


def about_document(code: str, severity: Severity, sentence: str) -> Finding:
    """A finding that no single statement can mend."""
    return Finding(code, severity, "document", sentence, None)


def spots(document: PolicyDocument) -> tuple[Spot, ...]:
    """The statements with their places."""
    return tuple(Spot(index, statement) for index, statement in enumerate(document.statements))


def each(check: Callable[[Spot], Iterator[Finding]]) -> Rule:
    """A rule that looks at one statement after the other."""

    def _rule(document: PolicyDocument) -> Iterator[Finding]:
        for spot in spots(document):
            yield from check(spot)

    return _rule


def write_statement(statement: Statement) -> str:
    """The statement as indented JSON; lists of one as a plain string."""
    written: dict[str, object] = {} if statement.sid is None else {"Sid": statement.sid}
    written |= {
        "Effect": statement.effect.value,
        "Action": _one_or_many(statement.actions),
        "Resource": _one_or_many(statement.resources),
    }
    conditions: dict[str, dict[str, object]] = {}
    for condition in statement.conditions:
        conditions.setdefault(condition.operator, {})[condition.key] = _one_or_many(condition.values)
    if conditions:
        written["Condition"] = conditions
    return json.dumps(written, indent=2)


def listed(names: tuple[str, ...]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _can_be_written(statement: Statement) -> bool:
    """Whether no key stands twice under one operator: JSON would keep one of the two."""
    keys = [(each.operator, each.key) for each in statement.conditions]
    return len(set(keys)) == len(keys)


def _one_or_many(values: tuple[str, ...]) -> str | list[str]:
    return values[0] if len(values) == 1 else list(values)
