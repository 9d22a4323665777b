"""Traps between statements: what one statement takes from another, or needs and does not find.

Sources: IAM User Guide, "Policy evaluation logic" (an explicit Deny wins); AWS IoT Core Developer Guide,
"AWS IoT Core policy actions" (Receive is checked on each delivery, RetainPublish besides Publish); AWS IoT
Device Defender, "AWS IoT policy potentially misconfigured" (filters that go round a Deny).
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from keyborn.domain.access import Action
from keyborn.domain.access_policy.document import Condition, Effect, PolicyDocument, Statement
from keyborn.domain.access_policy.lint_conditions import ALL
from keyborn.domain.access_policy.lint_shapes import (
    ANY,
    Resource,
    actions,
    aimed,
    includes,
    once,
    overlap,
    pairs,
    resources,
    topics_of,
)
from keyborn.domain.access_policy.lint_words import Finding, Severity, Spot, about_document, spots
from keyborn.domain.access_policy.patterns import ResourceKind
from keyborn.domain.access_policy.variables import CONNECT_ATTRIBUTES


def no_connect(document: PolicyDocument) -> Iterator[Finding]:
    """Nothing else counts without a connection."""
    allowed = {action for each in _with(document, Effect.ALLOW) for action in actions(each.statement)}
    if allowed and Action.CONNECT not in allowed:
        yield about_document(
            "no_connect",
            Severity.WARNING,
            "Nothing here allows iot:Connect: whoever has this policy alone cannot connect. Attach it "
            "together with one that does, or allow iot:Connect here.",
        )


def receive_missing(document: PolicyDocument) -> Iterator[Finding]:
    """A subscription without Receive takes nothing: each delivery is asked about."""
    for spot, filters in _unanswered(document, Action.SUBSCRIBE, Action.RECEIVE):
        topics = tuple(each.named("topic", name) for each in filters for name in topics_of(each.name))
        yield spot.finding(
            "receive_missing",
            Severity.WARNING,
            "Action",
            f"{filters[0].brief} may be subscribed to, but nothing here allows iot:Receive on such topics: "
            "every delivery is refused. Allow iot:Receive on them.",
            _joined(spot.statement, Action.RECEIVE, topics),
        )


def subscribe_missing(document: PolicyDocument) -> Iterator[Finding]:
    """Without a subscription there is nothing to receive."""
    for spot, topics in _unanswered(document, Action.RECEIVE, Action.SUBSCRIBE):
        filters = tuple(each.named("topicfilter", each.name) for each in topics)
        yield spot.finding(
            "subscribe_missing",
            Severity.WARNING,
            "Action",
            f"{topics[0].brief} may be received, but nothing here allows a subscription that takes it. Allow "
            "iot:Subscribe on a topicfilter/ resource.",
            _joined(spot.statement, Action.SUBSCRIBE, filters),
        )


def publish_missing(document: PolicyDocument) -> Iterator[Finding]:
    """A retained message is published too: both actions are asked about."""
    for spot, topics in _unanswered(document, Action.RETAIN, Action.PUBLISH):
        yield spot.finding(
            "publish_missing",
            Severity.WARNING,
            "Action",
            f"{topics[0].brief} may be retained, but nothing here allows iot:Publish on it, which is asked "
            "first. Allow both.",
            _joined(spot.statement, Action.PUBLISH, ()),
        )


def shadowed(document: PolicyDocument) -> Iterator[Finding]:
    """An explicit Deny wins over every Allow."""
    denied = [each for each in _with(document, Effect.DENY) if not each.statement.conditions]
    for spot in _with(document, Effect.ALLOW):
        owners = [_owner(denied, action, each) for action, each in pairs(spot.statement)]
        if owners and all(owners):
            names = " and ".join(once(owner for owner in owners if owner))
            yield spot.finding(
                "shadowed",
                Severity.WARNING,
                "",
                f"It allows nothing: {names} denies all of it, and a Deny always wins. Take one of them out.",
            )


def duplicate(document: PolicyDocument) -> Iterator[Finding]:
    """What another statement says already."""
    for spot in spots(document):
        told = next((other for other in spots(document) if _is_told_by(spot, other)), None)
        if told:
            yield spot.finding(
                "duplicate",
                Severity.WARNING,
                "",
                f"{told.title.capitalize()} says all of this already. Take this one out.",
            )


def mixed_places(document: PolicyDocument) -> Iterator[Finding]:
    """One policy is for one region and one account on AWS."""
    for what in ("region", "account"):
        named = Counter(value for each in _everything(document) if (value := getattr(each, what)) != "*")
        if len(named) < 2:  # noqa: PLR2004 - two differ
            continue
        usual = named.most_common(1)[0][0]
        for spot in spots(document):
            other = [each for each in resources(spot.statement) if getattr(each, what) not in ("*", usual)]
            if other:
                yield spot.finding(
                    f"mixed_{what}s",
                    Severity.WARNING,
                    "Resource",
                    f"The {what} {getattr(other[0], what)} stands beside {usual}. On AWS a policy works in "
                    f"one {what}, and the rest never matches there; here both match. Write one {what}, or *.",
                    _moved(spot.statement, other, what, usual),
                )


def deny_goes_round(document: PolicyDocument) -> Iterator[Finding]:
    """Who may not subscribe to ``a/b`` but to ``a/#`` gets ``a/b`` all the same."""
    for spot in _with(document, Effect.DENY):
        missed = [
            each
            for each in aimed(spot.statement, Action.SUBSCRIBE)
            if each.kind != ANY and _goes_round(document, each)
        ]
        topics = tuple(each.named("topic", name) for each in missed for name in topics_of(each.name))
        if missed:
            yield spot.finding(
                "deny_goes_round",
                Severity.WARNING,
                "Action",
                f"A wider filter goes round the Deny of {missed[0].brief}, such as one that ends in #, and "
                "its messages are delivered. Deny iot:Receive on these topics too.",
                _joined(spot.statement, Action.RECEIVE, topics),
            )


def _with(document: PolicyDocument, effect: Effect) -> list[Spot]:
    return [each for each in spots(document) if each.statement.effect is effect]


def _everything(document: PolicyDocument) -> list[Resource]:
    return [each for statement in document.statements for each in resources(statement)]


def _granted(document: PolicyDocument, effect: Effect, action: Action) -> list[Resource]:
    return [each for spot in _with(document, effect) for each in aimed(spot.statement, action)]


def _unanswered(
    document: PolicyDocument, action: Action, needed: Action
) -> Iterator[tuple[Spot, tuple[Resource, ...]]]:
    """Statements that allow ``action`` where nothing that may concern the same topics allows ``needed``."""
    answers = _granted(document, Effect.ALLOW, needed)
    for spot in _with(document, Effect.ALLOW):
        alone = tuple(
            each
            for each in aimed(spot.statement, action)
            if not any(_concern_the_same(each, answer) for answer in answers)
        )
        if alone:
            yield spot, alone


def _concern_the_same(one: Resource, other: Resource) -> bool:
    return any(overlap(left, right) for left in _topics(one) for right in _topics(other))


def _topics(each: Resource) -> tuple[str, ...]:
    return topics_of(each.name) if each.kind == ResourceKind.FILTER else (each.name,)


def _joined(statement: Statement, action: Action, added: tuple[str, ...]) -> Statement:
    """The statement with one more action and the resources that it needs."""
    return replace(
        statement,
        actions=once((*statement.actions, action.value)),
        resources=once((*statement.resources, *added)),
    )


def _owner(denied: list[Spot], action: Action, allowed: Resource) -> str | None:
    """The Deny that surely takes ``allowed`` away, by its title."""
    for spot in denied:
        if any(includes(each, allowed) for each in aimed(spot.statement, action)):
            return spot.title
    return None


def _is_told_by(spot: Spot, other: Spot) -> bool:
    """Whether ``other`` makes ``spot`` needless; of two that say the same the first stays."""
    if spot.index == other.index or not _says_all(other.statement, spot.statement):
        return False
    return other.index < spot.index or not _says_all(spot.statement, other.statement)


def _says_all(wide: Statement, narrow: Statement) -> bool:
    """Whether ``wide`` holds whenever ``narrow`` does, for everything that ``narrow`` is about."""
    about = pairs(narrow)
    return (
        bool(about)
        and wide.effect is narrow.effect
        and _holds_too(wide, narrow)
        and all(any(includes(each, other) for each in aimed(wide, action)) for action, other in about)
    )


def _holds_too(wide: Statement, narrow: Statement) -> bool:
    """Whether the conditions are the same, or ``wide`` lets wills and persistent sessions in besides."""
    extra = set(wide.conditions) - set(narrow.conditions)
    if set(narrow.conditions) - set(wide.conditions):
        return False
    return not extra or (wide.effect is Effect.ALLOW and all(_lets_plain_in(each) for each in extra))


def _lets_plain_in(condition: Condition) -> bool:
    """Whether the condition holds for every CONNECT without attributes."""
    return condition.key == CONNECT_ATTRIBUTES and condition.operator.startswith(ALL)


def _goes_round(document: PolicyDocument, denied: Resource) -> bool:
    """Whether an allowed filter takes topics of a denied one, and nothing denies the delivery."""
    topics = [replace(denied, kind=ResourceKind.TOPIC.value, name=name) for name in topics_of(denied.name)]
    received = _granted(document, Effect.ALLOW, Action.RECEIVE)
    barred = _granted(document, Effect.DENY, Action.RECEIVE)
    delivered = any(_concern_the_same(denied, each) for each in received)
    stopped = all(any(includes(each, topic) for each in barred) for topic in topics)
    return (
        delivered
        and not stopped
        and any(
            _concern_the_same(each, denied) and not includes(denied, each)
            for each in _granted(document, Effect.ALLOW, Action.SUBSCRIBE)
        )
    )


def _moved(statement: Statement, other: list[Resource], what: str, usual: str) -> Statement:
    """The statement with ``usual`` as the region or account of the resources in ``other``."""
    changed = []
    for each in resources(statement):
        parts = each.text.split(":", 5)
        if each in other:
            parts[{"region": 3, "account": 4}[what]] = usual
        changed.append(":".join(parts))
    return replace(statement, resources=once(changed))
