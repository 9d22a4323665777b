"""Signed enrolments: what is read, what is refused, and that drafts are read back."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, strategies as st

from keyborn.domain.errors import JwsMalformed
from keyborn.domain.jws import MAX_JWS, Algorithm, encode
from keyborn.domain.jws_enroll import (
    MAX_CERTIFICATE,
    MAX_CHAIN,
    Place,
    draft_by_certificate,
    draft_by_key,
    parse_signed_enrollment,
)
from keyborn.domain.token import TokenId

URL = "https://gateway.example:8443/v1/enroll"
ID = TokenId("k0123456789abcdef")
PLACE = Place(URL, "abc-_9")
BY_KEY = {"alg": "HS256", "kid": ID, "nonce": "abc-_9", "url": URL}
LEAF = base64.b64encode(b"leaf").decode()
BY_CERTIFICATE = {"alg": "ES256", "x5c": [LEAF], "nonce": "abc-_9", "url": URL}


def body(header: object, said: bytes = b"{}", **members: object) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    whole: dict[str, Any] = {
        "protected": encode(text),
        "payload": encode(said),
        "signature": encode(b"signature"),
        **members,
    }
    return json.dumps(whole).encode()


def without(header: Mapping[str, object], name: str) -> dict[str, object]:
    return {each: value for each, value in header.items() if each != name}


def refused(given: bytes, *words: str) -> None:
    with pytest.raises(JwsMalformed) as refusal:
        parse_signed_enrollment(given, [URL])
    for word in words:
        assert word in str(refusal.value)


# ── read ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_request_by_a_group_key_is_read_with_the_bytes_that_were_signed() -> None:
    signed, payload = parse_signed_enrollment(body(BY_KEY, b'{"csr": "x"}'), [URL, "https://other/"])
    assert payload == b'{"csr": "x"}'
    assert (signed.algorithm, signed.group_key, signed.chain) == ("HS256", ID, ())
    assert (signed.url, signed.nonce) == (URL, "abc-_9")
    assert signed.addresses == (URL, "https://other/")
    assert signed.signature == b"signature"
    told = json.dumps(BY_KEY).encode()
    assert signed.signing_input == f"{encode(told)}.{encode(payload)}".encode()


def test_a_request_by_a_certificate_brings_its_chain() -> None:
    told = {**BY_CERTIFICATE, "x5c": [LEAF, base64.b64encode(b"plant").decode()]}
    signed, _ = parse_signed_enrollment(body(told), [URL])
    assert (signed.algorithm, signed.group_key, signed.chain) == ("ES256", None, (b"leaf", b"plant"))


@given(st.binary(max_size=300), st.binary(max_size=80), st.text("abcXYZ019_-", min_size=1, max_size=128))
def test_what_a_device_drafts_is_read_back(payload: bytes, signature: bytes, nonce: str) -> None:
    drafted = draft_by_key(ID, Place(URL, nonce), payload)
    signed, said = parse_signed_enrollment(drafted.signed(signature), [URL])
    assert (said, signed.signature, signed.nonce) == (payload, signature, nonce)
    assert signed.signing_input == drafted.signing_input
    assert signed.group_key == ID


@given(
    st.sampled_from(Algorithm),
    st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=MAX_CHAIN),
)
def test_what_a_factory_drafts_is_read_back(algorithm: Algorithm, chain: list[bytes]) -> None:
    drafted = draft_by_certificate(algorithm, chain, PLACE, b"{}")
    signed, _ = parse_signed_enrollment(drafted.signed(b"s"), [URL])
    assert (signed.algorithm, signed.chain) == (algorithm, tuple(chain))


# ── refused ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("header", [BY_KEY, BY_CERTIFICATE], ids=["key", "certificate"])
@pytest.mark.parametrize("name", ["alg", "nonce", "url"])
def test_each_header_has_to_be_there_once_and_be_a_string(header: Mapping[str, object], name: str) -> None:
    refused(body(without(header, name)), name)
    refused(body({**header, name: 7}), name, "string")
    refused(body({**header, name: ""}))
    twice = json.dumps(header)[:-1] + f', "{name}": "x"}}'
    refused(body(twice.encode()), "twice")


@pytest.mark.parametrize("more", ["jwk", "crit", "b64", "jku", "x5u", "typ", "cty", "x5t"])
@pytest.mark.parametrize("header", [BY_KEY, BY_CERTIFICATE], ids=["key", "certificate"])
def test_no_other_header_is_taken(header: Mapping[str, object], more: str) -> None:
    refused(body({**header, more: "x"}), more)


def test_who_signs_is_said_once() -> None:
    refused(body(without(BY_KEY, "kid")), "kid")
    refused(body({**BY_KEY, "x5c": [LEAF]}), "kid")


@pytest.mark.parametrize("algorithm", ["none", "ES256", "RS256", "HS384", "HS512", "hs256", "HS256 "])
def test_a_group_key_signs_in_one_way(algorithm: str) -> None:
    refused(body({**BY_KEY, "alg": algorithm}), "HS256")


@pytest.mark.parametrize("algorithm", ["none", "HS256", "PS256", "EdDSA", "ES256K"])
def test_a_certificates_key_signs_as_devices_keys_do(algorithm: str) -> None:
    refused(body({**BY_CERTIFICATE, "alg": algorithm}), "ES256")


@pytest.mark.parametrize("kid", ["", "k1", "t0123456789abcdef", ID.upper(), ID + "0", "0" * 64])
def test_a_group_key_has_an_id_of_its_kind(kid: str) -> None:
    refused(body({**BY_KEY, "kid": kid}), "kid")
    refused(body({**BY_KEY, "kid": [ID]}), "kid")


@pytest.mark.parametrize(
    "chain",
    [
        [],
        LEAF,
        None,
        {},
        [""],
        [7],
        [None],
        [[LEAF]],
        ["!"],
        [LEAF, LEAF[:-1]],
        [LEAF + "\n"],
        ["bGVhZh=="],
        ["_-8="],
        ["\u00fc"],
        [LEAF] * (MAX_CHAIN + 1),
        [base64.b64encode(bytes(MAX_CERTIFICATE + 1)).decode()],
    ],
)
def test_a_chain_is_a_few_certificates_in_base64(chain: object) -> None:
    refused(body({**BY_CERTIFICATE, "x5c": chain}), "x5c")


def test_the_largest_certificate_is_taken() -> None:
    largest = base64.b64encode(bytes(MAX_CERTIFICATE)).decode()
    signed, _ = parse_signed_enrollment(body({**BY_CERTIFICATE, "x5c": [largest]}), [URL])
    assert len(signed.chain[0]) == MAX_CERTIFICATE


def test_a_request_that_is_too_large_is_not_looked_at() -> None:
    refused(body(BY_KEY, bytes(MAX_JWS)), str(MAX_JWS))


@pytest.mark.parametrize(
    "given", [b"", b"{}", b"[]", b"\xff", b"{" * 5000, body([]), body(b"\xff"), body(BY_KEY, more="x")]
)
def test_what_is_no_flattened_jws_is_refused(given: bytes) -> None:
    refused(given)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_and_nothing_else_is_raised(given: bytes) -> None:
    refused(given)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*BY_KEY, "x5c", "jwk"]), json_values))
def test_any_header_is_refused_and_nothing_else_is_raised(changes: dict[str, object]) -> None:
    told = {**BY_KEY, **changes}
    valid = (told["alg"], told.keys()) == ("HS256", BY_KEY.keys())
    if not valid or any(not isinstance(each, str) for each in told.values()):
        refused(body(told))
