"""An enrolment group's file: TOML to values, strictly, with bounds, and nothing that is not known.

::

    name = "line-7"
    things = "sensor-*"
    methods = ["group-key", "factory + webhook", "ask"]

What makes no sense in itself is refused here; what makes sense and is a trap, ``group_lint`` says.
"""

import re
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from functools import lru_cache
from ipaddress import IPv6Network, ip_address, ip_network

from keyborn.domain.access_policy.hints import instead, meant, shown
from keyborn.domain.errors import InvalidGroup
from keyborn.domain.group import MAX_DOCUMENT, EnrollmentGroup, GroupDocument, Network, Rate, TakenRule
from keyborn.domain.group_tables import ask_rule, factory_rule, gift, oidc_rule, webhook_rule
from keyborn.domain.group_words import UNITS, Table, at, refuse
from keyborn.domain.method import Method, Way
from keyborn.domain.names import NameScope, parse_group_name

KEYS = (
    "name", "things", "methods", "taken", "limit", "rate", "networks", "opens", "closes", "give", "factory",
    "oidc", "webhook", "ask",
)  # fmt: skip
MAX_LIMIT = 1_000_000_000
MAX_RATE = 1_000_000
MAX_NETWORKS = 64
MAX_WAYS = 16
_MAX_DOTS = 300
"""In one line. A dotted key of thousands of parts costs TOML's reader the square of them."""
_RATE = re.compile(r"([0-9]{1,9})/([smhd])", re.ASCII)
_LONGEST = 200
_SECTION = re.compile(r"\s*\[\s*([a-z0-9.-]+)\s*\]")
_KEY = re.compile(r"\s*([a-z0-9.-]+)\s*=")
_MAPPED = IPv6Network("::ffff:0:0/96")
_RIVALS = (
    (Method.TOKEN, Method.OIDC, "both are shown as the bearer"),
    (Method.GROUP_KEY, Method.FACTORY, "both sign the request"),
)
_TABLES = (Method.FACTORY, Method.OIDC, Method.WEBHOOK)
"""Methods that say how in a table of their own."""


def parse_group(text: str) -> EnrollmentGroup:
    """Read a group's file. Raises InvalidGroup: ``where`` it is wrong, and in ``detail`` what to do."""
    members = _load(text)
    try:
        return _group(Table(members))
    except InvalidGroup as wrong:
        where = str(wrong.facts["where"])
        line = _line_of(text, where)
        raise InvalidGroup(
            where=f"line {line}, {where}" if line else where, detail=wrong.facts["detail"]
        ) from None


@lru_cache(maxsize=256)
def parse_kept_group(text: str) -> EnrollmentGroup | None:
    """Read a file that was parsed before it was kept; None if another Keyborn did, which knew more words.

    None: nobody enrols. Remembered: the rule is read for each request, and a text means the same every time.
    """
    try:
        return parse_group(text)
    except InvalidGroup:
        return None


def read_group(document: GroupDocument) -> EnrollmentGroup | None:
    """The rule of what a registry keeps; None where it cannot be read, or is another group's."""
    group = parse_kept_group(document.text)
    return group if group is not None and group.name == document.name else None


def _load(text: str) -> dict[str, object]:
    if len(text) > MAX_DOCUMENT or len(text.encode("utf-8", "surrogatepass")) > MAX_DOCUMENT:
        refuse("the file", f"it has more than {MAX_DOCUMENT} bytes")
    if text.startswith("\ufeff"):
        refuse("line 1", "it begins with a byte order mark; save it without one")
    if any(line.count(".") > _MAX_DOTS for line in text.splitlines()):
        refuse("the file", f"a line of it has more than {_MAX_DOTS} dots")
    try:
        text.encode()
        return tomllib.loads(text)
    except UnicodeEncodeError:
        refuse("the file", "it has half of a surrogate pair, which is no character")
    except ValueError as wrong:  # TOMLDecodeError, and numbers of thousands of digits
        refuse("the file", f"it is not TOML ({str(wrong).rstrip('.')})")
    except RecursionError:
        refuse("the file", "its brackets are nested too deeply")


def _group(table: Table) -> EnrollmentGroup:
    table.only(KEYS)
    name = table.must("name", table.text("name"))
    things = table.must("things", table.text("things"))
    with at("name"):
        group = parse_group_name(name)
    with at("things"):
        scope = NameScope(things)
    given = gift(table.table("give"))
    read = EnrollmentGroup(
        name=group,
        things=scope,
        ways=_ways(table),
        attributes=given.attributes,
        device_attributes=given.device_attributes,
        thing_type=given.thing_type,
        policies=given.policies,
        lifetime=given.lifetime,
        limit=table.number("limit", 1, MAX_LIMIT),
        rate=_rate(table),
        networks=table.texts("networks", MAX_NETWORKS, _network) or (),
        opens=table.moment("opens"),
        closes=table.moment("closes"),
        taken=_taken(table),
        factory=factory_rule(table.table("factory")),
        oidc=oidc_rule(table.table("oidc")),
        webhook=webhook_rule(table.table("webhook")),
        ask=ask_rule(table.table("ask")),
    )
    _require_sense(read, table)
    return read


def _require_sense(group: EnrollmentGroup, table: Table) -> None:
    """What no single key can be refused for."""
    if group.opens is not None and group.closes is not None and group.closes <= group.opens:
        refuse("closes", "it is not after opens")
    used = {method for way in group.ways for method in way.methods}
    for method in _TABLES:
        has = method.value in table.members
        if has and method not in used:
            refuse(method.value, "methods does not use it; add the method there, or take this table out")
        if method in used and not has:
            refuse("methods", f"{method.value} needs a table [{method.value}] that says how")
    if "ask" in table.members and Method.ASK not in used and group.taken is not TakenRule.PERSON:
        refuse(
            "ask", 'nobody is asked; add "ask" to methods or write taken = "person", or take this table out'
        )


def _ways(table: Table) -> tuple[Way, ...]:
    ways = table.must("methods", table.texts("methods", MAX_WAYS, _way))
    if not ways:
        refuse("methods", "it is empty; name at least one method")
    return ways


def _way(text: str) -> Way:
    """``factory + webhook``; raises ValueError."""
    names = [each.strip(" \t") for each in text[:_LONGEST].split("+")]
    known = [each.value for each in Method if each is not Method.OPEN]
    for name in names:
        if name not in known:
            raise ValueError(f"{shown(name)} is no method{instead(name, known)}")
    methods = frozenset(Method(name) for name in names)
    if len(methods) < len(names):
        raise ValueError("a method stands there twice")
    for one, other, why in _RIVALS:
        if {one, other} <= methods:
            raise ValueError(f"{one} and {other} cannot be demanded together: {why}; write two ways")
    return Way(methods)


def _taken(table: Table) -> TakenRule:
    word = table.text("taken")
    if word is None:
        return TakenRule.REFUSE
    if word not in list(TakenRule):
        refuse("taken", f"it takes {', '.join(TakenRule)}{meant(word, list(TakenRule))}")
    return TakenRule(word)


def _rate(table: Table) -> Rate | None:
    text = table.text("rate")
    if text is None:
        return None
    match = _RATE.fullmatch(text)
    if match is None:
        refuse("rate", 'it takes a number, a slash and s, m, h or d, such as "100/h"')
    if not 1 <= int(match[1]) <= MAX_RATE:
        refuse("rate", f"it takes 1 to {MAX_RATE}")
    return Rate(int(match[1]), timedelta(seconds=UNITS[match[2]]))


def _network(text: str) -> Network:
    """``10.0.0.0/8``; raises ValueError."""
    try:
        network = ip_network(text[:_LONGEST], strict=False)
    except ValueError:
        raise ValueError(f"{shown(text)} is no network, such as 10.0.0.0/8 or 2001:db8::/32") from None
    written = text.partition("/")[0]
    if "%" in text or ip_address(written) != network.network_address:
        raise ValueError(f"{shown(text)} says more than the network; write {network}")
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        plain = ip_network((network.network_address.packed[12:], network.prefixlen - 96))
        raise ValueError(f"{shown(text)} is IPv4 in the clothes of IPv6; write {plain}")
    return network


# ── where it stands ───────────────────────────────────────────────────────────────────────────────────


def _line_of(text: str, where: str) -> int | None:
    """The line of ``give.type, entry 2``, where a line begins with that key; the first if there are more."""
    path = where.partition(",")[0]
    for number, key in _keys(text):
        if key == path:
            return number
    return None


def _keys(text: str) -> Iterator[tuple[int, str]]:
    """Lines that begin with a key or a table, and its path: good enough to point at."""
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if match := _SECTION.match(line):
            section = match[1]
            yield number, section
        elif match := _KEY.match(line):
            yield number, f"{section}.{match[1]}" if section else match[1]
