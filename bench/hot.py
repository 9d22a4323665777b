"""Where the time goes while the service enrols: CPU of each thread for one enrolment, and the hot functions.

    python bench/hot.py                          plain HTTP, 32 clients, five seconds
    python bench/hot.py --wire tls --clients 8
    python bench/hot.py --wire fresh

CPU is the kernel's count (``/proc/PID/task``, user and system apart). The functions come from py-spy, where
it is installed (it needs leave to look into other processes: root, or ``kernel.yama.ptrace_scope = 0``).
"""

import argparse
import contextlib
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `bench.support`, wherever this is started

from bench.support import tree
from bench.support.driver import PATIENCE, Plan
from bench.support.systems import Keyborn
from bench.support.verdict import Outcome, drive, prepare

from keyborn.cli.console import ask

_TICK = 1 / os.sysconf("SC_CLK_TCK")
_USER, _SYSTEM = 11, 12
"""Fields of /proc/PID/task/TID/stat behind the command's closing bracket (proc(5))."""
Spent = dict[tuple[int, int, str], tuple[float, float]]
"""Seconds in user and system mode, by process, thread and the thread's name."""


def main() -> int:
    """Load, look, print."""
    options = _parse()
    count = int(options.most_per_second * (options.seconds + 1.5))
    spawn = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory(prefix="bench-hot-", dir=options.folder) as name,
        ProcessPoolExecutor(1, mp_context=spawn, initializer=prepare, initargs=(count,)) as driver,
        Keyborn(tls=options.wire != "http").running(Path(name)) as target,
    ):
        plan = Plan(
            host=target.host,
            port=target.port,
            door=target.door,
            pid=target.pid,
            tls=options.wire != "http",
            fresh=options.wire == "fresh",
            clients=options.clients,
            warmup=1.0,
            seconds=options.seconds,
        )
        driver.submit(int).result()  # its devices are made
        running = driver.submit(drive, plan)
        time.sleep(1.0)
        data = Path(name) / "data"
        idle_before, commits_before, before = idle(), commits(data), spent(target.pid)
        hot = list(_hot(target.pid, options.seconds - 0.5, options.top))
        time.sleep(0 if hot else options.seconds - 0.5)
        after = spent(target.pid)
        rested, made = idle() - idle_before, commits(data) - commits_before
        outcome: Outcome = running.result(options.seconds + 4 * PATIENCE)
    seconds = options.seconds - 0.5
    together = outcome.per_second * seconds / max(1, made)
    print(f"processors {rested / seconds:.0%} idle, {together:.1f} enrolments to a commit")
    print("\n".join([*_lines(outcome, before, after, seconds), *hot]))
    return 0


def spent(pid: int) -> Spent:
    """What every thread of the service has used so far."""
    found: Spent = {}
    for process in tree.family(pid):
        for task in Path(f"/proc/{process}/task").glob("*"):
            with contextlib.suppress(OSError):
                head, _, rest = (task / "stat").read_text().rpartition(")")
                fields = rest.split()
                times = int(fields[_USER]) * _TICK, int(fields[_SYSTEM]) * _TICK
                found[process, int(task.name), head.partition("(")[2]] = times
    return found


def idle() -> float:
    """Seconds that the machine's processors have had nothing to do (proc(5), ``/proc/stat``)."""
    _user, _nice, _system, idle, waiting = map(int, Path("/proc/stat").read_text().split(maxsplit=6)[1:6])
    return (idle + waiting) * _TICK / (os.cpu_count() or 1)


def commits(data: Path) -> int:
    """What the service has committed so far."""
    rows = ask(data, "GET", "/v1/metrics")
    found = next(row for row in rows if row["name"] == "keyborn_registry_commits_total")
    return int(found["samples"][0]["value"])


def _lines(outcome: Outcome, before: Spent, after: Spent, seconds: float) -> Iterator[str]:
    each = max(1.0, outcome.per_second * seconds)
    waits = f"p50 {outcome.p50 * 1e3:.1f} ms, p99 {outcome.p99 * 1e3:.1f} ms"
    yield f"{outcome.per_second:,.0f} enrolments/s, {waits}"
    yield f"load client: {outcome.load.driver / outcome.seconds / outcome.per_second * 1e6:,.0f} µs CPU each"
    yield "| process | thread | user µs each | system µs each | of one core |"
    yield "| --- " * 5 + "|"
    for (process, thread, name), (user, system) in sorted(after.items()):
        first = before.get((process, thread, name), (0.0, 0.0))
        used = user - first[0], system - first[1]
        if sum(used) > 0.01:
            cells = [str(process), name, *(f"{one / each * 1e6:,.0f}" for one in used)]
            yield f"| {' | '.join(cells)} | {sum(used) / seconds:.0%} |"


def _hot(pid: int, seconds: float, top: int) -> Iterator[str]:
    """The functions that were at work when py-spy looked, all processes together; nothing without py-spy."""
    program = shutil.which("py-spy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        return
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        order = [program, "record", "--pid", str(pid), "--subprocesses", "--duration", str(round(seconds))]
        order += ["--format", "raw", "--rate", "250", "--output", file.name]
        done = subprocess.run(order, capture_output=True, text=True, check=False)
        stacks = Path(file.name).read_text().splitlines()
    if done.returncode or not stacks:
        yield f"py-spy: {done.stderr.strip()[-200:]}"
        return
    own: Counter[str] = Counter()
    for line in stacks:
        frames, _, samples = line.rpartition(" ")
        own[frames.rpartition(";")[2]] += int(samples)
    yield from ["", "| of samples | function |", "| --- | --- |"]
    yield from (f"| {count / own.total():.1%} | {name} |" for name, count in own.most_common(top))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wire", choices=("http", "tls", "fresh"), default="http")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--top", type=int, default=25, help="functions to name")
    parser.add_argument("--most-per-second", type=int, default=9000, help="how many requests to make ready")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="for the data; not a tmpfs")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
