"""One thing done in a fresh process, with its time and its memory as JSON on standard output.

    python -I -S -B function_child.py WHAT FOLDER...

The folders are the whole path beyond the standard library. WHAT is a word of WORK; ``serve`` answers the
events on standard input, one a line, as Lambda would.
"""

import sys
import time

REGION = "eu-central-1"
SERVICES = ("dynamodb", "iot")


class Context:
    """Of an invocation that has just begun."""

    def get_remaining_time_in_millis(self) -> int:
        return 15_000


def nothing() -> None:
    """The interpreter alone."""


def boto3() -> None:
    import boto3  # noqa: F401 - the import is what is measured


def boto3_clients() -> None:
    import boto3

    for service in SERVICES:
        boto3.client(service, region_name=REGION)


def botocore_clients() -> None:
    import botocore.session

    session = botocore.session.Session()
    for service in SERVICES:
        session.create_client(service, region_name=REGION)


def function() -> None:
    import keyborn.wiring.function_enroll  # noqa: F401 - it makes the handler


WORK = {
    "nothing": nothing,
    "boto3": boto3,
    "boto3_clients": boto3_clients,
    "botocore_clients": botocore_clients,
    "function": function,
    "serve": function,
}


def main(what: str, folders: list[str]) -> None:
    """Do it, and tell."""
    sys.path[:0] = folders
    began, worked = time.perf_counter(), time.process_time()
    WORK[what]()
    told = {
        "wall": (time.perf_counter() - began) * 1e3,
        "cpu": (time.process_time() - worked) * 1e3,
        "answers": serve() if what == "serve" else [],
        "modules": sorted(sys.modules),
        "peak": peak(),
    }
    import json

    sys.stdout.write(json.dumps(told))


def peak() -> float:
    """MiB that were resident at most; ru_maxrss would count what the parent had when it started this one."""
    with open("/proc/self/status") as status:  # noqa: PTH123 - pathlib is one more import in the figures
        (line,) = (line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def serve() -> list[dict[str, float]]:
    """Answer every event of standard input."""
    import json

    from keyborn.wiring.function_enroll import handler

    answers = []
    for line in sys.stdin:
        event = json.loads(line)
        began, worked = time.perf_counter(), time.process_time()
        status = handler(event, Context())["statusCode"]
        wall, cpu = time.perf_counter() - began, time.process_time() - worked
        answers.append({"status": status, "wall": wall * 1e3, "cpu": cpu * 1e3})
    return answers


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
