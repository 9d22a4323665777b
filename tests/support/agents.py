"""Many devices at once: each a home with an agent in a process of its own, each publishing all the while."""

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from keyborn.adapters.system import SystemClock
from keyborn.device import identity
from keyborn.device.believing import Believer
from keyborn.device.enroll import Wish, enroll
from keyborn.device.home import Home
from keyborn.device.renewal import RenewalClient
from keyborn.device.surroundings import Surroundings
from keyborn.domain.errors import KeybornError
from keyborn.domain.token import EnrollmentCode
from support.agent_stage import Process, status_of, talking
from support.server import Server

PATIENCE = 120.0
STAGGER = 8
"""Agents that start at a time: a start is a second of CPU."""


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Poll as seldom as a crowd on two cores deserves."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen: {what}"
        time.sleep(0.2)


class Crowd:
    """So many devices; ``end`` them."""

    def __init__(self, server: Server, folder: Path, count: int) -> None:
        folder.mkdir()
        self.server = server
        names = [f"lamp-{number:03d}" for number in range(count)]
        token = server.token(match="lamp-*", uses=count)
        code = EnrollmentCode.decode(token["code"])
        self.agents = {name: _enrolled(folder / name, name, code) for name in names}

    def start(self) -> None:
        """Staggered; returns once all are connected."""
        waiting = list(self.agents)
        while waiting:
            batch, waiting = waiting[:STAGGER], waiting[STAGGER:]
            for name in batch:
                self.agents[name].launch()
            eventually(lambda batch=batch: all(map(self.connected, batch)), "agents start")  # type: ignore[misc] # a loop's value

    def connected(self, name: str) -> bool:
        """Whether its agent answers, and has a session."""
        try:
            return bool(status_of(self.agents[name].home)["connected"])
        except (AssertionError, OSError, KeybornError):
            return False

    def all_connected(self) -> None:
        """Wait for it."""
        eventually(lambda: all(map(self.connected, self.agents)), "all are connected")

    def look(self) -> None:
        """SIGHUP to each."""
        for agent in self.agents.values():
            agent.send(signal.SIGHUP)
            time.sleep(0.02)

    def renew(self, names: list[str]) -> None:
        """Have them renew, and wait until they have."""
        before = {name: status_of(self.agents[name].home)["renewed"] for name in names}
        for name in names:
            with talking(self.agents[name].home) as agent:
                agent.ask("renew")
            time.sleep(0.05)
        eventually(
            lambda: all(status_of(self.agents[name].home)["renewed"] > before[name] for name in names),
            "renewals are confirmed",
        )

    def memory(self) -> int:
        """PSS of all, KiB."""
        return sum(agent.memory() for agent in self.agents.values())

    def end(self) -> None:
        """SIGTERM to all at once; SIGKILL for who does not hear."""
        for agent in self.agents.values():
            if agent.process is not None and agent.process.poll() is None:
                agent.send(signal.SIGTERM)
        for agent in self.agents.values():
            if agent.process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    agent.process.wait(30)
            agent.close()


def take_roots(home: Home) -> None:
    """Look at the service's roots once, as an agent does."""
    around = Surroundings(SystemClock(), "host", lambda _text: None)
    believer = Believer(home, around, RenewalClient(home, around.clock))
    with home.session():
        believer.look(identity.read_settings(home), datetime.now(UTC))


def _enrolled(folder: Path, name: str, code: EnrollmentCode) -> Process:
    home = Home(folder)
    enroll(home, Wish(name), lambda: code, Surroundings(SystemClock(), "host", lambda _text: None))
    return Process(home, folder.with_suffix(".log"), "--rate", "0")


class Chatter:
    """A program on every device: a message each round, through its agent, until the end of the block."""

    def __init__(self, crowd: Crowd, pause: float) -> None:
        self._crowd = crowd
        self._pause = pause
        self._stop = threading.Event()
        self._turn = threading.Lock()
        self._thread = threading.Thread(target=self._run)
        self.said: dict[str, list[str]] = defaultdict(list)
        """What each agent has taken, in order."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_wrong: object) -> None:
        self._stop.set()
        self._thread.join(PATIENCE)

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Nobody speaks until the end of the block."""
        with self._turn:
            yield

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(self._pause):
            number += 1
            self._round(number)

    def _round(self, number: int) -> None:
        with self._turn:
            for name, agent in self._crowd.agents.items():
                with contextlib.suppress(AssertionError, OSError, KeybornError):
                    with talking(agent.home) as program:
                        program.ask("publish", topic=f"certtest/{name}", payload=str(number))
                    self.said[name].append(str(number))


class Ear:
    """``keyborn watch`` into a file."""

    def __init__(self, server: Server, path: Path) -> None:
        self._server = server
        self._path = path
        self.listen()

    def listen(self) -> None:
        """Begin, or begin again after the server has; what was heard before stays."""
        self._log = self._path.open("ab")
        data = str(self._server.data)
        words = [sys.executable, "-m", "keyborn", "watch", "certtest/#", "--json", "--data", data]
        self._process = subprocess.Popen(words, stdout=self._log, stderr=subprocess.PIPE)
        assert self._process.stderr is not None
        assert b"Watching" in self._process.stderr.readline()

    def heard(self) -> dict[str, list[str]]:
        """What arrived from each thing, in order of arrival."""
        found: dict[str, list[str]] = defaultdict(list)
        for line in self._path.read_text().splitlines():
            if line.endswith("}"):
                row = json.loads(line)
                found[row["thing"]].append(row["payload"])
        return found

    def end(self) -> None:
        self._process.kill()
        self._process.wait(20)
        assert self._process.stderr is not None
        self._process.stderr.close()
        self._log.close()


@contextlib.contextmanager
def listening(server: Server, path: Path) -> Iterator[Ear]:
    """Hear everything until the end of the block."""
    ear = Ear(server, path)
    try:
        yield ear
    finally:
        ear.end()
