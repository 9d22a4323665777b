"""What the reader and lint of groups promise of any file: a round trip, and no crash whatever is in it."""

import tomllib
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from keyborn.domain.errors import InvalidGroup
from keyborn.domain.group import EnrollmentGroup
from keyborn.domain.group_file import KEYS, parse_group, parse_kept_group
from keyborn.domain.group_findings import meet
from keyborn.domain.group_lint import lint
from keyborn.domain.group_tables import ASK_KEYS, FACTORY_KEYS, GIVE_KEYS, OIDC_KEYS, WEBHOOK_KEYS
from keyborn.domain.group_words import write_span
from support.group_stage import HERE, factory, mended, text, write_toml
from support.walks import examples

WAYS = [
    "token", "oidc", "group-key", "factory", "registered", "ask", "webhook", "token + ask",
    "factory + webhook", "group-key + registered", "registered + ask + webhook", "oidc + webhook",
    "token + group-key",
]  # fmt: skip
names = st.text("abc09.-_", min_size=1, max_size=12).map(lambda text: f"g{text}")
patterns = st.text("ab09:_-*?", min_size=1, max_size=12)
attribute = st.text("abc@/#", min_size=1, max_size=5)
words = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=12)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds
spans = st.integers(60, 10**6).map(lambda seconds: write_span(timedelta(seconds=seconds)))
policies = st.lists(st.text("abc+=@", min_size=1, max_size=4), unique=True, max_size=4)
networks = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.integers(0, 255).map(lambda each: f"{each}.0.0.0/8"),
    st.just("2001:db8::/32"),
)
claims = st.dictionaries(words, words, max_size=3)
templates = st.sampled_from(["{sub}", "a-{sub}-*", "{https://x.y/z}", "fixed", "a?{b}"])
gives = st.fixed_dictionaries(
    {},
    optional={
        "attributes": st.dictionaries(
            attribute.map("X{}".format), st.text("abc", min_size=1, max_size=4), max_size=3
        ),
        "device-attributes": st.lists(attribute, unique=True, max_size=3),
        "type": st.text("ab:_-9", min_size=1, max_size=9),
        "policies": policies,
        "lifetime": spans,
    },
)
oidcs = st.fixed_dictionaries(
    {"issuer": st.just("https://id.example.com/realm"), "audience": words, "name": templates},
    optional={"claims": claims},
)
webhooks = st.fixed_dictionaries(
    {"url": st.sampled_from(["https://mes.example.com:8443/a?b=c", "http://[::1]/"])},
    optional={
        "timeout": st.integers(1, 10).map(lambda each: f"{each}s"),
        "attributes": st.lists(attribute, unique=True, max_size=3),
        "policies": policies,
    },
)
asks = st.fixed_dictionaries({}, optional={"wait": spans, "pending": st.integers(1, 100_000)})


@st.composite
def files(draw: st.DrawFn) -> dict[str, Any]:
    """The keys of a group's file that is in order."""
    ways = draw(st.lists(st.sampled_from(WAYS), min_size=1, max_size=4, unique=True))
    whole: dict[str, Any] = {"name": draw(names), "things": draw(patterns), "methods": ways}
    opens = draw(st.none() | moments)
    optional = {
        "taken": draw(st.none() | st.sampled_from(["refuse", "person", "replace"])),
        "limit": draw(st.none() | st.integers(1, 10**9)),
        "rate": draw(st.none() | st.builds("{}/{}".format, st.integers(1, 10**6), st.sampled_from("smhd"))),
        "networks": draw(st.none() | st.lists(networks, max_size=3, unique=True)),
        "opens": opens,
        "closes": None
        if opens is None
        else opens + draw(st.timedeltas(timedelta(seconds=1), timedelta(days=9))),
        "give": draw(st.none() | gives),
        "factory": factory(name="m-{serial}") if "factory" in " ".join(ways) else None,
        "oidc": draw(oidcs) if "oidc" in " ".join(ways) else None,
        "webhook": draw(webhooks) if "webhook" in " ".join(ways) else None,
        "ask": draw(asks) if "ask" in " ".join(ways) else None,
    }
    return whole | {name: value for name, value in optional.items() if value is not None}


def written(group: EnrollmentGroup) -> dict[str, Any]:
    """The keys of a file that says the same, written without looking at the one that was read."""
    give: dict[str, Any] = {
        "attributes": dict(group.attributes),
        "device-attributes": list(group.device_attributes),
        "type": group.thing_type,
        "policies": None if group.policies is None else list(group.policies),
        "lifetime": None if group.lifetime is None else write_span(group.lifetime),
    }
    rate = group.rate
    units = {1: "s", 60: "m", 3600: "h", 86400: "d"}
    tables: dict[str, Any] = {"give": give}
    if group.factory is not None:
        tables["factory"] = {"authorities": group.factory.authorities_pem, "name": group.factory.name}
    if (oidc := group.oidc) is not None:
        tables["oidc"] = {
            "issuer": oidc.issuer, "audience": oidc.audience, "name": oidc.name, "claims": dict(oidc.claims),
        }  # fmt: skip
    if (hook := group.webhook) is not None:
        tables["webhook"] = {
            "url": hook.url, "timeout": write_span(hook.timeout), "attributes": list(hook.attributes),
            "policies": list(hook.policies),
        }  # fmt: skip
    if any("ask" in str(way) for way in group.ways):
        tables["ask"] = {"wait": write_span(group.ask.wait), "pending": group.ask.pending}
    whole = {
        "name": group.name,
        "things": group.things.pattern,
        "methods": [str(way) for way in group.ways],
        "taken": group.taken.value,
        "limit": group.limit,
        "rate": None if rate is None else f"{rate.count}/{units[int(rate.period.total_seconds())]}",
        "networks": [str(each) for each in group.networks],
        "opens": group.opens,
        "closes": group.closes,
    }
    return _given(whole | {name: _given(table) for name, table in tables.items()})


def _given(table: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if value is not None}


@given(files())
@settings(max_examples=examples(120), deadline=None)
def test_a_group_that_is_written_again_is_the_same(given: dict[str, Any]) -> None:
    group = parse_group(write_toml(given))
    assert parse_group(write_toml(written(group))) == group


@given(files())
@settings(max_examples=examples(120), deadline=None)
def test_lint_says_what_to_write_of_any_group_and_it_helps(given: dict[str, Any]) -> None:
    source = write_toml(given)
    for finding in lint(parse_group(source), HERE):
        if finding.corrected is None:
            continue
        better = lint(parse_group(mended(source, finding)), HERE)
        places = [(each.code, each.where) for each in better]
        assert (finding.code, finding.where) not in places or finding.code == "idle_way", finding


ALL_KEYS = sorted(
    {*KEYS, *GIVE_KEYS, *OIDC_KEYS, *WEBHOOK_KEYS, *ASK_KEYS, *FACTORY_KEYS, "x", "authorities-file"}
)
leaves = st.one_of(
    st.text(max_size=8), st.integers(), st.booleans(), st.floats(allow_nan=False),
    moments, st.lists(st.text(max_size=4), max_size=3),
    st.sampled_from([*WAYS, "1h", "5/h", "*", "https://a", "{sub}", "{", "a" * 300, "10.0.0.0/8", "::/0"]),
    st.lists(st.sampled_from(WAYS), max_size=3),
)  # fmt: skip
tables = st.recursive(
    leaves, lambda inner: st.dictionaries(st.sampled_from(ALL_KEYS), inner, max_size=5), max_leaves=12
)


@given(st.dictionaries(st.sampled_from(ALL_KEYS), tables, max_size=9), st.booleans())
@settings(max_examples=examples(200), deadline=None)
def test_no_file_does_anything_but_parse_or_be_refused(given: dict[str, Any], whole: bool) -> None:  # noqa: FBT001 - drawn
    given = {"name": "a", "things": "*", "methods": ["token"], **given} if whole else given
    check(write_toml(given))


@given(st.text(max_size=60), st.integers(0, 500), st.integers(0, 20))
@settings(max_examples=examples(150), deadline=None)
def test_a_damaged_file_is_read_or_refused(noise: str, start: int, length: int) -> None:
    source = text(methods=["factory", "ask"], factory=factory(), give={"attributes": {"a": "1"}})
    check(source[:start] + noise + source[start + length :])


def check(source: str) -> None:
    """It parses, or is refused with one printable sentence; and the registry's reader never raises."""
    with suppress(InvalidGroup):
        lint(parse_group(source), HERE)
    assert (parse_kept_group(source) is None) or tomllib.loads(source)
    try:
        parse_group(source)
    except InvalidGroup as wrong:
        said = str(wrong)
        assert "\n" not in said
        assert len(said) < 2000


@pytest.mark.parametrize("size", [1, 2, 3])
def test_patterns_meet_just_when_some_name_matches_both(size: int) -> None:
    alphabet = "ab"
    every = ["".join(each) for length in range(1, 5) for each in product(alphabet, repeat=length)]
    some = ["".join(each) for each in product("a*?b", repeat=size)]
    other = ["a", "b*", "*a", "?", "a?*", "*b*a", "ab?a", "**", "?*?"]
    for one, two in product(some, other):
        both = any(fnmatchcase(name, one) and fnmatchcase(name, two) for name in every)
        assert meet(one, two) == meet(two, one) == both, (one, two)
