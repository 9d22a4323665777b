"""Slow and silent connections beside devices that enrol: who is shown out when, and what the others notice.

    python bench/slow_clients.py                             5,000 of them, a minute
    python bench/slow_clients.py --count 300 --quiet 2       a first look
    python bench/slow_clients.py --docs docs/benchmarks.md   put the table into the document

A few clients enrol one device after the other over kept connections, all the time; the slow ones come after a
while, and go when they are closed. The figures of the others are from before, meanwhile and afterwards.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `bench.support`, wherever this is started

from bench.support import machine, pages, tree
from bench.support.driver import Driver, Plan
from bench.support.loitering import KINDS, Kept, Party, Seen, loiter
from bench.support.requests import make_device
from bench.support.system import Target
from bench.support.systems import Keyborn
from bench.support.verdict import judge, quantile

NAME = "bench/slow_clients.py"
SHARES = (0.4, 0.25, 0.265, 0.08, 0.005)
"""Of the kinds, in their order: those that need no whole handshake are the cheapest to be."""
_CLOSED = 10.0
"""Seconds after which a slow one is to be closed (GOALS R6)."""
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Others:
    """What those who behave went through: when each answer came (seconds, monotonic), and after how long."""

    answers: list[tuple[float, float]]
    failures: int

    def line(self, title: str, begins: float, ends: float) -> str:
        """A row of the table for a span of time."""
        waits = [wait for at, wait in self.answers if begins <= at < ends]
        values = [quantile(waits, share) * 1e3 for share in (0.5, 0.99, 1.0)]
        columns = [f"{len(waits) / (ends - begins):,.0f}", *(f"{value:.1f}" for value in values)]
        return f"| {title} | {' | '.join(columns)} |"


def behave(plan: Plan, count: int, pipe: Connection) -> None:
    """The load, in a process of its own, from the first word of the pipe to the second."""
    devices = [make_device(number) for number in range(count)]
    requests = [plan.door.request(device, close=False) for device in devices]
    pipe.send(count)
    pipe.recv()
    raw = Driver(plan, requests, pipe.poll).run()
    outcome = judge(raw, plan.door, devices)
    waits = [(received, received - sent) for _, sent, received, _ in raw.answers]
    pipe.send(Others(waits, outcome.wrong + sum(outcome.failures.values())))


def main() -> int:
    """Measure and print; 1 if one of those who behave failed, or one of the others was let in."""
    options = _parse()
    with tempfile.TemporaryDirectory(prefix="bench-slow-", dir=options.folder) as name:
        folder = Path(name)
        facts = machine.describe(folder)
        system = Keyborn(tls=True)
        with system.running(folder) as target:
            text, failures = _besieged(options, target)
    how = f"{datetime.now(UTC):%Y-%m-%d}: {options.count:,} slow connections, {options.rate:g} a second."
    pages.put("\n".join([how, "", *(f"- {fact}" for fact in facts), "", text]), options.docs, NAME)
    return 1 if failures else 0


def _besieged(options: argparse.Namespace, target: Target) -> tuple[str, int]:
    counts = {kind: max(1, round(options.count * share)) for kind, share in zip(KINDS, SHARES, strict=True)}
    whole = 2 * options.quiet + options.count / options.rate + options.hold + 5
    plan = Plan(
        host=target.host,
        port=target.port,
        door=target.door,
        pid=target.pid,
        tls=True,
        fresh=False,
        clients=options.clients,
        warmup=0.5,
        seconds=1e4,
    )
    here, there = _SPAWN.Pipe()
    count = int(options.most_per_second * (whole + options.count / options.rate))
    load = _SPAWN.Process(target=behave, args=(plan, count, there), daemon=True)
    load.start()
    try:
        here.recv()  # its devices are made
        here.send(None)
        time.sleep(2)
        first = time.monotonic()
        time.sleep(options.quiet)
        before = tree.memory(target.pid)
        with tree.watched(target.pid, time.monotonic) as peak:
            came, seen = time.monotonic(), _let_loose(target, counts, options)
            went = time.monotonic()
        time.sleep(options.quiet)
        last = time.monotonic()
        here.send(None)
        others: Others = here.recv()
    finally:
        load.kill()
        load.join()
    beside = min(went, came + seen.seconds + _CLOSED)
    head = ["| those who behave | enrolments/s | p50 ms | p99 ms | longest ms |", "| --- " * 5 + "|"]
    head += [others.line("before", first, came), others.line("beside the slow ones", came, beside)]
    head += [others.line("afterwards", went, last), ""]
    rows = [
        "| slow ones | came | closed: half, all of them after s | told | still open | body taken KiB |",
        "| --- " * 6 + "|",
    ]
    rows += [_row(kind, counts[kind], kept) for kind, kept in seen.kinds.items()]
    told = (
        f"At most {seen.together:,} of them were there at one time, the last came after "
        f"{seen.seconds:.0f} s. "
        f"Server's memory (PSS): {before / tree.MIB:.0f} MiB before, "
        f"{peak.most / tree.MIB:.0f} MiB at the peak. "
        f"Failures among those who behave: {others.failures}."
    )
    return "\n".join([*head, *rows, "", told]), others.failures


def _let_loose(target: Target, counts: dict[str, int], options: argparse.Namespace) -> Seen:
    here, there = _SPAWN.Pipe()
    party = Party(target.host, target.port, counts, options.rate, options.hold)
    process = _SPAWN.Process(target=loiter, args=(party, there), daemon=True)
    process.start()
    try:
        assert here.poll(options.count / options.rate + 4 * options.hold + 60)
        seen: Seen = here.recv()
    finally:
        process.kill()
        process.join()
    return seen


def _row(kind: str, count: int, kept: Kept) -> str:
    closed = "—"
    if kept.seconds:
        closed = f"{quantile(kept.seconds, 0.5):.1f}, **{max(kept.seconds):.1f}**"
    told = ", ".join(f"{what}: {number:,}" for what, number in sorted(kept.told.items()))
    taken = f"{kept.most_sent / 1024:,.0f}" if kept.most_sent else ""
    return f"| {kind} | {count:,} | {closed} | {told} | {kept.open:,} | {taken} |"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--rate", type=float, default=500.0, help="of them a second")
    parser.add_argument("--hold", type=float, default=40.0, help="seconds after which they go home")
    parser.add_argument("--quiet", type=float, default=4.0, help="seconds measured before and after")
    parser.add_argument("--clients", type=int, default=4, help="that behave")
    parser.add_argument("--most-per-second", type=int, default=4000, help="how many devices to make ready")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="for the data; not a tmpfs")
    parser.add_argument("--docs", type=Path, help="put the tables between the marks in this file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
