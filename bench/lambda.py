"""The enrolment function on AWS: how long a fresh process takes to be ready and to answer, and its memory.

    python bench/lambda.py                             about three minutes
    python bench/lambda.py --rounds 3 --no-sizes       a first look
    python bench/lambda.py --docs docs/benchmarks.md   put the tables into the document

The code is the zip that `keyborn aws deploy` uploads, unpacked, for this machine's processor and Python.
Every figure is of fresh processes that take turns; `beyond` is the median of the differences to boto3, or to
botocore, with the same two clients in the same turn. Invocations go to the stand-in for AWS
(tests/support/ministack.py). Exit status 1 if an answer was not as it should be.
"""

import argparse
import os
import sys
import tempfile
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `bench.support`, wherever this is started
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # and for the tests' `support`

from bench.support import function, machine, pages


def main() -> int:
    """Measure, print, and say whether the answers were right."""
    options = _parse()
    boto3 = find_spec("boto3")
    if boto3 is None or boto3.origin is None:
        print("boto3 is not installed; make bench installs it", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="bench-lambda-") as name:
        code = function.unpacked(Path(name))
        with function.somewhere() as place:
            starts = function.starts(code, Path(boto3.origin).parents[1], place, options.rounds)
            invoked = function.invocations(code, place, options.rounds, options.enrollments)
    text = "\n".join(
        [
            f"{datetime.now(UTC):%Y-%m-%d}: medians of {options.rounds} fresh processes of a kind, by turns.",
            f"Runnable at once on the machine, over the last five minutes of it: {os.getloadavg()[1]:.1f}.",
            "",
            *(f"- {fact}" for fact in machine.interpreter()),
            "",
            function.starts_table(starts),
            "",
            function.invocations_table(invoked),
            *(["", function.sizes_table(function.sizes(options.runtime))] if options.sizes else []),
        ]
    )
    pages.put(text, options.docs, "bench/lambda.py")
    return 0 if function.right(invoked) else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--enrollments", type=int, default=20, help="of each process that enrolls")
    parser.add_argument("--runtime", default="python3.13", help="whose packages' sizes to tell")
    parser.add_argument("--no-sizes", dest="sizes", action="store_false", help="build for this machine only")
    parser.add_argument("--docs", type=Path, help="put the tables between the marks in this file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
