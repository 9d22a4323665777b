"""Who stands before a policy: badges, circumstances, and documents written as Python values."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from keyborn.domain.access import Badge, Circumstances, ConnectAttribute
from keyborn.domain.access_policy.document import AccessPolicy, PolicyName
from keyborn.domain.access_policy.parse import parse_document
from keyborn.domain.certificate import Certificate
from keyborn.domain.names import CertificateId, KeyHash, ThingName
from keyborn.domain.thing import Thing, ThingKind, ThingStatus

NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)
ARN = "arn:aws:iot:eu-central-1:123456789012:"
THING_NAME = "${iot:Connection.Thing.ThingName}"
CLIENT_ID = "${iot:ClientId}"
ID = CertificateId("ab" * 32)


def document(*statements: object) -> str:
    """The JSON text of a policy."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def statement(effect: object = "Allow", **members: object) -> dict[str, object]:
    """A statement that allows everything, unless its members say otherwise; a None takes a member away."""
    whole = {"Effect": effect, "Action": "*", "Resource": "*", **members}
    return {name: value for name, value in whole.items() if value is not None}


def policy(*statements: object, name: str = "p") -> AccessPolicy:
    return AccessPolicy(PolicyName(name), parse_document(document(*statements)), NOW)


def badge(
    *policies: AccessPolicy,
    name: str = "lamp",
    kind: ThingKind = ThingKind.DEVICE,
    attributes: Mapping[str, str] | None = None,
    der: bytes = b"",
) -> Badge:
    thing = Thing(
        ThingName(name), ThingStatus.ACTIVE, KeyHash("cd" * 32), NOW, dict(attributes or {}), kind=kind
    )
    return Badge(Certificate(ID, thing.name, thing.key_hash, der, NOW, NOW), thing, policies)


def connected(client_id: str = "lamp", *asks: ConnectAttribute) -> Circumstances:
    return Circumstances(client_id, frozenset(asks))
