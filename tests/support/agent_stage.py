"""An agent for tests: in a thread of this process with everything real, or in a process of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from keyborn.adapters.system import SystemClock
from keyborn.device.agent.bridge import Call
from keyborn.device.agent.client import AgentClient, agent_of
from keyborn.device.agent.log import Log
from keyborn.device.agent.run import Agent, Options
from keyborn.device.home import Home
from keyborn.device.pace import Pace
from keyborn.device.surroundings import Surroundings
from keyborn.ports import Clock
from support.device_home import eventually

FAST = Options(rate=0)
PATIENCE = 20.0
SOON = ("--spread", "0")
"""For machines that have just started."""


@dataclass
class Running:
    """An agent in a thread."""

    home: Home
    agent: Agent
    log: StringIO
    thread: threading.Thread
    wrong: list[BaseException] = field(default_factory=list)

    def status(self) -> dict[str, Any]:
        return status_of(self.home)

    def comes_to(self, stage: str) -> None:
        eventually(lambda: self.agent._bridge.standing.stage == stage)

    def connects(self) -> None:
        eventually(lambda: self.agent._bridge.standing.connected)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]

    def stop(self) -> None:
        self.agent.call(Call.STOP)
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive(), "the agent does not end"


def status_of(home: Home) -> dict[str, Any]:
    with talking(home) as agent:
        told: dict[str, Any] = agent.ask("status")["status"]
        return told


@contextlib.contextmanager
def talking(home: Home) -> Iterator[AgentClient]:
    with agent_of(home) as agent:
        assert agent is not None, "no agent answers"
        yield agent


@contextlib.contextmanager
def running(
    home: Home, options: Options = FAST, clock: Clock | None = None, environment: dict[str, str] | None = None
) -> Iterator[Running]:
    """An agent whose back-offs are short, until the end of the block."""
    clock, log = clock or SystemClock(), StringIO()
    written = Log(log, SystemClock())
    around = Surroundings(clock, "host", written.say, Pace(fraction=lambda: 0.05))
    agent = Agent(home, around, options, environment or {}, written)
    made = Running(home, agent, log, threading.Thread(target=lambda: _run(made)))
    made.thread.start()
    eventually(lambda: bool(log.getvalue()) or bool(made.wrong))
    try:
        yield made
    finally:
        if made.thread.is_alive():
            made.stop()
    assert made.wrong == []


def _run(made: Running) -> None:
    try:
        made.agent.run()
    except BaseException as wrong:  # noqa: BLE001 - the test looks at it
        made.wrong.append(wrong)


class Process:
    """``keyborn agent`` as systemd starts it."""

    def __init__(self, home: Home, log: Path, *words: str, module: str = "keyborn") -> None:
        self.home = home
        self.log = log
        self.words = words
        self.module = module
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **environment: str) -> "Process":
        self.launch(**environment)
        eventually(self._answers)
        return self

    def launch(self, **environment: str) -> None:
        """Start it, and wait for nothing."""
        assert self.process is None or self.process.poll() is not None, "the one before still runs"
        words = [
            sys.executable,
            "-m",
            self.module,
            "agent",
            "--home",
            str(self.home.path),
            *SOON,
            *self.words,
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                words, stderr=log, env={**os.environ, **environment}, cwd=Path(__file__).parents[1]
            )

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        with agent_of(self.home) as agent:
            return agent is not None

    def connected(self) -> "Process":
        eventually(lambda: bool(status_of(self.home)["connected"]))
        return self

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def memory(self) -> int:
        """Proportional set size, KiB."""
        assert self.process is not None
        rollup = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))

    def switches(self) -> int:
        """How often its threads have waited for something until now."""
        assert self.process is not None
        statuses = Path(f"/proc/{self.process.pid}/task").glob("*/status")
        lines = [line for each in statuses for line in each.read_text().splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt"))

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(PATIENCE)

    def end(self) -> int:
        """SIGTERM; the exit code."""
        self.send(signal.SIGTERM)
        assert self.process is not None
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
