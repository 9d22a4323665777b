"""How long the commands take to start, cold: medians of interleaved runs, beside the bare interpreter.

``python bench/start.py [--rounds N]``: wall-clock milliseconds of whole processes (GOALS P6: help in 80 ms).
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict

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
    taken = measure(parser.parse_args().rounds)
    bare = statistics.median(taken["python -c pass"])
    print("| command | median ms | best ms | x bare interpreter |")
    print("| --- | --- | --- | --- |")
    for name, times in taken.items():
        median = statistics.median(times)
        print(f"| {name} | {median:.0f} | {min(times):.0f} | {median / bare:.1f} |")


if __name__ == "__main__":
    main()
