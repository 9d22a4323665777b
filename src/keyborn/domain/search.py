"""What an operator looks for among the things: names by their beginning, attributes, group, status.

Each is a question that an index answers: no patterns, no substrings. Names and attributes compare byte for
byte, as everywhere.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from keyborn.domain.attributes import MAX_ATTRIBUTES
from keyborn.domain.errors import InvalidSetting
from keyborn.domain.names import MAX_THING_NAME, GroupName, ThingName, parse_group_name
from keyborn.domain.thing import Thing, ThingStatus

_PREFIX = re.compile(rf"[A-Za-z0-9:_-]{{1,{MAX_THING_NAME}}}")
_KEY = re.compile(r"[a-zA-Z0-9_.,@/:#-]{1,128}")
_VALUE = re.compile(r"[a-zA-Z0-9_.,@/:#-]{0,800}")
_ABOVE = "~"
"""Comes after every character that a thing's name may have."""


@dataclass(frozen=True, slots=True)
class Search:
    """All of these at once; what is empty or None narrows nothing."""

    prefix: str = ""
    where: Mapping[str, str] = field(default_factory=dict)
    """Attributes that a thing has, with exactly these values."""
    group: GroupName | None = None
    status: ThingStatus | None = None

    @property
    def is_open(self) -> bool:
        """Whether every thing is found."""
        return not (self.prefix or self.where or self.group is not None or self.status is not None)

    @property
    def end(self) -> str:
        """Behind the last name with the prefix; behind every name, where there is none."""
        return self.prefix + _ABOVE

    def begin(self, after: ThingName | None) -> str:
        """Behind which text a page begins, that continues after ``after``: every name found is greater."""
        return max(after or "", self._below)

    @property
    def _below(self) -> str:
        """Before the first name with the prefix, and behind every name that is less."""
        if not self.prefix:
            return ""
        return self.prefix[:-1] + chr(ord(self.prefix[-1]) - 1) + _ABOVE

    def finds(self, thing: Thing) -> bool:
        """Whether a thing is among what is looked for."""
        return (
            thing.name.startswith(self.prefix)
            and self.group in (None, thing.group)
            and self.status in (None, thing.status)
            and all(thing.attributes.get(key) == value for key, value in self.where.items())
        )


def parse_search(
    *,
    prefix: str | None = None,
    where: Iterable[str] = (),
    group: str | None = None,
    status: str | None = None,
) -> Search:
    """Read what was asked for; ``where`` holds texts ``KEY=VALUE``.

    Raises InvalidSetting, which says which part no thing could ever match, and InvalidGroupName.
    """
    if prefix and _PREFIX.fullmatch(prefix) is None:
        raise InvalidSetting(setting="--prefix", detail="no name of a thing begins like that")
    return Search(
        prefix or "",
        _attributes(where),
        None if group is None else parse_group_name(group),
        None if status is None else _status(status),
    )


def _attributes(where: Iterable[str]) -> dict[str, str]:
    wanted: dict[str, str] = {}
    for text in where:
        key, equals, value = text.partition("=")
        if not equals or _KEY.fullmatch(key) is None or _VALUE.fullmatch(value) is None:
            detail = "it takes KEY=VALUE, of an attribute that a thing can have"
            raise InvalidSetting(setting="--where", detail=detail)
        if wanted.setdefault(key, value) != value:
            raise InvalidSetting(
                setting="--where", detail="an attribute has one value, and two are asked for"
            )
    if len(wanted) > MAX_ATTRIBUTES:
        raise InvalidSetting(setting="--where", detail=f"no thing has more than {MAX_ATTRIBUTES} attributes")
    return wanted


def _status(text: str) -> ThingStatus:
    try:
        return ThingStatus(text)
    except ValueError:
        words = ", ".join(status.value for status in ThingStatus)
        raise InvalidSetting(setting="--status", detail=f"it takes one of {words}") from None
