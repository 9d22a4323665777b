"""Key sets of identity providers: which keys are of use, and which are left out."""

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from keyborn.domain.errors import IdTokenUnproved
from keyborn.domain.identity_token import Header, read_header
from keyborn.service.methods.jose import MAX_KEYS, read_keys, verify
from support.issuer import new_key, public, sign

RSA, EC, ED = new_key("RS256"), new_key("ES256"), new_key("EdDSA")
SMALL = {
    "kty": "RSA",
    "e": "AQAB",
    "n": "wFHOGq93kMAy_s3aQ0y5iF0hdM1VM6fJ5u0mRAKxBcYBJmFTWk3nvUrMLbfHlGfVmm9nKX3Wj-Cm9q5oBFb6Xw",
}


def keys(*jwks: object) -> bytes:
    return json.dumps({"keys": list(jwks)}).encode()


def one(jwk: dict[str, Any]) -> frozenset[str]:
    """What the key may verify; nothing for one that is left out, beside one that is good."""
    found = read_keys(keys(jwk, public(EC, kid="good")))
    return next((each.algorithms for each in found.keys if each.kid != "good"), frozenset())


def test_what_a_key_may_verify_follows_from_its_kind() -> None:
    assert one(public(RSA)) == {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
    assert one(public(EC)) == {"ES256"}
    assert one(public(new_key("ES384"))) == {"ES384"}
    assert one(public(new_key("ES512"))) == {"ES512"}
    assert one(public(ED)) == {"EdDSA"}


def test_a_key_that_names_its_algorithm_verifies_just_that() -> None:
    assert one(public(RSA, alg="PS256")) == {"PS256"}
    assert one(public(RSA, alg="RSA-OAEP")) == frozenset()
    assert one(public(EC, alg="ES384")) == frozenset()


@pytest.mark.parametrize(
    "jwk",
    [
        SMALL,
        public(RSA, e="Aw"),
        public(RSA, use="enc"),
        public(RSA, key_ops=["sign"]),
        public(RSA, key_ops="verify"),
        public(RSA, kty="oct", k="AAAA"),
        {"kty": "oct", "k": "c2VjcmV0"},
        RSA.as_dict(private=True),
        EC.as_dict(private=True),
        ED.as_dict(private=True),
        public(EC, x=public(EC)["y"]),
        public(EC, crv="secp256k1"),
        public(EC, crv="P-384"),
        public(ED, crv="X25519"),
        public(EC, kid=5),
        public(EC, kid=""),
        public(EC, kid="k" * 257),
        {"kty": "EC"},
        {"kty": 5},
        public(RSA, n=5),
        public(RSA, n=""),
        {},
    ],
)
def test_a_key_that_is_weak_private_or_for_something_else_is_left_out(jwk: dict[str, Any]) -> None:
    assert one(jwk) == frozenset()


def test_a_set_without_a_key_of_use_is_none() -> None:
    with pytest.raises(ValueError, match="none of its keys"):
        read_keys(keys({"kty": "oct", "k": "c2VjcmV0"}, SMALL))


def test_a_set_of_too_many_keys_is_none() -> None:
    read_keys(keys(*[public(EC)] * MAX_KEYS))
    with pytest.raises(ValueError, match="at most 32"):
        read_keys(keys(*[public(EC)] * (MAX_KEYS + 1)))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=20)
    | st.sampled_from(["RSA", "EC", "OKP", "P-256"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["keys", "kty", "n", "e", "x", "y", "crv", "kid", "use", "alg"]), inner
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_whatever_an_issuer_publishes_is_read_or_refused(value: object) -> None:
    for text in (json.dumps(value), json.dumps({"keys": [value]})):
        try:
            read_keys(text.encode())
        except ValueError as wrong:
            assert str(wrong)  # noqa: PT017 - both ends are right


def test_a_token_without_a_name_of_its_key_is_verified_by_whichever_fits() -> None:
    token = sign(EC, {"alg": "ES256"}, {"sub": "x"})
    found = read_keys(keys(public(new_key("ES256"), kid="a"), public(RSA, kid="b"), public(EC, kid="c")))
    fitting = found.fitting(read_header(token))
    assert [each.kid for each in fitting] == ["a", "c"]
    assert json.loads(verify(token, read_header(token), fitting)) == {"sub": "x"}


def test_a_key_verifies_only_tokens_that_name_it() -> None:
    found = read_keys(keys(public(EC, kid="a")))
    assert found.fitting(Header("ES256", "b")) == ()
    assert found.fitting(Header("ES384", "a")) == ()
    with pytest.raises(IdTokenUnproved):
        verify(sign(EC, {"alg": "ES256"}, {}), Header("ES256", None), ())


def test_a_token_is_verified_with_the_algorithm_that_was_read_and_no_other() -> None:
    token = sign(RSA, {"alg": "PS256"}, {"sub": "x"})
    found = read_keys(keys(public(RSA)))
    with pytest.raises(IdTokenUnproved):
        verify(token, Header("RS256", None), found.keys)
