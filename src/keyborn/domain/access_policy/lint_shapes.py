"""How lint reads resources: the parts of an ARN, and what two patterns have in common, without a connection.

A pattern is text with ``*`` (any run of characters), ``?`` (one character) and ``${variables}``. A variable
is something unknown here: it is the same only as itself.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from keyborn.domain.access import Action
from keyborn.domain.access_policy.document import ALL_ACTIONS, Statement
from keyborn.domain.access_policy.hints import shown
from keyborn.domain.access_policy.patterns import KIND_OF, ResourceKind

ANY = "*"
"""The kind of a resource that stands for all three kinds."""
ANYWHERE = "arn:aws:iot:*:*:"

_MOST_WORK = 100_000
"""Steps for two patterns (of 256 bytes: 65,536); beyond that the answer is the one that finds nothing."""
_ARN = re.compile(r"(arn:[^:]*:[^:]*:([^:]*):([^:]*):)(.*)", re.DOTALL)
_TOKEN = re.compile(r"\$\{[^}]*\}|.", re.DOTALL)
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_ESCAPES = {"${*}", "${?}", "${$}"}


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource in parts; ``head`` is ``arn:aws:iot:region:account:``, all wildcards for a bare ``*``."""

    text: str
    head: str
    region: str
    account: str
    kind: str
    """``client``, ``topic``, ``topicfilter``, or ANY."""
    name: str

    @property
    def brief(self) -> str:
        """``topic/a/b``, or the whole text where it has no kind; quoted, as it may be hostile."""
        return shown(self.text if self.kind == ANY else f"{self.kind}/{self.name}")

    def named(self, kind: str, name: str) -> str:
        """Another resource in the same region and account."""
        return f"{self.head}{kind}/{name}"


def resource(text: str) -> Resource:
    """Take a resource apart. ``*`` and ``arn:…:*`` are of ANY."""
    found = _ARN.fullmatch(text)
    if found is None:
        return Resource(text, ANYWHERE, "*", "*", ANY, "*")
    kind, slash, name = found[4].partition("/")
    if not slash or kind not in list(ResourceKind):
        kind, name = ANY, "*"
    return Resource(text, found[1], found[2], found[3], kind, name)


def resources(statement: Statement) -> tuple[Resource, ...]:
    """The statement's resources in parts."""
    return tuple(resource(text) for text in statement.resources)


def actions(statement: Statement) -> tuple[Action, ...]:
    """What the statement is about, wildcards written out, in the order of the five."""
    if ALL_ACTIONS.intersection(statement.actions):
        return tuple(Action)
    return tuple(action for action in Action if action.value in statement.actions)


def kinds(statement: Statement) -> frozenset[str]:
    """The kinds of resource that the statement's actions ask about."""
    return frozenset(KIND_OF[action] for action in actions(statement))


def aimed(statement: Statement, action: Action) -> tuple[Resource, ...]:
    """The statement's resources that ``action`` can match; none where it is not about it."""
    if action not in actions(statement):
        return ()
    return tuple(each for each in resources(statement) if each.kind in (ANY, KIND_OF[action]))


def pairs(statement: Statement) -> list[tuple[Action, Resource]]:
    """Every action of the statement with every resource that it can match."""
    return [(action, each) for action in actions(statement) for each in aimed(statement, action)]


def tokens(pattern: str) -> list[str]:
    """The pattern in characters and whole variables."""
    return _TOKEN.findall(pattern)


def variables(texts: Iterable[str]) -> tuple[str, ...]:
    """The names of the variables in the texts, each once, without the escapes for ``*``, ``?``, ``$``."""
    found = (match for text in texts for match in _VARIABLE.finditer(text))
    return tuple(dict.fromkeys(match[1] for match in found if match[0] not in _ESCAPES))


def covers(wide: str, narrow: str) -> bool:
    """Whether ``wide`` surely matches all that ``narrow`` matches."""
    if len(wide) * len(narrow) > _MOST_WORK:
        return False
    pattern = tokens(wide)
    places = _skip_stars(pattern, {0})
    for token in tokens(narrow):
        after = set()
        for place in places:
            if place < len(pattern) and pattern[place] == "*":
                after.add(place)
            elif place < len(pattern) and _takes(pattern[place], token):
                after.add(place + 1)
        places = _skip_stars(pattern, after)
    return len(pattern) in places


def _skip_stars(pattern: list[str], places: set[int]) -> set[int]:
    """The places, and those behind the ``*`` that stand there: a ``*`` may be empty."""
    reached = set(places)
    for place in places:
        after = place
        while after < len(pattern) and pattern[after] == "*":
            after += 1
            reached.add(after)
    return reached


def _takes(wide: str, narrow: str) -> bool:
    return wide == narrow or (wide == "?" and narrow != "*" and not narrow.startswith("${"))


def overlap(left: str, right: str) -> bool:
    """Whether one text may match both patterns; a variable may have any value."""
    if len(left) * len(right) > _MOST_WORK:
        return True
    one, other = _loose(left), _loose(right)
    open_pairs, seen = [(0, 0)], {(0, 0)}
    while open_pairs:
        here = open_pairs.pop()
        if here == (len(one), len(other)):
            return True
        after = [pair for pair in _steps(one, other, *here) if pair not in seen]
        seen.update(after)
        open_pairs += after
    return False


def _loose(pattern: str) -> list[str]:
    return ["*" if each.startswith("${") and each not in _ESCAPES else each for each in tokens(pattern)]


def _steps(one: list[str], other: list[str], i: int, j: int) -> list[tuple[int, int]]:
    """From two places in two patterns, the places after one character or an empty ``*``."""
    steps = []
    if i < len(one) and one[i] == "*":
        steps += [(i + 1, j), (i, j + 1)] if j < len(other) else [(i + 1, j)]
    if j < len(other) and other[j] == "*":
        steps += [(i, j + 1), (i + 1, j)] if i < len(one) else [(i, j + 1)]
    if i < len(one) and j < len(other) and (one[i] == other[j] or "?" in (one[i], other[j])):
        steps.append((i + 1, j + 1))
    return steps


def topics_of(filter_pattern: str) -> tuple[str, ...]:
    """Patterns of the topics that the filters of ``filter_pattern`` take: ``a/#`` takes ``a`` and ``a/*``."""
    parts = tokens(filter_pattern)
    below = "".join("*" if part in ("+", "#") else part for part in parts)
    if parts[-2:] == ["/", "#"]:
        return (below.removesuffix("/*"), below)
    return (below,)


def once(texts: Iterable[str]) -> tuple[str, ...]:
    """The texts in their order, each once."""
    return tuple(dict.fromkeys(texts))


def includes(wide: Resource, narrow: Resource) -> bool:
    """Whether ``wide`` surely matches all that ``narrow`` matches; regions and accounts are not compared."""
    return wide.kind == ANY or (wide.kind == narrow.kind and covers(wide.name, narrow.name))
