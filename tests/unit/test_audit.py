"""The hash chain: what it proves, and how a change shows."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, strategies as st

from keyborn.domain.audit import (
    GENESIS,
    AuditEvent,
    AuditRecord,
    ChainHead,
    canonical,
    link,
    parse_event,
    verify,
)
from keyborn.domain.errors import AuditBroken

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
words = st.text(max_size=40)
events = st.builds(
    AuditEvent,
    at=st.integers(-(10**12), 10**13).map(lambda ms: NOW + timedelta(milliseconds=ms)),
    action=words,
    outcome=words,
    subject=words,
    actor=words,
    source=words,
    details=st.dictionaries(words, words, max_size=4),
)


def chain(*made: AuditEvent, head: ChainHead | None = None) -> list[AuditRecord]:
    at = head or ChainHead()
    records = []
    for event in made:
        records.append(at.extend(event))
        at = ChainHead(records[-1].sequence, records[-1].hash)
    return records


def five() -> list[AuditRecord]:
    return chain(*(AuditEvent(NOW, "enroll", "done", f"lamp-{number}", "t1") for number in range(5)))


@given(events)
def test_an_event_reads_back_from_its_canonical_form(event: AuditEvent) -> None:
    text = canonical(event)
    assert text.isascii()
    assert parse_event(text) == event
    assert canonical(parse_event(text)) == text


def test_the_canonical_form_is_fixed_for_ever() -> None:
    event = AuditEvent(NOW, "enroll", "done", "lampe-ü", "t1", "127.0.0.1", {"b": "2", "a": "1"})
    assert canonical(event) == (
        '{"action":"enroll","actor":"t1","at":"2026-11-01T12:00:00.000+00:00","details":{"a":"1","b":"2"},'
        '"outcome":"done","source":"127.0.0.1","subject":"lampe-\\u00fc"}'
    )


def test_the_link_is_sha256_over_predecessor_number_and_event() -> None:
    expected = hashlib.sha256(f"{GENESIS}\n1\nbody".encode()).hexdigest()
    assert link(GENESIS, 1, "body") == expected
    (first,) = five()[:1]
    assert (first.sequence, first.previous) == (1, GENESIS)
    assert first.hash == link(GENESIS, 1, canonical(first.event))


@given(st.lists(events, max_size=8), st.integers(0, 8))
def test_a_chain_verifies_whole_and_page_by_page(made: list[AuditEvent], cut: int) -> None:
    records = chain(*made)
    head = verify(records)
    assert head == (ChainHead(len(made), records[-1].hash) if made else ChainHead())
    assert verify(records[cut:], verify(records[:cut])) == head


@pytest.mark.parametrize("place", range(5))
def test_any_change_in_any_record_shows_at_that_record(place: int) -> None:
    good = five()[place]
    changes = [
        replace(good, event=replace(good.event, outcome="refused")),
        replace(good, event=replace(good.event, at=NOW + timedelta(milliseconds=1))),
        replace(good, event=replace(good.event, details={"x": ""})),
        replace(good, previous="f" * 64),
        replace(good, hash="f" * 64),
        replace(good, sequence=good.sequence + 1),
    ]
    for change in changes:
        records = five()
        records[place] = change
        with pytest.raises(AuditBroken) as broken:
            verify(records)
        assert broken.value.facts["sequence"] == place + 1


def test_lost_doubled_and_swapped_records_show() -> None:
    good = five()
    lost = [*good[:2], *good[3:]]
    doubled = [*good[:2], good[1], *good[2:]]
    swapped = [good[1], good[0], *good[2:]]
    headless = good[1:]
    for records, detail in (
        (lost, "record 4 stands in its place"),
        (doubled, "record 2 stands in its place"),
        (swapped, "record 2 stands"),
        (headless, "record 2 stands"),
    ):
        with pytest.raises(AuditBroken, match=detail):
            verify(records)


def test_a_rewritten_tail_shows_against_a_head_that_was_noted_elsewhere() -> None:
    good = five()
    noted = ChainHead(4, good[3].hash)
    forged = chain(*(replace(record.event, actor="t2") for record in good))

    assert verify(forged).sequence == 5, "a chain rewritten from the start holds together by itself"
    with pytest.raises(AuditBroken, match="does not follow"):
        verify(forged[4:], noted)
    assert verify(good[4:], noted).sequence == 5


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "7",
        '"text"',
        "{}",
        '{"at":null}',
        "[" * 100_000,
        canonical(five()[0].event) + " ",
        canonical(five()[0].event).replace('"t1"', "7"),
        canonical(five()[0].event).replace('"details":{}', '"details":[]'),
        canonical(five()[0].event).replace('"details":{}', '"details":5'),
        canonical(five()[0].event).replace('"details":{}', '"details":{},"more":1'),
        canonical(five()[0].event).replace("+00:00", ""),
        canonical(five()[0].event).replace("12:00:00.000", "12:00:00.000001"),
        json.dumps(json.loads(canonical(five()[0].event)), indent=1),
    ],
)
def test_text_that_canonical_did_not_write_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_event(text)


def test_the_same_moment_elsewhere_on_earth_stays_what_was_written() -> None:
    tokyo = AuditEvent(NOW.astimezone(timezone(timedelta(hours=9))), "enroll", "done", "lamp", "t1")
    assert parse_event(canonical(tokyo)) == tokyo
    assert "21:00:00.000+09:00" in canonical(tokyo)
