"""Tables for people, JSON for programs, durations as people write them, messages that cannot draw."""

import json

import click
import pytest
from hypothesis import given, strategies as st

from keyborn.cli.device import Number
from keyborn.cli.output import show, table
from keyborn.cli.token import Duration
from keyborn.cli.watch import _line, _reachable, _row
from keyborn.device.session import Received

ROWS: list[dict[str, object]] = [{"name": "sensor-1", "uses": None}, {"name": "a", "uses": 10}]


def test_a_table_lines_its_columns_up(capsys: pytest.CaptureFixture[str]) -> None:
    table(ROWS, ["name", "uses"], as_json=False, empty="none")
    assert capsys.readouterr().out == "NAME      USES\nsensor-1  -\na         10\n"


def test_headings_are_words_and_truths_are_yes_and_no(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"usesTaken": 0, "replace": True}, {"usesTaken": 10, "replace": False}]
    table(rows, ["usesTaken", "replace"], as_json=False, empty="none")
    assert capsys.readouterr().out == "USES TAKEN  REPLACE\n0           yes\n10          no\n"


def test_an_empty_table_is_a_sentence_for_people_and_an_empty_list_for_programs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table([], ["name"], as_json=False, empty="There is nothing yet.")
    table([], ["name"], as_json=True, empty="There is nothing yet.")
    assert capsys.readouterr().out == "There is nothing yet.\n[]\n"


def test_json_keeps_every_member_and_its_type(capsys: pytest.CaptureFixture[str]) -> None:
    table(ROWS, ["name"], as_json=True, empty="")
    assert json.loads(capsys.readouterr().out) == ROWS
    show(ROWS[0], as_json=True)
    assert json.loads(capsys.readouterr().out) == ROWS[0]


def test_a_record_is_one_line_a_member(capsys: pytest.CaptureFixture[str]) -> None:
    show({"id": "t1", "expires": None}, as_json=False)
    assert capsys.readouterr().out == "id       t1\nexpires  -\n"


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h", 3600), ("7d", 604800)])
def test_durations_are_read_as_people_write_them(text: str, seconds: int) -> None:
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "1w", "-1h", "1.5h", "1h30m", "\u0661h", " 1h", "1 h"])
def test_other_durations_are_usage_errors_that_show_good_ones(text: str) -> None:
    with pytest.raises(click.BadParameter, match="1h or 7d"):
        Duration().convert(text, None, None)


@given(st.text(), st.text())
def test_no_message_can_draw_on_the_operator_s_terminal(topic: str, payload: str) -> None:
    line = _line({"time": "t", "thing": "a", "topic": topic, "payload": payload})
    assert line.isprintable()


@pytest.mark.parametrize("text", ["nan", "-1", "many", "1001"])
def test_numbers_are_numbers_within_their_range(text: str) -> None:
    assert Number(0.01, 1000).convert("2.5", None, None) == 2.5
    with pytest.raises(click.BadParameter):
        Number(0.01, 1000).convert(text, None, None)


def test_a_payload_that_is_no_text_is_hex_and_a_retained_message_says_so() -> None:
    received = Received("x", b"\xff\x00", 1, retain=True)
    line = _line(_row(received))
    assert "0xff00" in line
    assert line.endswith("(retained)")
    assert "  -  " in line, "nobody told who published it"


def test_a_message_is_shown_with_its_thing() -> None:
    line = _line(_row(Received("certtest/a", b"21.5", 1, retain=False, publisher="a")))
    assert line.endswith("  a  certtest/a  21.5")


@pytest.mark.parametrize(
    ("listening", "reached"),
    [
        ("127.0.0.1:8883", ("127.0.0.1", 8883)),
        ("0.0.0.0:8883", ("127.0.0.1", 8883)),
        ("[::]:443", ("127.0.0.1", 443)),
        ("[::1]:9", ("::1", 9)),
    ],
)
def test_watch_reaches_a_listener_on_all_addresses_over_loopback(
    listening: str, reached: tuple[str, int]
) -> None:
    assert _reachable(listening, "127.0.0.1") == reached


def test_watch_reaches_a_listener_on_all_addresses_of_a_service_elsewhere_where_that_is() -> None:
    assert _reachable("0.0.0.0:8883", "gateway.example") == ("gateway.example", 8883)
    assert _reachable("192.0.2.7:8883", "gateway.example") == ("192.0.2.7", 8883)
