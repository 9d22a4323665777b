"""Whether a request falls under a group's rule, and what the rule holds it to. Pure."""

from collections.abc import Mapping
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, ip_address

from keyborn.domain.attributes import parse_attributes
from keyborn.domain.errors import (
    AttributeNotPermitted,
    GroupClosed,
    GroupNetworkRefused,
    GroupNotOpen,
    MethodNotAccepted,
    NameNotInGroup,
)
from keyborn.domain.group import EnrollmentGroup, Network, Terms, account_of, window_of
from keyborn.domain.method import Method, Way
from keyborn.domain.moment import shown
from keyborn.domain.names import ThingName, parse_thing_name


def ways_for(group: EnrollmentGroup, shown: frozenset[Method]) -> tuple[Way, ...]:
    """The ways that demand just the credentials that were shown, in the group's order.

    Raises MethodNotAccepted where there is none: nobody is let in by less, and nothing is asked for in vain.
    """
    ways = tuple(way for way in group.ways if way.credentials == shown)
    if not ways:
        listed = " + ".join(each.value for each in Method if each in shown) or "nothing"
        accepted = ", ".join(map(str, group.ways))
        raise MethodNotAccepted(group=group.name, shown=listed, accepted=accepted)
    return ways


def require_open(group: EnrollmentGroup, source: str, now: datetime) -> None:
    """Raise GroupNetworkRefused or GroupNotOpen.

    A group that has closed still repeats what it answered: that is decided with the claim (``Terms.closed``),
    or by ``require_not_closed`` where something new would be begun.
    """
    if group.networks and not _is_within(source, group.networks):
        raise GroupNetworkRefused(group=group.name)
    if group.opens is not None and now < group.opens:
        raise GroupNotOpen(group=group.name, opens=shown(group.opens))


def require_not_closed(terms: Terms, now: datetime) -> None:
    """Raise GroupClosed."""
    if terms.closes is not None and terms.closed(now):
        raise GroupClosed(group=terms.group, closes=shown(terms.closes))


def _is_within(source: str, networks: tuple[Network, ...]) -> bool:
    address = _address(source)
    return address is not None and any(address in network for network in networks)


def _address(source: str) -> IPv4Address | IPv6Address | None:
    """The address as networks name it: without a zone, and IPv4 where a socket shows it as IPv6.

    None for what is no address: then it is in no network.
    """
    try:
        address = ip_address(source.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def require_name(group: EnrollmentGroup, asked: object) -> ThingName:
    """Return ``asked`` as a name that the group may give.

    Raises InvalidThingName or ReservedThingName, else NameNotInGroup.
    """
    name = parse_thing_name(asked)
    if not group.things.covers(name):
        raise NameNotInGroup(group=group.name, name=name)
    return name


def terms_of(group: EnrollmentGroup, ways: tuple[Way, ...], now: datetime) -> Terms:
    """What the group holds an enrolment to whose credentials open ``ways``."""
    return Terms(
        group=group.name,
        account=account_of(group.name),
        limit=group.limit,
        rate=None if group.rate is None else window_of(group.name, group.rate, now),
        attributes=group.attributes,
        device_attributes=group.device_attributes,
        thing_type=group.thing_type,
        lifetime=group.lifetime,
        taken=group.taken,
        closes=group.closes,
        ways=ways,
    )


def require_attributes(rule: EnrollmentGroup | Terms, given: Mapping[str, str] | None) -> None:
    """Raise AttributeNotPermitted for an attribute that the group does not leave to the device."""
    for name in given or {}:
        if name not in rule.device_attributes:
            group = rule.group if isinstance(rule, Terms) else rule.name
            raise AttributeNotPermitted(group=group, attribute=ascii(name[:128]))


def attributes_of(terms: Terms, given: Mapping[str, str] | None) -> dict[str, str]:
    """What a new thing carries: what the device sets, and on top of it what the group gives.

    Raises AttributeNotPermitted, or MalformedRequest for values that no attribute has and for too many.
    """
    require_attributes(terms, given)
    return parse_attributes({**(given or {}), **terms.attributes})
