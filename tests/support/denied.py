"""A message that policy denies, through a real ``keyborn agent``: what becomes of it, and of the others."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keyborn.device.agent.client import AgentClient
from keyborn.device.home import Home
from support.agent_stage import Process, status_of, talking
from support.device import keyborn, keyborn_json
from support.device_home import eventually
from support.walks import FULL

OTHERS = 10
"""Messages on each side of the denied one, on its own topics."""
VERSIONS = {"5": False, **({"3.1.1": True} if FULL else {})}
"""Whether the agent knows MQTT 3.1.1 alone, by the name of the test; that takes the longer."""
QUIET = 3.0 if FULL else 0.5
"""Seconds in which a loop of reconnections would show."""
OLD = "support.keyborn_311"


@dataclass
class Stage:
    """An agent that runs, and its device's own topic."""

    agent: Process
    own: str
    denied: str

    @property
    def home(self) -> Home:
        return self.agent.home

    def sessions(self) -> int:
        return len([each for each in self.agent.events() if each.get("stage") == "connected"])

    def flow(self) -> dict[str, Any]:
        """Publish around the denied message; its outcome, once the others have come back in order."""
        with talking(self.home) as listener, talking(self.home) as program:
            listener.ask("subscribe", filter=f"{self.own}/#")
            expected = []
            for number in range(2 * OTHERS):
                if number == OTHERS:
                    program.send("publish", topic=self.denied, payload="denied", wait=60, ref="denied")
                topic = f"{self.own}/{number % 2}"
                program.send("publish", topic=topic, payload=str(number))
                expected.append((topic, number))
            heard = self._heard(listener, len(expected))
            outcome = self._outcome(program)
        for topic in {topic for topic, _ in expected}:
            assert [each for each in heard if each[0] == topic] == [
                each for each in expected if each[0] == topic
            ]
        return outcome

    def _heard(self, listener: AgentClient, count: int) -> list[tuple[str, int]]:
        """First arrivals: after a hang-up some come twice."""
        heard: dict[tuple[str, int], None] = {}
        deadline = time.monotonic() + 60
        while len(heard) < count:
            assert time.monotonic() < deadline, f"only {list(heard)}"
            line = listener.line(1)
            if line is not None and "message" in line:
                heard[line["message"]["topic"], int(line["message"]["payload"])] = None
        return list(heard)

    def _outcome(self, program: AgentClient) -> dict[str, Any]:
        for line in program.lines(60):
            if line.get("ref") == "denied":
                return line
        raise AssertionError("nobody says what became of it")

    def stays_quiet(self) -> None:
        """No session ends any more, and the next message goes over the same one."""
        self.agent.connected()
        before = self.sessions()
        time.sleep(QUIET)
        done = keyborn("publish", f"{self.own}/0", "after", "--home", self.home.path)
        assert done.stdout == "delivered\n"
        assert self.sessions() == before

    def is_reported(self, reason: str) -> None:
        """In the status, the log and the list."""
        report = keyborn_json("status", "--outbox", "--home", self.home.path)
        assert (report["outboxWaiting"], report["outboxRefused"]) == (0, 1)
        assert [each["topic"] for each in report["refused"]] == [self.denied]
        notes = [each["text"] for each in self.agent.events() if each["event"] == "note"]
        (note,) = [each for each in notes if "set aside" in each]
        assert self.denied in note
        assert reason in note
        (listed,) = keyborn_json("messages", "list", "--home", self.home.path)["messages"]
        assert (listed["topic"], reason in listed["reason"]) == (self.denied, True)

    def retries(self) -> None:
        """The agent hears of it at once, the broker denies it again, and that is all."""
        said = keyborn("messages", "retry", "--all", "--home", self.home.path).stdout
        assert said == "Messages that wait again: 1. The agent sends them now.\n"
        eventually(lambda: status_of(self.home)["outbox"] | {"dropped": 0} == _SET_ASIDE)


_SET_ASIDE = {"waiting": 0, "refused": 1, "dropped": 0, "expired": 0}


def started(home: Home, log: Path, own: str, denied: str, *, old: bool = False) -> Stage:
    """The agent, connected; ``old``: with MQTT 3.1.1 alone."""
    agent = Process(home, log, "--rate", "0", module=OLD if old else "keyborn")
    try:
        agent.start().connected()
    except BaseException:
        agent.close()
        raise
    return Stage(agent, own, denied)
