"""Groups that fall into lint's traps, one for each way in."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.group_findings import Around
from keyborn.domain.group_lint import Severity
from keyborn.domain.names import GroupName
from support.group_stage import HERE, NOON, OIDC, WEBHOOK, factory
from support.pki import pem, shared_pki

LEAF = pem(shared_pki().devices.leaf("device").certificate)


@dataclass(frozen=True)
class Trap:
    """A group that falls into one, and what lint says of it."""

    code: str
    given: dict[str, Any]
    where: str
    corrected: str | None = None
    severity: Severity = Severity.WARNING
    around: Around = field(default=HERE)


def oidc(**given: object) -> dict[str, Any]:
    return {"methods": ["oidc"], "things": "*", "oidc": OIDC | given}


def made(**given: object) -> dict[str, Any]:
    return {"methods": ["factory"], "factory": factory(**given)}


def hooked(*methods: str, **given: object) -> dict[str, Any]:
    return {"methods": list(methods), "webhook": WEBHOOK | given}


NETWORKS = 'networks = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8"]'
PERSON = 'taken = "person"'
ERROR = Severity.ERROR
KNOWN = replace(HERE, policies=frozenset({PolicyName("known")}))
TRAPS = [
    Trap("webhook_alone", hooked("webhook"), "methods", 'methods = ["token + webhook"]'),
    Trap("webhook_alone", hooked("ask", "webhook"), "methods", 'methods = ["ask", "token + webhook"]'),
    Trap("open_ask", {"methods": ["ask"]}, "networks", NETWORKS),
    Trap("open_ask", {"methods": ["token", "ask"]}, "networks", NETWORKS),
    Trap("open_ask", hooked("ask + webhook"), "networks", NETWORKS),
    Trap("key_without_limit", {"methods": ["group-key"]}, "limit", "limit = 1000"),
    Trap("idle_way", {"methods": ["token", "token + ask"]}, "methods", 'methods = ["token + ask"]'),
    Trap("idle_way", {"methods": ["ask + registered", "ask"]}, "methods", 'methods = ["registered + ask"]'),
    Trap("idle_way", {"methods": ["group-key + ask", "ask"]}, "methods", 'methods = ["group-key + ask"]'),
    Trap("replace_never", hooked("webhook") | {"taken": "replace"}, "taken", PERSON, ERROR),
    Trap("replace_never", oidc(name="line-{sub}-*") | {"taken": "replace"}, "taken", PERSON, ERROR),
    Trap("replace_by_token", {"taken": "replace"}, "taken", PERSON),
    Trap("replace_at_will", {"taken": "replace", "methods": ["group-key"]}, "taken", PERSON),
    Trap("replace_at_will", made() | {"taken": "replace"}, "taken", PERSON),
    Trap("replace_at_will", oidc() | {"taken": "replace"}, "taken", PERSON),
    Trap(
        "http_url",
        oidc(issuer="http://id.example.com"),
        "oidc.issuer",
        'issuer = "https://id.example.com"',
        ERROR,
    ),
    Trap("http_url", oidc(issuer="http://127.0.0.1:9"), "oidc.issuer", 'issuer = "https://127.0.0.1:9"'),
    Trap("http_url", oidc(issuer="http://[::1]:9"), "oidc.issuer", 'issuer = "https://[::1]:9"'),
    Trap(
        "http_url",
        hooked("token + webhook", url="http://localhost/a"),
        "webhook.url",
        'url = "https://localhost/a"',
    ),
    Trap(
        "http_url",
        hooked("token + webhook", url="http://localhost.example.com/a"),
        "webhook.url",
        'url = "https://localhost.example.com/a"',
        ERROR,
    ),
    Trap("same_name", made(name="sensor-1"), "factory.name", 'name = "{common_name}"', ERROR),
    Trap("same_name", oidc(name="sensor-1"), "oidc.name", 'name = "{sub}"', ERROR),
    Trap("nobodys_name", oidc(name="sensor-*"), "oidc.name", 'name = "{sub}"'),
    Trap("authority_unfit", made(authorities=LEAF), "factory.authorities", None, ERROR),
    Trap("authority_expired", made(), "factory.authorities", around=Around(now=NOON + timedelta(days=9000))),
    Trap("any_name", {"things": "*"}, "things", 'things = "line-7-*"'),
    Trap("any_name", {"things": "??*", "name": "a.b"}, "things", 'things = "a-b-*"'),
    Trap("reserved_name", {"things": "Keyborn-*"}, "things", 'things = "my-Keyborn-*"', ERROR),
    Trap(
        "reserved_name",
        {"things": "Gateway"},
        "things",
        'things = "my-Gateway"',
        ERROR,
        replace(HERE, reserved=frozenset({"gateway"})),
    ),
    Trap("reserved_name", made(name="keyborn-{serial}"), "factory.name", None, ERROR),
    Trap("name_never_fits", made(name="pump-{serial}"), "factory.name", None, ERROR),
    Trap(
        "name_never_fits",
        oidc(name="pump-{sub}-*") | {"things": "*-x"} | {"things": "s*"},
        "oidc.name",
        None,
        ERROR,
    ),
    Trap(
        "overlap",
        {},
        "things",
        around=replace(HERE, others={GroupName("b"): "*-7", GroupName("c"): "pump-*"}),
    ),
    Trap("rate_above_limit", {"limit": 50, "rate": "50/h"}, "rate", 'rate = "5/h"'),
    Trap("rate_above_limit", {"limit": 1, "rate": "1/d"}, "rate"),
    Trap("window_past", {"closes": NOON}, "closes"),
    Trap("no_policy", {"give": {"policies": []}}, "give.policies", 'policies = ["keyborn-default"]'),
    Trap("unknown_policy", {"give": {"policies": ["known", "b"]}}, "give.policies", None, ERROR, KNOWN),
    Trap("unknown_policy", hooked("token + webhook", policies=["b"]), "webhook.policies", None, ERROR, KNOWN),
    Trap(
        "self_granted",
        {"give": {"device-attributes": ["line", "serial"]}},
        "give.device-attributes",
        'device-attributes = ["serial"]',
        around=replace(HERE, decided_by={"line": PolicyName("lines")}),
    ),
    Trap(
        "too_many_attributes",
        hooked("token + webhook", attributes=["a", "b"])
        | {"give": {"attributes": {"c": "1"}, "device-attributes": ["d"]}},
        "give.attributes",
    ),
    Trap("lifetime_long", {"give": {"lifetime": "1826d"}}, "give.lifetime", 'lifetime = "365d"'),
    Trap(
        "lifetime_fixed",
        {"give": {"lifetime": "30d"}},
        "give.lifetime",
        None,
        ERROR,
        replace(HERE, own_dates=False),
    ),
]
