"""Programs publish through an agent whose world falls apart again and again; somebody notes what arrives.

The agent, the broker and the network between them are killed, cut and silenced at moments that a seed
chooses: after so many arrivals, or where nothing arrives any more, after ``STUCK`` seconds.
"""

import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from keyborn.device.home import Home
from keyborn.device.outbox import open_outbox
from support.chatty_child import topic_of
from support.child_process import TESTS
from support.rough_network import RoughNetwork
from support.talker import Talker

STUCK = 4.0
_ASIDE = 0.02
"""Seconds between two looks."""


class Broker(Protocol):
    """What can be ended and started again."""

    def start(self) -> object:
        """Start, and wait until it answers."""

    def stop(self) -> object:
        """SIGTERM."""


class Agent:
    """``keyborn agent``, started again whenever it ends, as systemd does."""

    def __init__(self, home: Home, log: Path) -> None:
        self._words = [sys.executable, "-m", "keyborn", "agent", "--home", str(home.path), "--rate", "0"]
        self._log = log
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep)
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    def start(self) -> None:
        self._thread.start()

    def _keep(self) -> None:
        while not self._over.is_set():
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(self._words, stderr=log)
            self.starts += 1
            self._process.wait()
            self._over.wait(0.1)

    def send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def stop(self) -> None:
        self._over.set()
        self.send(signal.SIGTERM)
        self._thread.join(20)
        self.send(signal.SIGKILL)
        self._thread.join(20)


@dataclass(frozen=True)
class Place:
    """Where a broker is, also while it is not there."""

    mqtt: tuple[str, int]


class Recorder:
    """A client with a persistent session that comes back whenever its connection ends; ``make`` makes it."""

    def __init__(self, make: Callable[[], Talker], topic_filter: str) -> None:
        self._make = make
        self._talker = make().connect()
        self.messages = self._talker.heard
        self.returns = 0
        self.forgotten = 0
        """How often the broker did not know the session any more."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._stay)
        assert self._talker.subscribe(topic_filter) == [1]

    def start(self) -> None:
        self._thread.start()

    def _stay(self) -> None:
        while not self._over.wait(_ASIDE):
            if self._talker.is_in:
                continue
            self._talker.leave()
            self._talker = talker = self._make()
            talker.heard = self.messages
            try:
                talker.connect(wait=False)
            except OSError:
                continue
            _until_or_stuck(lambda: talker.connected.is_set() or talker.closed.is_set())  # noqa: B023 - called here
            if talker.is_in:
                self.returns += 1
                self.forgotten += not talker.resumed

    def stop(self) -> None:
        self._over.set()
        self._thread.join(30)
        self._talker.leave()

    def heard(self) -> list[tuple[str, int]]:
        """Topic and number, in the order in which they came."""
        return [(each.topic, int(each.payload)) for each in list(self.messages)]


@dataclass
class Voice:
    """A program that publishes ``count`` numbers below a topic of its own; which were accepted."""

    how: str
    prefix: str
    count: int
    accepted: set[int] = field(default_factory=set)

    def speak(self, home: Home, pause: float, seed: int) -> None:
        """Run it to its end; raises AssertionError where it fails."""
        if self.how == "command":
            self._command(home)
            return
        words = [str(home.path), self.how, self.prefix, str(self.count), str(pause), str(seed)]
        order = [sys.executable, "-m", "support.chatty_child", *words]
        with subprocess.Popen(
            order, cwd=TESTS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            assert child.stderr is not None
            for line in child.stdout:
                self.accepted.add(int(line.split()[1]))
            wrong = child.stderr.read()
        assert child.returncode == 0, wrong

    def _command(self, home: Home) -> None:
        """``keyborn publish``, again and again: now and then it waits, and has the session itself."""
        for number in range(self.count):
            words = ["publish", topic_of(self.prefix, number), str(number), "--rate", "0"]
            words += ["--wait", "1" if number % 2 else "0", "--home", str(home.path)]
            done = subprocess.run(
                [sys.executable, "-m", "keyborn", *words], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            self.accepted.add(number)

    @property
    def topics(self) -> set[str]:
        return {topic_of(self.prefix, number) for number in range(self.count)}


@dataclass
class World:
    """Everything that runs, and what goes wrong in it."""

    home: Home
    agent: Agent
    network: RoughNetwork
    broker: Broker
    recorder: Recorder
    dice: random.Random
    faults: Counter[str] = field(default_factory=Counter)

    def fault(self, name: str) -> None:
        """Have one thing go wrong."""
        self.faults[name] += 1
        match name:
            case "agent killed":
                self.agent.send(signal.SIGKILL)
            case "agent looks anew":
                self.agent.send(signal.SIGHUP)
            case "broker killed" | "broker stopped":
                (self.broker.stop if name == "broker stopped" else getattr(self.broker, "kill"))()  # noqa: B009 - mosquitto has none
                time.sleep(self.dice.random() / 2)
                self.broker.start()
            case "connection reset":
                self.network.cut()
            case "half closed":
                self.network.half_close(near=self.dice.random() < 0.5)
            case "silence" | "long silence":
                self.network.fall_silent()
                time.sleep(7 if name == "long silence" else self.dice.random() * 1.5)
                self.network.flow()
            case _:
                raise ValueError(name)

    def waiting(self) -> int:
        with open_outbox(self.home.outbox) as outbox:
            return outbox.counts().waiting


def suffer(
    world: World, voices: Sequence[Voice], faults: Sequence[str], pause: float, patience: float
) -> None:
    """All voices speak to their ends while every fault happens; ends when all that was accepted is there."""
    total, deadline = sum(each.count for each in voices), time.monotonic() + patience
    with _speaking(world, voices, pause) as going:
        for place, name in enumerate(faults):
            share = (place + world.dice.random()) / len(faults)
            _until_or_stuck(lambda goal=share * total: len(world.recorder.messages) >= goal)  # type: ignore[misc] # bound now
            world.fault(name)
        while going() or world.waiting() or missing(world, voices):
            assert time.monotonic() < deadline, f"{missing(world, voices)} missing, {world.waiting()} waiting"
            time.sleep(_ASIDE)


def missing(world: World, voices: Sequence[Voice]) -> int:
    """How many were accepted and have not arrived."""
    arrived = set(world.recorder.heard())
    return sum(
        (topic_of(voice.prefix, number), number) not in arrived
        for voice in voices
        for number in list(voice.accepted)
    )


@contextmanager
def _speaking(world: World, voices: Sequence[Voice], pause: float) -> Iterator[Callable[[], bool]]:
    """The voices' threads; what is yielded says whether one still speaks."""
    wrong: list[BaseException] = []

    def speak(voice: Voice, seed: int) -> None:
        try:
            voice.speak(world.home, pause, seed)
        except BaseException as each:  # noqa: BLE001 - the test's own thread raises it
            wrong.append(each)

    threads = [threading.Thread(target=speak, args=(voice, world.dice.randrange(2**32))) for voice in voices]
    for each in threads:
        each.start()
    try:
        yield lambda: any(each.is_alive() for each in threads) and not wrong
    finally:
        for each in threads:
            each.join(60)
    assert not wrong, wrong


def _until_or_stuck(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + STUCK
    while not condition() and time.monotonic() < deadline:
        time.sleep(_ASIDE)


# ── what must hold ──


@dataclass(frozen=True)
class Account:
    """What came of it."""

    kept: int
    """Messages that the outbox was given."""
    arrivals: int
    distinct: int
    furthest: int
    """How far a repeated message lay behind the newest one of its topic, at most."""


def account(world: World, voices: Sequence[Voice]) -> Account:
    """Check losses and order; the figures for the rest."""
    heard = world.recorder.heard()
    said = {(topic_of(voice.prefix, n), n) for voice in voices for n in range(voice.count)}
    accepted = {(topic_of(voice.prefix, n), n) for voice in voices for n in voice.accepted}
    assert accepted <= set(heard), f"lost: {sorted(accepted - set(heard))[:20]}"
    assert set(heard) <= said, "made up"
    newest: Counter[str] = Counter()
    seen: set[tuple[str, int]] = set()
    furthest = 0
    for topic, number in heard:
        if (topic, number) in seen:
            furthest = max(furthest, newest[topic] - number)
        else:
            assert number >= newest[topic], f"{topic}: {number} came first after {newest[topic]}"
            newest[topic] = number
            seen.add((topic, number))
    with open_outbox(world.home.outbox) as outbox:
        ((kept,),) = outbox._connection.execute("SELECT seq FROM sqlite_sequence")
        assert outbox._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        counts = outbox.counts()
        assert (counts.waiting, counts.refused, counts.dropped, counts.expired) == (0, 0, 0, 0)
    return Account(kept, len(heard), len(seen), furthest)


def led_through(home: Home, port: int) -> None:
    """Have the device connect to another port of the same host."""
    text, count = re.subn(r"(?m)^port = \d+$", f"port = {port}", home.settings.read_text())
    assert count == 1
    home.settings.write_text(text)
    home.settings.chmod(0o600)
