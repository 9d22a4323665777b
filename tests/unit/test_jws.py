"""Signed requests: what is read, what is refused, and that no other bytes mean the same."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, strategies as st

from keyborn.domain.errors import JwsMalformed
from keyborn.domain.jws import (
    MAX_JWS,
    MAX_URL,
    Algorithm,
    Protected,
    decode,
    draft,
    encode,
    parse_jws,
)
from keyborn.domain.names import CertificateId

KID = CertificateId("0123456789abcdef" * 4)
URL = "https://gateway.example:8443/v1/renew"
PLAIN = {"alg": "ES256", "kid": KID, "nonce": "abc-_9", "url": URL}
HEADER = Protected(Algorithm.ES256, KID, "abc-_9", URL)


def text(value: object) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def body(
    header: object = PLAIN, said: bytes = b"{}", members: Mapping[str, object] = MappingProxyType({})
) -> bytes:
    """A request; ``header`` is what the protected one holds, or its bytes."""
    whole: dict[str, Any] = {
        "protected": encode(text(header)),
        "payload": encode(said),
        "signature": encode(b"signature"),
    }
    return json.dumps(
        {name: each for name, each in {**whole, **members}.items() if each is not None}
    ).encode()


def refused(given: bytes, *words: str) -> None:
    with pytest.raises(JwsMalformed) as refusal:
        parse_jws(given)
    for word in words:
        assert word in str(refusal.value)


# ── read ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_request_is_read_with_the_bytes_that_were_signed() -> None:
    said = b'{"csr": "x"}'
    request = parse_jws(body(said=said))
    assert request.protected == HEADER
    assert request.payload == said
    assert request.signature == b"signature"
    assert request.signing_input == f"{encode(text(PLAIN))}.{encode(said)}".encode()


@given(
    st.sampled_from(Algorithm),
    st.binary(max_size=500),
    st.binary(max_size=600),
    st.text("abcXYZ019_-", min_size=1, max_size=128),
)
def test_what_was_drafted_and_signed_is_read_back(
    algorithm: Algorithm, payload: bytes, signature: bytes, nonce: str
) -> None:
    header = Protected(algorithm, KID, nonce, URL)
    drafted = draft(header, payload)
    request = parse_jws(drafted.signed(signature))
    assert request.protected == header
    assert (request.payload, request.signature) == (payload, signature)
    assert request.signing_input == drafted.signing_input


def test_an_empty_payload_is_one() -> None:
    assert parse_jws(body(said=b"")).payload == b""


def test_white_space_in_the_json_is_nobodys_business() -> None:
    spaced = json.dumps(json.loads(body()), indent=4).encode()
    assert parse_jws(spaced) == parse_jws(body())


# ── refused: the request ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe{}",
        b"\xef\xbb\xbf" + body(),
        body().decode().encode("utf-16"),
        b"[" * 16_000,
        b'{"a":' * 3_000,
        b"1" * 16_000,
        b"NaN",
        body() + b"x",
        body() + body(),
    ],
)
def test_what_is_no_json_object_is_refused(given: bytes) -> None:
    refused(given)


def test_a_request_that_is_too_long_is_refused_unread() -> None:
    whole = body()
    assert parse_jws(whole + b" " * (MAX_JWS - len(whole)))
    refused(whole + b" " * (MAX_JWS - len(whole) + 1), "16384 bytes")


@pytest.mark.parametrize("name", ["protected", "payload", "signature"])
def test_each_member_is_needed_once_and_as_a_string(name: str) -> None:
    refused(body(members={name: None}), f"has no {name}")
    wrongs: list[object] = [1, [], {}, True, [encode(b"{}")]]
    for wrong in wrongs:
        refused(body(members={name: wrong}), f"{name} is not a string")
    twice = body().rstrip(b"}") + f', "{name}": "e30"}}'.encode()
    refused(twice, "twice")


@pytest.mark.parametrize("name", ["header", "signatures", "Payload", "", "jwk", "\ud800", "x" * 900])
def test_no_other_member_is_taken(name: str) -> None:
    refused(body(members={name: "e30"}), "which is not taken")


def test_the_general_and_the_compact_form_are_not_taken() -> None:
    parts = json.loads(body())
    general = {
        "payload": parts["payload"],
        "signatures": [{"protected": parts["protected"], "signature": parts["signature"]}],
    }
    refused(json.dumps(general).encode(), "has no protected")
    refused(".".join(parts.values()).encode(), "not JSON")


# ── refused: base64url ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["protected", "payload", "signature"])
@pytest.mark.parametrize(
    "wrong", ["e30=", "e31", "e3 0", "e30\n", "e+/0", "é30", "e", "eeeee", "e30.", "\x00", "e3\u0660"]
)
def test_only_canonical_base64url_is_taken(name: str, wrong: str) -> None:
    refused(body(members={name: wrong}), f"{name} is not base64url")


@given(st.binary(max_size=60))
def test_base64url_reads_back_and_has_one_form(raw: bytes) -> None:
    written = encode(raw)
    assert decode(written, "x") == raw
    assert "=" not in written


@given(st.text(max_size=40))
def test_no_two_texts_mean_the_same_bytes(given_text: str) -> None:
    try:
        raw = decode(given_text, "x")
    except JwsMalformed:
        return
    assert encode(raw) == given_text


# ── refused: the protected header ─────────────────────────────────────────────────────────────────────


def without(name: str) -> dict[str, object]:
    return {each: value for each, value in PLAIN.items() if each != name}


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_each_header_is_needed_once_and_as_a_string(name: str) -> None:
    refused(body(without(name)), f"has no {name}")
    for wrong in (None, 1, [PLAIN[name]], {"a": "b"}, False):
        refused(body(PLAIN | {name: wrong}), f"{name} is not a string")
    twice = text(PLAIN).rstrip(b"}") + f', "{name}": {json.dumps(PLAIN[name])}}}'.encode()
    refused(body(twice), "twice")


@pytest.mark.parametrize(
    "extra",
    [
        {"jwk": {"kty": "EC"}},
        {"crit": ["b64"], "b64": False},
        {"crit": []},
        {"b64": True},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/chain"},
        {"x5c": []},
        {"typ": "JWT"},
        {"zip": "DEF"},
        {"ALG": "none"},
    ],
)
def test_no_other_header_is_taken(extra: dict[str, object]) -> None:
    refused(body(PLAIN | extra), "its protected header holds", "which is not taken")


@pytest.mark.parametrize(
    "alg", ["none", "None", "HS256", "RS384", "PS256", "EdDSA", "ES256K", "es256", "", "ES256 "]
)
def test_no_other_algorithm_is_taken(alg: str) -> None:
    refused(body(PLAIN | {"alg": alg}), "alg is not one of ES256, ES384, ES512, RS256")


@pytest.mark.parametrize("kid", ["", KID[:-1], KID + "0", KID.upper(), KID[:-1] + "\n", "x" * 64])
def test_kid_is_a_certificate_id(kid: str) -> None:
    refused(body(PLAIN | {"kid": kid}), "kid is not a certificate id")


@pytest.mark.parametrize("nonce", ["", "a b", "a=", "a+b", "a" * 129, "a\n", "é"])
def test_a_nonce_has_the_alphabet_of_nonces(nonce: str) -> None:
    refused(body(PLAIN | {"nonce": nonce}), "nonce is none of ours")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://a/v1/renew",
        "https://",
        "//a/b",
        "https://a b/",
        "https://ä/",
        "https://a/\n",
        "HTTPS://a/",
    ],
)
def test_a_url_is_https_and_plain(url: str) -> None:
    refused(body(PLAIN | {"url": url}), "url is not an https URL")


def test_a_url_is_not_endless() -> None:
    longest = "https://" + "a" * (MAX_URL - len("https://"))
    assert parse_jws(body(PLAIN | {"url": longest})).protected.url == longest
    refused(body(PLAIN | {"url": longest + "a"}), "url is not")


@pytest.mark.parametrize("header", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 9000, b'{"alg": NaN}'])
def test_a_header_that_is_no_json_object_is_refused(header: bytes) -> None:
    refused(body(header), "its protected header")


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_in_words(given_bytes: bytes) -> None:
    told = []
    for raw in (given_bytes, body(given_bytes), body(said=given_bytes)):
        try:
            parse_jws(raw)
        except JwsMalformed as refusal:
            told.append(str(refusal))
    assert all(sentence.isprintable() for sentence in told)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*PLAIN, "crit"]), JSON), st.sampled_from([*PLAIN, "crit"]), JSON)
def test_any_header_is_read_or_refused(fields: dict[str, object], name: str, value: object) -> None:
    for header in (fields, PLAIN | {name: value}):
        try:
            request = parse_jws(body(header))
        except JwsMalformed:
            continue
        assert set(header) == set(PLAIN)
        assert all(isinstance(each, str) for each in header.values())
        assert request.protected.kid == header["kid"]
