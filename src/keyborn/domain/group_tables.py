"""The tables of a group's file: one for each method that has something to say, and what a device is given."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from keyborn.domain.access_policy.document import MAX_ATTACHED, PolicyName, parse_policy_name
from keyborn.domain.attributes import MAX_ATTRIBUTES, parse_attributes
from keyborn.domain.group import AskRule, FactoryRule, OidcRule, WebhookRule
from keyborn.domain.group_words import Table, at, refuse
from keyborn.domain.name_template import check_template
from keyborn.domain.profile import MAX_DEVICE_LIFETIME

GIVE_KEYS = ("attributes", "device-attributes", "type", "policies", "lifetime")
FACTORY_KEYS = ("authorities", "name")
OIDC_KEYS = ("issuer", "audience", "name", "roots", "claims")
WEBHOOK_KEYS = ("url", "timeout", "attributes", "policies", "roots")
ASK_KEYS = ("wait", "pending")
FILES = {"factory": ("authorities",), "oidc": ("roots",), "webhook": ("roots",)}
"""Keys that may be written with ``-file``, and hold certificates: ``put`` reads those files."""
FACTORY_FIELDS = ("common_name", "serial_number", "serial")
"""What a manufacturer's certificate says: the subject's common name and serial number, and its own serial."""

MAX_WAIT = timedelta(days=30)
MAX_PENDING = 100_000
MAX_CLAIMS = 16
_TYPE = re.compile(r"[a-zA-Z0-9:_-]{1,128}")
"""AWS IoT API Reference, CreateThingType."""
_SECOND, _MINUTE = timedelta(seconds=1), timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Gift:
    """What each new thing gets."""

    attributes: Mapping[str, str] = field(default_factory=dict)
    device_attributes: tuple[str, ...] = ()
    thing_type: str | None = None
    policies: tuple[PolicyName, ...] | None = None
    lifetime: timedelta | None = None


def gift(table: Table | None) -> Gift:
    """``[give]``; raises InvalidGroup, as all here do."""
    if table is None:
        return Gift()
    table.only(GIVE_KEYS)
    attributes = table.words("attributes", MAX_ATTRIBUTES, 128, 800)
    with at(table.place("attributes")):
        parse_attributes(attributes)
    own = table.texts("device-attributes", MAX_ATTRIBUTES, attribute_name) or ()
    if both := attributes.keys() & set(own):
        refuse(
            table.place("device-attributes"), f"{min(both)} is in attributes, too; take it out of one of them"
        )
    return Gift(
        attributes,
        own,
        _thing_type(table),
        table.texts("policies", MAX_ATTACHED, parse_policy_name),
        table.span("lifetime", _MINUTE, MAX_DEVICE_LIFETIME),
    )


def attribute_name(text: str) -> str:
    """Return ``text`` as an attribute's name; raises MalformedRequest."""
    parse_attributes({text: ""})
    return text


def _thing_type(table: Table) -> str | None:
    name = table.text("type")
    if name is not None and not _TYPE.fullmatch(name):
        refuse(table.place("type"), "it takes 1 to 128 of A-Z a-z 0-9 : _ -")
    return name


def factory_rule(table: Table | None) -> FactoryRule | None:
    """``[factory]``."""
    if table is None:
        return None
    table.only(FACTORY_KEYS)
    authorities = table.must("authorities", table.certificates("authorities"))
    name = table.must("name", table.text("name", 512))
    with at(table.place("name")):
        check_template(name, FACTORY_FIELDS)
    return FactoryRule(authorities, name)


def oidc_rule(table: Table | None) -> OidcRule | None:
    """``[oidc]``."""
    if table is None:
        return None
    table.only(OIDC_KEYS)
    name = table.must("name", table.text("name", 512))
    with at(table.place("name")):
        check_template(name, pattern=True)
    return OidcRule(
        issuer=table.must("issuer", table.url("issuer")),
        audience=table.must("audience", table.text("audience")),
        name=name,
        claims=table.words("claims", MAX_CLAIMS, 128, 256),
        roots_pem=table.certificates("roots"),
    )


def webhook_rule(table: Table | None) -> WebhookRule | None:
    """``[webhook]``."""
    if table is None:
        return None
    table.only(WEBHOOK_KEYS)
    default = WebhookRule("")
    return WebhookRule(
        url=table.must("url", table.url("url", query=True)),
        timeout=table.span("timeout", _SECOND, 10 * _SECOND) or default.timeout,
        roots_pem=table.certificates("roots"),
        attributes=table.texts("attributes", MAX_ATTRIBUTES, attribute_name) or (),
        policies=table.texts("policies", 64, parse_policy_name) or (),
    )


def ask_rule(table: Table | None) -> AskRule:
    """``[ask]``; what it leaves out is as in ``AskRule``."""
    default = AskRule()
    if table is None:
        return default
    table.only(ASK_KEYS)
    return AskRule(
        table.span("wait", _MINUTE, MAX_WAIT) or default.wait,
        table.number("pending", 1, MAX_PENDING) or default.pending,
    )
