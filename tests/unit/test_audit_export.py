"""Exports: nothing can be changed, taken away, doubled, swapped or cut off without a trace."""

import bisect
import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from itertools import chain, islice

import pytest
from hypothesis import example, given, settings, strategies as st

from keyborn.domain.audit import ChainHead
from keyborn.domain.audit_export import (
    ExportHeader,
    ExportReader,
    ExportReport,
    check_export,
    read_header,
)
from keyborn.domain.checkpoint import NotedHead, key_id
from keyborn.domain.errors import AuditHeadMissing, AuditKeyDiffers, ExportBroken
from support.exports import NOON, NOTARY, SERVICE, URL, Notary, export, fork, lines_of, trail
from support.figures import Figure
from support.walks import FULL, examples

OTHER = Notary(bytes(31) + b"\1")
MANY = 10_000
PARTS = 4


@cache
def few() -> tuple[bytes, ...]:
    return tuple(export(trail(12), every=5))


@cache
def many() -> tuple[bytes, ...]:
    """The export of 10,000 records."""
    return tuple(export(trail(MANY), every=500))


@cache
def stations() -> tuple[ExportReader, ...]:
    """Readers of that one, each right before a line: whatever stands from there on is checked as ever."""
    reader, found = ExportReader(), []
    for line in many():
        found.append(fork(reader))
        reader.feed(line)
    reader.end()
    return tuple(found)


def read_from(number: int, changed: Iterable[bytes]) -> ExportReport:
    """Check the great export whose lines from ``number`` on are ``changed``."""
    reader = fork(stations()[number])
    for line in changed:
        reader.feed(line)
    return reader.end()


def broken(lines: Sequence[bytes]) -> ExportBroken:
    with pytest.raises(ExportBroken) as found:
        check_export(lines)
    return found.value


@cache
def _starts() -> list[int]:
    total, starts = 0, []
    for line in many():
        starts.append(total)
        total += len(line)
    return [*starts, total]


def _line_at(place: int) -> tuple[int, int]:
    number = bisect.bisect_right(_starts(), place) - 1
    return number, place - _starts()[number]


def found(number: int, offset: int, value: int) -> bool:
    """Whether the change of one byte of a line is found, at the latest by the last line."""
    tail = b"".join(many()[number : number + 2])
    changed = lines_of(tail[:offset] + bytes([value]) + tail[offset + 1 :])
    try:
        read_from(number, chain(changed, islice(many(), number + 2, None)))
    except ExportBroken:
        return True
    return False


# ── the form ──────────────────────────────────────────────────────────────────────────────────────────


def test_an_export_that_nobody_touched_holds_and_tells_what_it_is() -> None:
    report = check_export(few())
    assert report.header == ExportHeader(SERVICE, URL, (NOTARY.public,), ChainHead())
    assert (report.end.count, report.end.checkpoints, report.end.at) == (12, 3, NOON)
    assert report.end.head.sequence == 12
    assert report.key == key_id(NOTARY.public)


def test_an_export_of_ten_thousand_records_holds() -> None:
    report = check_export(many())
    assert (report.end.count, report.end.checkpoints) == (MANY, 20)


def test_the_form_is_fixed_for_ever() -> None:
    lines = export(trail(1))
    public, key = NOTARY.public.hex(), key_id(NOTARY.public)
    zero = "0" * 64
    assert lines[0].decode() == (
        f'{{"header":{{"continues":"0:{zero}","format":"keyborn-audit","keys":["{public}"],'
        f'"service":"{SERVICE}","url":"{URL}","version":1}}}}\n'
    )
    digest = json.loads(lines[1])["record"]["hash"]
    assert lines[1].decode() == (
        '{"record":{"event":{"action":"enroll","actor":"t1","at":"2026-11-01T12:00:00.001+00:00",'
        f'"details":{{"keyHash":"{1:064x}"}},"outcome":"done","source":"192.0.2.7","subject":"lamp-1"}},'
        f'"hash":"{digest}","previous":"{zero}","sequence":1}}}}\n'
    )
    assert (
        lines[2]
        .decode()
        .startswith(
            f'{{"checkpoint":{{"at":"2026-11-01T12:00:00.000+00:00","hash":"{digest}","key":"{key}","sequence":1,'
        )
    )
    assert (
        lines[3]
        .decode()
        .startswith(
            '{"trailer":{"at":"2026-11-01T12:00:00.000+00:00","checkpoints":1,"count":1,'
            f'"head":"1:{digest}","key":"{key}","sha256":"'
        )
    )


def test_every_line_is_the_json_that_anybody_writes_with_sorted_keys() -> None:
    for line in few():
        assert line.decode() == json.dumps(json.loads(line), sort_keys=True, separators=(",", ":")) + "\n"


def test_an_export_of_nothing_holds() -> None:
    assert check_export(export([])).end.count == 0


def test_an_export_goes_on_where_another_one_ended() -> None:
    first = check_export(few())
    more = check_export(export(trail(3, first.end.head), continues=first.end.head))
    assert more.header.continues == first.end.head
    assert more.end.head.sequence == 15
    with pytest.raises(ExportBroken, match="record 1: record 13 stands in its place"):
        check_export(export(trail(3, first.end.head)))


def test_older_keys_vouch_for_checkpoints_and_the_newest_for_all() -> None:
    lines = export(trail(3), older=(OTHER.public,))
    assert check_export(lines).header.keys == (OTHER.public, NOTARY.public)


# ── one byte ──────────────────────────────────────────────────────────────────────────────────────────


def test_any_byte_of_a_small_export_changed_to_any_of_several_is_found(figure: Figure) -> None:
    """Every position: another letter, the other case, a digit, white space, a line end, beyond ASCII."""
    raw = b"".join(few())
    values = b"0 \n\x80" if FULL else b"0\n"
    tried = 0
    for place in range(0, len(raw), 1 if FULL else 7):
        for value in {*values, raw[place] ^ 0x20, raw[place] ^ 1} - {raw[place]}:
            broken(lines_of(raw[:place] + bytes([value]) + raw[place + 1 :]))
            tried += 1
    figure(f"{tried} changes of one byte in an export of 12 records: each was found")


@settings(max_examples=examples(300), deadline=None)
@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
@example(0.0, 1)
def test_a_random_byte_of_ten_thousand_records_changed_is_found(part: float, change: int) -> None:
    place = int(part * _starts()[-1])
    number, offset = _line_at(place)
    assert found(number, offset, many()[number][offset] ^ change)


@settings(max_examples=examples(300), deadline=None)
@given(
    st.sampled_from(["header", "checkpoint", "trailer"]),
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 255),
)
def test_a_random_byte_of_what_is_around_the_records_changed_is_found(
    kind: str, part: float, change: int
) -> None:
    start = f'{{"{kind}":'.encode()
    places = [number for number, line in enumerate(many()) if line.startswith(start)]
    number = places[int(part * len(places))]
    offset = int(part * 7919 * len(many()[number])) % len(many()[number])
    assert found(number, offset, many()[number][offset] ^ change)


@pytest.mark.whole
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(PARTS))
def test_every_byte_of_ten_thousand_records_changed_is_found(part: int, figure: Figure) -> None:
    """Each position once, to another value that chance picks; what breaks a line in two or joins two, too."""
    chance, tried = random.Random(20261123 + part), 0
    for number, line in list(enumerate(many()))[part::PARTS]:
        for offset, byte in enumerate(line):
            assert found(number, offset, byte ^ chance.randrange(1, 256)), (number, offset)
        tried += len(line)
    figure(f"{tried} bytes of an export of {MANY} records (part {part + 1} of {PARTS}): each was found")


# ── whole lines ───────────────────────────────────────────────────────────────────────────────────────


def removed(lines: list[bytes], at: int, _other: int) -> None:
    del lines[at]


def doubled(lines: list[bytes], at: int, _other: int) -> None:
    lines.insert(at, lines[at])


def swapped(lines: list[bytes], at: int, other: int) -> None:
    lines[at], lines[other] = lines[other], lines[at]


def moved(lines: list[bytes], at: int, other: int) -> None:
    lines.insert(other, lines.pop(at))


def brought(lines: list[bytes], at: int, other: int) -> None:
    lines.insert(at, lines[other])


def emptied(lines: list[bytes], at: int, _other: int) -> None:
    lines[at] = b"\n"


def truncated(lines: list[bytes], at: int, _other: int) -> None:
    del lines[at:]


DAMAGES: list[Callable[[list[bytes], int, int], None]] = [
    removed, doubled, swapped, moved, brought, emptied, truncated,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_any_line_of_a_small_export_lost_doubled_or_elsewhere_is_found(
    damage: Callable[[list[bytes], int, int], None],
) -> None:
    for at in range(len(few())):
        for other in range(len(few())):
            lines = list(few())
            damage(lines, at, other)
            if lines != list(few()):
                broken(lines)


def damaged(damage: Callable[[list[bytes], int, int], None], at: int, other: int) -> bool:
    """Whether damage to the great export is found; nothing is damage that leaves it as it was."""
    first, behind = min(at, other), max(at, other) + 2
    lines = list(many()[first:behind])
    before = list(lines)
    damage(lines, at - first, other - first)
    if lines == before:
        return True
    rest = () if damage is truncated else islice(many(), behind, None)
    try:
        read_from(first, chain(lines, rest))
    except ExportBroken:
        return True
    return False


@settings(max_examples=examples(240), deadline=None)
@given(st.sampled_from(DAMAGES), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_a_random_line_of_ten_thousand_lost_doubled_or_elsewhere_is_found(
    damage: Callable[[list[bytes], int, int], None], at: float, other: float
) -> None:
    count = len(many())
    assert damaged(damage, int(at * count), int(other * count))


def test_ten_thousand_records_cut_off_after_any_line_are_found() -> None:
    """No reader is content before the last line, and none goes on behind it."""
    for reader in stations():
        with pytest.raises(ExportBroken, match="it ends before its last line"):
            fork(reader).end()
    behind = ExportReader()
    for line in few():
        behind.feed(line)
    with pytest.raises(ExportBroken, match="there is more behind the last line"):
        behind.feed(b"\n")


@pytest.mark.whole
def test_each_line_of_ten_thousand_lost_doubled_or_swapped_with_the_next_is_found(figure: Figure) -> None:
    count = len(many())
    for damage in (removed, doubled, swapped, emptied):
        assert all(damaged(damage, at, min(at + 1, count - 1)) for at in range(count)), damage
    figure(f"each of {count} lines lost, doubled, swapped with the next, emptied: found")


def test_a_cut_within_a_line_is_found() -> None:
    raw = b"".join(few())
    for size in range(0, len(raw), 1 if FULL else 7):
        broken(lines_of(raw[:size]))


# ── somebody who can write a chain of his own ─────────────────────────────────────────────────────────


def test_an_export_that_somebody_else_signed_differs_by_its_key() -> None:
    forged = export(trail(12), notary=OTHER)
    assert check_export(forged).key == key_id(OTHER.public), "it holds by itself: so it says its key"
    with pytest.raises(AuditKeyDiffers, match=key_id(OTHER.public)):
        check_export(forged, ExportReader(trusted=key_id(NOTARY.public)))
    assert check_export(few(), ExportReader(trusted=key_id(NOTARY.public))).end.count == 12


def test_a_name_of_a_key_that_is_not_in_the_header_convinces_nobody() -> None:
    lines = list(few())
    lines[-1] = lines[-1].replace(key_id(NOTARY.public).encode(), key_id(OTHER.public).encode())
    assert "not signed so by a key" in str(broken(lines))


def test_records_made_anew_under_the_old_last_line_are_found() -> None:
    lines = list(few())
    other = export(trail(13), every=5)
    assert "not those that were signed" in str(broken([*other[:-1], lines[-1]]))


def test_the_last_line_of_another_service_serves_none() -> None:
    elsewhere = Notary(name="keyborn:" + "00" * 32)
    lines = export(trail(12), every=5, notary=elsewhere)
    assert check_export(lines).header.service == elsewhere.name
    swapped_name = [lines[0].replace(elsewhere.name.encode(), SERVICE.encode()), *lines[1:]]
    assert "not signed by a key of this service" in str(broken(swapped_name))


def test_a_signed_count_that_does_not_fit_is_found() -> None:
    """A signer that lies about what it wrote is found, too."""
    from keyborn.domain.audit_export import ExportWriter, read_record

    writer = ExportWriter(ExportHeader(SERVICE, URL, (NOTARY.public,), ChainHead()))
    lines = [writer.header(), writer.record(read_record(few()[1].decode()))]
    end = writer.end(NOON)
    for lie, why in (
        (replace(end, count=2), "records before it are missing"),
        (replace(end, head=ChainHead(2, end.head.hash)), "records before it are missing"),
        (replace(end, checkpoints=1), "checkpoints before it are missing"),
        (replace(end, sha256="0" * 64), "not those that were signed"),
    ):
        signed = lie.line(NOTARY.at_once(lie.text(SERVICE)))
        assert why in str(broken([*lines, signed]))


# ── hostile bytes ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"null\n",
        b"[]\n",
        b'{"header":null}\n',
        b'{"header":{"keys":[1]}}\n',
        b'{"header":{"continues":1,"format":"keyborn-audit","keys":[],"service":"","url":"","version":1}}\n',
        b"[" * 100_000 + b"\n",
        b"\xff\n",
        few()[0].replace(b'"version":1', b'"version":2'),
        few()[0].replace(b'"version":1', b'"version":1.0'),
        few()[0].replace(b"keyborn-audit", b"keyborn-else"),
        few()[0].replace(b'"keys":["', b'"keys":["00'),
        few()[0].replace(b"\n", b"\r\n"),
        few()[0].replace(b"{", b"{ ", 1),
        b"\xef\xbb\xbf" + few()[0],
    ],
)
def test_what_is_no_header_is_refused_at_once(line: bytes) -> None:
    assert broken([line, *few()[1:]]).facts["line"] == 1


@pytest.mark.parametrize("service", [None, 7, ["a"], {"a": "b"}])
def test_a_name_that_is_no_text_is_refused(service: object) -> None:
    header = replace(ExportHeader(SERVICE, URL, (NOTARY.public,), ChainHead()), service=service)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not the header"):
        read_header(header.line().decode())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"sequence":1}', b'"sequence":01}'),
        (b'"sequence":1}', b'"sequence":1.0}'),
        (b'"sequence":1}', b'"sequence":1e0}'),
        (b'"sequence":1}', b'"sequence": 1}'),
        (b'"sequence":1}', b'"sequence":1,"sequence":1}'),
        (b'"outcome":"done"', b'"outcome":"d\\u006fne"'),
        (b'"actor":"t1"', b'"actor":"t1","actor":"t1"'),
        (b"12:00:00.001+00:00", b"12:00:00.001Z"),
        (b"12:00:00.001+00:00", b"13:00:00.001+01:00"),
        (b"}}\n", b"}}\r\n"),
        (b"}}\n", b"}} \n"),
        (b"}}\n", b"}}\n\n"),
    ],
)
def test_another_way_to_write_the_same_is_refused(old: bytes, new: bytes) -> None:
    assert old in few()[1]
    assert broken([few()[0], *lines_of(few()[1].replace(old, new)), *few()[2:]]).facts["line"] in {2, 3}


def test_a_broken_line_is_named_with_what_is_wrong() -> None:
    lines = list(few())
    lines[3] = lines[3].replace(b'"done"', b'"none"').replace(b'"thing_name_taken"', b'"done"')
    found = broken(lines)
    assert found.facts["line"] == 4
    assert "line 4: record 3: its contents are not what was recorded" in str(found)


# ── what was noted elsewhere ──────────────────────────────────────────────────────────────────────────


def test_an_export_must_hold_the_head_that_was_noted() -> None:
    fifth = json.loads(few()[5])["record"]["hash"]
    for noted in (NotedHead(fifth, 5), NotedHead(fifth)):
        assert check_export(few(), ExportReader(noted=noted)).end.count == 12
    for noted in (NotedHead(fifth, 6), NotedHead("a" * 64), NotedHead("a" * 64, 13)):
        with pytest.raises(AuditHeadMissing):
            check_export(few(), ExportReader(noted=noted))
