"""Traps about who gets in: ways that anybody may try, what a credential is good for, whom it is asked of.

Sources: RFC 8414, 2 (an issuer is an https URL); RFC 5280, 4.2.1.9 (what a CA certificate says of itself).
"""

from collections.abc import Iterator
from datetime import datetime
from ipaddress import ip_address
from urllib.parse import urlsplit

from cryptography import x509

from keyborn.domain.access_policy.lint_words import Finding, listed
from keyborn.domain.group import EnrollmentGroup, TakenRule
from keyborn.domain.group_findings import (
    Around,
    error,
    line,
    methods_line,
    uses,
    warning,
    without_credential,
)
from keyborn.domain.method import Method, Way
from keyborn.domain.moment import shown
from keyborn.domain.name_template import fields_of

_PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8")
_PLACES = 1000
_PERSON = line("taken", TakenRule.PERSON.value)
_WEBHOOK_ALONE = Way(frozenset({Method.WEBHOOK}))
_TOKEN_TOO = Way(frozenset({Method.TOKEN, Method.WEBHOOK}))
_LASTING = {
    Method.GROUP_KEY: "the key derived for it",
    Method.FACTORY: "its manufacturer's certificate and key",
    Method.OIDC: "a token of its identity provider",
}


def webhook_alone(group: EnrollmentGroup, _: Around) -> Iterator[Finding]:
    """Nothing is shown: the webhook hears of every stranger's wish, and decides by what a stranger says."""
    if _WEBHOOK_ALONE in group.ways:
        ways = (_TOKEN_TOO if way == _WEBHOOK_ALONE else way for way in group.ways)
        yield warning(
            "webhook_alone",
            "methods",
            "With webhook alone anybody may try, and the service that is asked has nothing to judge by but "
            "what the caller says of itself. Demand something with it.",
            methods_line(ways),
        )


def open_ask(group: EnrollmentGroup, _: Around) -> Iterator[Finding]:
    """Anybody anywhere may fill the list that people work through."""
    asked = [way for way in without_credential(group) if Method.ASK in way.methods]
    if group.networks or group.limit is not None:
        return
    if any(Method.REGISTERED not in way.methods for way in asked):
        yield warning(
            "open_ask",
            "networks",
            "Anybody who reaches the service may put requests before your operators, from any network and "
            "without a limit. Say from which networks devices come, or how many there will be.",
            line("networks", _PRIVATE),
        )


def key_without_limit(group: EnrollmentGroup, _: Around) -> Iterator[Finding]:
    """One secret that got out enrols as many devices as somebody likes."""
    if uses(group, Method.GROUP_KEY) and group.limit is None:
        yield warning(
            "key_without_limit",
            "limit",
            "Who learns the group key may enrol any number of devices. Say how many there will be.",
            line("limit", _PLACES),
        )


def idle_way(group: EnrollmentGroup, _: Around) -> Iterator[Finding]:
    """Any way is enough: what one demands more than another is not demanded."""
    for way in group.ways:
        weaker = next((each for each in group.ways if each.methods < way.methods), None)
        if weaker is not None:
            yield warning(
                "idle_way",
                "methods",
                f"Any one way is enough: who is refused by {way} still gets in by {weaker}, which demands "
                "less of the same. Take one of the two out.",
                methods_line(each for each in group.ways if each != weaker),
            )
            return


def replace_never(group: EnrollmentGroup, _: Around) -> Iterator[Finding]:
    """Replacing takes a credential for one name, and no way here has one."""
    if group.taken is TakenRule.REPLACE and not any(_binds(group, way) for way in group.ways):
        yield error(
            "replace_never",
            "taken",
            "Only a credential that is good for just one name replaces a key, and no way of this group has "
            "one: nothing is ever replaced.",
            _PERSON,
        )


def _binds(group: EnrollmentGroup, way: Way) -> bool:
    """Whether the way proves one exact name."""
    if {Method.TOKEN, Method.GROUP_KEY, Method.FACTORY, Method.REGISTERED, Method.ASK} & way.methods:
        return True
    oidc = group.oidc
    return Method.OIDC in way.methods and oidc is not None and not set("*?") & set(oidc.name)


def replace_by_token(group: EnrollmentGroup, _: Around) -> Iterator[Finding]:
    """A token for a pattern replaces nothing, whatever its group says."""
    if group.taken is TakenRule.REPLACE and uses(group, Method.TOKEN):
        yield warning(
            "replace_by_token",
            "taken",
            "A token replaces a key only if it is for one name and was made for that (--thing NAME "
            "--replace); one for a pattern never does. If that is not what is meant, let a person decide.",
            _PERSON,
        )


def replace_at_will(group: EnrollmentGroup, _: Around) -> Iterator[Finding]:
    """A credential that lasts takes the name again and again, for whoever copied it."""
    lasting = [words for method, words in _LASTING.items() if uses(group, method)]
    if group.taken is TakenRule.REPLACE and lasting:
        yield warning(
            "replace_at_will",
            "taken",
            f"Whoever copies from a device {' or '.join(lasting)} takes over its name whenever they like, as "
            "long as that credential lasts. Let a person decide.",
            _PERSON,
        )


def http_url(group: EnrollmentGroup, _: Around) -> Iterator[Finding]:
    """Without TLS whoever is on the way says who may enrol."""
    urls = (
        ("oidc.issuer", "issuer", group.oidc and group.oidc.issuer),
        ("webhook.url", "url", group.webhook and group.webhook.url),
    )
    for where, key, url in urls:
        if not url or not url.startswith("http:"):
            continue
        make = warning if _is_loopback(url) else error
        yield make(
            "http_url",
            where,
            "Without TLS whoever is on the way answers in its place, and says who may enrol. Only on this "
            "very machine, as in a trial, nobody is on the way.",
            line(key, f"https{url.removeprefix('http')}"),
        )


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def same_name(group: EnrollmentGroup, _: Around) -> Iterator[Finding]:
    """A template without anything in braces gives every device one name, which only the first has."""
    for where, name, instead in _templates(group):
        if not fields_of(name) and not set("*?") & set(name):
            yield error(
                "same_name",
                where,
                f"Every device would be called {name}: the first gets the name, and all others are refused. "
                "Put in what tells them apart.",
                line("name", instead),
            )


def nobodys_name(group: EnrollmentGroup, _: Around) -> Iterator[Finding]:
    """A pattern without anything in braces lets every holder of a token have any of the names."""
    for where, name, instead in _templates(group):
        if not fields_of(name) and set("*?") & set(name):
            yield warning(
                "nobodys_name",
                where,
                f"Whoever has a token of the issuer may take any name that {name} covers, whoever it was "
                "issued to. Put in what tells them apart.",
                line("name", instead),
            )


def _templates(group: EnrollmentGroup) -> Iterator[tuple[str, str, str]]:
    if group.factory is not None:
        yield "factory.name", group.factory.name, "{common_name}"
    if group.oidc is not None:
        yield "oidc.name", group.oidc.name, "{sub}"


def authority_unfit(group: EnrollmentGroup, _: Around) -> Iterator[Finding]:
    """A certificate that is no authority's ends no chain."""
    unfit = [each for each in _authorities(group) if not _is_authority(each)]
    if unfit:
        yield error(
            "authority_unfit",
            "factory.authorities",
            f"{_names(unfit)} may not sign certificates, so no chain ends there. Give the certificates of "
            "the manufacturer's authorities, not a device's.",
        )


def authority_expired(group: EnrollmentGroup, around: Around) -> Iterator[Finding]:
    """Nothing under it counts any more."""
    now = around.now
    late = [] if now is None else [each for each in _authorities(group) if _is_over(each, now)]
    if late:
        last = shown(max(each.not_valid_after_utc for each in late))
        yield warning(
            "authority_expired",
            "factory.authorities",
            f"{_names(late)} has expired (the last on {last}): devices with certificates from there are "
            "refused. Ask the manufacturer for the one in use.",
        )


def _authorities(group: EnrollmentGroup) -> list[x509.Certificate]:
    if group.factory is None:
        return []
    return x509.load_pem_x509_certificates(group.factory.authorities_pem.encode())


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _is_over(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_after_utc < now


def _names(certificates: list[x509.Certificate]) -> str:
    """Their subjects; hostile ones are cut and shown as ASCII."""
    return listed(tuple(ascii(each.subject.rfc4514_string()[:80]) for each in certificates[:3]))
