"""Requests that wait for a person: what both sides compute, and what a word makes of one."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, strategies as st

from keyborn.domain.approval import (
    Approval,
    ApprovalState,
    admitted,
    approval_code,
    approval_id,
    decided,
    key_words,
)
from keyborn.domain.errors import ApprovalsFull, NotFound
from keyborn.domain.names import GroupName, KeyHash, ThingName
from support.registry_cases import HOUR, START, event, key

LINE, LAMP, MINE = GroupName("line-7"), ThingName("lamp-1"), key("mine")
WISH = Approval(approval_id(LINE, LAMP, MINE), LINE, LAMP, MINE, "192.0.2.1", START, START + HOUR)
DECISIONS = [ApprovalState.APPROVED, ApprovalState.REFUSED]
HASHES = st.binary(min_size=32, max_size=32).map(lambda raw: KeyHash(raw.hex()))

# ── code and words ────────────────────────────────────────────────────────────────────────────────────


def test_code_and_words_are_these_for_ever() -> None:
    """A device of one release shows what the service of another one computes."""
    assert key_words(KeyHash("00" * 32)) == "babab-babab-babab-babab"
    assert key_words(KeyHash("ff" * 32)) == "zuzuz-zuzuz-zuzuz-zuzuz"
    assert key_words(KeyHash("7f0000013f54dcc1" + "00" * 24)) == "lusab-babad-gutih-tugad"
    assert re.fullmatch(r"p[0-9a-f]{16}", WISH.id)
    assert (WISH.code, WISH.words) == (approval_code(LINE, LAMP, MINE), key_words(MINE))


@given(HASHES)
def test_words_can_be_read_out_and_tell_the_first_64_bits(hashed: KeyHash) -> None:
    words = key_words(hashed)
    assert re.fullmatch(r"([bdfghjklmnprstvz][aiou]){2}[bdfghjklmnprstvz](-(?:[a-z]{5})){3}", words)
    assert bytes.fromhex(hashed)[:8] == b"".join(_number(word) for word in words.split("-"))


def _number(word: str) -> bytes:
    """The two bytes that a word stands for, by the table of the paper."""
    number = 0
    for letter in word:
        table = "bdfghjklmnprstvz" if letter in "bdfghjklmnprstvz" else "aiou"
        number = number * len(table) + table.index(letter)
    return number.to_bytes(2)


@given(HASHES)
def test_a_code_has_no_letter_that_is_taken_for_another(hashed: KeyHash) -> None:
    assert re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}", approval_code(LINE, LAMP, hashed))


@given(st.sets(st.tuples(st.sampled_from("ab"), st.sampled_from("cd"), HASHES), min_size=2, max_size=6))
def test_another_group_name_or_key_is_another_id_and_code(requests: set[tuple[str, str, KeyHash]]) -> None:
    asked = [(GroupName(group), ThingName(thing), hashed) for group, thing, hashed in requests]
    assert len({approval_id(*one) for one in asked}) == len(asked)
    assert len({approval_code(*one) for one in asked}) == len(asked)


def test_a_name_never_runs_into_the_next() -> None:
    assert approval_id(GroupName("a"), ThingName("bc"), MINE) != approval_id(
        GroupName("ab"), ThingName("c"), MINE
    )


# ── asking ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_request_is_kept_while_it_counts_whatever_its_state() -> None:
    again = replace(WISH, asked_at=START + HOUR - timedelta(milliseconds=1), source="192.0.2.2")
    for state in ApprovalState:
        known = replace(WISH, state=state)
        assert admitted(known, again, 9, 1) is known
    late = replace(again, asked_at=START + HOUR)
    assert admitted(WISH, late, 0, 1) is late


@pytest.mark.parametrize(("pending", "most"), [(1, 1), (2, 1), (0, 0)])
def test_where_there_is_no_place_nothing_is_taken(pending: int, most: int) -> None:
    with pytest.raises(ApprovalsFull) as refused:
        admitted(None, WISH, pending, most)
    assert refused.value.retry_after == 60.0


def test_only_what_is_undecided_and_not_expired_waits() -> None:
    assert WISH.waits(START)
    assert not WISH.waits(START + HOUR)
    assert not any(replace(WISH, state=state).waits(START) for state in DECISIONS)


# ── deciding ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", DECISIONS)
def test_a_word_is_kept_with_who_and_when_and_until(state: ApprovalState) -> None:
    told, until = event(at=START + timedelta(minutes=1)), START + 3 * HOUR
    changed = decided(WISH, state, until, told)
    assert changed == replace(WISH, state=state, decided_by="tester", decided_at=told.at, expires_at=until)
    assert decided(changed, state, until + HOUR, told) is changed, "a repeat"
    other = next(each for each in DECISIONS if each is not state)
    assert decided(changed, other, until, told).state is other, "the last word counts"


@pytest.mark.parametrize("state", ApprovalState)
def test_what_has_expired_is_not_there(state: ApprovalState) -> None:
    with pytest.raises(NotFound):
        decided(replace(WISH, state=state), ApprovalState.REFUSED, START + 3 * HOUR, event(at=START + HOUR))


def test_nobody_decides_that_something_is_pending() -> None:
    with pytest.raises(ValueError, match="pending"):
        decided(WISH, ApprovalState.PENDING, START + HOUR, event())
