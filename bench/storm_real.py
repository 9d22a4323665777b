"""A fleet powers on at once, for real: devices, TLS and a running ``keyborn serve`` on one machine.

    python bench/storm_real.py                           50,000 devices within a second
    python bench/storm_real.py --devices 2000            a first look
    python bench/storm_real.py --docs docs/benchmarks.md the figures into it, storm-real.svg beside it

Keys and requests are made before the clock starts. Each device connects anew for each try, with a full TLS
handshake, and comes again by the rules of the device's client. The devices' side takes its share of the same
cores: about a millisecond for each handshake. Exit status 1 if a device is not enrolled, if a certificate is
not in the registry, or if a device was told anything but 429 or 503 with Retry-After on its way.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `bench.support`, wherever this is started

from bench.support import chart, machine, pages, tree
from bench.support.load import process_cpu
from bench.support.powering import MOST, Tally, Wave, serve_orders
from bench.support.system import Target
from bench.support.systems import Keyborn
from bench.support.verdict import quantile

_SPAWN = multiprocessing.get_context("spawn")
_KNOWN = {"200", "201", "429", "503"}
"""What a device may be told; 429 and 503 count so only with Retry-After."""
NAME = "bench/storm_real.py"


@dataclass(frozen=True)
class Outcome:
    """All processes' tallies together, and what the server took."""

    tallies: Sequence[Tally]
    peak: tree.Peak
    cpu: float
    lost: int
    surplus: int

    def all(self, what: str) -> list[float]:
        """Moments of one kind from all processes, in order."""
        return sorted(moment for tally in self.tallies for moment in getattr(tally, what))

    def counted(self, what: str) -> Counter[object]:
        """Counters of one kind, added."""
        return sum((Counter(getattr(tally, what)) for tally in self.tallies), Counter[object]())

    def broken(self, devices: int) -> list[str]:
        """Promises that were not kept."""
        enrolled = len(self.all("enrolled"))
        wrong = sum(tally.wrong for tally in self.tallies)
        odd = [
            what for what in map(str, self.counted("statuses")) if what not in {"200", "201", "429", "503"}
        ]
        return [
            *([f"{devices - enrolled} devices are not enrolled"] if enrolled != devices else []),
            *([f"{self.lost} certificates are not in the registry"] if self.lost else []),
            *([f"{wrong} answers without the right certificate"] if wrong else []),
            *([f"told on the way: {', '.join(odd)}"] if odd else []),
            *([f"failed: {what}, {count:,} times" for what, count in self.counted("failures").items()]),
        ]


def main() -> int:
    """Run, print, draw; whether what was promised was kept."""
    options = _parse()
    with tempfile.TemporaryDirectory(prefix="bench-storm-", dir=options.folder) as name:
        folder = Path(name)
        facts = machine.describe(folder)
        outcome = _run(options, folder)
    broken = outcome.broken(options.devices)
    pages.put(_text(options, facts, outcome, broken), options.docs, NAME)
    if options.docs:
        options.docs.with_name("storm-real.svg").write_text(_picture(options.devices, outcome))
    print("\n".join(broken), file=sys.stderr)
    return 1 if broken else 0


def _run(options: argparse.Namespace, folder: Path) -> Outcome:
    processes = [*_crowds(options.devices)]
    try:
        for _, pipe in processes:
            pipe.recv()  # its devices are made
        system = Keyborn(tls=True)
        with system.running(folder) as target:
            before, begins = process_cpu(target.pid), time.monotonic() + 0.5
            with tree.watched(target.pid, lambda: time.monotonic() - begins) as peak:
                tallies = list(_loose(options, target, processes, begins))
            cpu = process_cpu(target.pid) - before
        stored = system.stored(folder)
    finally:
        for process, _ in processes:
            process.kill()
            process.join()
    given = frozenset[str]().union(*(tally.certificates for tally in tallies))
    return Outcome(tallies, peak, cpu, len(given - stored), len(stored - given))


def _crowds(devices: int) -> "Iterable[tuple[multiprocessing.process.BaseProcess, Connection]]":
    parts = -(-devices // MOST)
    for part in range(parts):
        first, last = devices * part // parts, devices * (part + 1) // parts
        here, there = _SPAWN.Pipe()
        process = _SPAWN.Process(target=serve_orders, args=(first, last - first, there), daemon=True)
        process.start()
        yield process, here


def _loose(
    options: argparse.Namespace,
    target: Target,
    processes: "Sequence[tuple[multiprocessing.process.BaseProcess, Connection]]",
    begins: float,
) -> Iterable[Tally]:
    for number, (_, pipe) in enumerate(processes):
        ends = begins + options.patience
        pipe.send(Wave(target.host, target.port, target.door, number, begins, options.within, ends))
    for _, pipe in processes:
        assert pipe.poll(options.patience + 60)
        yield pipe.recv()


def _text(options: argparse.Namespace, facts: Sequence[str], outcome: Outcome, broken: Sequence[str]) -> str:
    enrolled, started = outcome.all("enrolled"), outcome.all("started")
    statuses = _listed(outcome.counted("statuses"))
    failures = _listed(outcome.counted("failures"))
    tries = sorted(outcome.counted("tries").items(), key=str)
    each = [int(str(number)) for number, count in tries for _ in range(count)]
    client = sum(tally.cpu for tally in outcome.tallies)
    shares = [outcome.cpu, client]
    each_took = [f"{cpu / len(enrolled) * 1e6:,.0f} µs" if enrolled else "—" for cpu in shares]
    rows = [
        ("devices, powered on within", f"{options.devices:,}, {options.within:g} s"),
        ("the last one's first connection was begun after", f"{started[-1]:.1f} s"),
        ("enrolled", f"{len(enrolled):,}"),
        ("half, 99 % and all of them after", _moments(enrolled)),
        ("answers", statuses),
        ("connections that failed", failures),
        ("tries of a device: median, 99 %, most", _spread(each)),
        ("server: memory at the peak (PSS of all its processes)", f"{outcome.peak.most / tree.MIB:.0f} MiB"),
        ("server: CPU for each enrolment", each_took[0]),
        ("devices' side: CPU for each enrolment, on the same cores", each_took[1]),
        ("certificates given and not in the registry", str(outcome.lost)),
    ]
    table = ["| what | measured |", "| --- | --- |", *(f"| {what} | {value} |" for what, value in rows)]
    kept = "Every promise was kept." if not broken else f"Not kept: {'; '.join(broken)}."
    lines = [f"{datetime.now(UTC):%Y-%m-%d}. {kept}", "", *(f"- {fact}" for fact in facts), ""]
    return "\n".join([*lines, *table])


def _listed(counts: Counter[object]) -> str:
    return ", ".join(f"{what}: {count:,}" for what, count in sorted(counts.items(), key=str)) or "none"


def _moments(enrolled: Sequence[float]) -> str:
    if not enrolled:
        return "—"
    half, most = quantile(enrolled, 0.5), quantile(enrolled, 0.99)
    return f"{half:.1f} s, {most:.1f} s, **{enrolled[-1]:.1f} s**"


def _spread(tries: Sequence[int]) -> str:
    if not tries:
        return "—"
    numbers = [float(each) for each in tries]
    return f"{quantile(numbers, 0.5):.0f}, {quantile(numbers, 0.99):.0f}, {max(tries)}"


def _picture(devices: int, outcome: Outcome) -> str:
    """Enrolled and refused each second, who still waits, and the server's memory."""
    end = max([*outcome.all("enrolled"), *outcome.all("failed"), *outcome.all("refused"), 1.0])
    seconds = range(int(end) + 2)

    def rate(what: str, name: str, color: int) -> chart.Series:
        counts = Counter(int(moment) for moment in outcome.all(what))
        return chart.Series(name, color, [(float(at), float(counts[at])) for at in seconds])

    enrolled = Counter(int(moment) + 1 for moment in outcome.all("enrolled"))
    waiting, left = [], devices
    for at in seconds:
        left -= enrolled[at]
        waiting.append((float(at), float(left)))
    memory = [(max(0.0, at), value / tree.MIB) for at, value in outcome.peak.seen if at <= end + 1]
    rows = [
        [
            chart.Panel("enrolled each second", [rate("enrolled", "enrolled", 0)]),
            chart.Panel("not enrolled yet", [chart.Series("waiting", 4, waiting)]),
        ],
        [
            chart.Panel(
                "each second", [rate("refused", "429 and 503", 2), rate("failed", "failed connections", 1)]
            ),
            chart.Panel("server's memory, MiB", [chart.Series("memory", 3, memory)]),
        ],
    ]
    return chart.picture(rows, f"{devices:,} devices power on at once; the axis is seconds")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--devices", type=int, default=50_000)
    parser.add_argument("--within", type=float, default=1.0, help="seconds in which all power on")
    parser.add_argument("--patience", type=float, default=600.0, help="seconds after which it is over")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="for the data; not a tmpfs")
    parser.add_argument("--docs", type=Path, help="put the figures between the marks in this file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
