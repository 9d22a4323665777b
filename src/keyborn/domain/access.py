"""What a device may do on the broker: actions, resources, decisions.

Every place where the broker must ask asks here. ``OwnTopics`` is the rule of the first release: a device has
its own client id and ``<prefix>/<thing>`` with what lies below. Policies in AWS IoT grammar take its place
behind the same ``decide``.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from keyborn.domain.names import CertificateId, ThingName


class Action(StrEnum):
    """The five actions of an AWS IoT policy."""

    CONNECT = "iot:Connect"
    PUBLISH = "iot:Publish"
    RECEIVE = "iot:Receive"
    RETAIN = "iot:RetainPublish"
    SUBSCRIBE = "iot:Subscribe"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts on the broker: a certificate of the registry and the thing it is attached to."""

    certificate: CertificateId
    thing: ThingName


@dataclass(frozen=True, slots=True)
class Access:
    """One thing somebody wants to do: ``resource`` is a client id, a topic or a topic filter."""

    principal: Principal
    action: Action
    resource: str


@dataclass(frozen=True, slots=True)
class Ruling:
    """Allowed or denied, and by which rule: the reason goes into the log."""

    allowed: bool
    reason: str


class AccessRules(Protocol):
    """Decides every access; default deny."""

    def decide(self, access: Access) -> Ruling:
        """Allow or deny, with the reason. Never raises."""
        ...


@dataclass(frozen=True, slots=True)
class OwnTopics:
    """A device may be itself, and use ``<prefix>/<thing>`` and ``<prefix>/<thing>/…``; nothing else."""

    prefix: str = "certtest"

    def decide(self, access: Access) -> Ruling:
        """Allow own client id, own topic and what lies below it."""
        thing = access.principal.thing
        if access.action is Action.CONNECT:
            own = access.resource == thing
            return Ruling(
                own, "client id is the thing name" if own else f"client id is not the thing name {thing}"
            )
        base = f"{self.prefix}/{thing}"
        own = access.resource == base or access.resource.startswith(base + "/")
        return Ruling(
            own, f"{base} and {base}/# are the thing's own" if own else f"outside {base} and {base}/#"
        )
