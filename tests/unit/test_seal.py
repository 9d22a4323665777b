"""Sealed secrets: what they say is what was sealed, and nobody else can make one."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.errors import CredentialRefused, InvalidSetting
from keyborn.domain.names import NameScope
from keyborn.domain.seal import RANDOM_BYTES, SEAL_KEY_BYTES, TokenFacts, seal, unseal
from keyborn.domain.thing import ThingKind
from keyborn.domain.token import MAX_SECRET_BYTES, SECRET_BYTES, EnrollmentCode, decode_secret, encode_secret
from support.seals import resealed

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
KEY, RANDOM = bytes(range(32)), bytes(range(100, 116))
FACTS = TokenFacts(NameScope("lamp-1"), 1, NOW + timedelta(hours=1))
WIDEST = TokenFacts(
    NameScope("*" * 64),
    10_000_000,
    datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC),
    replace=False,
    kind=ThingKind.SERVICE,
    policies=(PolicyName("p" * 128),),
)

facts = st.builds(
    TokenFacts,
    st.from_regex(r"[A-Za-z0-9:_*?-]{1,64}", fullmatch=True).map(NameScope),
    st.none() | st.integers(1, 10_000_000),
    st.integers(0, 8_000_000_000_000).map(
        lambda ms: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    ),
    st.booleans(),
    st.sampled_from(ThingKind),
    st.none()
    | st.lists(st.from_regex(r"[A-Za-z0-9_+=,.@-]{1,20}", fullmatch=True).map(PolicyName), max_size=4).map(
        tuple
    ),
)


@given(facts, st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32))
def test_what_was_sealed_is_what_is_read(said: TokenFacts, random: bytes, key: bytes) -> None:
    secret = seal(key, random, said)
    assert unseal(key, secret) == said
    assert len(secret) >= SECRET_BYTES


@given(facts, st.binary(min_size=32, max_size=32))
def test_another_key_reads_nothing(said: TokenFacts, other: bytes) -> None:
    with pytest.raises(CredentialRefused):
        unseal(other if other != KEY else bytes(32), seal(KEY, RANDOM, said))


def test_no_bit_can_be_changed_and_no_byte_left_out_or_added() -> None:
    secret = seal(KEY, RANDOM, FACTS)
    for place in range(len(secret)):
        for bit in range(8):
            changed = bytearray(secret)
            changed[place] ^= 1 << bit
            with pytest.raises(CredentialRefused):
                unseal(KEY, bytes(changed))
        for other in (secret[:place], secret[:place] + secret[place + 1 :], secret + secret[:place] + b"\0"):
            with pytest.raises(CredentialRefused):
                unseal(KEY, other)


@given(st.binary(max_size=400))
def test_no_bytes_of_a_stranger_are_read(stranger: bytes) -> None:
    with pytest.raises(CredentialRefused):
        unseal(KEY, stranger)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"null",
        b"[]",
        b'["lamp-1"]',
        b'["lamp-1",0,1,false,"device",null,1]',
        b'["lamp-1","0",1,false,"device",null]',
        b'["lamp-1",1e99,1,false,"device",null]',
        b'["lamp-1",99999999999999999,1,false,"device",null]',
        b'["lamp-1",0,1,false,"toaster",null]',
        b'["lamp-1",0,1,false,"device",7]',
        b'["lamp-1",0,1,false,"device","abc"]',
        b'["lamp-1",0,1,false,"device",["a b"]]',
        b'["lamp-1",0,1,false,"device",[1]]',
        b'["lamp-1",0,"1",false,"device",null]',
        b'["lamp-1",0,1,0,"device",null]',
        b'["lamp-1",0.5,1,false,"device",null]',
        b'[null,0,1,false,"device",null]',
        b'["",0,1,false,"device",null]',
        b'["a b",0,1,false,"device",null]',
        b'{"0":1,"1":1,"2":1,"3":1,"4":1,"5":1}',
        b'["' + b"a" * 65 + b'",0,1,false,"device",null]',
        b"\xff",
        b"[" * 300,
    ],
)
def test_what_another_version_may_have_sealed_is_refused_and_breaks_nothing(said: bytes) -> None:
    with pytest.raises(CredentialRefused):
        unseal(KEY, resealed(KEY, RANDOM, said))


def test_two_secrets_of_equal_facts_differ() -> None:
    assert seal(KEY, RANDOM, FACTS) != seal(KEY, RANDOM[::-1], FACTS)


def test_a_seal_shows_the_facts_in_one_short_array() -> None:
    said = seal(KEY, RANDOM, FACTS)[32:]
    assert json.loads(said) == ["lamp-1", 1793538000000, 1, False, "device", None]


@pytest.mark.parametrize("said", [FACTS, WIDEST, replace(WIDEST, policies=())])
def test_the_widest_permission_fits_a_secret_and_a_code(said: TokenFacts) -> None:
    secret = seal(KEY, RANDOM, said)
    assert len(secret) <= MAX_SECRET_BYTES
    assert decode_secret(encode_secret(secret)) == secret
    url = "https://" + ".".join(["a" * 63] * 3 + ["b" * 61])
    code = EnrollmentCode(url, b"f" * 32, secret, NOW, NOW)
    assert EnrollmentCode.decode(code.encode()) == code


@pytest.mark.parametrize(
    ("key", "random"), [(b"", RANDOM), (KEY[:-1], RANDOM), (KEY, b""), (KEY, RANDOM + b"x")]
)
def test_a_seal_is_made_of_enough_that_nobody_can_guess(key: bytes, random: bytes) -> None:
    assert (len(KEY), len(RANDOM)) == (SEAL_KEY_BYTES, RANDOM_BYTES)
    with pytest.raises(ValueError, match="32 bytes and 16"):
        seal(key, random, FACTS)


def test_what_would_not_fit_a_code_is_not_sealed() -> None:
    with pytest.raises(InvalidSetting, match="too long"):
        seal(KEY, RANDOM, replace(WIDEST, policies=(PolicyName("p" * 128), PolicyName("q" * 128))))
