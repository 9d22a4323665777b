"""Log lines: one per refusal, one line each, whatever hostile text they quote, and never a flood."""

import logging

import pytest

from keyborn.adapters.broker.refusals import Refusals, line, quoted


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain-Word_1:2.3", "plain-Word_1:2.3"),
        ("a b", "'a b'"),
        ("a=b", "'a=b'"),
        ("", "''"),
        ("line\nbreak", r"'line\nbreak'"),
        ("\x1b[31m", r"'\x1b[31m'"),
        ("é", r"'\xe9'"),
        ("certtest/x", "'certtest/x'"),
        (5, "5"),
    ],
)
def test_values_stay_on_one_line_of_ascii(value: object, text: str) -> None:
    assert line("refused", key=value) == f"refused key={text}"


def test_long_text_is_cut() -> None:
    assert len(quoted("x" * 100_000)) < 320
    assert len(line("refused", key="x" * 100_000)) < 340


def test_what_is_not_known_is_left_out() -> None:
    assert line("refused", thing=None, reason="r") == "refused reason=r"


def test_each_refusal_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    Refusals(Time()).refuse("me", action="iot:Publish", resource="certtest/x", reason="no")
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("keyborn.broker", logging.WARNING)
    assert record.getMessage() == "refused action=iot:Publish resource='certtest/x' reason=no"


def test_a_source_that_repeats_itself_is_cut_and_the_count_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    time = Time()
    refusals = Refusals(time)
    for _ in range(80):
        refusals.refuse("noisy", reason="again")
    assert len(caplog.records) == 50
    refusals.refuse("quiet", reason="other")
    assert caplog.messages[-1] == "refused reason=other", "one source's noise hides another's refusal"
    time.now = 2.0
    refusals.refuse("noisy", reason="again")
    assert caplog.messages[-1] == "refused reason=again suppressed=30"


def test_memory_is_bounded_however_many_sources_there_are() -> None:
    refusals = Refusals(Time())
    logging.getLogger("keyborn.broker").setLevel(logging.CRITICAL)
    try:
        for number in range(5000):
            refusals.refuse(str(number), reason="r")
    finally:
        logging.getLogger("keyborn.broker").setLevel(logging.NOTSET)
    assert len(refusals._sources) == 1024
