"""Group files: what is read, and what is refused with a sentence about place and remedy."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import pytest

from keyborn.domain.group import (
    AskRule,
    EnrollmentGroup,
    FactoryRule,
    GroupDocument,
    OidcRule,
    Rate,
    TakenRule,
    WebhookRule,
)
from keyborn.domain.group_file import parse_group, parse_kept_group, read_group
from keyborn.domain.method import Method, Way
from keyborn.domain.names import GroupName, NameScope
from support.group_stage import FACTORY, NOON, OIDC, WEBHOOK, factory, maker_pem, refused, text
from support.pki import shared_pki

WHOLE = '''\
# line 7, in git
name = "line-7"
things = "sensor-*"
methods = ["group-key", "factory + webhook", "oidc", "token", "registered", "ask"]
taken = "person"
limit = 500
rate = "100/h"
networks = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"]
opens = 2026-11-01T00:00:00Z
closes = 2027-11-01T02:00:00+02:00
[give]
attributes = { line = "7" }
device-attributes = ["serial"]
type = "sensor"
policies = ["line-7"]
lifetime = "30d"
[factory]
authorities = """
MAKER"""
name = "{common_name}"
[oidc]
issuer = "https://id.example.com"
audience = "keyborn"
name = "line-{https://example.com/line}-*"
[oidc.claims]
factory = "7"
[webhook]
url = "https://mes.example.com/may-enroll?line=7"
timeout = "3s"
attributes = ["line"]
policies = ["line-7"]
[ask]
wait = "24h"
pending = 1000
'''.replace("MAKER", maker_pem())


def test_a_whole_file_becomes_values() -> None:
    assert parse_group(WHOLE) == EnrollmentGroup(
        name=GroupName("line-7"),
        things=NameScope("sensor-*"),
        ways=(
            Way(frozenset({Method.GROUP_KEY})),
            Way(frozenset({Method.FACTORY, Method.WEBHOOK})),
            Way(frozenset({Method.OIDC})),
            Way(frozenset({Method.TOKEN})),
            Way(frozenset({Method.REGISTERED})),
            Way(frozenset({Method.ASK})),
        ),
        attributes={"line": "7"},
        device_attributes=("serial",),
        thing_type="sensor",
        policies=parse_group(WHOLE).policies,
        lifetime=timedelta(days=30),
        limit=500,
        rate=Rate(100, timedelta(hours=1)),
        networks=(ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"), ip_network("192.0.2.7")),
        opens=datetime(2026, 11, 1, tzinfo=UTC),
        closes=datetime(2027, 11, 1, tzinfo=UTC),
        taken=TakenRule.PERSON,
        factory=FactoryRule(maker_pem(), "{common_name}"),
        oidc=OidcRule(
            "https://id.example.com", "keyborn", "line-{https://example.com/line}-*", {"factory": "7"}
        ),
        webhook=WebhookRule(
            "https://mes.example.com/may-enroll?line=7",
            attributes=("line",),
            policies=parse_group(WHOLE).policies or (),
        ),
        ask=AskRule(timedelta(days=1), 1000),
    )
    assert parse_group(WHOLE).policies == ("line-7",)


def test_three_keys_are_enough() -> None:
    small = parse_group('name = "a"\nthings = "b"\nmethods = ["token"]')
    assert small == EnrollmentGroup(GroupName("a"), NameScope("b"), (Way(frozenset({Method.TOKEN})),))
    assert small.policies is None


def test_an_empty_list_of_policies_is_none_at_all() -> None:
    assert parse_group(text(give={"policies": []})).policies == ()


def test_a_group_of_another_keyborn_opens_no_door() -> None:
    assert parse_kept_group(text(methods=["telepathy"])) is None
    assert parse_kept_group(
        text(),
    ) == parse_group(text())


def test_a_document_is_read_only_under_its_own_name() -> None:
    kept = GroupDocument(GroupName("line-7"), text(), NOON)
    assert read_group(kept) == parse_group(text())
    assert read_group(GroupDocument(GroupName("line-8"), text(), NOON)) is None


KEYED = shared_pki().root.key
LONG = "x" * 65
FILES = [
    ("", "the file", "no name"),
    ("name = ", "the file", "not TOML"),
    ("\ufeffname = 'a'", "line 1", "byte order mark"),
    ("x = " + "9" * 5000, "the file", "not TOML"),
    ("x = " + "[" * 5000, "the file", "nested too deeply"),
    ("a." * 400 + "b = 1", "the file", "dots"),
    ("# " + "x" * 65536, "the file", "more than 65536 bytes"),
    ("# " + "ü" * 33000, "the file", "more than 65536 bytes"),
    ("# \ud800", "the file", "surrogate"),
    ("name = 'a'\nname = 'b'", "the file", "not TOML"),
]


@pytest.mark.parametrize(("source", "where", "detail"), FILES, ids=range(len(FILES)))
def test_what_is_no_such_file_is_refused(source: str, where: str, detail: str) -> None:
    place, says = refused(source)
    assert (place, detail in says) == (where, True), says


KEYS = [
    ({"name": "Line 7"}, "line 1, name", "1 to 64 of a-z"),
    ({"name": 7}, "line 1, name", "a whole number, not a string"),
    ({"name": None}, "the file", "no name"),
    ({"things": None}, "the file", "no things"),
    ({"things": ""}, "line 2, things", "empty"),
    ({"things": "sensor.*"}, "line 2, things", "cannot be part of the pattern"),
    ({"things": "x" * 65}, "line 2, things", "65 characters"),
    ({"methods": None}, "the file", "no methods"),
    ({"methods": []}, "line 3, methods", "empty"),
    ({"methods": "token"}, "line 3, methods", "a string, not a list"),
    ({"methods": [7]}, "line 3, methods, entry 1", "not a string"),
    ({"methods": ["tokn"]}, "line 3, methods, entry 1", "perhaps token is meant"),
    ({"methods": ["open"]}, "line 3, methods, entry 1", "is no method"),
    ({"methods": [""]}, "line 3, methods, entry 1", "is no method"),
    ({"methods": ["token +"]}, "line 3, methods, entry 1", "is no method"),
    ({"methods": ["token\n+ ask"]}, "line 3, methods, entry 1", "is no method"),
    ({"methods": ["token + token"]}, "line 3, methods, entry 1", "twice"),
    ({"methods": ["ask + token", "token+ask"]}, "line 3, methods, entry 2", "there already"),
    ({"methods": ["token + oidc"]}, "line 3, methods, entry 1", "write two ways"),
    ({"methods": ["factory + group-key"]}, "line 3, methods, entry 1", "write two ways"),
    ({"methods": ["token"] * 17}, "line 3, methods", "more than 16"),
    ({"methods": ["factory"]}, "line 3, methods", "needs a table [factory]"),
    ({"methods": ["oidc"]}, "line 3, methods", "needs a table [oidc]"),
    ({"methods": ["ask + webhook"]}, "line 3, methods", "needs a table [webhook]"),
    ({"webhook": WEBHOOK}, "line 5, webhook", "methods does not use it"),
    ({"oidc": OIDC}, "line 5, oidc", "methods does not use it"),
    ({"factory": factory()}, "line 5, factory", "methods does not use it"),
    ({"ask": {}}, "line 5, ask", "nobody is asked"),
    ({"taken": "replaces"}, "line 4, taken", "perhaps replace is meant"),
    ({"limit": 0}, "line 4, limit", "1 to"),
    ({"limit": True}, "line 4, limit", "true or false, not a whole number"),
    ({"limit": 1.0}, "line 4, limit", "with a point"),
    ({"limit": 10**10}, "line 4, limit", "1 to"),
    ({"rate": "100"}, "line 4, rate", "100/h"),
    ({"rate": "0/h"}, "line 4, rate", "1 to"),
    ({"rate": "9999999/h"}, "line 4, rate", "1 to"),
    ({"rate": "1/w"}, "line 4, rate", "100/h"),
    ({"rate": "\u0661/h"}, "line 4, rate", "100/h"),
    ({"networks": ["10.0.0.1/8"]}, "line 4, networks, entry 1", "write 10.0.0.0/8"),
    ({"networks": ["fe80::1%eth0"]}, "line 4, networks, entry 1", "network"),
    ({"networks": ["::ffff:10.0.0.0/104"]}, "line 4, networks, entry 1", "write 10.0.0.0/8"),
    ({"networks": ["here"]}, "line 4, networks, entry 1", "is no network"),
    ({"networks": ["10.0.0.0/8", "10.0.0.0/255.0.0.0"]}, "line 4, networks, entry 2", "there already"),
    ({"networks": ["10.0.0.0/8"] * 65}, "line 4, networks", "more than 64"),
    ({"opens": datetime(2026, 1, 1)}, "line 4, opens", "no zone"),  # noqa: DTZ001 - that is the point
    ({"opens": "2026-01-01"}, "line 4, opens", "a string, not a moment"),
    ({"opens": datetime(1, 1, 1, tzinfo=UTC)}, "line 4, opens", "no calendar"),
    ({"opens": NOON, "closes": NOON}, "line 5, closes", "not after opens"),
    ({"limits": 5}, "line 4, limits", "perhaps limit is meant"),
    ({"zzz": 5}, "line 4, zzz", "there is name, things"),
    ({"give": {"polices": []}}, "line 6, give.polices", "perhaps policies is meant"),
    ({"give": 5}, "line 4, give", "a whole number, not a table"),
    ({"give": {"attributes": {"line": 7}}}, "line 8, give.attributes.line", "not a string"),
    ({"give": {"attributes": {"a b": "7"}}}, "line 7, give.attributes", "another character"),
    ({"give": {"attributes": dict.fromkeys("abcd", "1")}}, "line 7, give.attributes", "more than 3"),
    (
        {"give": {"device-attributes": ["a b"]}},
        "line 6, give.device-attributes, entry 1",
        "another character",
    ),
    (
        {"give": {"attributes": {"a": "1"}, "device-attributes": ["a"]}},
        "line 6, give.device-attributes",
        "a is in attributes, too",
    ),
    ({"give": {"type": "a b"}}, "line 6, give.type", "1 to 128"),
    ({"give": {"policies": ["a b"]}}, "line 6, give.policies, entry 1", "1 to 128"),
    ({"give": {"policies": [f"p{each}" for each in range(11)]}}, "line 6, give.policies", "more than 10"),
    ({"give": {"lifetime": "30"}}, "line 6, give.lifetime", "such as"),
    ({"give": {"lifetime": "1s"}}, "line 6, give.lifetime", "1m to 3650d"),
    ({"give": {"lifetime": "3651d"}}, "line 6, give.lifetime", "1m to 3650d"),
]


@pytest.mark.parametrize(("given", "where", "detail"), KEYS, ids=lambda each: str(each)[:60])
def test_what_makes_no_sense_is_refused_at_its_place(
    given: dict[str, object], where: str, detail: str
) -> None:
    place, says = refused(text(**given))
    assert (place, detail in says) == (where, True), says


def tabled(method: str, **given: object) -> tuple[str, str]:
    """Where a table of a method is refused, without its line, and the detail."""
    table = {"factory": factory(), "oidc": OIDC, "webhook": WEBHOOK, "ask": {}}[method] | given
    table = {name: value for name, value in table.items() if value is not None}
    where, detail = refused(text(methods=[method], **{method: table}))
    return where.rpartition(", ")[2] if "entry" not in where else where.split(", ")[1], detail


TABLES = [
    ("factory", {"authorities": None}, "factory", "no authorities"),
    ("factory", {"authorities": "x"}, "factory.authorities", "no certificate in PEM"),
    ("factory", {"authorities": maker_pem() * 33}, "factory.authorities", "more than 32"),
    ("factory", {"name": None}, "factory", "no name"),
    ("factory", {"name": "{cn}"}, "factory.name", "not known here"),
    ("factory", {"name": "{common_nam}"}, "factory.name", "perhaps common_name is meant"),
    ("factory", {"name": "sensor-*"}, "factory.name", "cannot be part of a thing name"),
    ("factory", {"name": "sensor-{serial"}, "factory.name", "brace stands alone"),
    ("factory", {"name": "x" * 64 + "{serial}"}, "factory.name", "65 characters or more"),
    ("factory", {"authorities": None, "authorities-file": "a.pem"}, "factory.authorities-file", "put runs"),
    ("factory", {"more": 1}, "factory.more", "there is no such key"),
    ("oidc", {"issuer": None}, "oidc", "no issuer"),
    ("oidc", {"issuer": "id.example.com"}, "oidc.issuer", "takes https://"),
    ("oidc", {"issuer": "ftp://id.example.com"}, "oidc.issuer", "takes https://"),
    ("oidc", {"issuer": "https://a@id.example.com"}, "oidc.issuer", "takes https://"),
    ("oidc", {"issuer": "https://id.example.com/?a"}, "oidc.issuer", "takes https://"),
    ("oidc", {"issuer": "https://id.example.com:0"}, "oidc.issuer", "takes https://"),
    ("oidc", {"issuer": "https://id.example.com:99999"}, "oidc.issuer", "takes https://"),
    ("oidc", {"issuer": "https://id.exämple.com"}, "oidc.issuer", "takes https://"),
    ("oidc", {"issuer": "https://[::1"}, "oidc.issuer", "takes https://"),
    ("oidc", {"audience": ""}, "oidc.audience", "empty"),
    ("oidc", {"audience": "a\nb"}, "oidc.audience", "control character"),
    ("oidc", {"name": "{a b}"}, "oidc.name", "no name of a claim"),
    ("oidc", {"name": ""}, "oidc.name", "empty"),
    ("oidc", {"claims": {"a": 1}}, "oidc.claims.a", "not a string"),
    ("oidc", {"claims": {"": "a"}}, "oidc.claims", "empty"),
    ("oidc", {"claims": {str(each): "a" for each in range(17)}}, "oidc.claims", "more than 16"),
    ("oidc", {"roots": "x"}, "oidc.roots", "no certificate in PEM"),
    ("webhook", {"url": None}, "webhook", "no url"),
    ("webhook", {"url": "https://a/#b"}, "webhook.url", "takes https://"),
    ("webhook", {"timeout": "11s"}, "webhook.timeout", "1s to 10s"),
    ("webhook", {"timeout": "0s"}, "webhook.timeout", "1s to 10s"),
    ("webhook", {"attributes": ["a", "b", "c", "d"]}, "webhook.attributes", "more than 3"),
    ("webhook", {"policies": ["a", "a"]}, "webhook.policies", "there already"),
    ("ask", {"wait": "31d"}, "ask.wait", "1m to 30d"),
    ("ask", {"wait": "1s"}, "ask.wait", "1m to 30d"),
    ("ask", {"pending": 0}, "ask.pending", "1 to 100000"),
]


@pytest.mark.parametrize(("method", "given", "where", "detail"), TABLES, ids=lambda each: str(each)[:40])
def test_a_table_that_makes_no_sense_is_refused(
    method: str, given: dict[str, object], where: str, detail: str
) -> None:
    place, says = tabled(method, **given)
    assert (place, detail in says) == (where, True), says


def test_a_private_key_is_refused_and_not_shown() -> None:
    key = shared_pki().devices.leaf("x").key_pem().decode()
    where, detail = tabled("factory", authorities=maker_pem() + key)
    assert (where, "private key" in detail) == ("factory.authorities", True)
    assert key.splitlines()[1] not in detail


def test_a_hostile_word_is_quoted_and_cut() -> None:
    where, detail = refused(text(methods=["\u202e" + "x" * 300]))
    assert where == "line 3, methods, entry 1"
    assert detail.isascii() or "…" in detail
    assert len(detail) < 300


def test_a_person_is_asked_about_a_taken_name_without_the_method_ask() -> None:
    group = parse_group(text(taken="person", ask={"wait": "1h"}))
    assert group.ask == AskRule(wait=timedelta(hours=1))


def test_a_factory_rule_has_no_key_that_is_not_in_the_template() -> None:
    assert FACTORY["name"] == "{common_name}"
    for field in ("common_name", "serial_number", "serial"):
        source = text(methods=["factory"], factory=factory(name=f"m-{{{field}}}"))
        rule = parse_group(source).factory
        assert rule is not None
        assert rule.name == f"m-{{{field}}}"
