"""Texts with wildcards and variables, resource ARNs, and how both match.

Source: AWS IoT Core Developer Guide, "AWS IoT Core policy variables" and "AWS IoT Core action resources":
``*`` is any run of characters, also none and also across ``/``; ``?`` is exactly one; ``+`` and ``#`` are
themselves;
``${*}``, ``${?}`` and ``${$}`` are the characters in the braces. A substituted value is literal text.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import lru_cache

from keyborn.domain.access import Action
from keyborn.domain.access_policy.hints import meant, shown
from keyborn.domain.access_policy.variables import Scope, Unresolved, check_variable


class Wildcard(Enum):
    """The two characters that stand for others."""

    RUN = "*"
    ONE = "?"


@dataclass(frozen=True, slots=True)
class Variable:
    """``${name}``."""

    name: str


Bound = tuple[str | Wildcard, ...]
"""A template whose variables have their values; texts are literal."""
Template = tuple[str | Wildcard | Variable, ...]

_TOKEN = re.compile(r"\$\{(?P<name>[^}]*)\}|(?P<open>\$\{)|(?P<wild>[*?])|(?P<text>[^*?$]+|\$)")


@lru_cache(maxsize=1024)
def parse_template(text: str) -> Template:
    """Split ``text``; raises ValueError, with a sentence, at an unterminated or unknown variable."""
    return tuple(_read_token(each) for each in _TOKEN.finditer(text))


def _read_token(token: re.Match[str]) -> str | Wildcard | Variable:
    if token["open"]:
        raise ValueError(f"the variable at {shown(token.string[token.start() :])} is not closed with }}")
    if token["wild"]:
        return Wildcard(token["wild"])
    if token["text"]:
        return token["text"]
    name = token["name"]
    if name in {"*", "?", "$"}:
        return name
    check_variable(name)
    return Variable(name)


def bind(template: Template, scope: Scope) -> Bound | Unresolved:
    """Put the values in, or say why the first variable without one has none."""
    bound: list[str | Wildcard] = []
    for part in template:
        value = scope.resolve(part.name) if isinstance(part, Variable) else part
        if isinstance(value, Unresolved):
            return value
        bound.append(value)
    return tuple(bound)


def plain(bound: Bound) -> str:
    """The text, wildcards as the characters they are written with."""
    return "".join(part.value if isinstance(part, Wildcard) else part for part in bound)


@dataclass(frozen=True, slots=True)
class Matcher:
    """Whether a text is one of several patterns, whole, byte for byte; the common shapes need no regex."""

    exact: frozenset[str]
    prefixes: tuple[str, ...]
    rest: re.Pattern[str] | None

    def matches(self, text: str) -> bool:
        """Whether any of the patterns is ``text``. Linear in its length for each of them."""
        return (
            text in self.exact
            or text.startswith(self.prefixes)
            or (self.rest is not None and self.rest.fullmatch(text) is not None)
        )


def matcher(patterns: Iterable[Bound]) -> Matcher:
    """Prepare to look for any of ``patterns``."""
    exact, prefixes, rest = set(), [], []
    for pattern in patterns:
        if not _wild(pattern):
            exact.add(plain(pattern))
        elif pattern[-1] is Wildcard.RUN and not _wild(pattern[:-1]):
            prefixes.append(plain(pattern[:-1]))
        else:
            rest.append(_expression(pattern))
    compiled = re.compile(f"(?s:{'|'.join(rest)})") if rest else None
    return Matcher(frozenset(exact), tuple(prefixes), compiled)


def _wild(pattern: Bound) -> bool:
    return any(isinstance(part, Wildcard) for part in pattern)


def _expression(pattern: Bound) -> str:
    """A regex that finds the stretches between the stars one after the other, each where it first fits.

    The first fit is as good as any later one, so the groups are atomic and nothing is tried twice.
    """
    stretches = [""]
    for part in pattern:
        if part is Wildcard.RUN:
            stretches.append("")
        else:
            stretches[-1] += "." if part is Wildcard.ONE else re.escape(str(part))
    first, *others = stretches
    if not others:
        return first
    between = "".join(f"(?>.*?{stretch})" for stretch in others[:-1] if stretch)
    return f"{first}{between}.*{others[-1]}"


class ResourceKind(StrEnum):
    """What stands before the first ``/`` of a resource ARN's last part."""

    CLIENT = "client"
    TOPIC = "topic"
    FILTER = "topicfilter"


KIND_OF: Mapping[Action, ResourceKind] = {
    Action.CONNECT: ResourceKind.CLIENT,
    Action.PUBLISH: ResourceKind.TOPIC,
    Action.RECEIVE: ResourceKind.TOPIC,
    Action.RETAIN: ResourceKind.TOPIC,
    Action.SUBSCRIBE: ResourceKind.FILTER,
}
"""Which resources an action is asked about."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource of a statement."""

    kind: ResourceKind | None
    """None: every kind (``*``)."""
    template: Template
    """What follows ``client/``, ``topic/`` or ``topicfilter/``."""


_EVERYTHING = Resource(None, (Wildcard.RUN,))
_PARTITIONS = ("aws", "aws-cn", "aws-us-gov")
_REGION = re.compile(r"\*|[a-z]{2}(-[a-z]+)+-[0-9]{1,2}")
_ACCOUNT = re.compile(r"\*|[0-9]{12}")
_SHAPE = "arn:aws:iot:REGION:ACCOUNT:topic/… (REGION and ACCOUNT may be *)"
_PARTS = 6


@lru_cache(maxsize=1024)
def parse_resource(text: str) -> Resource:
    """Read ``*`` or an ARN. Raises ValueError with a sentence.

    Region and account must be well-formed and then mean nothing: one service is one region and one account.
    """
    if text == "*":
        return _EVERYTHING
    parts = text.split(":", _PARTS - 1)
    if len(parts) < _PARTS or parts[0] != "arn":
        raise ValueError(f"{shown(text)} is neither * nor an ARN; write {_SHAPE}")
    _, partition, service, region, account, last = parts
    if partition not in _PARTITIONS:
        raise ValueError(f"the partition {shown(partition)} is not one of {', '.join(_PARTITIONS)}")
    if service != "iot":
        raise ValueError(f"the service {shown(service)} is not iot; write {_SHAPE}")
    if not _REGION.fullmatch(region):
        raise ValueError(f"the region {shown(region)} is not one; write * or a region such as eu-central-1")
    if not _ACCOUNT.fullmatch(account):
        raise ValueError(f"the account {shown(account)} is not one; write * or its twelve digits")
    return _read_last(last)


def _read_last(last: str) -> Resource:
    if last == "*":
        return _EVERYTHING
    kind, slash, rest = last.partition("/")
    known = [each.value for each in ResourceKind]
    if kind not in known:
        raise ValueError(
            f"{shown(kind)} is not a kind of resource that the broker decides about"
            f"{meant(kind, known) or '; use client/, topic/ or topicfilter/'}"
        )
    if not slash:
        raise ValueError(f"after {kind} comes / and then what is meant, such as {kind}/*")
    return Resource(ResourceKind(kind), parse_template(rest))
