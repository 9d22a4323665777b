"""Policy variables and condition keys: which names are known, and what they say of one connection.

Source: AWS IoT Core Developer Guide, "Basic AWS IoT Core policy variables", "Thing policy variables" and
"X.509 Certificate AWS IoT Core policy variables". An attachment of a certificate to its thing counts as
non-exclusive: the thing variables resolve only while the client id is the thing name.
"""

import re
from dataclasses import dataclass

from keyborn.domain.access import Badge, Circumstances
from keyborn.domain.access_policy import certificate
from keyborn.domain.access_policy.hints import meant, shown
from keyborn.domain.thing import Thing, ThingKind

CLIENT_ID = "iot:ClientId"
CERTIFICATE_ID = "iot:CertificateId"
THING_NAME = "iot:Connection.Thing.ThingName"
THING_TYPE = "iot:Connection.Thing.ThingTypeName"
IS_ATTACHED = "iot:Connection.Thing.IsAttached"
CONNECT_ATTRIBUTES = "iot:ConnectAttributes"

THING_PREFIX = "iot:Connection.Thing."
SPECIAL = "*$+?#"
"""A value that holds one of these is not substituted."""

_ATTRIBUTE = re.compile(r"iot:Connection\.Thing\.Attributes\[([a-zA-Z0-9_.,@/:#-]{1,128})\]")
_ATTRIBUTE_START = "iot:Connection.Thing.Attributes"
_FOREIGN = {
    "aws:SourceIp": "a local broker does not decide by network addresses",
    "iot:DomainName": "a local broker has no domain configurations",
}
_KEYS = frozenset(
    {
        CLIENT_ID,
        CERTIFICATE_ID,
        THING_NAME,
        THING_TYPE,
        IS_ATTACHED,
        CONNECT_ATTRIBUTES,
        *certificate.NAMES,
    }
)


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A variable or key without a value, and why."""

    reason: str


def check_key(name: str) -> None:
    """Refuse what is not a condition key; raises ValueError with a sentence."""
    if name in _KEYS or _ATTRIBUTE.fullmatch(name) or certificate.is_known(name):
        return
    if name in _FOREIGN:
        raise ValueError(f"{name} is not known here: {_FOREIGN[name]}")
    if name.startswith(_ATTRIBUTE_START):
        raise ValueError(f"{shown(name)} has no usable attribute name; write {_ATTRIBUTE_START}[name]")
    raise ValueError(f"{shown(name)} is not known here{meant(name, _KEYS)}")


def is_list(name: str) -> bool:
    """Whether a condition key has any number of values, so that its operator must say all or any of them."""
    return name == CONNECT_ATTRIBUTES or certificate.is_list(name)


def check_variable(name: str) -> None:
    """Refuse what cannot stand in ``${}``; raises ValueError with a sentence."""
    if name == IS_ATTACHED:
        raise ValueError(f"{name} is not a text to substitute; ask for it in Condition, under Bool")
    if is_list(name):
        raise ValueError(f"{name} is a list and cannot be substituted; ask for it in Condition")
    check_key(name)


@dataclass(frozen=True, slots=True)
class Scope:
    """One connection, as its policies see it."""

    badge: Badge
    circumstances: Circumstances

    @property
    def attached(self) -> bool:
        """Whether the thing variables resolve (``iot:Connection.Thing.IsAttached``)."""
        return not isinstance(self._thing(), Unresolved)

    def look_up(self, key: str) -> tuple[str, ...] | Unresolved:
        """Every value of a known condition key, at least one."""
        if key == CONNECT_ATTRIBUTES:
            return self._connect_attributes()
        if key.startswith(certificate.PREFIX):
            values = certificate.certificate_values(self.badge.certificate.der, key)
            return values or Unresolved("the certificate has no such value")
        value = self._single(key)
        return value if isinstance(value, Unresolved) else (value,)

    def resolve(self, name: str) -> str | Unresolved:
        """The value that stands for ``${name}``."""
        values = self.look_up(name)
        if isinstance(values, Unresolved):
            return values
        special = next((each for each in values[0] if each in SPECIAL), None)
        if special:
            return Unresolved(f"its value holds {special}")
        if len(values[0]) > certificate.MAX_VALUE:
            return Unresolved(f"its value has more than {certificate.MAX_VALUE} characters")
        return values[0]

    def _connect_attributes(self) -> tuple[str, ...] | Unresolved:
        """They are the connection's: a statement about publishing sees them as well."""
        asked = tuple(sorted(each.value for each in self.circumstances.attributes))
        return asked or Unresolved("the client asks for no will and no persistent session")

    def _single(self, key: str) -> str | Unresolved:
        if key == CLIENT_ID:
            return self.circumstances.client_id
        if key == CERTIFICATE_ID:
            return self.badge.certificate.id
        if key == IS_ATTACHED:
            return "true" if self.attached else "false"
        thing = self._thing()
        return thing if isinstance(thing, Unresolved) else _of_thing(thing, key)

    def _thing(self) -> Thing | Unresolved:
        if self.badge.thing.kind is not ThingKind.DEVICE:
            return Unresolved("a service has no thing")
        if self.circumstances.client_id != self.badge.thing.name:
            return Unresolved("the client id is not the thing name")
        return self.badge.thing


def _of_thing(thing: Thing, key: str) -> str | Unresolved:
    if key == THING_NAME:
        return thing.name
    if key == THING_TYPE:
        return Unresolved("things have no type here")
    found = _ATTRIBUTE.fullmatch(key)
    if found is None:
        return Unresolved("there is no such variable")
    return thing.attributes.get(found[1], Unresolved("no such attribute"))
