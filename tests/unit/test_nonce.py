"""The words themselves: made and read back under one key, and under no other."""

import pytest
from hypothesis import given, strategies as st

from keyborn.domain.errors import BadNonce
from keyborn.domain.nonce import NONCE_RANDOM_BYTES, issued_at, make_nonce, nonce_key, read_nonce

KEY, OTHER = bytes(32), bytes([1]) * 32
RANDOM = bytes(range(NONCE_RANDOM_BYTES))


@given(st.integers(0, 2**63), st.binary(min_size=16, max_size=16))
def test_what_is_made_is_read_back(issued: int, random: bytes) -> None:
    body = read_nonce(KEY, make_nonce(KEY, issued, random))
    assert issued_at(body) == issued
    assert body.endswith(random)


def test_another_key_reads_nothing() -> None:
    with pytest.raises(BadNonce):
        read_nonce(OTHER, make_nonce(KEY, 1, RANDOM))


@given(st.integers(0, 53), st.sampled_from("ABCxyz019-_"))
def test_no_letter_may_be_another(place: int, letter: str) -> None:
    nonce = make_nonce(KEY, 1_795_000_000_000, RANDOM)
    other = nonce[:place] + letter + nonce[place + 1 :]
    if other != nonce:
        with pytest.raises(BadNonce):
            read_nonce(KEY, other)


@pytest.mark.parametrize("text", ["", "A", "A" * 53, "A" * 54, "A" * 55, "é" * 54, "A" * 53 + "="])
def test_what_is_no_nonce_is_refused_as_one(text: str) -> None:
    with pytest.raises(BadNonce):
        read_nonce(KEY, text)


def test_they_sort_by_time() -> None:
    bodies = [read_nonce(KEY, make_nonce(KEY, issued, RANDOM)) for issued in (1, 255, 256, 10**12)]
    assert bodies == sorted(bodies)


def test_the_key_is_neither_that_of_the_seals_nor_told_by_it() -> None:
    key = nonce_key(KEY)
    assert len(key) == len(KEY)
    assert key not in (KEY, nonce_key(OTHER))
