"""Lists of keys as factories write them: what is read, what is told, in which order it comes out."""

import io
import json
from collections.abc import Iterator

import pytest
from hypothesis import given, settings, strategies as st

from keyborn.cli.key_list import BATCH, MAX_LINE, Bad, Checklist, KeyList, Row, batches
from keyborn.cli.progress import Progress, told
from keyborn.domain.errors import ImportFileUnusable
from support.registry_cases import key
from support.walks import examples

A, B = key("a"), key("b")


def listed(text: str | bytes) -> list[Row | Bad]:
    raw = text if isinstance(text, bytes) else text.encode()
    return list(KeyList(io.BytesIO(raw), "list.csv").rows())


def rows(*pairs: tuple[str, str]) -> Iterator[Row | Bad]:
    yield from (Row(line, thing, hashed) for line, (thing, hashed) in enumerate(pairs, start=2))  # type: ignore[arg-type]


def checked(found: Iterator[Row | Bad]) -> tuple[list[tuple[str, str]], list[tuple[int, str]]]:
    """What would be announced, and what is told."""
    bad: list[tuple[int, str]] = []
    with Checklist() as checklist:
        checklist.check(found, lambda one: bad.append((one.line, one.detail)))
        good = [(row.thing, row.key) for row in checklist.sound()]
        assert (checklist.good, checklist.bad) == (len(good), len(bad))
    return [(str(name), str(hashed)) for name, hashed in good], bad


@pytest.mark.parametrize(
    "text",
    [
        f"name,keyHash\nsensor-1,{A}\nsensor-2,{B}\n",
        f"name,keyHash\r\nsensor-1,{A}\r\n\r\nsensor-2,{B}",
        f'\ufeffKEYHASH,serial,Name\n{A},"7, or 8",sensor-1\n{B},,sensor-2\n',
        f"thingName;keyHash\nsensor-1;{A.upper()}\nsensor-2;{B}\n",
        f'{{"name": "sensor-1", "keyHash": "{A}"}}\n{{"KeyHash": "{B}", "thingName": "sensor-2", "x": 1}}\n',
        f'\n  {{"name": "sensor-1", "keyHash": "{A}"}}\n\n{{"keyHash": "{B}", "thingName": "sensor-2"}}\n',
    ],
)
def test_lists_are_read_however_they_were_written(text: str) -> None:
    found = listed(text)
    assert [(row.thing, row.key) for row in found if isinstance(row, Row)] == [
        ("sensor-1", A),
        ("sensor-2", B),
    ]
    assert len(found) == 2


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        ("sensor-1", "too few columns"),
        (f"sensor 1,{A}", "thing name"),
        (f"keyborn-1,{A}", "reserved"),
        ("sensor-1,12ab", "64 hexadecimal"),
        (f",{A}", "empty"),
        (f"sensor-1,{A[:-1]}\0", "64 hexadecimal"),
        (f'"sensor-1,{A}', "too few columns"),
    ],
)
def test_a_line_that_is_not_in_order_is_told_with_its_number(line: str, detail: str) -> None:
    first, second = listed(f"name,keyHash\nsensor-2,{B}\n{line}\n")
    assert isinstance(first, Row)
    assert isinstance(second, Bad)
    assert second.line == 3
    assert detail in second.detail


@pytest.mark.parametrize("line", ["{", "[]", "7", '{"name": "x"}', '{"name": 1, "keyHash": 2}', "[" * 2000])
def test_a_line_of_json_that_is_not_in_order_is_told(line: str) -> None:
    _, second = listed(json.dumps({"name": "sensor-1", "keyHash": A}) + f"\n{line}\n")
    assert isinstance(second, Bad)


@pytest.mark.parametrize(
    "text", ["", "\n\n", "sensor-1\n", f"sensor-1,{A}\n", "name,hash\n", "name\n", b"\x89PNG\r\n", "x" * 5000]
)
def test_what_is_no_list_is_refused_at_once(text: str | bytes) -> None:
    with pytest.raises(ImportFileUnusable, match=r"list\.csv"):
        listed(text)


def test_a_line_without_an_end_is_not_read_for_ever() -> None:
    with pytest.raises(ImportFileUnusable, match="line 2"):
        listed("name,keyHash\n" + "x" * MAX_LINE)


def test_keys_come_in_the_order_of_their_hashes() -> None:
    pairs = [(f"sensor-{number}", str(key(str(number)))) for number in range(2 * BATCH + 7)]
    good, bad = checked(rows(*pairs))
    assert good == sorted(pairs, key=lambda pair: pair[1])
    assert bad == []


def test_a_key_or_a_name_that_stands_twice_is_told_with_both_lines() -> None:
    good, bad = checked(rows(("s-1", A), ("s-2", B), ("s-3", A), ("s-2", key("c")), ("s-1", A)))
    assert sorted(good) == sorted([("s-1", A), ("s-2", B)])
    assert bad == [
        (4, "its key hash stands in line 2 already"),
        (5, "its name stands in line 3 already"),
        (6, "its key hash stands in line 2 already"),
    ]


def test_what_stands_twice_is_found_over_any_distance() -> None:
    pairs = [(f"s-{number}", str(key(str(number)))) for number in range(BATCH + 5)]
    _, bad = checked(rows(*pairs, ("other", key("0"))))
    assert bad == [(BATCH + 7, "its key hash stands in line 2 already")]


@settings(max_examples=examples(90), deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.sampled_from([key(str(n)) for n in range(6)])), max_size=30
    )
)
def test_of_any_list_what_comes_out_has_each_key_and_each_name_once(pairs: list[tuple[str, str]]) -> None:
    good, bad = checked(rows(*pairs))
    assert len({name for name, _ in good}) == len({hashed for _, hashed in good}) == len(good)
    assert len(good) + len(bad) == len(pairs)
    assert set(good) <= set(pairs)
    assert not pairs or pairs[0] in good


def test_from_a_hash_on_what_comes_before_is_left_out() -> None:
    with Checklist() as checklist:
        checklist.check(rows(("s-1", A), ("s-2", B)), lambda _bad: None)
        last = max(A, B)
        assert [row.key for row in checklist.sound(last)] == [last]


def test_batches_are_of_a_thousand_and_the_last_one_of_the_rest() -> None:
    assert [len(batch) for batch in batches(iter(range(2 * BATCH + 1)))] == [BATCH, BATCH, 1]


# ── progress ──


def test_progress_says_rows_rate_and_time_left() -> None:
    assert told(250, 1000, 250, 10.0) == "250 rows (25%), 25 a second, 30 s left"
    assert told(5000, 10000, 123_000, 5.0) == "123,000 rows (50%), 24,600 a second, 5 s left"
    assert told(0, 0, 7, 2.0) == "7 rows, 4 a second"
    assert told(0, 100, 0, 0.0) == "0 rows, 0 a second"


def test_elsewhere_than_at_a_terminal_a_line_comes_every_five_seconds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = [0.0]
    progress = Progress(monotonic=lambda: now[0])
    for second in range(12):
        now[0] = float(second)
        progress.say("Checking", second, 12)
    progress.end()
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_for_a_program_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    progress = Progress(quiet=True, monotonic=lambda: now[0])
    now[0] = 100.0
    progress.say("Checking", 1, 2)
    assert capsys.readouterr().err == ""
