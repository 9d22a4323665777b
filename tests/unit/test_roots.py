"""The digest by which a set of roots is known."""

import hashlib

from hypothesis import given, strategies as st

from keyborn.domain.roots import root_set


def test_it_is_the_digest_of_the_sorted_digests() -> None:
    digests = sorted(hashlib.sha256(each).digest() for each in (b"one", b"two"))
    assert root_set([b"two", b"one"]) == hashlib.sha256(b"".join(digests)).hexdigest()


@given(st.sets(st.binary(max_size=40), max_size=5), st.randoms())
def test_neither_order_nor_number_matters(roots: set[bytes], random: object) -> None:
    ordered = sorted(roots)
    assert root_set(ordered) == root_set(reversed(ordered)) == root_set(ordered * 2)


@given(st.sets(st.binary(max_size=40), max_size=4), st.sets(st.binary(max_size=40), max_size=4))
def test_other_roots_are_another_set(one: set[bytes], other: set[bytes]) -> None:
    assert (root_set(one) == root_set(other)) is (one == other)
