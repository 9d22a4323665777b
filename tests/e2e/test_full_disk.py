"""The device's disk is full in the middle of a stream: a clear word, nothing corrupt, no restart."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

import keyborn as api
from keyborn.device.agent.client import AgentClient
from keyborn.device.home import Home
from keyborn.domain.errors import AgentRefused
from support.agent_stage import Process, status_of, talking
from support.device import enroll, keyborn, keyborn_json
from support.device_home import eventually, home_in
from support.server import Server, running
from support.small_disk import Disk, small_disk
from support.talker import V5, Party

THING = "full-1"
TOPIC = f"certtest/{THING}"
LARGE = "x" * 50_000
CODE = "outbox_unusable"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk") as made:
        yield made


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path) as server:
        yield server


@pytest.fixture
def agent(server: Server, disk: Disk, tmp_path: Path) -> Iterator[Process]:
    home = home_in(disk.folder)
    enroll(home.path, server.token(thing=THING)["code"], THING)
    made = Process(home, tmp_path / "agent.log", "--rate", "0")
    yield made.start().connected()
    made.close()


class Stream:
    """Numbered messages through the agent, and what comes back of them."""

    def __init__(self, home: Home, listener: AgentClient) -> None:
        self.home = home
        self.listener = listener
        self.number = 0
        self.accepted: list[int] = []
        self.heard: list[str] = []
        listener.ask("subscribe", filter=f"{TOPIC}/#")

    def publish(self, program: AgentClient, more: str = "") -> None:
        """Raises AgentRefused."""
        self.number += 1
        program.ask("publish", topic=f"{TOPIC}/n", payload=f"{self.number} {more}")
        self.accepted.append(self.number)

    def until_refused(self, program: AgentClient) -> AgentRefused:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                self.publish(program, LARGE)
            except AgentRefused as wrong:
                return wrong
        raise AssertionError("the disk is not full")

    def hear(self, done: Callable[[], bool], seconds: float = 40) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            line = self.listener.line(1)
            if line is not None:
                self.heard.append(line["message"]["payload"].split(" ")[0])
            assert time.monotonic() < deadline, "it did not come"

    def numbers(self) -> list[int]:
        return [int(each) for each in dict.fromkeys(self.heard) if each.isdigit()]


def intact(home: Home) -> None:
    with closing(sqlite3.connect(f"file:{home.outbox}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def refused_everywhere(home: Home) -> None:
    """The command and the Python API say what the socket says: what, where, and how to help."""
    done = keyborn("publish", TOPIC, LARGE, "--home", home.path, expect=1)
    for word in (f"[{CODE}]", str(home.outbox), "Free disk space"):
        assert word in done.stderr
    with pytest.raises(api.AgentRefused) as told:
        asyncio.run(_publish(home))
    assert told.value.code == CODE


async def _publish(home: Home) -> None:
    async with api.Device.open(home.path) as device:
        await device.publish(TOPIC, LARGE)


def test_a_full_disk_is_said_and_everything_goes_on_once_there_is_room(
    server: Server, disk: Disk, agent: Process, figure: Callable[[str], None]
) -> None:
    home, process = agent.home, agent.process
    assert process is not None
    party = Party(server, server.data.parent)
    with talking(home) as listener, talking(home) as program:
        stream = Stream(home, listener)
        for _ in range(100):
            stream.publish(program)
        disk.fill(process.pid)
        wrong = stream.until_refused(program)
        assert (wrong.code, "Free disk space" in str(wrong)) == (CODE, True)
        refused_everywhere(home)
        assert status_of(home)["connected"] is True
        intact(home)
        service = party.talker(party.service("orders", "Publish topic/*"), protocol=V5).connect()
        assert service.publish(f"{TOPIC}/orders", "hello") == 0
        stream.hear(lambda: "hello" in stream.heard)
        disk.free(process.pid)
        begun = time.monotonic()
        eventually(lambda: _published(home))
        stream.hear(lambda: set(stream.accepted) <= set(stream.numbers()))
        eventually(lambda: status_of(home)["outbox"]["waiting"] == 0)
        took = time.monotonic() - begun
    party.end()
    assert set(stream.numbers()) == set(stream.accepted), "what was refused was not kept by halves"
    assert stream.numbers() == sorted(stream.numbers())
    intact(home)
    assert process.poll() is None
    sessions = [each for each in agent.events() if each.get("stage") == "connected"]
    assert len(sessions) == 1, "the session lived on"
    assert keyborn_json("status", "--home", home.path)["outboxWaiting"] == 0
    assert agent.end() == 0
    figure(f"full disk ({disk.kind}): refused after {len(stream.accepted)}; drained {took:.1f} s after room")


def _published(home: Home) -> bool:
    return keyborn("publish", f"{TOPIC}/new", "new", "--home", home.path, expect=None).stdout == "delivered\n"
