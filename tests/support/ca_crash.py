"""``python -m support.ca_crash``: first starts and renewals of the authority that are killed at every step.

Prints JSON. A step is a call of the operating system that changes a file or a folder, found by counting
them in the running code: a step that is added later is walked too. Every start is a process of its own
(a fork, which is quick) and dies by SIGKILL; a write dies once before it and once half done.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

from keyborn.adapters.ca import (
    ServiceIdentity,
    introduce_root,
    open_authority,
    retire_root,
    service_names,
    switch_root,
)
from keyborn.domain.errors import NoNextRoot, NoOldRoot
from support.ca_world import ENTROPY, HandClock

CHANGES = ("open", "write", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir", "link")
Start = Callable[[Path], str]
P = ParamSpec("P")
R = TypeVar("R")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Countdown:
    """Replaces the calls in ``os`` that change something, and dies at the N-th."""

    def __init__(self, steps: int, report: int) -> None:
        self.left = steps
        self.report = report
        for name in CHANGES:
            setattr(os, name, self.counted(name, getattr(os, name)))

    def counted(self, name: str, real: Callable[P, R]) -> Callable[P, R]:
        def call(*arguments: P.args, **options: P.kwargs) -> R:
            if name != "open" or cast("int", arguments[1]) & os.O_CREAT:
                self.step(name)
            if name == "write":
                descriptor, data = cast("tuple[int, memoryview]", arguments)
                self.step("half a write", lambda: write(descriptor, data[: len(data) // 2]))
            return real(*arguments, **options)

        return call

    def step(self, name: str, last_words: Callable[[], object] = bool) -> None:
        self.left -= 1
        if not self.left:
            last_words()
            write(self.report, name.encode())
            die()


write, fork, waitpid, pipe = os.write, os.fork, os.waitpid, os.pipe


def open_it(folder: Path) -> str:
    """What a start does first; returns the root's fingerprint."""
    authority = open_authority(folder / "ca", clock=HandClock(), entropy=ENTROPY)
    return authority.root_fingerprint().hex()


def renew_it(folder: Path) -> str:
    """A start 25 days later: the service certificate is due."""
    clock = HandClock()
    clock.move(timedelta(days=25))
    authority = open_authority(folder / "ca", clock=clock, entropy=ENTROPY)
    names = service_names()
    ServiceIdentity(folder / "ca", authority, names=names, clock=clock, entropy=ENTROPY).prepare()
    return authority.root_fingerprint().hex()


def serve_it(folder: Path) -> str:
    """A first start with its service certificate."""
    authority = open_authority(folder / "ca", clock=HandClock(), entropy=ENTROPY)
    names = service_names()
    ServiceIdentity(folder / "ca", authority, names=names, clock=HandClock(), entropy=ENTROPY).prepare()
    return authority.root_fingerprint().hex()


def introduce_it(folder: Path) -> str:
    """A next root beside the present one; returns the present one's fingerprint."""
    introduce_root(folder / "ca", now=HandClock().now(), entropy=ENTROPY)
    return open_it(folder)


def introduced(folder: Path) -> str:
    """An authority with a next root, for a switch."""
    open_it(folder)
    return introduce_it(folder)


def switch_it(folder: Path) -> str:
    """The next root issues; a repeat finds it done. Returns the fingerprint of the one that does."""
    with suppress(NoNextRoot):
        switch_root(folder / "ca", now=HandClock().now())
    return open_it(folder)


def switched(folder: Path) -> str:
    """An authority that has gone over, for a retirement."""
    introduced(folder)
    return switch_it(folder)


def retire_it(folder: Path) -> str:
    """The old root goes; a repeat finds it done."""
    with suppress(NoOldRoot):
        retire_root(folder / "ca", now=HandClock().now())
    return open_it(folder)


def child(start: Start, folder: Path, steps: int = 0) -> tuple[int, int]:
    """Fork one start, killed at its N-th step (0: never); returns its process id and its report."""
    reader, writer = pipe()
    process = fork()
    if process:
        os.close(writer)
        return process, reader
    try:
        Countdown(steps, writer)
        write(writer, start(folder).encode())
    except Exception as trouble:  # noqa: BLE001 (whatever it was: the report says it)
        write(writer, repr(trouble).encode())
    finally:
        os._exit(0)


def collect(process: int, reader: int) -> tuple[bool, str]:
    """Whether the start lived, and its fingerprint or the step at which it died."""
    with os.fdopen(reader, "rb") as report:
        told = report.read().decode()
    _, status = waitpid(process, 0)
    return not os.WIFSIGNALED(status), told


def walk(start: Start, folder: Path, prepare: Start | None = None) -> list[str]:
    """Kill a start at its first step, another at its second … until one lives, in folders ``1``, ``2`` …

    Each folder then sees a second start killed at the same step. Returns the steps' names, in order.
    """
    steps: list[str] = []
    while True:
        data = folder / str(len(steps) + 1)
        data.mkdir(parents=True)
        if prepare:
            prepare(data)
        lived, told = collect(*child(start, data, len(steps) + 1))
        if lived:
            return steps
        steps.append(told)
        collect(*child(start, data, len(steps)))


def race(folder: Path, rounds: int, runners: int) -> list[list[str]]:
    """Several first starts of one folder at once; returns the fingerprints each round's starts ended with."""
    results = []
    for number in range(rounds):
        data = folder / str(number)
        data.mkdir(parents=True)
        results.append([collect(*each)[1] for each in [child(open_it, data) for _ in range(runners)]])
    return results


if __name__ == "__main__":
    base = Path(sys.argv[1])
    report = {
        "first start": walk(open_it, base / "first"),
        "renewal": walk(renew_it, base / "renewal", serve_it),
        "introduction": walk(introduce_it, base / "introduction", open_it),
        "switch": walk(switch_it, base / "switch", introduced),
        "retirement": walk(retire_it, base / "retirement", switched),
        "race": race(base / "race", rounds=25, runners=4),
    }
    sys.stdout.write(json.dumps(report))
