"""Text to values: strict JSON with limits, and nothing that is not known.

What AWS would ignore or take otherwise is refused here, with a sentence that says what to write instead. The
size that AWS allows is not checked: ``lint`` says it, and a registry's ``put``.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import NoReturn

from keyborn.domain.access import Action
from keyborn.domain.access_policy import conditions
from keyborn.domain.access_policy.document import ALL_ACTIONS, Condition, Effect, PolicyDocument, Statement
from keyborn.domain.access_policy.hints import meant, shown
from keyborn.domain.access_policy.patterns import parse_resource
from keyborn.domain.errors import InvalidPolicy

MAX_BYTES = 65536
"""Bytes of UTF-8 that are looked at."""
MAX_STATEMENTS = 100
MAX_ENTRIES = 500
"""Entries of one list, and conditions of one statement."""

_VERSION = "2012-10-17"
_DOCUMENT = "the document"
_MEMBERS = ("Version", "Statement")
_STATEMENT_MEMBERS = ("Sid", "Effect", "Action", "Resource", "Condition")
_SID = re.compile(r"[A-Za-z0-9]{1,128}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_ACTIONS = (*Action, *sorted(ALL_ACTIONS))

_INSTEAD = {
    "NotAction": "it would allow whatever it does not name, new actions too; list the actions in Action",
    "NotResource": "it would match whatever it does not name; list the resources in Resource, or add a Deny",
    "Principal": "an AWS IoT policy is for whatever it is attached to; leave it out and attach the policy",
    "NotPrincipal": "an AWS IoT policy is for whatever it is attached to; leave it out and attach the policy",
    "Id": "AWS IoT policies have a name instead; leave it out",
}


class _Number:
    """Stands where the JSON has a number: no policy has one, so its value does not matter."""

    def __init__(self, text: str) -> None:
        pass


def parse_document(text: str) -> PolicyDocument:
    """Read a policy document. Raises InvalidPolicy: ``where`` it is wrong, and in ``detail`` what to do."""
    members = _object(_load(text), _DOCUMENT)
    _only(members, _MEMBERS, _DOCUMENT)
    if members.get("Version") != _VERSION:
        _refuse("Version", f'it must be "{_VERSION}"; older versions take variables for plain text')
    if "Statement" not in members:
        _refuse(_DOCUMENT, "it has no Statement")
    given = members["Statement"]
    listed = given if isinstance(given, list) else [given]
    if not 1 <= len(listed) <= MAX_STATEMENTS:
        _refuse("Statement", f"it has {len(listed)} statements, not 1 to {MAX_STATEMENTS}")
    statements = tuple(_statement(each, f"statement {number}") for number, each in enumerate(listed, 1))
    _check_sids(statements)
    return PolicyDocument(statements, text)


@lru_cache(maxsize=256)
def parse_kept(text: str) -> PolicyDocument | None:
    """Read a document that was parsed before it was kept; None if another Keyborn did, which knew more words.

    Remembered: badges are read for each connection, and a document means the same every time.
    """
    try:
        return parse_document(text)
    except InvalidPolicy:
        return None


def _refuse(where: str, detail: str) -> NoReturn:
    raise InvalidPolicy(where=where, detail=detail)


@contextmanager
def _at(where: str) -> Iterator[None]:
    """Say where a sentence of the grammar's other rooms belongs."""
    try:
        yield
    except ValueError as wrong:
        raise InvalidPolicy(where=where, detail=str(wrong)) from None


def _load(text: str) -> object:
    """The JSON value; raises InvalidPolicy."""
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        _refuse(_DOCUMENT, f"it has more than {MAX_BYTES} bytes; AWS takes 2048 characters")
    if text.startswith("\ufeff"):
        _refuse("line 1, column 1", "it is not JSON (it begins with a byte order mark: save it without one)")
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as wrong:
        where = f"line {wrong.lineno}, column {wrong.colno}"
        raise InvalidPolicy(where=where, detail=f"it is not JSON ({wrong.msg})") from None
    except RecursionError:
        raise InvalidPolicy(where=_DOCUMENT, detail="its brackets are nested too deeply") from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for position, name in enumerate(names) if name in names[:position])
        _refuse(_DOCUMENT, f"{shown(twice)} stands twice in one object, and only one would count")
    return members


def _no_constant(text: str) -> NoReturn:
    _refuse(_DOCUMENT, f"{text} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_Number, parse_float=_Number, parse_constant=_no_constant
)


def _object(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        _refuse(where, f"it is {_kind(value)}, not an object in braces")
    return value


def _kind(value: object) -> str:
    """What a JSON value is, in words."""
    words = {dict: "an object", list: "a list", str: "a string", bool: "true or false", _Number: "a number"}
    return words.get(type(value), "null")


def _only(members: dict[str, object], known: Sequence[str], where: str) -> None:
    """Refuse members that are not known."""
    for name in members:
        if name in known:
            continue
        if name in _INSTEAD:
            _refuse(where, f"{name} is not taken: {_INSTEAD[name]}")
        _refuse(where, f"{shown(name)} is not known here{meant(name, known)}")


def _statement(value: object, where: str) -> Statement:
    members = _object(value, where)
    _only(members, _STATEMENT_MEMBERS, where)
    for name in ("Effect", "Action", "Resource"):
        if name not in members:
            _refuse(where, f"it has no {name}")
    return Statement(
        effect=_effect(members["Effect"], f"{where}, Effect"),
        actions=_texts(members["Action"], f"{where}, Action", _check_action),
        resources=_texts(members["Resource"], f"{where}, Resource", parse_resource),
        conditions=_conditions(members.get("Condition"), where) if "Condition" in members else (),
        sid=_sid(members["Sid"], f"{where}, Sid") if "Sid" in members else None,
    )


def _effect(value: object, where: str) -> Effect:
    if not isinstance(value, str) or value not in list(Effect):
        _refuse(where, "it must be Allow or Deny, spelled so")
    return Effect(value)


def _sid(value: object, where: str) -> str:
    if not isinstance(value, str) or not _SID.fullmatch(value):
        _refuse(where, "it must be 1 to 128 letters and digits, without spaces or signs")
    return value


def _check_sids(statements: Sequence[Statement]) -> None:
    seen: dict[str, int] = {}
    for number, statement in enumerate(statements, 1):
        if statement.sid is None:
            continue
        first = seen.setdefault(statement.sid, number)
        if first != number:
            _refuse(f"statement {number}, Sid", f"statement {first} has the same one; choose another")


def _texts(value: object, where: str, check: Callable[[str], object]) -> tuple[str, ...]:
    """A string or a list of strings, each checked; at least one."""
    texts = _strings(value, where)
    if not texts:
        _refuse(where, "the list is empty")
    for text in texts:
        with _at(where):
            check(text)
    return texts


def _strings(value: object, where: str) -> tuple[str, ...]:
    listed = value if isinstance(value, list) else [value]
    if len(listed) > MAX_ENTRIES:
        _refuse(where, f"the list has {len(listed)} entries, more than {MAX_ENTRIES}")
    return tuple(_string(each, where) for each in listed)


def _string(value: object, where: str) -> str:
    if not isinstance(value, str):
        _refuse(where, f"it has {_kind(value)} where a string belongs")
    if _SURROGATE.search(value):
        _refuse(where, f"{shown(value)} has half of a surrogate pair, which is no character")
    return value


def _check_action(text: str) -> None:
    """Raises ValueError."""
    if text in _ACTIONS:
        return
    if "*" in text or "?" in text:
        raise ValueError(f"{shown(text)} has a wildcard; write iot:* or each action in full")
    known = ", ".join(Action)
    raise ValueError(
        f"{shown(text)} is not an action that the broker decides about"
        f"{meant(text, _ACTIONS) or f'; it decides about {known}'}"
    )


def _conditions(value: object, where: str) -> tuple[Condition, ...]:
    """Every key of every operator."""
    where = f"{where}, Condition"
    found = tuple(
        _condition(operator, key, values, where)
        for operator, keys in _filled(value, where).items()
        for key, values in _filled(keys, f"{where} {shown(operator)}").items()
    )
    if len(found) > MAX_ENTRIES:
        _refuse(where, f"it has {len(found)} keys, more than {MAX_ENTRIES}")
    return found


def _filled(value: object, where: str) -> dict[str, object]:
    members = _object(value, where)
    if not members:
        _refuse(where, "it is empty; leave it out or fill it")
    return members


def _condition(operator: str, key: str, value: object, where: str) -> Condition:
    where = f"{where} {operator}" if operator in conditions.OPERATORS else where
    listed = value if isinstance(value, list) else [value]
    if operator == conditions.BOOL:
        listed = [str(each).lower() if isinstance(each, bool) else each for each in listed]
    with _at(where):
        condition = Condition(operator, key, _strings(listed, where))
        conditions.check(condition)
    return condition
