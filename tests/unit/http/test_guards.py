"""What every request passes before a use case sees it."""

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st
from starlette.requests import Request

from keyborn.domain.errors import CredentialRefused, KeybornError, MalformedRequest, TooLarge
from keyborn.http.bodies import EnrollBody, LegacyBody
from keyborn.http.guards import MAX_BODY, credential, parse_json, read_body

ENROLL = msgspec.json.Decoder(EnrollBody)
LEGACY = msgspec.json.Decoder(LegacyBody)


class Sent:
    """A request as ASGI delivers it, and how much of its body was asked for."""

    def __init__(
        self, *chunks: bytes, headers: Iterable[tuple[str, str]] = (), client: str | None = "127.0.0.1"
    ) -> None:
        self.read = 0
        self._chunks = list(chunks)
        scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": "/",
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
            "client": (client, 1) if client else None,
        }
        self.request = Request(scope, self._receive)

    async def _receive(self) -> dict[str, Any]:
        chunk = self._chunks.pop(0) if self._chunks else b""
        self.read += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": bool(self._chunks)}


async def test_a_body_is_read_whole_however_it_is_cut() -> None:
    sent = Sent(b"ab", b"", b"c", headers=[("content-length", "3")])
    assert await read_body(sent.request) == b"abc"


async def test_a_declared_length_over_the_limit_is_refused_without_reading_a_byte() -> None:
    sent = Sent(b"x" * 100, headers=[("content-length", str(MAX_BODY + 1))])
    with pytest.raises(TooLarge):
        await read_body(sent.request)
    assert sent.read == 0


async def test_a_body_without_a_length_is_refused_at_the_first_chunk_over_the_limit() -> None:
    sent = Sent(*[b"x" * 10_000] * 10)
    with pytest.raises(TooLarge):
        await read_body(sent.request)
    assert sent.read == 20_000


@pytest.mark.parametrize("length", ["-1", "+1", "1e3", "0x10", "", "1,1", " 1", "\u00b2"])
async def test_a_length_that_is_no_number_is_refused(length: str) -> None:
    with pytest.raises(MalformedRequest, match="Content-Length"):
        await read_body(Sent(headers=[("content-length", length)]).request)


@pytest.mark.parametrize("length", ["9" * 100, "9" * 4301])
async def test_a_length_of_absurd_size_costs_nothing(length: str) -> None:
    with pytest.raises(TooLarge):
        await read_body(Sent(headers=[("content-length", length)]).request)


def refusal(raw: bytes, decoder: msgspec.json.Decoder[EnrollBody] | msgspec.json.Decoder[LegacyBody]) -> str:
    """The sentence that refuses these bytes, or nothing."""
    try:
        parse_json(raw, decoder)  # type: ignore[misc]  # one of two decoders, whose answer does not matter
    except MalformedRequest as refused:
        return str(refused)
    return ""


@given(st.binary(max_size=300))
def test_any_bytes_are_a_body_or_a_sentence(raw: bytes) -> None:
    for decoder in (ENROLL, LEGACY):
        assert refusal(raw, decoder).isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_a_body_or_a_sentence(value: object) -> None:
    sentence = refusal(msgspec.json.encode(value), ENROLL)
    assert not sentence or "JSON object with thingName and csr" in sentence


@given(st.text(min_size=1), st.text(min_size=1))
def test_strings_pass_unchanged(name: str, csr: str) -> None:
    try:
        raw = msgspec.json.encode({"thingName": name, "csr": csr})
    except UnicodeEncodeError:  # a lone surrogate is no JSON
        return
    body = parse_json(raw, ENROLL)
    assert (body.thing_name, body.csr) == (name, csr)


def test_an_unknown_member_is_refused_at_the_front_door_and_ignored_at_the_compatibility_door() -> None:
    raw = b'{"thingName": "a", "csr": "b", "deviceId": 1}'
    with pytest.raises(MalformedRequest, match="deviceId"):
        parse_json(raw, ENROLL)
    assert parse_json(raw, LEGACY).thing_name == "a"


def test_the_sentence_names_the_member_that_is_wrong() -> None:
    with pytest.raises(MalformedRequest, match=r"\$\.csr"):
        parse_json(b'{"thingName": "a", "csr": 5}', ENROLL)


def test_deep_nesting_is_refused_not_followed() -> None:
    with pytest.raises(MalformedRequest):
        parse_json(b"[" * 16_000, ENROLL)


@pytest.mark.parametrize(
    ("header", "bearer"),
    [("Bearer abc", "abc"), ("bearer abc", "abc"), ("BEARER abc", "abc"), ("Bearer ", ""), ("Bearer", "")],
)
def test_the_bearer_is_what_follows_the_scheme(header: str, bearer: str) -> None:
    assert credential(Sent(headers=[("Authorization", header)]).request).bearer == bearer


def test_no_header_is_no_credential() -> None:
    assert credential(Sent().request).bearer is None


@pytest.mark.parametrize("header", ["Basic YTpi", "", "abc", "Digest x", "Bearer2 abc"])
def test_another_scheme_is_refused(header: str) -> None:
    with pytest.raises(CredentialRefused):
        credential(Sent(headers=[("Authorization", header)]).request)


def test_two_credentials_are_refused() -> None:
    headers = [("Authorization", "Bearer a"), ("Authorization", "Bearer b")]
    with pytest.raises(CredentialRefused):
        credential(Sent(headers=headers).request)


@pytest.mark.parametrize("name", ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via"])
def test_a_forwarding_header_is_noticed_and_never_believed(name: str) -> None:
    shown = credential(Sent(headers=[("Host", "localhost"), (name, "192.0.2.9")]).request)
    assert shown.proxied
    assert shown.source == "127.0.0.1"


@pytest.mark.parametrize(
    ("host", "proxied"),
    [
        ("localhost", False), ("localhost:8443", False), ("127.0.0.1:8443", False), ("[::1]:8443", False),
        ("[::1]", False), ("LOCALHOST", False), ("evil.example", True), ("localhost.evil.example", True),
        ("127.0.0.1.evil.example:8443", True), ("[::2]:1", True), ("", True), ("localhost:1:2", True),
    ],
)  # fmt: skip
def test_a_host_that_is_not_this_machine_is_noticed(host: str, *, proxied: bool) -> None:
    assert credential(Sent(headers=[("Host", host)]).request).proxied is proxied


def test_a_request_without_a_host_is_not_plainly_local() -> None:
    assert credential(Sent().request).proxied


def test_a_caller_without_an_address_is_nobody() -> None:
    assert credential(Sent(client=None).request).source == ""


@given(
    st.lists(
        st.tuples(st.sampled_from(["Authorization", "Host", "Via"]), st.text(st.characters(codec="latin-1")))
    )
)
def test_any_headers_are_a_credential_or_a_refusal(headers: list[tuple[str, str]]) -> None:
    try:
        shown = credential(Sent(headers=headers).request)
    except KeybornError:
        return
    assert shown.bearer is None or shown.bearer not in repr(shown) or len(shown.bearer) < 4
