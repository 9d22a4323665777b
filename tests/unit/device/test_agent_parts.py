"""The small parts of the agent: what its threads share, its log, its client, what forgetting removes."""

import contextlib
import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from keyborn.device.agent import bridge as bridges
from keyborn.device.agent.box import Box
from keyborn.device.agent.bridge import Arrived, Bridge, Call, Ended
from keyborn.device.agent.client import AgentClient, agent_of
from keyborn.device.agent.log import Log
from keyborn.device.agent.place import NAME
from keyborn.device.forget import forget, holdings
from keyborn.device.home import Home
from keyborn.device.messages import Fate, OutboxLimits, Outcome
from keyborn.device.session import Received
from keyborn.domain.errors import AgentGone, AgentRefused, AgentRunning, FileNotPrivate, HomeBusy
from keyborn.domain.slots import Slot
from support.device_home import FixedClock, eventually, home_in, identify, now
from support.device_slots import stage

MESSAGE = Arrived(Received("a", b"x", 1, retain=False))


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    with closing(Bridge()) as made:
        yield made


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = home_in(tmp_path)
    identify(home)
    return home


# ── bridge ──


def test_a_call_wakes_and_is_told_once(bridge: Bridge) -> None:
    thread = threading.Thread(target=bridge.rest, args=(60,))
    thread.start()
    bridge.call(Call.LOOK)
    thread.join(5)
    assert not thread.is_alive()
    assert (bridge.called, bridge.stopped) == (True, False)
    bridge.call(Call.STOP)
    assert bridge.stopped
    assert bridge.calls() == {Call.LOOK, Call.STOP}
    assert bridge.calls() == frozenset()


def test_waking_many_times_is_waking_once(bridge: Bridge) -> None:
    for _ in range(100_000):
        bridge.wake()
    assert bridge.rest(60) is False
    for _ in range(100):
        bridge.rest(0)
    assert bridge.rest(0.01) is False


def test_rest_says_whether_the_session_has_something(bridge: Bridge) -> None:
    one, other = socket.socketpair()
    with one, other:
        assert bridge.rest(0.01, one.fileno()) is False
        assert bridge.rest(60, one.fileno(), writing=True) is True
        other.send(b"x")
        assert bridge.rest(60, one.fileno()) is True


def test_news_come_in_order_and_once(bridge: Bridge) -> None:
    ended = Ended(1, Fate(Outcome.DELIVERED))
    bridge.tell(MESSAGE)
    bridge.tell(ended)
    assert list(bridge.news()) == [MESSAGE, ended]
    assert list(bridge.news()) == []


def test_a_desk_that_has_too_much_to_do_holds_the_session_up(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridges, "_PATIENCE", 0.01)
    for _ in range(bridges.NEWS):
        bridge.tell(MESSAGE)
    thread = threading.Thread(target=bridge.tell, args=(MESSAGE,))
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    told = len(list(bridge.news()))
    thread.join(5)
    assert told + len(list(bridge.news())) == bridges.NEWS + 1


def test_nobody_waits_for_a_desk_that_is_gone(bridge: Bridge) -> None:
    bridge.failed = ZeroDivisionError()
    for _ in range(bridges.NEWS + 1):
        bridge.tell(MESSAGE)
    assert list(bridge.news()) == []


# ── log and box ──


def test_the_log_is_one_object_a_line() -> None:
    stream = io.StringIO()
    log = Log(stream, FixedClock())
    log("stage", stage="connected", thing=None, home=Path("/x"))
    log.say("two\nlines")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first.keys() == {"at", "event", "stage", "home"}
    assert (second["event"], second["text"]) == ("note", "two\nlines")


def test_a_log_that_cannot_be_written_ends_nothing() -> None:
    stream = io.StringIO()
    stream.close()
    Log(stream, FixedClock()).say("x")


def test_an_outbox_that_cannot_be_opened_is_tried_again(home: Home) -> None:
    home.outbox.mkdir()
    box = Box(home.outbox, OutboxLimits())
    with pytest.raises(FileNotPrivate):
        box.open()
    home.outbox.rmdir()
    outbox = box.open()
    assert box.open() is outbox
    box.close()
    assert box.open() is not outbox
    box.close()


# ── client ──


@pytest.fixture
def ends(home: Home) -> Iterator[tuple[AgentClient, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield AgentClient(home, ours), theirs


def test_lines_come_whole_however_they_are_cut(ends: tuple[AgentClient, socket.socket]) -> None:
    client, agent = ends
    agent.sendall(b'{"a":1}\n{"b"')
    assert client.line(5) == {"a": 1}
    assert client.line(0.01) is None
    agent.sendall(b":2}\n")
    assert client.line(5) == {"b": 2}
    assert list(client.lines(0.01)) == []


@pytest.mark.parametrize("line", [b"x\n", b"[]\n", b"\xff\n", b"[" * 100_000 + b"\n"])
def test_an_agent_that_speaks_otherwise_is_none(ends: tuple[AgentClient, socket.socket], line: bytes) -> None:
    client, agent = ends
    agent.sendall(line)
    with pytest.raises(AgentGone):
        client.line(5)


def test_a_line_without_end_is_not_kept(ends: tuple[AgentClient, socket.socket]) -> None:
    """Whoever has the home of another user has his own agent there, too."""
    client, agent = ends

    def talk() -> None:
        with contextlib.suppress(OSError):
            while True:
                agent.sendall(bytes(65536))

    talker = threading.Thread(target=talk)
    talker.start()
    with pytest.raises(AgentGone):
        client.line(20)
    assert len(client._read) < 4 * 1024 * 1024
    client._socket.close()
    talker.join(10)
    assert not talker.is_alive()


def test_an_agent_that_ends_is_gone(ends: tuple[AgentClient, socket.socket]) -> None:
    client, agent = ends
    agent.close()
    with pytest.raises(AgentGone):
        client.ask("status")


def test_a_refusal_has_the_agent_s_code_and_words(ends: tuple[AgentClient, socket.socket]) -> None:
    client, agent = ends
    agent.sendall(b'{"error":{"code":"outbox_full","detail":"It is full."}}\n')
    with pytest.raises(AgentRefused, match=r"^It is full\.$") as told:
        client.line(5)
    assert told.value.code == "outbox_full"


@pytest.mark.parametrize("there", [True, False])
def test_where_no_agent_runs_there_is_none(home: Home, tmp_path: Path, *, there: bool) -> None:
    with agent_of(home if there else Home(tmp_path / "missing")) as agent:
        assert agent is None


# ── forget ──


def test_everything_of_every_identity_is_removed(home: Home) -> None:
    stage(home)
    logs = ("outbox.db-wal", "outbox.db-journal")  # either holds messages, where a crash left it
    for name in ("previous.key", "next.promoting", "outbox.db", *logs, "agent.sock", "device.toml.tmp"):
        (home.path / name).write_text("x")
    (home.path / "mine.txt").write_text("not Keyborn's")
    gone = forget(home)
    assert home.of(Slot.NEXT).key in gone
    assert gone.index(home.settings) < gone.index(home.key)
    assert {path.name for path in home.path.iterdir()} == {"lock", "mine.txt"}
    assert holdings(home) == []
    assert forget(home) == []


def test_a_home_that_is_in_use_is_not_forgotten(home: Home) -> None:
    with home.session(), pytest.raises(HomeBusy):
        forget(home)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(home.path / NAME))
        sock.listen()
        with pytest.raises(AgentRunning):
            forget(home)
    assert home.key.exists()


def test_observers_hear_of_ends_through_the_box(home: Home) -> None:
    heard: list[int] = []
    box = Box(home.outbox, OutboxLimits(), lambda message, _fate: heard.append(message))
    number = box.open().append("a", b"x", now())
    box.open().settle([(number, Fate(Outcome.DELIVERED))])
    box.close()
    eventually(lambda: heard == [number])
