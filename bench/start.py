"""How long the commands take to start, cold: medians of interleaved runs, beside the bare interpreter.

    python bench/start.py                             half a minute
    python bench/start.py --docs docs/benchmarks.md   put the table into the document

Wall-clock milliseconds of whole processes (GOALS P6: help in 80 ms).
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `bench.support`, wherever this is started

from bench.support import machine, pages

KEYBORN = [sys.executable, "-m", "keyborn"]
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "python -c 'import click'": [sys.executable, "-c", "import click"],
    "keyborn --help": [*KEYBORN, "--help"],
    "keyborn --version": [*KEYBORN, "--version"],
    "keyborn token --help": [*KEYBORN, "token", "--help"],
    "keyborn status (no identity)": [*KEYBORN, "status", "--home", "HOME"],
}


def measure(rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each command in each round; commands take turns, so that noise falls on all."""
    taken: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as home:
        for _ in range(rounds):
            for name, words in COMMANDS.items():
                order = [home if word == "HOME" else word for word in words]
                began = time.perf_counter()
                subprocess.run(order, capture_output=True, check=False, timeout=30)
                taken[name].append((time.perf_counter() - began) * 1000)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--docs", type=Path, help="put the table between the marks in this file")
    options = parser.parse_args()
    taken = measure(options.rounds)
    bare = statistics.median(taken["python -c pass"])
    lines = [f"{datetime.now(UTC):%Y-%m-%d}: {options.rounds} rounds of every command once.", ""]
    lines += [f"- {fact}" for fact in machine.interpreter()]
    lines += ["", "| command | median ms | best ms | x bare interpreter |", "| --- | --- | --- | --- |"]
    for name, times in taken.items():
        median = statistics.median(times)
        lines.append(f"| {name} | {median:.0f} | {min(times):.0f} | {median / bare:.1f} |")
    pages.put("\n".join(lines), options.docs, "bench/start.py")


if __name__ == "__main__":
    main()
