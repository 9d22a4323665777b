"""The enrolment function in fresh processes: what is measured, and its tables."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median

from keyborn.adapters.aws.package import MACHINES, Package, Target
from support import ministack, packages
from support.function_start import Invocation, Place, Start, place, start, unpack
from support.lambda_events import event

BOTO3, FUNCTION = "boto3 with its clients for dynamodb and iot", "the function: clients and application"
SAME = "botocore with the same clients, as the zip brings it"
_names = (f"lamp-{number}" for number in count(1))


@dataclass(frozen=True, slots=True)
class Code:
    """The zip, unpacked with its bytecode and without."""

    compiled: Path
    sources: Path


def unpacked(folder: Path) -> Code:
    """Build it for this machine."""
    built = packages.built(packages.own_target())
    return Code(unpack(built, folder / "compiled"), unpack(built, folder / "sources", bytecode=False))


@contextmanager
def somewhere() -> Iterator[Place]:
    """A stand-in for AWS with all that enrolling needs."""
    aws = ministack.start()
    try:
        yield place(aws, "bench")
    finally:
        aws.stop()


def starts(code: Code, boto3: Path, where: Place, rounds: int) -> dict[str, list[Start]]:
    """Each kind of process once a round, after a round that is not counted; ``boto3``: where it is.

    The sources alone are started in every fourth round: that takes seconds.
    """
    kinds: dict[str, tuple[str, Path]] = {
        "the interpreter": ("nothing", code.compiled),
        "import boto3": ("boto3", boto3),
        BOTO3: ("boto3_clients", boto3),
        SAME: ("botocore_clients", code.compiled),
        FUNCTION: ("function", code.compiled),
        f"{FUNCTION}; no bytecode": ("function", code.sources),
    }
    found = defaultdict(list)
    for turn in range(-1, rounds):
        for name, (what, folder) in kinds.items():
            if folder is code.sources and turn % 4:
                continue
            took = start(what, folder, environment=where.environment)
            if turn >= 0:
                found[name].append(took)
    return dict(found)


def starts_table(found: Mapping[str, Sequence[Start]]) -> str:
    """Markdown: milliseconds and MiB."""
    own, least = found[BOTO3], found[SAME]
    heads: tuple[str, ...] = (
        "a fresh process, ready with",
        "ms (best)",
        "CPU ms (best)",
        "beyond boto3: ms, CPU",
    )
    heads += ("beyond botocore: ms, CPU", "peak MiB")
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for name, all_of in found.items():
        walls, cpus = [one.wall for one in all_of], [one.cpu for one in all_of]
        lines.append(
            f"| {name} | **{median(walls):.0f}** ({min(walls):.0f}) | {median(cpus):.0f} ({min(cpus):.0f}) | "
            f"{_beyond(all_of, own)} | {_beyond(all_of, least)} | {median(one.peak for one in all_of):.0f} |"
        )
    return "\n".join(lines)


def _beyond(these: Sequence[Start], those: Sequence[Start]) -> str:
    """Medians of the differences, turn by turn."""
    if these is those or len(these) != len(those):
        return "-"
    pairs = list(zip(these, those, strict=True))
    wall = median(one.wall - other.wall for one, other in pairs)
    return f"{wall:+.0f}, {median(one.cpu - other.cpu for one, other in pairs):+.0f}"


def invocations(code: Code, where: Place, rounds: int, enrollments: int) -> dict[str, list[Start]]:
    """Fresh functions of which half are first asked for their health, and half for a certificate."""
    found: dict[str, list[Start]] = {"GET /healthz": [], "POST /v1/enroll": []}
    for _ in range(rounds):
        asked = {
            "GET /healthz": [event(), event()],
            "POST /v1/enroll": where.enrollments([next(_names) for _ in range(enrollments)]),
        }
        for name, events in asked.items():
            took = start("serve", code.compiled, environment=where.environment, events=events)
            found[name].append(took)
    return found


def invocations_table(found: Mapping[str, Sequence[Start]]) -> str:
    """Markdown: the first answer of a process, the later ones, and its memory after the last."""
    lines = [
        "| request | first answer: ms, CPU | later answers: ms, CPU | answers | peak MiB after them |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, all_of in found.items():
        first = [one.answers[0] for one in all_of]
        later = [answer for one in all_of for answer in one.answers[1:]]
        lines.append(
            f"| {name} | {_times(first)} | {_times(later)} | {len(all_of[0].answers)} | "
            f"{max(one.peak for one in all_of):.0f} |"
        )
    return "\n".join(lines)


def _times(answers: Sequence[Invocation]) -> str:
    return f"{median(one.wall for one in answers):.1f}, {median(one.cpu for one in answers):.1f}"


def right(found: Mapping[str, Sequence[Start]]) -> bool:
    """Whether every answer was the one that it should be."""
    health = {answer.status for one in found["GET /healthz"] for answer in one.answers}
    enrolled = {answer.status for one in found["POST /v1/enroll"] for answer in one.answers}
    return (health, enrolled) == ({200}, {201})


def sizes(runtime: str) -> dict[str, Package]:
    """The package for each architecture."""
    return {machine: packages.built(Target(machine, runtime)) for machine in MACHINES}


def sizes_table(built: Mapping[str, Package]) -> str:
    """Markdown: megabytes."""
    lines = ["| zip for | MB | MB unpacked | bytecode |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {name} | {len(one.data) / 1e6:.1f} | {one.unpacked / 1e6:.1f} | {_yes(one.compiled)} |"
        for name, one in built.items()
    ]
    return "\n".join(lines)


def _yes(fact: bool) -> str:  # noqa: FBT001 - the one thing it is about
    return "yes" if fact else "no"
