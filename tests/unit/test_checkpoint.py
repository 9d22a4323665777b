"""Signed checkpoints: what is signed, whom it convinces, and what they find in a trail."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, strategies as st

from keyborn.domain.audit import GENESIS, AuditRecord, ChainHead
from keyborn.domain.checkpoint import (
    Checkpoint,
    NotedHead,
    Signed,
    TrailCheck,
    checkpoint_text,
    holds,
    key_id,
    ring,
)
from keyborn.domain.errors import AuditBroken, AuditHeadMissing, InvalidSetting
from support.exports import NOON, NOTARY, SERVICE, Notary, trail

OTHER = Notary(bytes(31) + b"\1")
KEYS = ring([NOTARY.public])
TEN = list(trail(10))


def head_of(record: AuditRecord) -> ChainHead:
    return ChainHead(record.sequence, record.hash)


def checked(
    records: list[AuditRecord], *checkpoints: Checkpoint, noted: NotedHead | None = None
) -> TrailCheck:
    check = TrailCheck(SERVICE, KEYS, noted=noted)
    about = {one.head.sequence: one for one in checkpoints}
    for record in records:
        check.record(record)
        if record.sequence in about:
            check.checkpoint(about.pop(record.sequence))
    for one in about.values():
        check.checkpoint(one)
    check.end()
    return check


def test_what_is_signed_is_fixed_for_ever() -> None:
    assert checkpoint_text("keyborn:ab", ChainHead(7, "c" * 64), NOON) == (
        b"keyborn audit checkpoint 1\nkeyborn:ab\n7:" + b"c" * 64 + b"\n2026-11-01T12:00:00.000+00:00\n"
    )


def test_a_key_is_called_by_the_hash_of_its_public_half() -> None:
    assert key_id(NOTARY.public) == "139e3940e64b5491722088d9a0d741628fc826e09475d341a780acde3c4b8070"


@pytest.mark.parametrize("number", [1, 5, 10])
def test_a_trail_holds_with_its_checkpoints(number: int) -> None:
    check = checked(TEN, NOTARY.checkpoint(head_of(TEN[number - 1])))
    assert (check.head, check.checkpoints) == (head_of(TEN[-1]), 1)


def test_a_trail_written_anew_is_found_by_a_checkpoint() -> None:
    forged = [replace(TEN[0].event, actor="somebody else"), *(one.event for one in TEN[1:])]
    head, records = ChainHead(), []
    for event in forged:
        records.append(head.extend(event))
        head = head_of(records[-1])
    assert checked(records).head.sequence == 10, "by itself it holds"
    with pytest.raises(AuditBroken, match="record 4: it is not the one that was signed"):
        checked(records, NOTARY.checkpoint(head_of(TEN[3])))


def test_a_trail_that_was_cut_off_is_found_by_a_checkpoint_beyond_its_end() -> None:
    with pytest.raises(AuditBroken, match="record 10: a checkpoint speaks of it"):
        checked(TEN[:9], NOTARY.checkpoint(head_of(TEN[9])))


def test_a_checkpoint_serves_one_service_one_head_one_time_and_one_key() -> None:
    head = head_of(TEN[3])
    good = NOTARY.checkpoint(head)
    others = [
        Notary(name="keyborn:" + "5f" * 32).checkpoint(head),
        OTHER.checkpoint(head),
        replace(good, at=NOON + timedelta(milliseconds=1)),
        replace(good, by=replace(good.by, key=key_id(OTHER.public))),
        replace(good, by=Signed(good.by.key, good.by.signature[::-1])),
        replace(good, by=Signed(good.by.key, good.by.signature[:-1])),
        replace(good, by=Signed(good.by.key, b"")),
        replace(good, by=NOTARY.at_once(b"something else of this key")),
        replace(good, by=NOTARY.checkpoint(head_of(TEN[4])).by),
    ]
    for one in others:
        with pytest.raises(AuditBroken, match="not signed by a key of this service"):
            checked(TEN, one)


def test_a_key_that_was_exchanged_still_vouches_for_what_it_signed() -> None:
    check = TrailCheck(SERVICE, ring([OTHER.public, NOTARY.public]))
    check.record(TEN[0])
    check.checkpoint(OTHER.checkpoint(head_of(TEN[0])))
    check.record(TEN[1])
    check.checkpoint(NOTARY.checkpoint(head_of(TEN[1])))
    assert check.checkpoints == 2


@given(st.binary(max_size=40), st.binary(max_size=70))
def test_no_other_text_and_no_other_signature_holds(text: bytes, signature: bytes) -> None:
    assert not holds(Signed(key_id(NOTARY.public), signature), text, KEYS)
    good = NOTARY.at_once(b"one text")
    assert holds(good, b"one text", KEYS)
    assert holds(good, text, KEYS) == (text == b"one text")
    assert not holds(good, b"one text", {})


# ── what was noted elsewhere ──────────────────────────────────────────────────────────────────────────


@given(st.integers(0, 10**18 - 1), st.text("0123456789abcdef", min_size=64, max_size=64))
def test_a_head_reads_back_from_how_it_is_told(sequence: int, digest: str) -> None:
    noted = NotedHead.parse(str(ChainHead(sequence, digest)))
    assert noted == NotedHead(digest, sequence)
    assert NotedHead.parse(digest) == NotedHead(digest)
    assert str(NotedHead.parse(digest)) == digest
    assert str(noted) == f"{sequence}:{digest}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "5:",
        ":" + "a" * 64,
        "05:" + "a" * 64,
        "-1:" + "a" * 64,
        "5:" + "A" * 64,
        "5:" + "a" * 63,
        "\u0665:" + "a" * 64,
        "5:" + "a" * 64 + "\n",
        "9" * 19 + ":" + "a" * 64,
    ],
)
def test_a_head_that_is_written_otherwise_is_refused(text: str) -> None:
    with pytest.raises(InvalidSetting, match="SEQUENCE:HASH"):
        NotedHead.parse(text)


@pytest.mark.parametrize("number", range(11))
def test_a_noted_head_is_met_wherever_it_is(number: int) -> None:
    head = head_of(TEN[number - 1]) if number else ChainHead()
    for noted in (NotedHead(head.hash, number), NotedHead(head.hash)):
        assert checked(TEN, noted=noted).head.sequence == 10
        if number:
            with pytest.raises(AuditHeadMissing):
                checked(TEN[: number - 1], noted=noted)


def test_a_noted_head_that_is_not_there_says_why() -> None:
    for noted, why in (
        (NotedHead("a" * 64, 5), "the record of that number has another hash"),
        (NotedHead("a" * 64, 11), "the last record is 10"),
        (NotedHead("a" * 64), "no record has that hash"),
    ):
        with pytest.raises(AuditHeadMissing, match=why):
            checked(TEN, noted=noted)


def test_what_begins_behind_a_noted_head_cannot_tell() -> None:
    start = head_of(TEN[4])
    with pytest.raises(AuditHeadMissing, match="it begins behind it, after 5"):
        TrailCheck(SERVICE, KEYS, start=start, noted=NotedHead(TEN[3].hash, 4))
    TrailCheck(SERVICE, KEYS, start=start, noted=NotedHead(start.hash, 5)).end()
    with pytest.raises(AuditHeadMissing, match="another hash"):
        TrailCheck(SERVICE, KEYS, start=start, noted=NotedHead(GENESIS, 5))
