"""From nothing to the first acknowledged message: Keyborn, shell tools, and the usual script, side by side.

    python bench/first_message.py                             about three minutes
    python bench/first_message.py --quick                     one round, to see that it works
    python bench/first_message.py --docs docs/benchmarks.md   put the table into the document

One `keyborn serve` for all, on loopback. Each device is new: an empty folder, a token, cold processes, until
its first message (QoS 1) is acknowledged and the last process has ended. Exit status 1 if one does not get
there.
"""

import argparse
import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `bench.support`, wherever this is started
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # and for the tests' `support`

from bench.support import first, machine, pages

from support.server import running

_BUSY = "Runnable at once on the machine, over the last five minutes of it"


def main() -> int:
    """Measure and print."""
    options = _parse()
    count = 1 if options.quick else options.rounds
    with tempfile.TemporaryDirectory(prefix="bench-first-", dir=options.folder) as name:
        folder = Path(name)
        first.installed()
        with running(folder) as server:
            try:
                if not options.quick:
                    list(first.rounds(server, folder / "warm", 1, first.KINDS))
                kinds = first.KINDS[:1] if options.quick else first.KINDS
                found = list(first.rounds(server, folder / "cold", count, kinds))
            except AssertionError as wrong:
                print(wrong, file=sys.stderr)
                return 1
    lines = [_how(count), "", *(f"- {fact}" for fact in machine.device()), "", first.table(found)]
    pages.put("\n".join(lines), options.docs, "bench/first_message.py")
    return 0


def _how(count: int) -> str:
    day, busy = f"{datetime.now(UTC):%Y-%m-%d}", f"{os.getloadavg()[1]:.1f}"
    return f"{day}: {count} rounds of every row once, in an order drawn anew. {_BUSY}: {busy}."


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--quick", action="store_true", help="one round with P-256, nothing warmed up")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="for the files; not a tmpfs")
    parser.add_argument("--docs", type=Path, help="put the table between the marks in this file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
