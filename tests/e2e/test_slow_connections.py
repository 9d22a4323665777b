"""Ten thousand slow or silent connections do not stop a healthy device, and cost bounded memory."""

import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest

from keyborn.adapters.broker.limits import KIB, MIB, Limits
from support import walks
from support.figures import Figure
from support.server import Server, running
from support.talker import V311, Identity, Party, Talker, until

FULL = "queue full, message dropped"
SCRIPT = Path(__file__).with_name("clients") / "slow_crowd.py"
WHOLE, SAMPLE = 10_000, 1_500
COUNT = WHOLE if walks.FULL else SAMPLE
RATE = 500.0
"""Newcomers a second: below Limits.pending a second, beyond which the broker refuses newcomers unseen."""
LIMITS = Limits()
CONNECTION = 128 * KIB
"""What a connection may cost before it holds any bytes: OpenSSL's state and our objects; about half of it in
practice. The only figure here that is not one of the broker's limits."""
BUSY_BYTES, BUSY_RATE = 64 * KIB, 40 * MIB
"""A message of the busy topic, and how many bytes a second it may make all readers together."""
FLUSH = 64 * KIB
"""Plain bytes that are encrypted at once, beyond the write buffer."""


def most_memory(readers: int) -> int:
    """How many bytes the broker's memory may grow by, from its limits.

    No more than ``pending`` connections wait for admission, and what all of them have sent is at most
    ``pending_bytes``. A client that never reads leaves ``write_buffer`` bytes unread, a flush more in
    encrypted and plain form, and then its messages wait in its queue: ``queue_bytes`` in one, and
    ``total_queue_bytes`` in all queues together. What the kernel holds for them is not the process's.
    """
    connections = (LIMITS.pending + readers) * CONNECTION
    unread = readers * (LIMITS.write_buffer + 2 * FLUSH)
    queued = min(LIMITS.total_queue_bytes, readers * LIMITS.queue_bytes)
    return connections + LIMITS.pending_bytes + unread + queued


@dataclass
class Watch:
    """Looks at the server's process from outside, until it is told to stop."""

    pid: int
    sockets: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self.stop.wait(0.1):
            self.sockets = max(self.sockets, self.open_now())

    def open_now(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def memory(self, field: str) -> int:
        """``VmRSS`` or ``VmHWM``, in bytes."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * KIB for line in lines if line.startswith(f"{field}:"))


@dataclass
class Healthy:
    """Two devices that must not notice: one publishes every 50 ms, one connects anew every second."""

    party: Party
    steady: Talker
    visitor: Identity
    answers: list[float] = field(default_factory=list)
    visits: list[float] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._publish, self._visit)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join()

    def _publish(self) -> None:
        while not self.stop.wait(0.05):
            self._timed(self.answers, "publish", lambda: self._says(self.steady))

    def _visit(self) -> None:
        while not self.stop.wait(1):
            self._timed(self.visits, "visit", self._comes)

    def _comes(self) -> bool:
        talker = Talker(self.party.server, self.visitor, self.visitor.name, V311)
        try:
            return talker.connect().is_in and self._says(talker)
        finally:
            talker.leave()

    @staticmethod
    def _says(talker: Talker) -> bool:
        return talker.publish(f"certtest/{talker.client_id}/x") == 0

    def _timed(self, into: list[float], what: str, action: Any) -> None:  # noqa: ANN401 - any question
        began = time.monotonic()
        try:
            if not action():
                self.troubles.append(what)
        except (OSError, AssertionError) as trouble:
            self.troubles.append(f"{what}: {trouble!r}")
        into.append(time.monotonic() - began)


@contextmanager
def crowd(server: Server, identity: Identity, counts: dict[str, int], hold: int) -> Iterator[Any]:
    """The crowd's process; yields what it says once all connections are made, ends it, whatever happens."""
    host, port = server.mqtt
    wish = {"host": host, "port": port, "name": identity.name, "counts": counts, "rate": RATE, "hold": hold}
    wish["busy_every"] = counts["never_reads"] * BUSY_BYTES / BUSY_RATE
    files = {kind: str(getattr(identity, kind)) for kind in ("certificate", "key", "roots")}
    process = subprocess.Popen(
        [sys.executable, SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(wish | files) + "\n")
        process.stdin.flush()
        yield json.loads(process.stdout.readline())
    finally:
        process.stdin.close()
        process.stdout.close()
        process.kill()
        process.wait()


def shares() -> tuple[dict[str, int], int]:
    """How many of each kind, and how many to hold: what both processes' descriptors allow."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    readers = min(COUNT // 20, 200, hard // 8)
    others = ["silent", "half_hello", "drip", "no_connect", "half_connect"]
    counts = {kind: (COUNT - readers) // len(others) for kind in others}
    counts["silent"] += COUNT - readers - sum(counts.values())
    return counts | {"never_reads": readers}, min(2 * LIMITS.pending, hard - readers - 128)


def share(values: list[float], part: float) -> float:
    """The value below which ``part`` of them lie, in milliseconds."""
    return sorted(values)[int(part * (len(values) - 1))] * 1000


@dataclass(frozen=True)
class Outcome:
    """What happened while the crowd was there. Memory in bytes."""

    made: Any
    sockets: int
    healthy: Healthy
    before: int
    peak: int
    after: int

    def told(self, bound: int) -> str:
        total, away = sum(self.made["made"].values()), sum(self.made["turnedAway"].values())
        answers, visits = self.healthy.answers, self.healthy.visits
        before, peak, after = (each / MIB for each in (self.before, self.peak, self.after))
        return (
            f"slow connections: {total} made ({away} cut while being made), {self.sockets} open at once on "
            f"the server; healthy acknowledgements {len(answers)}, p50 {share(answers, 0.5):.0f} ms, p99 "
            f"{share(answers, 0.99):.0f} ms; {len(visits)} new connections, longest "
            f"{max(visits) * 1000:.0f} ms; "
            f"resident memory {before:.0f} MiB before, {peak:.0f} at the peak, {after:.0f} after; "
            f"bound {before + bound / MIB:.0f}"
        )


def besieged(party: Party, steady: Talker, counts: dict[str, int], hold: int) -> Outcome:
    """Let the crowd come and go, while the healthy ones work."""
    server = party.server
    assert server.process is not None
    crowding = party.service("crowd", "Subscribe topicfilter/busy/*", "Receive topic/*", "Publish topic/*")
    with Watch(server.process.pid) as watch:
        idle, before = watch.open_now(), watch.memory("VmRSS")
        with Healthy(party, steady, party.device("visitor")) as healthy:
            with crowd(server, crowding, counts, hold) as made:
                until(lambda: FULL in server.log.read_text(), "the queues of the crowd are full")
                time.sleep(2)  # the healthy ones go on
            peak = watch.memory("VmHWM")
            until(lambda: watch.open_now() <= idle + 2, "the server lets go of every connection")
            time.sleep(1.5)  # one more visit, after the crowd
        return Outcome(made, watch.sockets, healthy, before, peak, watch.memory("VmRSS"))


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_ten_thousand_slow_or_silent_connections_do_not_stop_a_healthy_device(
    tmp_path: Path, figure: Figure
) -> None:
    counts, hold = shares()
    with running(tmp_path) as server:
        party = Party(server, tmp_path)
        steady = party.talker(party.device("steady")).connect()
        assert steady.subscribe("certtest/steady/#") == [1]
        outcome = besieged(party, steady, counts, hold)
        bound = most_memory(counts["never_reads"])
        figure(outcome.told(bound))
        assert outcome.made["made"] == counts
        assert not outcome.made["turnedAway"].get("never_reads"), "who behaves until it is admitted gets in"
        assert outcome.healthy.troubles == []
        until(lambda: len(steady.heard) == len(outcome.healthy.answers), "the healthy one hears everything")
        assert steady.is_in, "and was never disconnected"
        assert outcome.peak - outcome.before <= bound
        party.end()
