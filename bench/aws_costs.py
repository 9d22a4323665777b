"""What the stack on AWS costs: calls counted on the stand-in, times list prices.

    python bench/aws_costs.py                           half a minute
    python bench/aws_costs.py --docs docs/aws-costs.md  put the tables into the document

Prices are in bench/support/prices.py: check them, change them, run it again.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `bench.support`, wherever this is started
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # and for the tests' `support`

from bench.support import counting, pages, prices

from support import ministack

NAME = "bench/aws_costs.py"
FLEETS = (1_000, 100_000)


def main() -> int:
    """Count, multiply, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--docs", type=Path, help="put the tables between the marks in this file")
    options = parser.parse_args()
    aws = ministack.start()
    try:
        written = text(counting.count(aws))
    finally:
        aws.stop()
    pages.put(written, options.docs, NAME)
    return 0


def text(counted: counting.Counted) -> str:
    """The tables of the document."""
    once = list(prices.enrolling(counted, FLEETS))
    monthly = list(prices.running(counted, FLEETS))
    calls = ", ".join(f"{count} {name}" for name, count in sorted(counted.enrollment.calls.items()))
    return "\n".join(
        [
            "### Once, for enrolling",
            "",
            *prices.sums_table(once, FLEETS),
            "",
            f"One enrolment, counted: {calls}.",
            "",
            _in_a_group(counted),
            "",
            "### Each month",
            "",
            *prices.sums_table(monthly, FLEETS),
            "",
            "### Prices",
            "",
            *prices.prices_table(),
        ]
    )


def _in_a_group(counted: counting.Counted) -> str:
    """What a group adds to that."""
    member, plain = counted.member, counted.enrollment
    writes, reads = member.writes - plain.writes, member.reads - plain.reads
    price = writes * prices.price("DynamoDB, on demand, a write unit")
    price += reads * prices.price("DynamoDB, on demand, a read unit")
    return (
        f"In an enrolment group with a limit and a rate: {writes:.0f} write units and {reads:.0f} read units "
        f"more, $ {FLEETS[-1] * price:.2f} for {FLEETS[-1]:,} devices."
    )


if __name__ == "__main__":
    sys.exit(main())
