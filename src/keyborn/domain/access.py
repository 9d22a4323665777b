"""What somebody may do on the broker: actions, who acts, the rulings. The rules are ``access_policy``.

The broker binds the policies of a certificate to a connection once, and asks the resulting ``Rights`` on
connect, publish, retain, will, subscribe and each delivery.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from keyborn.domain.access_policy.document import AccessPolicy
from keyborn.domain.certificate import Certificate
from keyborn.domain.names import CertificateId, ThingName
from keyborn.domain.thing import Thing, ThingKind


class Action(StrEnum):
    """The five actions of an AWS IoT policy."""

    CONNECT = "iot:Connect"
    PUBLISH = "iot:Publish"
    RECEIVE = "iot:Receive"
    RETAIN = "iot:RetainPublish"
    SUBSCRIBE = "iot:Subscribe"


class ConnectAttribute(StrEnum):
    """What a CONNECT asks for beyond a plain connection (condition key ``iot:ConnectAttributes``)."""

    PERSISTENT = "PersistentConnect"
    WILL = "LastWill"


@dataclass(frozen=True, slots=True)
class Badge:
    """What the registry knows of whoever shows a certificate, read as one snapshot."""

    certificate: Certificate
    thing: Thing
    policies: tuple[AccessPolicy, ...]
    """Attached ones; where the thing has none of its own, the default policy."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What one connection adds to the badge: the client id, and what CONNECT asked for."""

    client_id: str
    attributes: frozenset[ConnectAttribute] = frozenset()


@dataclass(frozen=True, slots=True)
class Ruling:
    """Allowed or denied, and by which statement of which policy: the reason goes into the log."""

    allowed: bool
    reason: str


class Rights(Protocol):
    """What one connection may do; default deny."""

    def decide(self, action: Action, resource: str) -> Ruling:
        """Allow or deny, with the reason; ``resource`` is a client id, a topic or a filter. Never raises."""
        ...


RightsOf = Callable[[Badge, Circumstances], Rights]
"""How a connection gets its rights; ``access_policy.evaluate.rights_of`` is the one the services use."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts on the broker: a certificate, the record it belongs to, and what that may do."""

    certificate: CertificateId
    thing: ThingName
    """The record's name; a service's too."""
    rights: Rights = field(compare=False, repr=False)
    kind: ThingKind = ThingKind.DEVICE
