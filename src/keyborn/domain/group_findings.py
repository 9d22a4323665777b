"""What the lint of groups says and looks at: findings, what is around a group, patterns that meet."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.access_policy.lint_words import Finding, Severity
from keyborn.domain.group import EnrollmentGroup
from keyborn.domain.method import Method, Way
from keyborn.domain.names import GroupName


@dataclass(frozen=True, slots=True)
class Around:
    """What a file alone does not say; None is not known, as where no registry is at hand."""

    now: datetime | None = None
    policies: frozenset[PolicyName] | None = None
    """Access policies that there are, of those that the group names."""
    decided_by: Mapping[str, PolicyName] = field(default_factory=dict)
    """Attributes by which one of those policies decides, and which policy."""
    others: Mapping[GroupName, str] = field(default_factory=dict)
    """Name patterns of other groups."""
    own_dates: bool = True
    """Whether the service chooses how long certificates live; AWS IoT's have dates of their own."""
    reserved: frozenset[str] = frozenset()
    """Names that no thing may have, in lower case: the service's own."""


NOTHING_KNOWN = Around()

Rule = Callable[[EnrollmentGroup, Around], Iterator[Finding]]
"""One trap; yields nothing for a group that does not have it."""


def error(code: str, where: str, sentence: str, instead: str | None = None) -> Finding:
    """What can never do what it says."""
    return Finding(code, Severity.ERROR, where, sentence, instead)


def warning(code: str, where: str, sentence: str, instead: str | None = None) -> Finding:
    """What works, and admits more, or fewer, than it seems to."""
    return Finding(code, Severity.WARNING, where, sentence, instead)


def line(key: str, value: str | int | Iterable[str]) -> str:
    """``key = value`` as TOML; texts of a parsed group have no character that JSON writes in another way."""
    plain = value if isinstance(value, str | int) else list(value)
    return f"{key} = {json.dumps(plain, ensure_ascii=False)}"


def uses(group: EnrollmentGroup, *methods: Method) -> bool:
    """Whether any way has one of these."""
    return any(each in way.methods for way in group.ways for each in methods)


def without_credential(group: EnrollmentGroup) -> tuple[Way, ...]:
    """Ways that a stranger with nothing to show may try."""
    return tuple(way for way in group.ways if not way.credentials)


def methods_line(ways: Iterable[Way]) -> str | None:
    """``methods = [...]``, each once; None where none is left."""
    written = list(dict.fromkeys(map(str, ways)))
    return line("methods", written) if written else None


def own_pattern(group: EnrollmentGroup) -> str:
    """Names that begin with the group's, as far as a thing name can hold that."""
    return f"{group.name.replace('.', '-')[:32]}-*"


def meet(one: str, other: str) -> bool:
    """Whether a name could match both patterns of ``*`` and ``?``."""
    reached, fresh = {(0, 0)}, [(0, 0)]
    while fresh:
        after = set(_steps(one, other, *fresh.pop())) - reached
        reached |= after
        fresh += after
    return (len(one), len(other)) in reached


def _steps(one: str, other: str, i: int, j: int) -> Iterator[tuple[int, int]]:
    """Where both patterns are after ``*`` ended, or one more character of the name."""
    a, b = one[i : i + 1], other[j : j + 1]
    if a == "*":
        yield i + 1, j
    if b == "*":
        yield i, j + 1
    if a and b and (a == b or a in "*?" or b in "*?"):
        yield i + (a != "*"), j + (b != "*")
