"""Enrolment groups: a named rule that says who may enrol, as what, and how many.

The document is TOML that can live in git (``group_file`` reads it, ``group_lint`` looks for traps). Whether a
request falls under the rule, ``group_rules`` decides; what a claim is held to, ``Terms`` carry to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network

from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.method import Way
from keyborn.domain.names import GroupName, NameScope
from keyborn.domain.token import TokenId

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Network = IPv4Network | IPv6Network
MAX_DOCUMENT = 64 * 1024
"""Bytes of a group's text in UTF-8."""


class TakenRule(StrEnum):
    """What a group does where another key has the name already."""

    REFUSE = "refuse"
    PERSON = "person"
    """An operator decides, as with ``ask``."""
    REPLACE = "replace"
    """A credential that is good for just this name may replace the key."""


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``count`` new enrolments in each period; periods are counted from 1970."""

    count: int
    period: timedelta


@dataclass(frozen=True, slots=True)
class FactoryRule:
    """Which manufacturer's certificates count, and which name each gives a right to."""

    authorities_pem: str
    """Manufacturer CAs, PEM; a chain has to end at one of them."""
    name: str
    """The thing name, with ``{common_name}``, ``{serial_number}`` (the subject's) or ``{serial}`` (the
    certificate's, hex) in it."""


@dataclass(frozen=True, slots=True)
class OidcRule:
    """Which identity provider's tokens count, and which name each gives a right to."""

    issuer: str
    audience: str
    name: str
    """The thing name or a pattern, with claims in it: ``{sub}``, ``line-{line}-*``."""
    claims: Mapping[str, str] = field(default_factory=dict)
    """Further claims and the one value that each must have."""
    roots_pem: str | None = None
    """Roots for the issuer's TLS; None: the public ones."""


@dataclass(frozen=True, slots=True)
class WebhookRule:
    """A service that is asked, and what it may add."""

    url: str
    timeout: timedelta = timedelta(seconds=3)
    roots_pem: str | None = None
    """Roots for its TLS; None: the public ones."""
    attributes: tuple[str, ...] = ()
    """Names of attributes that its answer may set."""
    policies: tuple[PolicyName, ...] = ()
    """Access policies that its answer may choose from."""


@dataclass(frozen=True, slots=True)
class AskRule:
    """How long and how many requests wait for a person."""

    wait: timedelta = timedelta(hours=24)
    """For how long a request waits, and for how long an approval is good."""
    pending: int = 1000
    """How many requests of this group may wait."""


@dataclass(frozen=True, slots=True)
class EnrollmentGroup:
    """A parsed rule."""

    name: GroupName
    things: NameScope
    """Names that the group may give."""
    ways: tuple[Way, ...]
    """Any of these; in this order where several would do."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """What each new thing gets."""
    device_attributes: tuple[str, ...] = ()
    """Names of attributes that the device itself may set."""
    thing_type: str | None = None
    policies: tuple[PolicyName, ...] | None = None
    """Access policies that each new thing gets; None is the default policy."""
    lifetime: timedelta | None = None
    """Of its certificates; None: the service's."""
    limit: int | None = None
    """How many (thing, key) pairs may ever enrol; None is unlimited."""
    rate: Rate | None = None
    networks: tuple[Network, ...] = ()
    """Where callers may come from; empty is anywhere."""
    opens: datetime | None = None
    closes: datetime | None = None
    """From this moment on nothing new is enrolled."""
    taken: TakenRule = TakenRule.REFUSE
    factory: FactoryRule | None = None
    oidc: OidcRule | None = None
    webhook: WebhookRule | None = None
    ask: AskRule = AskRule()


@dataclass(frozen=True, slots=True)
class GroupDocument:
    """A group as the registry keeps it: the operator's text."""

    name: GroupName
    text: str
    """TOML, at most ``MAX_DOCUMENT`` bytes in UTF-8."""
    updated_at: datetime
    version: int = 1
    policies: tuple[PolicyName, ...] = ()
    """Every access policy that the text names, so that a registry, which does not read it, keeps them."""
    webhook_secret: bytes | None = field(default=None, repr=False)
    """With which questions to the group's webhook are signed; made once, and kept over new versions."""


@dataclass(frozen=True, slots=True)
class GroupUse:
    """A group and how many (thing, key) pairs have enrolled in it."""

    document: GroupDocument
    taken: int


@dataclass(frozen=True, slots=True)
class RateWindow:
    """One period of a ``Rate``, as a claim counts it."""

    account: TokenId
    limit: int
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Terms:
    """What a group holds one enrolment to, and what it gives: carried by the applicant to the claim."""

    group: GroupName
    account: TokenId
    """Against which the group's pairs are counted."""
    limit: int | None = None
    rate: RateWindow | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    device_attributes: tuple[str, ...] = ()
    thing_type: str | None = None
    lifetime: timedelta | None = None
    taken: TakenRule = TakenRule.REFUSE
    closes: datetime | None = None
    """From then on only an answer that was already given may be repeated."""
    ways: tuple[Way, ...] = ()
    """Whose credentials were shown, in the group's order: the first one whose conditions are met counts."""

    def closed(self, now: datetime) -> bool:
        """Whether nothing new is enrolled any more."""
        return self.closes is not None and now >= self.closes


def account_of(group: GroupName) -> TokenId:
    """Against what a group's enrolments are counted; no token has such an id."""
    return TokenId(f"g:{group}")


def revised_group(known: GroupDocument | None, put: GroupDocument) -> GroupDocument:
    """What is kept when ``put`` comes over ``known``: ``known`` itself if both have the same text."""
    if known is None:
        return replace(put, version=1)
    if known.text == put.text:
        return known
    secret = known.webhook_secret or put.webhook_secret
    return replace(put, version=known.version + 1, webhook_secret=secret)


def window_of(group: GroupName, rate: Rate, now: datetime) -> RateWindow:
    """The period that ``now`` lies in."""
    number = (now - _EPOCH) // rate.period
    account = TokenId(f"g:{group}:{int(rate.period.total_seconds())}:{number}")
    return RateWindow(account, rate.count, _EPOCH + (number + 1) * rate.period)
