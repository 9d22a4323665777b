"""``keyborn messages``: what was set aside is listed, counted, retried and dropped."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyborn.device.home import Home
from keyborn.device.messages import Draft, Fate, Outcome
from keyborn.device.outbox import open_outbox
from support.device import keyborn, keyborn_json
from support.device_home import OWN, home_in, identify, now
from support.rude_broker import PUBLISH, RudeBroker, accept, rude_broker


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = home_in(tmp_path)
    home.prepare()
    return home


@pytest.fixture
def broker(tmp_path: Path, home: Home) -> Iterator[RudeBroker]:
    with rude_broker(tmp_path) as running:
        identify(home, broker=(running.host, running.port))
        yield running


def refuse(home: Home, count: int, reason: str = "Not authorized") -> list[int]:
    """As many messages that were set aside, one that waits, one of each that was lost."""
    with open_outbox(home.outbox) as outbox:
        drafts = [Draft(f"{OWN}/{number}", b"a secret") for number in range(count)]
        kept = outbox.append_many([*drafts, *[Draft(OWN, b"")] * 3], now())
        outbox.settle((each, Fate(Outcome.QUARANTINED, reason)) for each in kept[:count])
        outbox.settle([(kept[-1], Fate(Outcome.DROPPED)), (kept[-2], Fate(Outcome.EXPIRED))])
    return kept[:count]


def words(home: Home, *more: object) -> tuple[str, ...]:
    return ("messages", *map(str, more), "--home", str(home.path))


def test_people_get_a_table_and_the_counts(home: Home) -> None:
    first, second = refuse(home, 2)
    lines = keyborn(*words(home, "list")).stdout.splitlines()
    assert lines[0].split() == ["ID", "TOPIC", "KEPT", "AT", "BYTES", "REASON"]
    assert lines[1].startswith(f"{first}   {OWN}/0")
    assert lines[2].startswith(f"{second}   {OWN}/1")
    assert lines[1].endswith("Not authorized")
    assert lines[3] == "1 waiting, 2 refused, 1 dropped, 1 expired"


def test_programs_get_one_object_without_payloads(home: Home) -> None:
    kept = refuse(home, 3)
    told = keyborn(*words(home, "list", "--last", 2, "--json")).stdout
    report = json.loads(told)
    assert {name: report[name] for name in ("waiting", "refused", "dropped", "expired")} == {
        "waiting": 1,
        "refused": 3,
        "dropped": 1,
        "expired": 1,
    }
    assert [each["id"] for each in report["messages"]] == kept[1:]
    assert set(report["messages"][0]) == {"id", "topic", "keptAt", "bytes", "reason"}
    assert "secret" not in told


def test_an_outbox_that_was_never_used_has_none(home: Home) -> None:
    assert keyborn(*words(home, "list")).stdout.startswith("Nothing is set aside.\n0 waiting")


def test_what_a_broker_answered_cannot_draw_on_the_terminal(home: Home) -> None:
    refuse(home, 1, "\x1b[2J")
    assert "\x1b" not in keyborn(*words(home, "list")).stdout


def test_one_is_retried_and_goes_with_the_next_publish(home: Home, broker: RudeBroker) -> None:
    first, second = refuse(home, 2)
    done = keyborn(*words(home, "retry", first))
    assert done.stdout == "Messages that wait again: 1. They go with the next publish or subscribe.\n"
    keyborn("publish", OWN, "x", "--home", home.path, "--rate", "0")
    assert broker.published() == [f"{OWN}/0", OWN, OWN]
    assert [each["id"] for each in keyborn_json(*words(home, "list"))["messages"]] == [second]


def test_a_retry_of_what_is_still_denied_comes_back(home: Home, broker: RudeBroker) -> None:
    (number,) = refuse(home, 1)
    broker.answer = lambda packet, level: (
        b"\x40\x03" + packet.number + b"\x87"
        if packet.kind == PUBLISH and packet.topic.endswith("/0")
        else accept(packet, level)
    )
    assert keyborn_json(*words(home, "retry", "--all")) == {"retried": 1}
    done = keyborn("publish", OWN, "x", "--home", home.path, "--rate", "0")
    assert (done.stdout, "set aside" in done.stderr) == ("delivered\n", True)
    assert [each["id"] for each in keyborn_json(*words(home, "list"))["messages"]] == [number]


def test_one_or_all_are_dropped_and_counted(home: Home) -> None:
    first, *_ = refuse(home, 3)
    assert keyborn(*words(home, "drop", first)).stdout == "Messages dropped: 1.\n"
    assert keyborn_json(*words(home, "drop", "--all")) == {"dropped": 2}
    assert keyborn_json(*words(home, "drop", "--all")) == {"dropped": 0}
    assert keyborn(*words(home, "drop", "--all")).stdout == "Nothing is set aside.\n"
    report = keyborn_json(*words(home, "list"))
    assert (report["refused"], report["dropped"]) == (0, 4)


@pytest.mark.parametrize("command", ["retry", "drop"])
def test_it_has_to_be_said_which(home: Home, command: str) -> None:
    (number,) = refuse(home, 1)
    for more in ((), (number, "--all"), ("0",), ("x",)):
        keyborn(*words(home, command, *more), expect=2)
    assert keyborn_json(*words(home, "list"))["refused"] == 1


@pytest.mark.parametrize("command", ["retry", "drop"])
def test_a_message_that_is_not_set_aside_is_said(home: Home, command: str) -> None:
    (number,) = refuse(home, 1)
    done = keyborn(*words(home, command, number, number + 1), expect=1)
    assert done.stderr.rstrip().endswith("[message_unknown]")
    assert keyborn_json(*words(home, "list"))["refused"] == 1


def test_a_home_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    missing = Home(tmp_path / "none")
    keyborn(*words(missing, "list"), expect=1)
    assert not missing.path.exists()


def test_status_counts_what_was_lost_and_shows_the_way(home: Home, broker: RudeBroker) -> None:
    refuse(home, 1)
    told = keyborn("status", "--home", home.path).stdout
    assert "outboxDropped  1" in told
    assert "outboxExpired  1" in told
    assert f"keyborn messages retry | drop --home {home.path}" in told


def test_every_command_heeds_the_home_s_own_bounds(home: Home) -> None:
    identify(home, broker=("localhost", 1))
    (home.path / "outbox.toml").write_text('messages = 1\noverflow = "refuse"\n')
    publish = ("publish", OWN, "x", "--no-wait", "--home", str(home.path))
    assert keyborn(*publish).stdout.startswith("kept: ")
    assert "[outbox_full]" in keyborn(*publish, expect=1).stderr
    (home.path / "outbox.toml").write_text("message = 1\n")
    told = keyborn(*publish, expect=1).stderr
    assert "[invalid_setting]" in told
    assert "outbox.toml message" in told
    refused = keyborn("agent", "--outbox-bytes", "5", "--home", str(home.path), expect=1)
    assert "[invalid_setting]" in refused.stderr
