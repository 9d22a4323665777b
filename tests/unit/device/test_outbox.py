"""The outbox: durable, in order, private."""

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from keyborn.device import files
from keyborn.device.outbox import Counts, Fate, Message, Outbox, open_outbox
from keyborn.domain.errors import FileNotPrivate, OutboxUnusable
from support.device_home import now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def outbox(path: Path) -> Iterator[Outbox]:
    with open_outbox(path) as opened:
        yield opened


def test_an_empty_outbox_has_nothing_to_send(outbox: Outbox) -> None:
    assert outbox.oldest() is None
    assert outbox.counts() == Counts(0, 0)


def test_messages_leave_in_the_order_they_came(outbox: Outbox) -> None:
    for number in range(5):
        outbox.append(f"t/{number}", bytes([number]), now())
    left = []
    while (message := outbox.oldest()) is not None:
        left.append((message.topic, message.payload))
        outbox.delivered(message.id)
    assert left == [(f"t/{number}", bytes([number])) for number in range(5)]


@pytest.mark.parametrize("payload", [b"", b"\x00\xff" * 9, bytes(131_072), "ü".encode()])
def test_every_payload_comes_back_as_it_was(outbox: Outbox, payload: bytes) -> None:
    number = outbox.append("täglich", payload, now())
    assert outbox.oldest() == Message(number, "täglich", payload)


def test_an_id_is_never_given_twice(outbox: Outbox) -> None:
    """A publisher that watches its message leave must not watch another one."""
    first = outbox.append("t", b"1", now())
    outbox.delivered(first)
    assert outbox.append("t", b"2", now()) > first
    assert outbox.fate(first) == Fate(waiting=False)


def test_a_refused_message_is_set_aside_with_its_reason(outbox: Outbox) -> None:
    first, second = outbox.append("t", b"1", now()), outbox.append("t", b"2", now())
    outbox.refuse(first, "Not authorized")
    assert outbox.fate(first) == Fate(waiting=False, refused="Not authorized")
    assert outbox.fate(second) == Fate(waiting=True)
    assert outbox.oldest() == Message(second, "t", b"2")
    assert outbox.counts() == Counts(1, 1)


def test_what_was_appended_is_there_for_the_next_process(path: Path) -> None:
    with open_outbox(path) as outbox:
        number = outbox.append("t", b"kept", now())
    with open_outbox(path) as outbox:
        assert outbox.oldest() == Message(number, "t", b"kept")


def test_the_file_is_private_from_the_start(path: Path, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with open_outbox(path) as outbox:
            outbox.append("t", b"x", now())
            modes = {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == {0o600}


def test_a_file_that_others_can_read_is_refused(path: Path) -> None:
    files.write_new(path, b"")
    path.chmod(0o644)
    with pytest.raises(FileNotPrivate), open_outbox(path):
        pass


def test_a_link_is_refused(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileNotPrivate), open_outbox(path):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutboxUnusable, match="No such file"), open_outbox(tmp_path / "none" / "outbox.db"):
        pass


def test_a_damaged_file_is_said_and_not_touched(path: Path) -> None:
    files.write_new(path, b"not a database at all" * 99)
    with pytest.raises(OutboxUnusable, match="not a database"), open_outbox(path):
        pass
    assert path.read_bytes() == b"not a database at all" * 99


def test_a_full_disk_is_said_and_nothing_is_kept(path: Path) -> None:
    with open_outbox(path) as outbox:
        outbox._connection.execute("PRAGMA max_page_count = 4")
        with pytest.raises(OutboxUnusable, match="full"):
            outbox.append("t", bytes(65_536), now())
        assert outbox.counts() == Counts(0, 0)


def test_it_asks_sqlite_for_the_most_durable_mode(outbox: Outbox) -> None:
    def pragma(name: str) -> object:
        return outbox._connection.execute(f"PRAGMA {name}").fetchone()[0]

    assert (pragma("synchronous"), pragma("journal_mode"), pragma("auto_vacuum")) == (3, "delete", 1)


def test_room_is_given_back(path: Path) -> None:
    with open_outbox(path) as outbox:
        for number in [outbox.append("t", bytes(65_536), now()) for _ in range(10)]:
            outbox.delivered(number)
    assert path.stat().st_size < 65_536


def test_two_processes_append_side_by_side(path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from datetime import datetime, UTC\n"
        "from keyborn.device.outbox import open_outbox\n"
        "with open_outbox(Path(sys.argv[1])) as outbox:\n"
        "    for number in range(20): outbox.append(f'{sys.argv[2]}/{number}', b'x', datetime.now(UTC))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, path, name]) for name in "ab"]
    assert [writer.wait(30) for writer in writers] == [0, 0]
    with open_outbox(path) as outbox:
        assert outbox.counts() == Counts(40, 0)
        seen: dict[str, list[int]] = {"a": [], "b": []}
        while (message := outbox.oldest()) is not None:
            name, _, number = message.topic.partition("/")
            seen[name].append(int(number))
            outbox.delivered(message.id)
    assert seen == {"a": list(range(20)), "b": list(range(20))}


def test_a_killed_writer_loses_nothing_that_it_reported(path: Path) -> None:
    program = (
        "import sys, os, signal; from pathlib import Path; from datetime import datetime, UTC\n"
        "from keyborn.device.outbox import open_outbox\n"
        "with open_outbox(Path(sys.argv[1])) as outbox:\n"
        "    for number in range(10): print(outbox.append('t', b'x', datetime.now(UTC)), flush=True)\n"
        "    outbox._connection.execute('BEGIN'); outbox.append('t', b'half', datetime.now(UTC))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)
    assert done.returncode == -9
    with open_outbox(path) as outbox:
        assert outbox.counts() == Counts(len(done.stdout.split()), 0)


class OutboxMachine(RuleBasedStateMachine):
    """Against a plain list: same order, same counts, across restarts."""

    def __init__(self) -> None:
        super().__init__()
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        from keyborn.device.outbox import _SCHEMA

        self._connection.execute(_SCHEMA)
        self.outbox = Outbox(self._connection, Path("memory"))
        self.waiting: list[tuple[int, str, bytes]] = []
        self.refused = 0

    @rule(
        topic=st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=5),
        payload=st.binary(max_size=9),
    )
    def append(self, topic: str, payload: bytes) -> None:
        number = self.outbox.append(topic, payload, now())
        self.waiting.append((number, topic, payload))

    @precondition(lambda self: self.waiting)
    @rule()
    def deliver(self) -> None:
        message = self.outbox.oldest()
        assert message is not None
        assert (message.id, message.topic, message.payload) == self.waiting.pop(0)
        self.outbox.delivered(message.id)

    @precondition(lambda self: self.waiting)
    @rule(place=st.integers(0, 99))
    def refuse(self, place: int) -> None:
        number = self.waiting.pop(place % len(self.waiting))[0]
        self.outbox.refuse(number, "no")
        self.refused += 1

    @invariant()
    def agrees(self) -> None:
        assert self.outbox.counts() == Counts(len(self.waiting), self.refused)

    def teardown(self) -> None:
        self._connection.close()


OutboxMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
TestOutboxMachine = OutboxMachine.TestCase


def test_what_was_set_aside_is_listed_without_its_payload_the_last_ones_in_order(tmp_path: Path) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    with open_outbox(tmp_path / "outbox.db") as outbox:
        for number in range(4):
            outbox.refuse(outbox.append(f"t/{number}", b"secret", at), "Not authorized")
        outbox.append("waits", b"secret", at)
        listed = outbox.set_aside(2)
    assert [each.topic for each in listed] == ["t/2", "t/3"]
    assert {(each.created_at, each.reason) for each in listed} == {(at, "Not authorized")}
    assert "secret" not in repr(listed)
