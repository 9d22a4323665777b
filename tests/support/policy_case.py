"""One row of the table of policy cases: who does what under which documents, and what must come of it.

The short words below write the documents as JSON text, so that a row can be read in one glance.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache, partial

from keyborn.domain.access import Action, Badge, Circumstances, ConnectAttribute
from keyborn.domain.access_policy.document import AccessPolicy, PolicyName
from keyborn.domain.access_policy.parse import parse_document
from keyborn.domain.certificate import Certificate, CertificateStatus
from keyborn.domain.names import KeyHash, ThingName, certificate_id
from keyborn.domain.thing import Thing, ThingKind, ThingStatus
from support.pki import Leaf, shared_pki
from support.policy_certificate import RICH, rich_leaf

CONNECT, PUBLISH, RECEIVE = Action.CONNECT, Action.PUBLISH, Action.RECEIVE
RETAIN, SUBSCRIBE = Action.RETAIN, Action.SUBSCRIBE
WILL, PERSISTENT = ConnectAttribute.WILL, ConnectAttribute.PERSISTENT

THING = "${iot:Connection.Thing.ThingName}"
CLIENT = "${iot:ClientId}"
CERTIFICATE = "${iot:CertificateId}"
COMMON_NAME = "${iot:Certificate.Subject.CommonName}"
ARN = "arn:aws:iot:eu-central-1:123456789012:"
OWN_ID = "<certificate id>"
"""In a row's resource: the id of the certificate that is shown, which nobody knows beforehand."""

Json = str | list[str] | dict[str, "Json"]
When = Mapping[str, Mapping[str, str | list[str]]]
"""The conditions of a statement, as they stand in JSON."""

ATTACHED: When = {"Bool": {"iot:Connection.Thing.IsAttached": "true"}}
UNATTACHED: When = {"Bool": {"iot:Connection.Thing.IsAttached": "false"}}


def attribute(name: str) -> str:
    """The variable for one attribute of the thing."""
    return f"${{iot:Connection.Thing.Attributes[{name}]}}"


def asking_only(*attributes: ConnectAttribute) -> When:
    """Whatever CONNECT asks for is among these."""
    return {"ForAllValues:StringEquals": {"iot:ConnectAttributes": list(attributes)}}


def asking_any(*attributes: ConnectAttribute) -> When:
    """Something that CONNECT asks for is among these."""
    return {"ForAnyValue:StringEquals": {"iot:ConnectAttributes": list(attributes)}}


def _arn(resource: str) -> str:
    return resource if resource == "*" or resource.startswith("arn:") else ARN + resource


def _statement(
    effect: str, action: str | Iterable[str], resources: tuple[str, ...], when: When | None
) -> dict[str, Json]:
    actions: Json = str(action) if isinstance(action, str) else [str(each) for each in action]
    written: dict[str, Json] = {"Effect": effect, "Action": actions}
    written["Resource"] = [_arn(each) for each in resources] if len(resources) > 1 else _arn(resources[0])
    if when:
        written["Condition"] = {name: dict(keys) for name, keys in when.items()}
    return written


def allow(action: str | Iterable[str], *resources: str, when: When | None = None) -> dict[str, Json]:
    """An Allow; a resource is what follows the account in its ARN, or ``*``, or a whole ARN."""
    return _statement("Allow", action, resources, when)


def deny(action: str | Iterable[str], *resources: str, when: When | None = None) -> dict[str, Json]:
    """A Deny, written like ``allow``."""
    return _statement("Deny", action, resources, when)


def document(*statements: dict[str, Json]) -> str:
    """The text of a policy document."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)}, ensure_ascii=False)


def connect_if(when: When | None) -> str:
    """The text of a policy that allows any client id to connect, on a condition."""
    return document(allow(CONNECT, "client/*", when=when))


@dataclass(frozen=True, slots=True)
class Who:
    """Who connects: the record, the certificate, the client id (the record's name unless said)."""

    name: str = "sensor-1"
    kind: ThingKind = ThingKind.DEVICE
    attributes: tuple[tuple[str, str], ...] = ()
    client_id: str | None = None
    common_name: str | None = None
    """Of the certificate's subject; the record's name unless said."""

    @property
    def client(self) -> str:
        """The client id of the connection."""
        return self.name if self.client_id is None else self.client_id

    @property
    def subject(self) -> str:
        """The common name in the certificate."""
        return self.name if self.common_name is None else self.common_name


SENSOR = Who()
SERVICE = Who("collector", ThingKind.SERVICE)
STRANGER = Who(client_id="something-else")
"""A device whose client id is not its thing's name."""


def sensor(client_id: str | None = None, *, common_name: str | None = None, **attributes: str) -> Who:
    """A device named sensor-1 with those attributes."""
    return Who(attributes=tuple(attributes.items()), client_id=client_id, common_name=common_name)


class Group(StrEnum):
    """What a section of the table is about."""

    DEFAULT_DENY = "default deny"
    ACTIONS = "actions and their resource types"
    EXPLICIT_DENY = "explicit deny wins"
    STAR = "the asterisk"
    QUESTION_MARK = "the question mark"
    MQTT_WILDCARDS = "plus and hash are ordinary characters"
    FILTERS = "topicfilter and topic"
    LITERAL = "text is compared character by character"
    TEXT = "unusual text"
    ARN = "what the ARN says before the resource"
    EVERYTHING = "iot:*, * and Resource *"
    SEVERAL = "several statements and policies"
    THING = "thing variables"
    VALUES = "what a variable's value may hold"
    CLIENT_ID = "the client id"
    CERTIFICATE = "certificate variables"
    ESCAPES = "escapes"
    STRINGS = "string conditions"
    MISSING = "keys that are missing"
    ATTACHED = "IsAttached"
    SETS = "ForAllValues and ForAnyValue"
    CONNECT = "connect attributes"
    RETAIN = "retained messages"
    SHIPPED = "the policies that are shipped"


class Wire(StrEnum):
    """How a case can be shown over a real connection."""

    CONNECT = "connect"
    WILL = "will"
    PERSISTENT = "persistent"
    PUBLISH = "publish"
    RETAIN = "retain"
    SUBSCRIBE = "subscribe"
    RECEIVE = "receive"


_WIRES = {
    Action.CONNECT: Wire.CONNECT,
    Action.PUBLISH: Wire.PUBLISH,
    Action.RETAIN: Wire.RETAIN,
    Action.SUBSCRIBE: Wire.SUBSCRIBE,
    Action.RECEIVE: Wire.RECEIVE,
}


@dataclass(frozen=True, slots=True)
class Case:
    """One row. ``asks`` is what CONNECT asked for; it stays true for all that the connection does."""

    name: str
    rule: str
    """What it shows, in one sentence."""
    policies: tuple[str, ...]
    action: Action
    resource: str
    allowed: bool
    who: Who = SENSOR
    asks: frozenset[ConnectAttribute] = frozenset()
    wire: Wire | None = None
    group: Group = Group.DEFAULT_DENY

    @property
    def circumstances(self) -> Circumstances:
        """What the connection adds."""
        return Circumstances(self.who.client, self.asks)

    @property
    def badge(self) -> Badge:
        """What the registry knows."""
        return badge(self.who, self.policies)

    def resource_for(self, certificate: str) -> str:
        """The resource, once the certificate's id is known."""
        return self.resource.replace(OWN_ID, certificate)


def _case(  # noqa: PLR0917 - rows of a table are read by position
    name: str,
    rule: str,
    policies: str | tuple[str, ...],
    action: Action,
    resource: str,
    who: Who = SENSOR,
    *,
    allowed: bool,
    asks: tuple[ConnectAttribute, ...] = (),
    wire: bool | Wire = False,
) -> Case:
    documents = (policies,) if isinstance(policies, str) else policies
    way: Wire | None = wire if isinstance(wire, Wire) else _WIRES[action] if wire else None
    if way is Wire.CONNECT and asks:
        way = Wire.WILL if WILL in asks else Wire.PERSISTENT
    return Case(name, rule, documents, action, resource, allowed, who, frozenset(asks), way)


may = partial(_case, allowed=True)
"""A row that must be allowed."""
may_not = partial(_case, allowed=False)
"""A row that must be denied."""


def section(group: Group, *rows: Case) -> tuple[Case, ...]:
    """Rows of one group."""
    return tuple(replace(row, group=group) for row in rows)


# ── from rows to values of the domain ─────────────────────────────────────────────────────────────────

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@cache
def leaf_for(common_name: str) -> Leaf:
    """A certificate with this common name, made once per process."""
    return rich_leaf() if common_name == RICH else shared_pki().devices.leaf(common_name)


def as_policies(documents: Iterable[str]) -> tuple[AccessPolicy, ...]:
    """The documents as the registry would hand them out."""
    return tuple(
        AccessPolicy(PolicyName(f"policy-{number}"), parse_document(text), LONG_AGO)
        for number, text in enumerate(documents)
    )


def certificate_for(who: Who) -> Certificate:
    """The certificate that ``who`` shows."""
    leaf = leaf_for(who.subject)
    return Certificate(
        certificate_id(leaf.der),
        ThingName(who.name),
        KeyHash("0" * 64),
        leaf.der,
        leaf.certificate.not_valid_before_utc,
        leaf.certificate.not_valid_after_utc,
        CertificateStatus.ACTIVE,
    )


def badge(who: Who, documents: Iterable[str]) -> Badge:
    """What the registry says of ``who`` under these documents."""
    policies = as_policies(documents)
    thing = Thing(
        ThingName(who.name),
        ThingStatus.ACTIVE,
        KeyHash("0" * 64),
        LONG_AGO,
        dict(who.attributes),
        who.kind,
        tuple(policy.name for policy in policies),
    )
    return Badge(certificate_for(who), thing, policies)
