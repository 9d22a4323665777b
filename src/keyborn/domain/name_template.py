"""Thing names out of what a credential says: ``{common_name}``, ``line-{line}-*``.

What stands in braces is replaced by a value that somebody else chose: it may hold nothing but what a thing
name can hold, so that no value brings a wildcard into a pattern, or a name that looks like another one.
"""

import re
from collections.abc import Callable, Collection, Mapping
from typing import NoReturn

from keyborn.domain.access_policy.hints import instead, shown
from keyborn.domain.errors import CredentialNameUnfit
from keyborn.domain.names import MAX_THING_NAME

MAX_TEMPLATE = 512
"""Characters; a claim may have a URL as its name."""
_PART = re.compile(r"\{([^{}]*)\}|([^{}]+)|(.)", re.DOTALL)
_VALUE = re.compile(rf"[A-Za-z0-9:_-]{{1,{MAX_THING_NAME}}}")
_LITERAL = re.compile(r"[A-Za-z0-9:_-]*")
_PATTERN = re.compile(r"[A-Za-z0-9:_*?-]*")
_FIELD = re.compile(r"[!-z|~]{1,128}")
_MOST = 10**18


def check_template(text: str, known: Collection[str] | None = None, *, pattern: bool = False) -> None:
    """Raise ValueError, which says what to do, for a template that can never give a name.

    ``known``: what may stand in braces; None: anything. ``pattern``: whether ``*`` and ``?`` may stand in it.
    """
    if len(text) > MAX_TEMPLATE:
        _refuse(f"it has more than {MAX_TEMPLATE} characters")
    literal, fields = "", list[str]()
    for field, plain, stray in _PART.findall(text):
        if stray:
            _refuse("a brace stands alone; a field stands in a pair of them, as in {sub}")
        literal += plain
        fields += [] if plain else [field]
    _check_fields(fields, known)
    allowed = _PATTERN if pattern else _LITERAL
    if not allowed.fullmatch(literal):
        unfit = next(each for each in literal if not allowed.fullmatch(each))
        _refuse(f"{shown(unfit)} cannot be part of a thing name")
    least = len(literal) + len(fields)
    if not 1 <= least <= MAX_THING_NAME:
        _refuse(f"every name from it would have {least} characters or more; a thing name has 1 to 64")


def _check_fields(fields: Collection[str], known: Collection[str] | None) -> None:
    for field in fields:
        if known is None and not _FIELD.fullmatch(field):
            _refuse(f"{shown(field)} in braces is no name of a claim")
        if known is not None and field not in known:
            _refuse(f"{shown(field)} in braces is not known here{instead(field, known)}")


def _refuse(detail: str) -> NoReturn:
    raise ValueError(detail)


def fields_of(template: str) -> frozenset[str]:
    """What stands in braces."""
    return frozenset(field for field, plain, _ in _PART.findall(template) if not plain)


def widest(template: str) -> str:
    """A pattern that every name from the template matches: ``*`` in the place of each field."""
    return _put_in(template, lambda _: "*")


def fill(template: str, values: Mapping[str, object]) -> str:
    """Put the values in; the result is what ``NameScope`` takes, and has the template's wildcards alone.

    ``template`` has passed ``check_template``. A value is a string of what a thing name can hold, or a whole
    number. Raises CredentialNameUnfit for one that is missing or anything else, and where the result is too
    long.
    """
    filled = _put_in(template, lambda field: _value(field, values.get(field)))
    if len(filled) > MAX_THING_NAME:
        raise CredentialNameUnfit(field=shown(template))
    return filled


def _put_in(template: str, value: Callable[[str], str]) -> str:
    return "".join(plain or value(field) for field, plain, _ in _PART.findall(template))


def _value(field: str, given: object) -> str:
    if type(given) is int and abs(given) < _MOST:
        given = str(given)
    if not isinstance(given, str) or not _VALUE.fullmatch(given):
        raise CredentialNameUnfit(field=shown(field))
    return given
