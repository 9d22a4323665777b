"""The decision: default deny, explicit deny wins; bound to a connection once, then asked per packet.

Source: IAM User Guide, "Policy evaluation logic"; AWS IoT Core Developer Guide, "AWS IoT Core policies" and
"Using connectAttributes".
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from keyborn.domain.access import Action, Badge, Circumstances, Ruling
from keyborn.domain.access_policy.conditions import holds
from keyborn.domain.access_policy.document import (
    ALL_ACTIONS,
    AccessPolicy,
    Condition,
    Effect,
    PolicyName,
    Statement,
)
from keyborn.domain.access_policy.patterns import (
    KIND_OF,
    Bound,
    Matcher,
    Resource,
    bind,
    matcher,
    parse_resource,
)
from keyborn.domain.access_policy.variables import CONNECT_ATTRIBUTES, Scope, Unresolved

_NAMED = 3
"""Policies that a reason names; of more it gives the number."""


@dataclass(frozen=True, slots=True)
class BoundResource:
    """A resource of a statement, with the values of its variables."""

    text: str
    resource: Resource
    bound: Bound | Unresolved
    """Unresolved matches nothing."""

    def is_for(self, action: Action) -> bool:
        """Whether it is of the kind that ``action`` is asked about."""
        return self.resource.kind in (None, KIND_OF[action])


@dataclass(frozen=True, slots=True)
class BoundStatement:
    """A statement as it stands for one connection: everything but the action and its resource is settled."""

    policy: PolicyName
    number: int
    """From 1, in its document."""
    statement: Statement
    failed: Condition | None
    """The first condition that does not hold."""
    resources: tuple[BoundResource, ...]
    asks_attributes: bool
    """Whether the connection is one that an Allow must have a condition on ``iot:ConnectAttributes`` for."""

    @property
    def denies(self) -> bool:
        """Whether it is a Deny."""
        return self.statement.effect is Effect.DENY

    @property
    def label(self) -> str:
        """How reasons name it: ``keyborn-default statement 2 (OwnTopics)``."""
        sid = f" ({self.statement.sid})" if self.statement.sid else ""
        return f"{self.policy} statement {self.number}{sid}"

    def names(self, action: Action) -> bool:
        """Whether the action is one of its own."""
        return not ALL_ACTIONS.isdisjoint(self.statement.actions) or action in self.statement.actions

    def lacks_attributes(self, action: Action) -> bool:
        """Whether this Allow says nothing of the will or the persistent session that the CONNECT asks for."""
        return (
            action is Action.CONNECT
            and self.asks_attributes
            and not self.denies
            and all(each.key != CONNECT_ATTRIBUTES for each in self.statement.conditions)
        )

    def speaks_of(self, action: Action) -> bool:
        """Whether it decides about ``action`` on this connection; its resources then say about what."""
        return self.names(action) and self.failed is None and not self.lacks_attributes(action)

    def matcher(self, action: Action) -> Matcher:
        """What its resources match for ``action``."""
        return matcher(
            each.bound
            for each in self.resources
            if each.is_for(action) and not isinstance(each.bound, Unresolved)
        )

    def ruling(self) -> Ruling:
        """What it decides where it matches."""
        return Ruling(
            allowed=not self.denies, reason=f"denied by {self.label}" if self.denies else self.label
        )


def bind_policies(badge: Badge, circumstances: Circumstances) -> tuple[BoundStatement, ...]:
    """Every statement of the badge's policies, in order, bound to a connection."""
    scope = Scope(badge, circumstances)
    return tuple(
        _bind(policy, number, statement, scope)
        for policy in badge.policies
        for number, statement in enumerate(policy.document.statements, 1)
    )


def _bind(policy: AccessPolicy, number: int, statement: Statement, scope: Scope) -> BoundStatement:
    failed = next((each for each in statement.conditions if not holds(each, scope)), None)
    resources = tuple(_bind_resource(text, scope) for text in statement.resources)
    asks = bool(scope.circumstances.attributes)
    return BoundStatement(policy.name, number, statement, failed, resources, asks)


def _bind_resource(text: str, scope: Scope) -> BoundResource:
    resource = parse_resource(text)
    return BoundResource(text, resource, bind(resource.template, scope))


@dataclass(frozen=True, slots=True)
class PolicyRights:
    """What a badge's policies allow on one connection."""

    rules: Mapping[Action, tuple[tuple[Matcher, Ruling], ...]]
    """Of each action: first what denies, then what allows."""
    otherwise: Mapping[Action, Ruling]

    def decide(self, action: Action, resource: str) -> Ruling:
        """Allow or deny, with the reason; ``resource`` is a client id, a topic or a filter. Never raises."""
        for patterns, ruling in self.rules[action]:
            if patterns.matches(resource):
                return ruling
        return self.otherwise[action]


def rights_of(badge: Badge, circumstances: Circumstances) -> PolicyRights:
    """Bind a badge to a connection (``access.RightsOf``); the documents are parsed ones."""
    statements = bind_policies(badge, circumstances)
    return PolicyRights(
        rules={action: tuple(_rules(statements, action)) for action in Action},
        otherwise={action: default_ruling(badge, circumstances, action) for action in Action},
    )


def _rules(statements: Sequence[BoundStatement], action: Action) -> Iterator[tuple[Matcher, Ruling]]:
    for denies in (True, False):
        for each in statements:
            if each.denies is denies and each.speaks_of(action):
                yield each.matcher(action), each.ruling()


def default_ruling(badge: Badge, circumstances: Circumstances, action: Action) -> Ruling:
    """Deny, because nothing matches."""
    names = [policy.name for policy in badge.policies]
    if not names:
        return Ruling(allowed=False, reason="it has no policy")
    whose = ", ".join(names) if len(names) <= _NAMED else f"its {len(names)} policies"
    reason = f"no statement of {whose} allows it"
    if action is Action.CONNECT and circumstances.attributes:
        reason += f" with {' and '.join(sorted(circumstances.attributes))}"
    return Ruling(allowed=False, reason=reason)
