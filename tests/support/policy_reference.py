"""A second evaluator of access policies, as naive as can be: the judge of the one that ships.

It reads the JSON of the documents anew for every question, goes through pattern and text character by
character and compiles nothing. It was written from the rules (see ``policy_cases``) without a look at the
other.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keyborn.domain.access import Action, ConnectAttribute

ANY, ONE = object(), object()
"""The two wildcards among the characters of a pattern."""
Context = Mapping[str, Sequence[str]]
"""Condition keys and their values; a key that is missing is not in it."""

_TYPES = {"iot:Connect": "client", "iot:Subscribe": "topicfilter"}
_ESCAPES = "*?$"
_NOT_SUBSTITUTED = "*$+?#"
_LONGEST = 1024


def context_of(
    *,
    client_id: str,
    attributes: Iterable[ConnectAttribute],
    thing: str | None,
    thing_attributes: Mapping[str, str],
    certificate: Mapping[str, Sequence[str]],
) -> Context:
    """All keys of one connection. ``thing`` is None for a service; ``certificate`` has whole keys."""
    context: dict[str, Sequence[str]] = {
        "iot:ClientId": [client_id],
        "iot:ConnectAttributes": [str(each) for each in attributes],
        **certificate,
    }
    attached = thing is not None and thing == client_id
    context["iot:Connection.Thing.IsAttached"] = ["true" if attached else "false"]
    if thing is not None and attached:
        context["iot:Connection.Thing.ThingName"] = [thing]
        for name, value in thing_attributes.items():
            context[f"iot:Connection.Thing.Attributes[{name}]"] = [value]
    return context


def permitted(documents: Iterable[str], context: Context, action: Action, resource: str) -> bool:
    """Whether somebody may: some statement allows it and none denies it."""
    effects = {
        statement["Effect"]
        for text in documents
        for statement in _listed(json.loads(text)["Statement"])
        if _applies(statement, context, str(action), resource)
    }
    return effects == {"Allow"}


def _applies(statement: dict[str, Any], context: Context, action: str, resource: str) -> bool:
    if not any(each in ("*", "iot:*", action) for each in _listed(statement["Action"])):
        return False
    if not any(_names(each, context, action, resource) for each in _listed(statement["Resource"])):
        return False
    conditions = [
        (operator, key, _listed(values))
        for operator, keys in statement.get("Condition", {}).items()
        for key, values in keys.items()
    ]
    asks = action == "iot:Connect" and context["iot:ConnectAttributes"]
    spoken_for = any(key == "iot:ConnectAttributes" for _, key, _ in conditions)
    if statement["Effect"] == "Allow" and asks and not spoken_for:
        return False
    return all(_holds(*condition, context) for condition in conditions)


def _listed(value: Any) -> list[Any]:  # noqa: ANN401 - JSON
    return value if isinstance(value, list) else [value]


# ── resources and their patterns ──────────────────────────────────────────────────────────────────────


def _names(arn: str, context: Context, action: str, resource: str) -> bool:
    """Whether a resource of a statement names what is asked for; region and account do not matter."""
    if arn == "*":
        return True
    pattern = arn.split(":", 5)[5]
    return _like(pattern, f"{_TYPES.get(action, 'topic')}/{resource}", context)


def _like(pattern: str, text: str, context: Context) -> bool:
    pieces = _pieces(pattern, context, wildcards=True)
    return pieces is not None and _matches(pieces, text)


def _equal(pattern: str, text: str, context: Context) -> bool:
    pieces = _pieces(pattern, context, wildcards=False)
    return pieces is not None and "".join(str(each) for each in pieces) == text


def _pieces(pattern: str, context: Context, *, wildcards: bool) -> list[object] | None:
    """The characters and wildcards of a pattern, variables replaced; None where one has no value."""
    pieces: list[object] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if pattern.startswith("${", at):
            end = pattern.index("}", at)
            value = _value(pattern[at + 2 : end], context)
            if value is None:
                return None
            pieces += value
            at = end
        elif wildcards and character in "*?":
            pieces.append(ANY if character == "*" else ONE)
        else:
            pieces.append(character)
        at += 1
    return pieces


def _value(variable: str, context: Context) -> str | None:
    if variable in _ESCAPES:
        return variable
    values = context.get(variable, [])
    if len(values) != 1 or len(values[0]) > _LONGEST:
        return None
    if any(each in values[0] for each in _NOT_SUBSTITUTED):
        return None
    return values[0]


def _matches(pieces: list[object], text: str) -> bool:
    """Whether the pieces cover the text: follow every place that those so far can have reached."""
    places = {0}
    for piece in pieces:
        if piece is ANY:
            places = set(range(min(places), len(text) + 1)) if places else places
        else:
            places = {at + 1 for at in places if at < len(text) and piece in (ONE, text[at])}
    return len(text) in places


# ── conditions ────────────────────────────────────────────────────────────────────────────────────────


def _holds(operator: str, key: str, wanted: list[str], context: Context) -> bool:
    """One operator on one key: wanted values are alternatives, a negated operator refuses them all."""
    found = context.get(key, [])
    if operator.startswith("ForAllValues:"):
        return all(_one_holds(operator.split(":")[1], value, wanted, context) for value in found)
    if operator.startswith("ForAnyValue:"):
        return any(_one_holds(operator.split(":")[1], value, wanted, context) for value in found)
    if not found:
        return "Not" in operator
    (value,) = found
    return _one_holds(operator, value, wanted, context)


def _one_holds(operator: str, value: str, wanted: list[str], context: Context) -> bool:
    among = any(_compared(operator.replace("Not", ""), value, each, context) for each in wanted)
    return among != ("Not" in operator)


def _compared(operator: str, value: str, wanted: str, context: Context) -> bool:
    if operator == "StringLike":
        return _like(wanted, value, context)
    if operator == "StringEqualsIgnoreCase":
        lower = {key: [each.lower() for each in values] for key, values in context.items()}
        return _equal(_lower_text(wanted), value.lower(), lower)
    return _equal(wanted, value, context)


def _lower_text(pattern: str) -> str:
    """The pattern in lower case, the names of its variables left as they are."""
    begin, variable, rest = pattern.partition("${")
    if not variable:
        return begin.lower()
    name, brace, rest = rest.partition("}")
    return begin.lower() + variable + name + brace + _lower_text(rest)
