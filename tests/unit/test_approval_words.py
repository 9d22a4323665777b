"""What a person compares: codes and words, computed alike on both sides."""

import hashlib

import pytest
from hypothesis import given, strategies as st

from keyborn.domain.approval import (
    Approval,
    approval_code,
    approval_id,
    code_prefix,
    key_words,
    same_words,
)
from keyborn.domain.names import GroupName, KeyHash, ThingName
from support.registry_cases import HOUR, START
from support.walks import examples

LINE, SENSOR = GroupName("line-7"), ThingName("sensor-1")
KEYS = st.binary(min_size=32, max_size=32).map(lambda raw: KeyHash(raw.hex()))
KEY = KeyHash(hashlib.sha256(b"a key").hexdigest())


def approval(key: KeyHash = KEY, *, replaces: bool = False) -> Approval:
    return Approval(
        approval_id(LINE, SENSOR, key, replaces=replaces), LINE, SENSOR, key, "192.0.2.7", START, START + HOUR
    )


def test_a_code_has_two_groups_of_four_and_words_are_four_of_five_letters() -> None:
    code, words = approval_code(LINE, SENSOR, KEY), key_words(KEY)
    assert [len(part) for part in code.split("-")] == [4, 4]
    assert [len(word) for word in words.split("-")] == [5, 5, 5, 5]
    assert (approval().code, approval().words) == (code, words)


def test_the_words_are_those_of_the_proquint_paper() -> None:
    """127.0.0.1 is lusab-babad, 63.84.220.193 is gutih-tugad (arXiv:0901.4016)."""
    key = KeyHash(bytes([127, 0, 0, 1, 63, 84, 220, 193]).hex() + "00" * 24)
    assert key_words(key) == "lusab-babad-gutih-tugad"


@given(KEYS)
def test_the_ids_of_a_code_begin_with_what_the_code_says(key: KeyHash) -> None:
    prefix = code_prefix(approval_code(LINE, SENSOR, key))
    assert prefix is not None
    ids = {approval_id(LINE, SENSOR, key, replaces=each) for each in (False, True)}
    assert len(ids) == 2
    assert all(each.startswith(prefix) and len(each) == 17 for each in ids)


@given(KEYS, KEYS)
def test_another_key_has_another_code_and_other_words(one: KeyHash, other: KeyHash) -> None:
    if one[:16] != other[:16]:
        assert key_words(one) != key_words(other)
    if one != other:
        assert approval_id(LINE, SENSOR, one) != approval_id(LINE, SENSOR, other)


@pytest.mark.parametrize("typed", ["7k3m-9qxz", "7K3M9QXZ", "7K3M-9QXZ", "7-K3M-9QXZ"])
def test_a_code_is_read_however_it_is_typed(typed: str) -> None:
    assert code_prefix(typed) == code_prefix("7K3M-9QXZ") is not None


def test_letters_that_are_taken_for_digits_are_those_digits() -> None:
    assert code_prefix("O0lI-1iLo") == code_prefix("0011-1110")


@pytest.mark.parametrize("typed", ["", "-", "7K3M-9QX", "7K3M-9QXZA", "7K3M-9QXU", "7K3M 9QXZ", "ÄÖÜß-9QXZ"])
def test_what_is_no_code_is_none(typed: str) -> None:
    assert code_prefix(typed) is None


@given(st.text(max_size=20))
def test_whatever_is_typed_is_a_code_or_none(typed: str) -> None:
    prefix = code_prefix(typed)
    assert prefix is None or len(prefix) == 11


@pytest.mark.parametrize(
    "typed",
    ["lusab-babad-gutih-tugad", "LUSAB BABAD GUTIH TUGAD", " lusab  babad-gutih tugad\n"],
)
def test_words_are_the_same_whatever_stands_between_them(typed: str) -> None:
    assert same_words(typed, KeyHash(bytes([127, 0, 0, 1, 63, 84, 220, 193]).hex() + "00" * 24))


@given(KEYS, KEYS)
def test_words_of_another_key_are_never_the_same(one: KeyHash, other: KeyHash) -> None:
    assert same_words(key_words(one), one)
    assert same_words(key_words(one), other) == (one[:16] == other[:16])


@pytest.mark.parametrize("typed", ["", "lusab", "lusab-babad-gutih", "lusab-babad-gutih-tugad-lusab"])
def test_fewer_or_more_words_are_not_the_same(typed: str) -> None:
    assert not same_words(typed, KeyHash(bytes([127, 0, 0, 1, 63, 84, 220, 193]).hex() + "00" * 24))


def test_a_request_is_of_its_own_group_name_and_key_only() -> None:
    made = approval()
    assert made.is_of(LINE, SENSOR, KEY)
    assert not made.is_of(GroupName("line-8"), SENSOR, KEY)
    assert not made.is_of(LINE, ThingName("sensor-2"), KEY)
    assert not made.is_of(LINE, SENSOR, KeyHash("0" * 64))


def test_a_hundred_thousand_keys_share_hardly_a_code() -> None:
    """By chance 100,000 codes of 40 bits have 0.005 pairs; words, with 64 bits, have none."""
    keys = [KeyHash(hashlib.sha256(bytes(str(n), "ascii")).hexdigest()) for n in range(examples(30_000))]
    assert len({approval_code(LINE, SENSOR, key) for key in keys}) >= len(keys) - 1
    assert len({key_words(key) for key in keys}) == len(keys)
