"""A fleet powers on at once: the simulation in whole, and its curves as a picture.

    python bench/storm.py                                  1,000 and 100,000 devices, half a minute
    python bench/storm.py 1000 100000 1000000              what docs/storm.svg shows, ten minutes
    python bench/storm.py 1000 100000 1000000 --svg docs/storm.svg
    python bench/storm.py 20000 --without place            the same without memory of places: why there is one

Exit status 1 if a promise is broken: everybody enrolled, 1.05 times devices / binding quota, 1 % of the calls
of AWS throttled.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `bench.support`, wherever this is started

from bench.support import curves, storm_without

from keyborn.testing.storm import Report, Storm, simulate

SLOWEST, MOST_REJECTED = 1.05, 0.01


def main() -> int:
    """Run, print, draw, and say whether the promises are kept."""
    options = _parse(sys.argv[1:])
    reports = []
    with storm_without.part(options.without):
        for devices in options.devices:
            begun = time.monotonic()
            report = simulate(Storm(devices, seed=options.seed))
            print(f"{report.text()}\n  simulated in {time.monotonic() - begun:.0f} s", flush=True)
            reports.append(report)
    if options.svg:
        options.svg.write_text(curves.picture(reports))
    return 0 if all(map(_kept, reports)) else 1


def _kept(report: Report) -> bool:
    whole = report.enrolled == report.expected
    return whole and report.slowdown <= SLOWEST and report.rejected_share <= MOST_REJECTED


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("devices", nargs="*", type=int, default=[1000, 100_000])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--svg", type=Path, help="write the curves there")
    parser.add_argument("--without", choices=storm_without.PARTS, help="leave one part of the scheme out")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
