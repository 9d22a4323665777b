"""Processes that append and drain are killed at random, the network is cut: nothing lost, order kept.

And a disk that is full in the middle: a clear refusal, nothing corrupt, everything drains afterwards.
"""

import random
import resource
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from keyborn.adapters.system import SystemClock
from keyborn.device.courier import RECORDED_AT_ONCE
from keyborn.device.drain import WINDOW
from keyborn.device.home import Home
from keyborn.device.messages import UNBOUNDED, Counts
from keyborn.device.messenger import Delivery, Messenger
from keyborn.device.outbox import Outbox, open_outbox
from keyborn.device.surroundings import Surroundings
from keyborn.domain.errors import OutboxUnusable
from support.child_process import TESTS
from support.device_home import now
from support.outbox_child import TOPICS
from support.rude_broker import PUBLISH, Packet, RudeBroker, accept
from support.walks import FULL

MESSAGES = 10_000 if FULL else 1500
SEEDS = range(10) if FULL else range(2)
PATIENCE = 600.0 if FULL else 100.0


@pytest.fixture
def home(enrolled: Home) -> Home:
    return enrolled


@contextmanager
def child(home: Home, work: str) -> Iterator["subprocess.Popen[str]"]:
    words = [sys.executable, "-m", "support.outbox_child", str(home.path), work]
    with subprocess.Popen(words, cwd=TESTS, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


class Chaos:
    """Kills each worker after a moment, again and again, until all is appended and sent; counts."""

    def __init__(self, home: Home, broker: RudeBroker, seed: int) -> None:
        self.home, self.broker = home, broker
        self.dice = random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.promised = 0
        self.over = threading.Event()

    def run(self) -> None:
        workers = [
            threading.Thread(target=self._work, args=(work,)) for work in (f"append-{MESSAGES}", "drain")
        ]
        for worker in workers:
            worker.start()
        try:
            until = time.monotonic() + PATIENCE
            while len(set(self.arrived())) < MESSAGES or self._waiting():
                assert time.monotonic() < until, f"{len(set(self.arrived()))} arrived, {self.kills}"
                time.sleep(0.05)
        finally:
            self.over.set()
            for worker in workers:
                worker.join()

    def _work(self, work: str) -> None:
        """Kill it once it has got a little further; how far a slow machine gets in a second, nobody knows."""
        progress = self._arrivals if work == "drain" else self._promises
        while not self.over.is_set() and (work == "drain" or self.promised < MESSAGES):
            with child(self.home, work) as process:
                reader = threading.Thread(target=self._note, args=(process,))
                reader.start()
                goal = progress() + self.dice.randint(MESSAGES // 20, MESSAGES // 3)
                while process.poll() is None and progress() < goal and not self.over.wait(0.005):
                    pass
                self.kills[work.partition("-")[0]] += process.poll() is None and not self.over.is_set()
                process.kill()
                reader.join()

    def _promises(self) -> int:
        return self.promised

    def _arrivals(self) -> int:
        return len(self.broker.seen)

    def _note(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.endswith("\n") and line.strip().isdigit():
                self.promised = max(self.promised, int(line))

    def arrived(self) -> list[int]:
        return [number_of(packet) for packet in list(self.broker.seen) if packet.kind == PUBLISH]

    def _waiting(self) -> int:
        with open_outbox(self.home.outbox) as outbox:
            return outbox.counts().waiting


def number_of(packet: Packet) -> int:
    """The payload, behind topic, packet id and (MQTT 5) no properties."""
    return int(packet.body[2 + len(packet.topic) + 3 :])


def cutting(dice: random.Random) -> object:
    """A broker that hangs up now and then, before or after it has taken a message: no message is to blame."""

    def answer(packet: Packet, level: int) -> bytes | None:
        return None if packet.kind == PUBLISH and dice.random() < 0.002 else accept(packet, level)

    return answer


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE + 20)
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_and_topics_stay_in_order_whoever_is_killed(
    home: Home, broker: RudeBroker, seed: int, figure: Callable[[str], None]
) -> None:
    broker.answer = cutting(random.Random(seed))  # type: ignore[assignment] # an Answer
    chaos = Chaos(home, broker, seed)
    chaos.run()
    arrived = chaos.arrived()
    assert set(arrived) == set(range(1, MESSAGES + 1)), "none lost, none made up"
    for place in range(len(TOPICS)):
        first = [number for number in dict.fromkeys(arrived) if number % len(TOPICS) == place]
        assert first == sorted(first)
    connections = broker.kinds().count(1)
    assert len(arrived) - MESSAGES <= connections * (WINDOW + RECORDED_AT_ONCE), "the window of QoS 1"
    assert min(chaos.kills["append"], chaos.kills["drain"]) >= 1
    figure(
        f"outbox: {MESSAGES:,} messages through {chaos.kills.total()} kills and {connections} connections,"
        f" {len(arrived) - MESSAGES} repeated, none lost"
    )
    with open_outbox(home.outbox) as outbox:
        assert outbox.counts() == Counts(0, 0)
        assert outbox._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# ── a full disk ──


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file of this process may grow beyond ``size`` bytes: writing fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def fill(outbox: Outbox, kept: list[int]) -> None:
    while len(kept) < 500:
        kept.append(outbox.append(TOPICS[0], b"%d" % len(kept) + bytes(4000), now()))


@pytest.mark.parametrize("room", [150_000, 300_000, 900_000])
def test_a_disk_that_is_full_in_the_middle_refuses_clearly_and_drains_afterwards(
    home: Home, broker: RudeBroker, room: int
) -> None:
    kept: list[int] = []
    with open_outbox(home.outbox, UNBOUNDED) as outbox:
        with file_size_limit(room):
            with pytest.raises(OutboxUnusable, match="Free disk space"):
                fill(outbox, kept)
            with pytest.raises(OutboxUnusable):
                outbox.append(TOPICS[0], bytes(100_000), now())
        assert outbox.counts() == Counts(len(kept), 0)
        assert [each.id for each in outbox.waiting(0, 999)] == kept
        assert outbox._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert 0 < len(kept) < 500
    messenger = Messenger(home, Surroundings(SystemClock(), "host", lambda _text: None), rate=0)
    assert messenger.publish(TOPICS[0], b"afterwards", wait=30).delivery is Delivery.DELIVERED
    assert len(broker.published()) == len(kept) + 1


def test_acknowledgements_that_cannot_be_recorded_end_the_session_and_are_repeated_at_most_once(
    home: Home, broker: RudeBroker
) -> None:
    """What was acknowledged and is still on disk goes again: QoS 1, a window of it and no more."""
    messenger = Messenger(home, Surroundings(SystemClock(), "host", lambda _text: None), rate=0)
    with open_outbox(home.outbox, UNBOUNDED) as outbox:
        numbers = [outbox.append(TOPICS[0], b"%d" % number, now()) for number in range(80)]
        with file_size_limit(home.outbox.stat().st_size // 2), pytest.raises(OutboxUnusable):
            messenger.publish(TOPICS[0], b"81", wait=30)
        assert outbox.counts() == Counts(80, 0)
    assert messenger.publish(TOPICS[0], b"81", wait=30).delivery is Delivery.DELIVERED
    assert len(broker.published()) <= len(numbers) + 1 + WINDOW + RECORDED_AT_ONCE
