"""Dead ends in resources: what can never match, or matches something else than it seems to.

Sources: AWS IoT Core Developer Guide, "AWS IoT Core action resources" (what each action is asked about) and
"Publish/Subscribe policy examples" (``+`` and ``#`` are plain characters in a policy); AWS IoT Device
Defender, "AWS IoT policy potentially misconfigured" (MQTT wildcards in a Deny).
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from keyborn.domain.access import Action
from keyborn.domain.access_policy.document import ALL_ACTIONS, Effect, Statement
from keyborn.domain.access_policy.lint_conditions import (
    OWN_NAME,
    renamed,
    tied,
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
    topics_of,
)
from keyborn.domain.access_policy.lint_words import Finding, Severity, Spot, listed
from keyborn.domain.access_policy.patterns import KIND_OF, ResourceKind
from keyborn.domain.access_policy.variables import (
    CLIENT_ID,
)

_UNFIT = {
    "client": ("connect_on_topic", "Connect is asked about client/<client id>"),
    "topic": ("topicfilter_for_topic", "Publish, Receive and RetainPublish are asked about topic/<topic>"),
    "topicfilter": ("topic_for_topicfilter", "Subscribe is asked about topicfilter/<filter>"),
}
_ITSELF = f"${{{CLIENT_ID}}}"
_CLIENT_BYTES, _TOPIC_BYTES, _SLASHES = 128, 256, 7
_BAD_FILTER = re.compile(r"(?<=[^/*?}])[+#]|\+(?=[^/*?$])|#(?=\**[^*])")
_QUESTION = re.compile(r"(?<=[^/?*])\?(?=[A-Za-z0-9=&])")


def unfit_action(spot: Spot) -> Iterator[Finding]:
    """An action without a resource of the kind that it is asked about never matches."""
    statement = spot.statement
    lost = [each for each in actions(statement) if not aimed(statement, each)]
    if ALL_ACTIONS.intersection(statement.actions):
        return
    for kind in dict.fromkeys(KIND_OF[each] for each in lost):
        code, rule = _UNFIT[kind]
        names = listed(tuple(each.value for each in lost if KIND_OF[each] == kind))
        yield spot.finding(
            code,
            Severity.ERROR,
            "Resource",
            f"{rule}; no resource here is one, so this statement says nothing about {names}. Use a {kind}/ "
            "resource.",
            _fitted(statement),
        )


def unused_resource(spot: Spot) -> Iterator[Finding]:
    """A resource that no action of its statement is asked about never matches."""
    statement = spot.statement
    unused = tuple(each for each in resources(statement) if each.kind not in {ANY, *kinds(statement)})
    if unused and all(aimed(statement, each) for each in actions(statement)):
        yield spot.finding(
            "unused_resource",
            Severity.ERROR,
            "Resource",
            f"No action here is asked about {listed(tuple(each.brief for each in unused))}: it never "
            "matches. Take it out, or add the action that it was meant for.",
            _fitted(statement),
        )


def mqtt_wildcard(spot: Spot) -> Iterator[Finding]:
    """``+`` and ``#`` are plain characters in a policy, and no topic has them."""
    found = [each for each in resources(spot.statement) if {"+", "#"} & set(tokens(each.name))]
    for kind, severity, who in (
        ("topic", Severity.ERROR, "no topic name holds them, so it never matches"),
        ("client", Severity.WARNING, "it takes only a client that is called so"),
    ):
        marked = [each for each in found if each.kind == kind and kind in kinds(spot.statement)]
        if marked:
            yield spot.finding(
                f"mqtt_wildcard_in_{kind}",
                severity,
                "Resource",
                f"{marked[0].brief}: + and # are plain characters in a policy; {who}. Write * for any run of "
                "characters.",
                renamed(spot.statement, marked, _policy_wildcards),
            )


def impossible_filter(spot: Spot) -> Iterator[Finding]:
    """A filter that MQTT does not allow is never subscribed to (MQTT 5 section 4.7.1)."""
    bad = [each for each in aimed(spot.statement, Action.SUBSCRIBE) if _BAD_FILTER.search(_opaque(each.name))]
    if bad:
        yield spot.finding(
            "impossible_filter",
            Severity.ERROR,
            "Resource",
            f"{bad[0].brief} is no MQTT filter: + stands for a whole level, # for all levels from there to "
            "the end. Nobody can subscribe to it. Write * where any run of characters is meant.",
            renamed(spot.statement, bad, _policy_wildcards),
        )


def wildcard_in_deny(spot: Spot) -> Iterator[Finding]:
    """A Deny of ``a/#`` denies that one filter and leaves ``a/b`` open."""
    filters = [
        each for each in aimed(spot.statement, Action.SUBSCRIBE) if {"+", "#"} & set(tokens(each.name))
    ]
    if spot.statement.effect is Effect.DENY and filters:
        yield spot.finding(
            "mqtt_wildcard_in_deny",
            Severity.WARNING,
            "Resource",
            f"{filters[0].brief} denies this one filter, as it is written: filters for single topics below "
            "it stay allowed. Write * to deny them all.",
            renamed(spot.statement, filters, _policy_wildcards),
        )


def client_id_never(spot: Spot) -> Iterator[Finding]:
    """``client/a-${iot:ClientId}`` asks that the client id be longer than itself."""
    never = [
        each
        for each in aimed(spot.statement, Action.CONNECT)
        if _ITSELF in each.name and each.name.replace(_ITSELF, "").strip("*")
    ]
    if never:
        yield spot.finding(
            "client_id_never",
            Severity.ERROR,
            "Resource",
            f"{never[0].brief} compares the client id with a longer text that holds it: it never matches. "
            "Name the thing, or what its name begins with.",
            _unwound(spot.statement, never),
        )


def literal_question(spot: Spot) -> Iterator[Finding]:
    """``?`` is any one character."""
    asked = [each for each in resources(spot.statement) if _QUESTION.search(_opaque(each.name))]
    if asked:
        yield spot.finding(
            "literal_question",
            Severity.WARNING,
            "Resource",
            f"{asked[0].brief}: ? stands for any one character. Write ${{?}} if the question mark itself "
            "is meant.",
            renamed(spot.statement, asked, lambda name: _QUESTION.sub("${?}", name)),
        )


def beyond_limits(spot: Spot) -> Iterator[Finding]:
    """What is longer or deeper than any client id or topic can be (AWS IoT Core quotas, message broker)."""
    never = [each for each in resources(spot.statement) if _is_beyond(each)]
    if never:
        yield spot.finding(
            "beyond_limits",
            Severity.ERROR,
            "Resource",
            f"{never[0].brief} never matches: a client id has at most {_CLIENT_BYTES} bytes, a topic "
            f"or filter at most {_TOPIC_BYTES} bytes and {_SLASHES} slashes. Shorten it.",
        )


def _is_beyond(each: Resource) -> bool:
    """Whether the plain characters alone are too many; ``$`` topics may have levels that do not count."""
    plain = "".join(part for part in tokens(each.name) if part != "*" and not part.startswith("${"))
    if each.kind == ResourceKind.CLIENT:
        return len(plain.encode()) > _CLIENT_BYTES
    too_deep = plain.count("/") > _SLASHES and not plain.startswith("$")
    return too_deep or len(plain.encode()) > _TOPIC_BYTES


def _fitted(statement: Statement) -> Statement:
    """The statement with resources of every kind that its actions ask about, and of no other."""
    given = resources(statement)
    kept = [each.text for each in given if each.kind in {ANY, *kinds(statement)}]
    missing = [kind for kind in _UNFIT if kind in kinds(statement) - {each.kind for each in given}]
    if any(each.kind == ANY for each in given):
        missing = []
    added = [text for kind in missing for each in given for text in _as_kind(each, kind, statement.effect)]
    fixed = replace(statement, resources=once(kept + added))
    return tied(fixed) if "client" in missing and statement.effect is Effect.ALLOW else fixed


def _as_kind(given: Resource, kind: str, effect: Effect) -> list[str]:
    """The resource as it was probably meant, in another kind."""
    if kind == "client" and effect is Effect.ALLOW:
        return [given.named(kind, OWN_NAME)]
    names = topics_of(given.name) if (given.kind, kind) == ("topicfilter", "topic") else (given.name,)
    return [given.named(kind, name) for name in names]


def _unwound(statement: Statement, never: list[Resource]) -> Statement:
    """The statement without the client id in what the client id is compared with."""
    if statement.effect is Effect.DENY:
        return renamed(statement, never, lambda name: name.replace(_ITSELF, "*"))
    return tied(renamed(statement, never, lambda _: OWN_NAME))


def _policy_wildcards(name: str) -> str:
    """The name with ``*`` for ``+`` and ``#``, outside variables."""
    return "".join("*" if each in ("+", "#") else each for each in tokens(name))


def _opaque(name: str) -> str:
    """The name with an empty ``${}`` for every variable, so that what is inside is not looked at."""
    return "".join("${}" if each.startswith("${") else each for each in tokens(name))
