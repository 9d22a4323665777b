"""Policy documents for tests, and rights that need none."""

import json
from dataclasses import dataclass

from keyborn.domain.access import Action, Badge, Circumstances, Rights, Ruling
from keyborn.domain.thing import ThingKind

ALSO_LASTING = {"ForAllValues:StringEquals": {"iot:ConnectAttributes": ["PersistentConnect", "LastWill"]}}
"""The condition that lets a CONNECT have a will and a session that waits."""


def statement(effect: str, action: str | list[str], *resources: str, **more: object) -> dict[str, object]:
    """One statement; resources are written without the ARN in front (``topic/a/*``), or ``*``."""
    arns = [each if each == "*" else f"arn:aws:iot:*:*:{each}" for each in resources]
    return {"Effect": effect, "Action": action, "Resource": arns, **more}


def document(*statements: dict[str, object]) -> str:
    """A policy document."""
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def allow(action: str | list[str], *resources: str) -> str:
    """A document that allows one thing."""
    return document(statement("Allow", action, *resources))


class Anything:
    """Rights to do anything."""

    def decide(self, _action: Action, _resource: str) -> Ruling:
        return Ruling(allowed=True, reason="anything")


@dataclass(frozen=True)
class Bound:
    """What ``OwnTopics`` give to one connection."""

    rules: "OwnTopics"
    badge: Badge
    circumstances: Circumstances

    def decide(self, action: Action, resource: str) -> Ruling:
        return self.rules.decide(self.badge, self.circumstances, action, resource)


class OwnTopics:
    """Rights without policies, for tests that need peculiar ones: inherit, and decide otherwise.

    A device may be itself and use ``certtest/<thing>`` and what lies below; a service may do anything.
    """

    def __call__(self, badge: Badge, circumstances: Circumstances) -> Rights:
        return Bound(self, badge, circumstances)

    def decide(self, badge: Badge, _circumstances: Circumstances, action: Action, resource: str) -> Ruling:
        thing = badge.thing.name
        if badge.thing.kind is ThingKind.SERVICE:
            return Ruling(allowed=True, reason="a service")
        if action is Action.CONNECT:
            return Ruling(resource == thing, f"client id is not the thing name {thing}")
        base = f"certtest/{thing}"
        return Ruling(resource == base or resource.startswith(base + "/"), f"outside {base} and {base}/#")
