"""What a request says about where it comes from (design PROTOCOL, "Open enrolment")."""

import pytest
from starlette.requests import Request

from keyborn.http.guards import credential

HERE = ("host", "127.0.0.1:8443")


def proxied(*headers: tuple[str, str]) -> bool:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    return credential(Request({"type": "http", "headers": raw, "client": ("127.0.0.1", 5)})).proxied


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8443", "localhost:1", "LOCALHOST", "[::1]", "[::1]:8443"]
)
def test_a_request_to_this_machine_is_not_proxied(host: str) -> None:
    assert not proxied(("host", host), ("user-agent", "curl"), ("accept", "*/*"))


@pytest.mark.parametrize("host", ["", "evil.example", "evil.example:8443", "127.0.0.1.evil.example", "[::2]"])
def test_a_foreign_host_is_a_proxy_s(host: str) -> None:
    assert proxied(("host", host))


def test_no_host_and_two_hosts_are_nobody_here() -> None:
    assert proxied()
    assert proxied(HERE, ("host", "evil.example"))


@pytest.mark.parametrize(
    "name",
    [
        "forwarded",
        "via",
        "x-forwarded",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-real-ip",
        "x-client-ip",
        "cf-connecting-ip",
        "true-client-ip",
        "x-envoy-external-address",
    ],
)
def test_a_forwarding_header_gives_a_proxy_away(name: str) -> None:
    assert proxied(HERE, (name, "x"))


@pytest.mark.parametrize("name", ["origin", "sec-fetch-site"])
def test_a_page_in_a_browser_is_not_somebody_here(name: str) -> None:
    assert proxied(HERE, (name, "https://evil.example"))
