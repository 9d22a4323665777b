"""Whose word on the caller counts: configured proxies', and nobody else's."""

import json
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, strategies as st
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from keyborn.domain.errors import ClientCertificateRefused
from keyborn.http.guards import credential
from keyborn.http.protocol import UNIX
from keyborn.http.proxies import MAX_CERTIFICATE, MAX_HOPS, BehindProxies, Proxies, read_client_cert

PROXY, STRANGER = "10.0.0.5", "192.0.2.66"
OURS = Proxies.of(["10.0.0.5", "10.1.0.0/16", "2001:db8::/32"])
GOOD = b"a certificate of ours"
TLS: dict[str, Any] = {"tls": {"client_cert_chain": ["seen by our own TLS"]}}
Headers = Sequence[tuple[str, bytes]]


def shown(der: bytes = GOOD) -> tuple[str, bytes]:
    return "Client-Cert", b":" + b64encode(der) + b":"


class Stage:
    """An application behind the proxies' wrapper; ``seen`` is what it was told."""

    def __init__(self, proxies: Proxies = OURS) -> None:
        self.seen: Scope | None = None
        self.app = BehindProxies(self._app, proxies, self._verify)

    async def _app(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        self.seen = scope

    def _verify(self, der: bytes) -> None:
        if der != GOOD:
            raise ClientCertificateRefused(detail="another one")

    async def ask(
        self,
        peer: str | None,
        *headers: tuple[str, bytes],
        tls: bool = False,
        unix: bool = False,
        path: str = "/v1/enroll",
    ) -> dict[str, Any]:
        """The refusal, empty if there was none."""
        sent: list[Message] = []

        async def _send(message: Message) -> None:
            sent.append(message)

        async def _receive() -> Message:
            raise AssertionError("nothing of the body is read here")

        scope: Scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "headers": [(name.lower().encode(), value) for name, value in headers],
            "client": (peer, 4711) if peer is not None else None,
            "extensions": TLS if tls else {UNIX: {}} if unix else {},
        }
        await self.app(scope, _receive, _send)
        answer: dict[str, Any] = json.loads(sent[1]["body"]) if sent else {}
        return answer

    @property
    def chain(self) -> list[str]:
        assert self.seen is not None
        found: list[str] = self.seen["extensions"]["tls"]["client_cert_chain"]
        return found

    @property
    def source(self) -> str:
        assert self.seen is not None
        return credential(Request(self.seen)).source


# ── the caller's address ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("forwarded", "caller"),
    [
        ([b"192.0.2.1"], "192.0.2.1"),
        ([b"203.0.113.9, 192.0.2.1"], "192.0.2.1"),
        ([b"203.0.113.9", b"192.0.2.1"], "192.0.2.1"),
        ([b"203.0.113.9, 192.0.2.1, 10.1.2.3"], "192.0.2.1"),
        ([b"192.0.2.1,10.1.2.3 , 10.0.0.5"], "192.0.2.1"),
        ([b"192.0.2.1:4711"], "192.0.2.1"),
        ([b"[2001:db9::1]:443"], "2001:db9::1"),
        ([b"2001:db9::1, 2001:db8::7"], "2001:db9::1"),
        ([b"::ffff:192.0.2.1"], "192.0.2.1"),
        ([b"203.0.113.9, ::ffff:10.1.2.3"], "203.0.113.9"),
        ([b"10.1.2.3"], "10.1.2.3"),
        ([b"unknown"], ""),
        ([b"192.0.2.1, unknown"], ""),
        ([b"192.0.2.1, "], ""),
        ([b"192.0.2.1\xff"], ""),
        ([b""], ""),
        ([], ""),
    ],
)
async def test_the_first_from_the_right_that_is_no_proxy_of_ours_is_the_caller(
    forwarded: list[bytes], caller: str
) -> None:
    stage = Stage()
    assert not await stage.ask(PROXY, *[("X-Forwarded-For", value) for value in forwarded])
    assert stage.source == caller


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_whatever_a_caller_writes_to_the_left_changes_nothing(written: list[bytes]) -> None:
    assert OURS.caller([*written, b"192.0.2.1, 10.1.0.9"]) == "192.0.2.1"


def test_an_endless_list_of_proxies_is_nobody() -> None:
    assert OURS.caller([b"192.0.2.1" + b", 10.1.0.9" * (MAX_HOPS - 1)]) == "192.0.2.1"
    assert OURS.caller([b"192.0.2.1" + b", 10.1.0.9" * MAX_HOPS]) == ""


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
async def test_a_stranger_s_headers_change_nothing(header: str) -> None:
    stage = Stage()
    assert not await stage.ask(STRANGER, (header, b"10.0.0.5, 127.0.0.1"), tls=True)
    assert stage.source == STRANGER
    assert stage.chain == ["seen by our own TLS"]


async def test_of_a_proxy_only_the_one_header_is_read() -> None:
    stage = Stage()
    assert not await stage.ask(PROXY, ("Forwarded", b"for=192.0.2.1"), ("X-Real-IP", b"192.0.2.1"))
    assert stage.source == ""


@pytest.mark.parametrize("tls", [True, False])
async def test_what_comes_through_a_proxy_is_marked_whatever_its_headers(*, tls: bool) -> None:
    stage = Stage()
    assert not await stage.ask(PROXY, ("Host", b"localhost"), tls=tls)
    assert stage.seen is not None
    assert credential(Request(stage.seen)).proxied


async def test_a_proxy_that_does_not_say_who_calls_is_warned_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage()
    for _ in range(3):
        await stage.ask(PROXY)
    assert [record.message for record in caplog.records if "X-Forwarded-For" in record.message] == [
        "a proxy does not say who calls: have it set X-Forwarded-For. Said once"
    ]


# ── who is a proxy ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("peer", [STRANGER, "10.0.0.6", "::1", "127.0.0.1", "no address", None])
@pytest.mark.parametrize("headers", [(), (("X-Forwarded-For", b"10.0.0.5"), shown())])
async def test_without_tls_only_proxies_are_heard(peer: str | None, headers: Headers) -> None:
    stage = Stage()
    assert (await stage.ask(peer, *headers))["code"] == "proxy_untrusted"
    assert stage.seen is None


@pytest.mark.parametrize("peer", [STRANGER, "127.0.0.1", None])
async def test_by_default_nobody_is_a_proxy(peer: str | None) -> None:
    assert (await Stage(Proxies()).ask(peer))["status"] == 403


@pytest.mark.parametrize("peer", ["10.0.0.5", "10.1.255.1", "::ffff:10.1.2.3", "2001:db8:1::5"])
async def test_addresses_and_networks_are_proxies(peer: str) -> None:
    assert not await Stage().ask(peer)


async def test_who_can_open_the_socket_is_a_proxy() -> None:
    stage = Stage(Proxies(socket=True))
    assert not await stage.ask(None, ("X-Forwarded-For", b"192.0.2.1"), shown(), unix=True)
    assert (stage.source, len(stage.chain)) == ("192.0.2.1", 1)
    assert (await stage.ask("127.0.0.1"))["code"] == "proxy_untrusted"
    assert (await Stage(Proxies()).ask(None, unix=True))["code"] == "proxy_untrusted"


async def test_who_went_before_its_address_was_asked_for_has_not_come_through_the_socket() -> None:
    """A connection that was reset at once has no address any more, as one of a Unix socket has none."""
    stage = Stage(Proxies(socket=True))
    headers = (("X-Forwarded-For", b"192.0.2.1"), shown())
    assert (await stage.ask(None, *headers))["code"] == "proxy_untrusted"
    assert not await stage.ask(None, *headers, tls=True)
    assert (stage.source, stage.chain) == ("", [])


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_whether_the_service_lives_anybody_may_ask(path: str) -> None:
    assert not await Stage().ask(STRANGER, path=path)


@pytest.mark.parametrize("path", ["/healthz/", "/HEALTHZ", "//healthz", "/healthz/../v1/enroll", "/"])
async def test_and_nothing_else(path: str) -> None:
    assert (await Stage().ask(STRANGER, path=path))["code"] == "proxy_untrusted"


# ── the client certificate ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("tls", [True, False])
async def test_a_certificate_that_a_proxy_shows_stands_where_tls_would_put_it(*, tls: bool) -> None:
    stage = Stage()
    assert not await stage.ask(PROXY, shown(), tls=tls)
    (pem,) = stage.chain
    assert b64encode(GOOD).decode() in pem


@pytest.mark.parametrize("tls", [True, False])
async def test_a_proxy_that_shows_none_means_none_and_its_own_is_not_the_caller_s(*, tls: bool) -> None:
    stage = Stage()
    assert not await stage.ask(PROXY, tls=tls)
    assert stage.chain == []


async def test_a_proxy_s_word_is_not_enough() -> None:
    stage = Stage()
    assert (await stage.ask(PROXY, shown(b"a certificate of others")))["code"] == "client_certificate_refused"
    assert stage.seen is None


async def test_a_fault_of_ours_lets_nobody_in() -> None:
    stage = Stage()

    def _fails(_der: bytes) -> None:
        raise RuntimeError("a secret")

    stage.app = BehindProxies(stage.app, OURS, _fails)
    answer = await stage.ask(PROXY, shown())
    assert (answer["status"], answer["code"]) == (500, "internal")
    assert "secret" not in str(answer)
    assert stage.seen is None


@pytest.mark.parametrize("name", ["Client-Cert", "Client-Cert-Chain", "client-cert"])
@pytest.mark.parametrize("value", [shown()[1], b"", b"x"])
async def test_a_stranger_who_shows_one_in_a_header_has_none_and_counts_as_passed_on(
    name: str, value: bytes
) -> None:
    stage = Stage()
    assert not await stage.ask(STRANGER, (name, value), ("Host", b"localhost"), tls=True)
    assert stage.chain == []
    assert TLS["tls"]["client_cert_chain"] == ["seen by our own TLS"], "other requests of the connection"
    assert stage.seen is not None
    assert credential(Request(stage.seen)).proxied


@given(st.binary(min_size=1, max_size=3000))
def test_any_bytes_are_read_back_from_their_one_form(der: bytes) -> None:
    assert read_client_cert([shown(der)[1]]) == der


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b":",
        b"::",
        b"aGVsbG8=",
        b":aGVsbG8=",
        b"aGVsbG8=:",
        b":aGVsbG8:",
        b":aGVsbG9=:",
        b":aGVs bG8=:",
        b":aGVsbG8=:;a=1",
        b":aGVsbG8=:, :aGVsbG8=:",
        b":aGVs-_8=:",
        b":aGVsbG8=:\n",
        b'"aGVsbG8="',
        b"-----BEGIN CERTIFICATE-----",
        b":" + b"AAAA" * (MAX_CERTIFICATE // 4) + b":",
    ],
)
async def test_another_form_of_the_header_is_refused(value: bytes) -> None:
    assert (await Stage().ask(PROXY, ("Client-Cert", value)))["code"] == "client_certificate_refused"


async def test_two_headers_are_refused_even_where_they_are_alike() -> None:
    assert (await Stage().ask(PROXY, shown(), shown()))["code"] == "client_certificate_refused"


@given(st.binary(max_size=200))
def test_hostile_bytes_are_refused_and_nothing_else_happens(value: bytes) -> None:
    try:
        der = read_client_cert([value])
    except ClientCertificateRefused:
        return
    assert value == shown(der)[1]
