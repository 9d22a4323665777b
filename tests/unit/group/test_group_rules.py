"""Whether a request falls under a rule: from where, when, what is shown, which name, which attributes."""

import ipaddress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from keyborn.domain.errors import (
    AttributeNotPermitted,
    GroupClosed,
    GroupNetworkRefused,
    GroupNotOpen,
    InvalidThingName,
    MalformedRequest,
    MethodNotAccepted,
    NameNotInGroup,
    ReservedThingName,
)
from keyborn.domain.group import TakenRule, account_of
from keyborn.domain.group_rules import (
    attributes_of,
    require_attributes,
    require_name,
    require_not_closed,
    require_open,
    terms_of,
    ways_for,
)
from keyborn.domain.method import Method
from support.group_stage import NOON, OIDC, WEBHOOK, factory, group

SECOND = timedelta(seconds=1)
ANYWHERE = ["192.0.2.7", "::1", "", "somewhere", "unix:"]
METHODS = ["token", "group-key", "registered", "ask", "token + ask", "ask + registered", "group-key + token"]

# ── networks ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("source", ANYWHERE)
def test_without_networks_callers_come_from_anywhere(source: str) -> None:
    require_open(group(), source, NOON)


@pytest.mark.parametrize(
    ("networks", "source"),
    [
        (["10.0.0.0/8"], "10.255.255.255"),
        (["10.0.0.0/8"], "::ffff:10.0.0.1"),
        (["10.0.0.0/8"], "::ffff:a00:1"),
        (["192.0.2.7"], "192.0.2.7"),
        (["2001:db8::/32"], "2001:DB8::1"),
        (["fe80::/10"], "fe80::1%eth0"),
        (["10.0.0.0/8", "192.0.2.0/24"], "192.0.2.7"),
        (["0.0.0.0/0"], "8.8.8.8"),
    ],
)
def test_a_caller_within_a_network_passes(networks: list[str], source: str) -> None:
    require_open(group(networks=networks), source, NOON)


@pytest.mark.parametrize(
    "source",
    [
        "11.0.0.1", "9.255.255.255", "::ffff:11.0.0.1", "::10.0.0.1", "2001:db8::1", "64:ff9b::a00:1", "",
        "10.0.0.1:443", "[10.0.0.1]", "10.0.0", "10.0.0.01", "167772161", "0x0a000001", "10.0.0.1 ",
        "\u0661\u0660.0.0.1",
        "localhost", "%eth0", "10.0.0.1, 11.0.0.1",
    ],
)  # fmt: skip
def test_a_caller_from_elsewhere_or_nowhere_is_refused(source: str) -> None:
    with pytest.raises(GroupNetworkRefused, match="line-7"):
        require_open(group(networks=["10.0.0.0/8"]), source, NOON)


addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6), st.sampled_from([2**24 * 10, 2**24 * 11]))
prefixes = st.integers(0, 24)


@given(source=addresses, base=st.integers(0, 2**32 - 1), prefix=prefixes, mapped=st.booleans())
def test_networks_are_compared_bit_by_bit(source: object, base: int, prefix: int, *, mapped: bool) -> None:
    address = ipaddress.ip_address(source) if isinstance(source, int) else source
    assert isinstance(address, ipaddress.IPv4Address | ipaddress.IPv6Address)
    network = ipaddress.ip_network((base, prefix), strict=False)
    shown = f"::ffff:{address}" if mapped and address.version == 4 else str(address)
    value = int(address)
    if address.version == 6:
        is_mapped = value >> 32 == 0xFFFF
        value = value & 0xFFFFFFFF if is_mapped else -1
    within = value >= 0 and value >> (32 - prefix) == int(network.network_address) >> (32 - prefix)
    rule = group(networks=[str(network)])
    if within:
        require_open(rule, shown, NOON)
    else:
        with pytest.raises(GroupNetworkRefused):
            require_open(rule, shown, NOON)


# ── window ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_group_opens_at_its_moment_to_the_second() -> None:
    rule = group(opens=NOON)
    require_open(rule, "", NOON)
    with pytest.raises(GroupNotOpen, match="2026-11-01T12:00:00Z"):
        require_open(rule, "", NOON - SECOND)


def test_a_closed_group_begins_nothing_new_and_leaves_repeats_to_the_claim() -> None:
    rule = group(closes=NOON)
    require_open(rule, "", NOON)
    terms = terms_of(rule, rule.ways, NOON)
    require_not_closed(terms, NOON - SECOND)
    with pytest.raises(GroupClosed, match="2026-11-01T12:00:00Z"):
        require_not_closed(terms, NOON)
    require_not_closed(terms_of(group(), (), NOON), NOON)


def test_who_comes_from_elsewhere_hears_nothing_of_the_window() -> None:
    with pytest.raises(GroupNetworkRefused):
        require_open(group(networks=["10.0.0.0/8"], opens=NOON), "11.0.0.1", NOON - SECOND)


# ── ways ──────────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.sampled_from(METHODS), min_size=1, unique_by=lambda word: frozenset(word.split(" + "))))
def test_a_way_is_open_to_who_shows_just_what_it_demands(methods: list[str]) -> None:
    rule = group(methods=methods)
    shown_sets = [
        frozenset(each)
        for each in ([], [Method.TOKEN], [Method.GROUP_KEY], [Method.TOKEN, Method.GROUP_KEY], [Method.OIDC])
    ]
    for shown in shown_sets:
        naive = [
            word
            for word in methods
            if {part for part in word.split(" + ") if part in ("token", "group-key")}
            == {each.value for each in shown}
        ]
        try:
            ways = ways_for(rule, shown)
        except MethodNotAccepted:
            assert not naive
            continue
        assert [set(str(way).split(" + ")) for way in ways] == [set(word.split(" + ")) for word in naive]


def test_what_is_not_accepted_is_answered_with_what_is() -> None:
    rule = group(methods=["token", "factory + webhook"], factory=factory(), webhook=WEBHOOK)
    with pytest.raises(MethodNotAccepted) as caught:
        ways_for(rule, frozenset())
    assert caught.value.facts == {
        "group": "line-7", "shown": "nothing", "accepted": "token, factory + webhook",
    }  # fmt: skip
    with pytest.raises(MethodNotAccepted, match=r"\(token \+ factory\)"):
        ways_for(rule, frozenset({Method.FACTORY, Method.TOKEN}))


def test_more_than_what_a_way_demands_opens_nothing() -> None:
    rule = group(methods=["oidc"], oidc=OIDC)
    with pytest.raises(MethodNotAccepted):
        ways_for(rule, frozenset({Method.OIDC, Method.FACTORY}))


# ── names ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_name_of_the_pattern_passes() -> None:
    assert require_name(group(), "sensor-1") == "sensor-1"


@pytest.mark.parametrize("name", ["pump-1", "Sensor-1", "sensor", "xsensor-1"])
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(NameNotInGroup, match=name):
        require_name(group(), name)


@pytest.mark.parametrize("asked", [None, 7, "", "sensor-*", "sensor-1\n", "sensor-" + "x" * 60, ["sensor-1"]])
def test_what_is_no_name_is_refused_as_such(asked: object) -> None:
    with pytest.raises(InvalidThingName):
        require_name(group(things="*"), asked)


def test_a_reserved_name_is_refused_whatever_the_pattern() -> None:
    with pytest.raises(ReservedThingName):
        require_name(group(things="*"), "keyborn-1")


# ── what is given ─────────────────────────────────────────────────────────────────────────────────────


def test_terms_carry_what_the_group_holds_to_and_gives() -> None:
    rule = group(
        methods=["token", "ask"],
        limit=5,
        rate="2/m",
        taken="person",
        closes=NOON + SECOND,
        give={
            "attributes": {"line": "7"},
            "device-attributes": ["serial"],
            "type": "sensor",
            "lifetime": "1d",
        },
    )
    terms = terms_of(rule, rule.ways[:1], NOON)
    assert (terms.group, terms.account, terms.limit) == ("line-7", account_of(rule.name), 5)
    assert terms.rate is not None
    assert (terms.rate.limit, terms.rate.ends_at) == (2, NOON + timedelta(minutes=1))
    assert (terms.attributes, terms.device_attributes) == ({"line": "7"}, ("serial",))
    assert (terms.thing_type, terms.lifetime, terms.taken) == ("sensor", timedelta(days=1), TakenRule.PERSON)
    assert (terms.closes, terms.ways) == (NOON + SECOND, rule.ways[:1])
    assert terms_of(group(), (), NOON).rate is None


def test_a_period_ends_when_the_next_one_begins() -> None:
    rule = group(rate="2/h")
    first = terms_of(rule, (), datetime(2026, 11, 1, 12, 59, 59, tzinfo=UTC)).rate
    second = terms_of(rule, (), datetime(2026, 11, 1, 13, tzinfo=UTC)).rate
    assert first is not None
    assert second is not None
    assert first.ends_at == datetime(2026, 11, 1, 13, tzinfo=UTC)
    assert first.account != second.account


def test_a_device_sets_what_its_group_leaves_to_it() -> None:
    rule = group(give={"attributes": {"line": "7"}, "device-attributes": ["serial"]})
    terms = terms_of(rule, (), NOON)
    for holder in (rule, terms):
        require_attributes(holder, {"serial": "1"})
        require_attributes(holder, None)
        for name in ("line", "Serial", "", "x" * 200):
            with pytest.raises(AttributeNotPermitted, match="line-7"):
                require_attributes(holder, {name: "8"})
    assert attributes_of(terms, {"serial": "1"}) == {"serial": "1", "line": "7"}
    assert attributes_of(terms, None) == {"line": "7"}
    with pytest.raises(MalformedRequest):
        attributes_of(terms, {"serial": "a b"})
    with pytest.raises(AttributeNotPermitted):
        attributes_of(terms, {"line": "8"})
