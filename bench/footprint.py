"""A device at rest: memory, wake-ups, imports and size on disk, of Keyborn's agent and of other clients.

    python bench/footprint.py                             about four minutes
    python bench/footprint.py --quick                     one round of a second, to see that it works
    python bench/footprint.py --docs docs/benchmarks.md   put the table into the document

One `keyborn serve` for all, on loopback; each client is a device of its own, connected with mutual TLS, with
nothing to do; all but the agent have a subscription. Memory is from /proc/PID/smaps_rollup, wake-ups are
voluntary context switches of all its threads. Exit status 1 if a client does not connect, or does not stay.
"""

import argparse
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `bench.support`, wherever this is started
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # and for the tests' `support`

from bench.support import first, machine, pages, resting

from support.server import running


def main() -> int:
    """Measure and print."""
    options = _parse()
    count, seconds = (1, 1.0) if options.quick else (options.rounds, options.seconds)
    names = [name for name in resting.present() if options.only in name]
    first.installed()
    with tempfile.TemporaryDirectory(prefix="bench-footprint-") as name, running(Path(name)) as server:
        try:
            found = list(resting.rounds(server, Path(name), count, seconds, names))
        except AssertionError as wrong:
            print(wrong, file=sys.stderr)
            return 1
    how = f"{datetime.now(UTC):%Y-%m-%d}: medians of {count} rounds, all clients at the same time."
    lines = [how, "", *(f"- {fact}" for fact in machine.device()), "", resting.table(found, seconds)]
    pages.put("\n".join(lines), options.docs, "bench/footprint.py")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60, help="for which each client is watched")
    parser.add_argument("--quick", action="store_true", help="one round of a second")
    parser.add_argument("--only", default="", help="the clients whose names have this in them")
    parser.add_argument("--docs", type=Path, help="put the table between the marks in this file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
