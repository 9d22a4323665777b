"""``outbox.toml``: bounds, policy and rate of a home, for every program that opens its outbox."""

from pathlib import Path

import pytest

from keyborn.device.home import Home
from keyborn.device.messages import OutboxLimits, Overflow
from keyborn.device.outbox import open_outbox
from keyborn.device.outbox_settings import NAME, OutboxSettings, outbox_settings
from keyborn.domain.errors import InvalidSetting, OutboxFull
from support.device_home import home_in, now


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = home_in(tmp_path)
    home.prepare()
    return home


def write(home: Home, text: str) -> None:
    (home.path / NAME).write_text(text)


def test_without_the_file_everything_has_its_default(home: Home, tmp_path: Path) -> None:
    assert outbox_settings(home) == OutboxSettings(OutboxLimits(), 2.0)
    assert outbox_settings(Home(tmp_path / "nowhere")) == OutboxSettings()


def test_the_file_says_how_much_may_wait_what_gives_way_and_how_fast_it_goes(home: Home) -> None:
    write(home, 'messages = 10\nbytes = 1_000_000\noverflow = "refuse"\nrate = 0.5\n')
    wanted = OutboxLimits(messages=10, size=1_000_000, overflow=Overflow.REFUSE)
    assert outbox_settings(home) == OutboxSettings(wanted, 0.5)


def test_zero_is_without_bound(home: Home) -> None:
    write(home, "messages = 0\nbytes = 0\nrate = 0\n")
    assert outbox_settings(home) == OutboxSettings(OutboxLimits(messages=None, size=None), 0.0)


def test_what_was_chosen_counts_more_and_none_chooses_nothing(home: Home) -> None:
    write(home, 'messages = 10\noverflow = "refuse"\nrate = 1\n')
    made = outbox_settings(home, {"messages": 20, "overflow": None, "rate": 0.0, "bytes": 300_000})
    assert made.limits == OutboxLimits(messages=20, size=300_000, overflow=Overflow.REFUSE)
    assert made.rate == 0


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("messages = -1", "outbox.toml messages"),
        ("messages = true", "outbox.toml messages"),
        ("messages = 1.5", "whole number"),
        ("bytes = 10", "outbox size"),
        ('bytes = "many"', "outbox.toml bytes"),
        ('overflow = "drop"', "drop-oldest, drop-newest, refuse"),
        ("overflow = []", "drop-oldest"),
        ("rate = -1", "0 to 1000"),
        ("rate = nan", "0 to 1000"),
        ("rate = false", "0 to 1000"),
        ("rats = 1", "messages, bytes, overflow, rate"),
        ("rate =", "no TOML"),
        ("# \udcff", "no TOML"),
    ],
)
def test_what_makes_no_sense_is_said_with_its_place(home: Home, text: str, word: str) -> None:
    (home.path / NAME).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InvalidSetting, match=word):
        outbox_settings(home)


def test_a_folder_of_that_name_is_said(home: Home) -> None:
    (home.path / NAME).mkdir()
    with pytest.raises(InvalidSetting, match="directory"):
        outbox_settings(home)


def test_an_outbox_opened_with_them_is_bounded_by_them(home: Home) -> None:
    write(home, 'messages = 1\noverflow = "refuse"\n')
    with open_outbox(home.outbox, outbox_settings(home).limits) as outbox:
        outbox.append("t", b"1", now())
        with pytest.raises(OutboxFull):
            outbox.append("t", b"2", now())
