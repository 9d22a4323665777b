"""Identity tokens, rule by rule: what is read of them, and when they are good."""

import base64
import contextlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, strategies as st

from keyborn.domain.errors import (
    IdTokenAudience,
    IdTokenClaim,
    IdTokenExpired,
    IdTokenIssuer,
    IdTokenLifetime,
    IdTokenMalformed,
    IdTokenNotYet,
    KeybornError,
)
from keyborn.domain.group import EnrollmentGroup, OidcRule
from keyborn.domain.identity_token import (
    ALGORITHMS,
    MAX_HEADER,
    MAX_TOKEN,
    Claims,
    Header,
    check,
    looks_like_jwt,
    read_claims,
    read_header,
)
from keyborn.domain.method import Method, Way
from keyborn.domain.names import GroupName, NameScope
from keyborn.domain.token import encode_secret

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
RULE = OidcRule("https://id.example", "keyborn", "{sub}", {"factory": "7", "live": "true"})
GROUP = EnrollmentGroup(
    GroupName("line-7"), NameScope("sensor-*"), (Way(frozenset({Method.OIDC})),), oidc=RULE
)
GOOD: dict[str, Any] = {
    "iss": "https://id.example",
    "sub": "sensor-1",
    "aud": "keyborn",
    "iat": SECONDS,
    "exp": SECONDS + 600,
    "jti": "one",
    "factory": 7,
    "live": True,
}


def words(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def token(header: object) -> str:
    return f"{words(header)}.{words(GOOD)}.AAAA"


def claims(**changes: object) -> Claims:
    members = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    return read_claims(json.dumps(members).encode())


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_a_header_with_an_algorithm_for_signatures_is_read(algorithm: str) -> None:
    assert read_header(token({"alg": algorithm, "kid": "k", "typ": "JWT"})) == Header(algorithm, "k")


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "HS256", "HS512", "ES256K", "RSA-OAEP", "", None, 5, []]
)
def test_no_other_algorithm_is_ever_read(algorithm: object) -> None:
    with pytest.raises(IdTokenMalformed, match="alg is not one of"):
        read_header(token({"alg": algorithm}))


def test_keys_that_a_token_brings_along_are_not_even_read() -> None:
    lures = {
        "jku": "https://evil.example/keys",
        "x5u": "https://evil.example",
        "jwk": {"kty": "oct"},
        "x5c": [],
    }
    assert read_header(token({"alg": "ES256", **lures})) == Header("ES256", None)


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "ES256", "crit": ["exp"]},
        {"alg": "ES256", "b64": False},
        {"alg": "ES256", "kid": 7},
        {"alg": "ES256", "kid": ""},
        {"alg": "ES256", "kid": "k" * 257},
        {"alg": "ES256", "x": "y" * MAX_HEADER},
        "[]",
        "7",
        "no JSON",
        '{"alg": "ES256", "alg": "none"}',
        '{"alg": "ES256", "x": NaN}',
        "[" * 1000,
    ],
)
def test_a_header_that_is_odd_is_refused(header: object) -> None:
    with pytest.raises(IdTokenMalformed):
        read_header(token(header))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "..",
        "a.b",
        "a.b.c.d",
        "ä.b.c",
        "a b.c.d",
        "e30=.e30.AA",
        "e30.e30.AA" + "A" * MAX_TOKEN,
        "!.e30.AA",
    ],
)
def test_what_has_not_the_form_of_a_token_is_refused(text: str) -> None:
    with pytest.raises(IdTokenMalformed):
        read_header(text)


@given(st.text(max_size=200) | st.builds(lambda text: f"{words(text)}.e30.AA", st.text(max_size=100)))
def test_whatever_comes_is_read_or_refused_and_nothing_else_happens(text: str) -> None:
    with contextlib.suppress(IdTokenMalformed):
        assert read_header(text).algorithm in ALGORITHMS


def test_a_secret_of_ours_does_not_look_like_one() -> None:
    assert not looks_like_jwt(encode_secret(bytes(range(32))))
    assert looks_like_jwt(token({"alg": "ES256"}))


def test_a_good_token_passes() -> None:
    check(claims(), RULE, GROUP, NOW)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"iss": "https://id.example/"}, IdTokenIssuer),
        ({"iss": "https://ID.example"}, IdTokenIssuer),
        ({"aud": "keyborn2"}, IdTokenAudience),
        ({"aud": ["a", "b"]}, IdTokenAudience),
        ({"exp": SECONDS}, IdTokenExpired),
        ({"exp": SECONDS - 1}, IdTokenExpired),
        ({"exp": 0}, IdTokenExpired),
        ({"iat": SECONDS + 61}, IdTokenNotYet),
        ({"nbf": SECONDS + 61}, IdTokenNotYet),
        ({"exp": SECONDS + 24 * 3600 + 1}, IdTokenLifetime),
        ({"iat": SECONDS - 24 * 3600}, IdTokenLifetime),
        ({"factory": "8"}, IdTokenClaim),
        ({"factory": None}, IdTokenClaim),
        ({"factory": ["7"]}, IdTokenClaim),
        ({"factory": 7.0}, IdTokenClaim),
        ({"live": 1}, IdTokenClaim),
        ({"live": False}, IdTokenClaim),
    ],
)
def test_each_rule_has_its_own_refusal(changes: Mapping[str, object], refusal: type[KeybornError]) -> None:
    with pytest.raises(refusal):
        check(claims(**changes), RULE, GROUP, NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": ["other", "keyborn"]},
        {"iat": SECONDS + 60},
        {"nbf": SECONDS + 60, "iat": SECONDS - 5},
        {"exp": SECONDS + 24 * 3600},
        {"exp": SECONDS + 0.5},
        {"factory": "7", "live": "true"},
        {"jti": None},
    ],
)
def test_what_is_just_within_the_rules_passes(changes: Mapping[str, object]) -> None:
    check(claims(**changes), RULE, GROUP, NOW)


@pytest.mark.parametrize(
    "changes",
    [
        *({name: None} for name in ("iss", "sub", "aud", "iat", "exp")),
        *({name: ""} for name in ("iss", "sub", "jti")),
        *({name: 5} for name in ("iss", "sub", "jti", "aud")),
        {"aud": []},
        {"aud": ["keyborn", 5]},
        {"exp": str(SECONDS + 600)},
        {"exp": True},
        {"exp": -1},
        {"exp": 1e300},
        {"exp": 10**40},
        {"nbf": "soon"},
    ],
)
def test_a_token_without_what_must_be_there_is_refused(changes: Mapping[str, object]) -> None:
    with pytest.raises(IdTokenMalformed):
        claims(**changes)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"7",
        b"\xff",
        b'{"sub": "a", "sub": "b"}',
        b'{"exp": Infinity}',
        b"[" * 5000,
        b'{"exp": 1e999}',
    ],
)
def test_what_says_nothing_is_refused(payload: bytes) -> None:
    with pytest.raises(IdTokenMalformed):
        read_claims(payload)


def test_one_token_is_one_account_and_another_is_another() -> None:
    account = claims().account
    assert account == claims(sub="sensor-2", exp=SECONDS + 5, factory="8").account, "jti names the token"
    others = {
        claims(jti="two").account,
        claims(iss="https://other.example").account,
        claims(jti=None).account,
    }
    assert len(others | {account}) == 4
    assert account[0] == "o"
    assert len(account) == 17


@pytest.mark.parametrize(
    "changes", [{"sub": "b"}, {"iat": SECONDS - 1}, {"exp": SECONDS + 601}, {"iss": "x"}]
)
def test_without_an_id_who_and_when_tell_tokens_apart(changes: Mapping[str, object]) -> None:
    assert claims(jti=None).account != claims(**{"jti": None, **changes}).account


def test_no_text_in_one_place_makes_the_account_of_another() -> None:
    """The facts are hashed as JSON: nothing can be moved from one to the next."""
    assert claims(iss="ab", jti="c").account != claims(iss="a", jti="bc").account


def test_what_the_trail_gets_is_short_and_printable() -> None:
    details = claims(sub="\n\x1b[31m" + "ä" * 500).details
    assert set(details) == {"issuer", "subject"}
    assert all(len(each) <= 128 and each.isascii() and each.isprintable() for each in details.values())


def test_only_claims_of_one_word_count_as_facts() -> None:
    facts = claims(line=5, nothing=[], deep={"a": 1}, half=1.5, big=10**30).facts
    assert facts["line"] == "5"
    assert facts["live"] == "true"
    assert not {"nothing", "deep", "half", "big"} & facts.keys()


def test_a_fraction_of_a_second_counts() -> None:
    assert claims(exp=SECONDS + 0.25).expires_at == NOW + timedelta(seconds=0.25)
