"""Traps of width: statements that give more than least privilege.

Sources: AWS IoT Device Defender, "AWS IoT policies overly permissive"; AWS IoT Core Developer Guide, "Basic
AWS IoT Core policy variables" (why ``${iot:ClientId}`` opens more than it seems to) and "Thing policy
variables".
"""

from collections.abc import Iterator
from dataclasses import replace

from keyborn.domain.access import Action
from keyborn.domain.access_policy.document import ALL_ACTIONS, Effect, PolicyDocument, Statement
from keyborn.domain.access_policy.lint_conditions import (
    ATTRIBUTE,
    OWN_NAME,
    mentioned,
    rewritten,
    texts,
    tied,
    ties_client,
)
from keyborn.domain.access_policy.lint_shapes import (
    ANY,
    Resource,
    actions,
    aimed,
    kinds,
    once,
    resources,
    tokens,
    variables,
)
from keyborn.domain.access_policy.lint_words import Finding, Severity, Spot, listed, spots
from keyborn.domain.access_policy.patterns import KIND_OF
from keyborn.domain.access_policy.variables import CLIENT_ID, THING_PREFIX

_OWN = {"client": OWN_NAME, "topic": f"{OWN_NAME}/*", "topicfilter": f"{OWN_NAME}/*"}
_ITSELF = f"${{{CLIENT_ID}}}"


def wide_action(spot: Spot) -> Iterator[Finding]:
    """``*`` and ``iot:*`` allow what nobody named, and what AWS adds tomorrow."""
    statement = spot.statement
    wide = tuple(each for each in statement.actions if each in ALL_ACTIONS)
    if statement.effect is Effect.ALLOW and wide:
        served = {each.kind for each in resources(statement)}
        named = tuple(each.value for each in Action if served & {ANY, KIND_OF[each]})
        yield spot.finding(
            "wide_action",
            Severity.WARNING,
            "Action",
            f"{wide[0]} allows every action, also those that AWS IoT adds later. Name the actions that are "
            "needed.",
            replace(statement, actions=named),
        )


def wide_resource(spot: Spot) -> Iterator[Finding]:
    """A resource that begins with a wildcard takes other things' clients, topics or filters too."""
    statement = spot.statement
    wide = tuple(each for each in resources(statement) if _too_wide(statement, each))
    if statement.effect is Effect.ALLOW and wide:
        yield spot.finding(
            "wide_resource",
            Severity.WARNING,
            "Resource",
            f"{listed(tuple(each.brief for each in wide))} takes what belongs to any thing. Begin with "
            f"what is the thing's own, such as {OWN_NAME}, or with a fixed name.",
            narrowed(statement, wide),
        )


def client_id_untied(spot: Spot) -> Iterator[Finding]:
    """``client/${iot:ClientId}`` compares the client id with itself."""
    statement = spot.statement
    same = tuple(each for each in aimed(statement, Action.CONNECT) if _is_itself(each))
    if statement.effect is Effect.ALLOW and same and not ties_client(statement):
        yield spot.finding(
            "client_id_untied",
            Severity.WARNING,
            "Resource",
            f"{same[0].brief} compares the client id with itself: it is as wide as client/*. Name the thing, "
            "and require iot:Connection.Thing.IsAttached.",
            narrowed(statement, same),
        )


def client_id_in_topic(document: PolicyDocument) -> Iterator[Finding]:
    """``${iot:ClientId}`` in a topic is whatever the client calls itself, unless Connect ties it."""
    connects = [each.statement for each in _allowed(document) if Action.CONNECT in actions(each.statement)]
    if connects and all(_ties(each) for each in connects):
        return
    for spot in _allowed(document):
        used = [each for each in resources(spot.statement) if each.kind != "client" and _ITSELF in each.text]
        if used and not ties_client(spot.statement):
            yield spot.finding(
                "client_id_in_topic",
                Severity.WARNING,
                "Resource",
                f"{used[0].brief}: the client chooses its client id, and no Connect here ties it to the "
                f"thing, so it chooses the topic too. Write {OWN_NAME} (for a service, its name).",
                _for_thing(spot.statement),
            )


def loose_connect(document: PolicyDocument) -> Iterator[Finding]:
    """Thing variables resolve only where the client id is the thing's name; Connect should ask for that."""
    allowed = _allowed(document)
    connects = [each for each in allowed if Action.CONNECT in actions(each.statement)]
    users = tuple(each.title for each in allowed if _uses_thing(each.statement))
    loose = [each for each in connects if _lets_anybody_in(each.statement)]
    if not users or len(loose) < len(connects):
        return
    for spot in loose:
        clients = tuple(each for each in resources(spot.statement) if _is_open(spot.statement, each))
        yield spot.finding(
            "loose_connect",
            Severity.WARNING,
            "Resource",
            f"This Connect lets any client id in, but the thing variables of {listed(users)} resolve only "
            "where the client id is the thing's name: any other client connects and is then denied. Bind "
            "Connect to the thing.",
            narrowed(spot.statement, clients),
        )


def attribute_variable(spot: Spot) -> Iterator[Finding]:
    """Attributes are what a device says of itself when it enrolls."""
    statement = spot.statement
    used = [each for each in mentioned(statement) if each.startswith(ATTRIBUTE)]
    if statement.effect is Effect.ALLOW and used:
        yield spot.finding(
            "attribute_variable",
            Severity.WARNING,
            "Resource" if used[0] in variables(statement.resources) else "Condition",
            f"{used[0]} is what the device said of itself when it enrolled, so the device chooses what this "
            "allows; where it has no such attribute, or one with # in it, this allows nothing. Use it only "
            "if you check attributes before devices enroll.",
        )


def narrowed(statement: Statement, wide: tuple[Resource, ...]) -> Statement:
    """The statement with its wide resources bound to the thing."""
    narrow: list[str] = []
    for each in resources(statement):
        narrow += _own(statement, each) if each in wide else [each.text]
    binds = any(each.kind in ("client", ANY) for each in wide) and Action.CONNECT in actions(statement)
    fixed = replace(statement, resources=once(narrow))
    return tied(fixed) if binds else fixed


def _own(statement: Statement, wide: Resource) -> list[str]:
    if wide.kind == ANY:
        return [wide.named(kind, _OWN[kind]) for kind in _OWN if kind in kinds(statement)]
    if wide.kind == "client":
        return [wide.named(wide.kind, OWN_NAME)]
    rest = wide.name.lstrip("*?+#/")
    return [wide.named(wide.kind, f"{OWN_NAME}/{rest}" if rest else _OWN[wide.kind])]


def _too_wide(statement: Statement, each: Resource) -> bool:
    if not _begins_wild(each):
        return False
    served = kinds(statement) if each.kind == ANY else kinds(statement) & {each.kind}
    return bool(served - {"client"} or (served and not ties_client(statement)))


def _begins_wild(each: Resource) -> bool:
    wild = {"*", "+", "#"} if each.kind == "topicfilter" else {"*"}
    parts = tokens(each.name)
    return each.kind == ANY or parts[:1] == ["*"] or _all_wild(parts, wild)


def _all_wild(parts: list[str], wild: set[str]) -> bool:
    """Whether the first level, or everything, is wildcards."""
    return bool(parts) and (parts[0] in wild or set(parts) <= wild | {"?", "/"})


def _is_itself(each: Resource) -> bool:
    return each.kind == "client" and _ITSELF in each.name and not each.name.replace(_ITSELF, "").strip("*")


def _is_open(statement: Statement, each: Resource) -> bool:
    """Whether a Connect on this resource lets any client id in."""
    wild = each.kind in ("client", ANY) and _begins_wild(each)
    return (wild or _is_itself(each)) and not ties_client(statement)


def _lets_anybody_in(statement: Statement) -> bool:
    return any(_is_open(statement, each) for each in aimed(statement, Action.CONNECT))


def _ties(statement: Statement) -> bool:
    """Whether a Connect leaves the client no choice: bound to the thing, the certificate, or fixed names."""
    if ties_client(statement):
        return True
    named = [each.name for each in aimed(statement, Action.CONNECT)]
    bound = [set(variables([name])) - {CLIENT_ID} for name in named]
    fixed = [not set(tokens(name)) & {"*", "?", _ITSELF} for name in named]
    return all(one or other for one, other in zip(bound, fixed, strict=True))


def _allowed(document: PolicyDocument) -> list[Spot]:
    return [each for each in spots(document) if each.statement.effect is Effect.ALLOW]


def _uses_thing(statement: Statement) -> bool:
    return any(each.startswith(THING_PREFIX) for each in variables(texts(statement)))


def _for_thing(statement: Statement) -> Statement:
    return rewritten(statement, _ITSELF, OWN_NAME)
