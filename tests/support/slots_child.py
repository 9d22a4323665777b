"""``python -m support.slots_child FOLDER``: kills itself at every step of a renewal, in forked processes.

One process with everything loaded and no thread of its own forks a device for each step of each change, which
dies by SIGKILL before it. A second one settles what it left, a third carries the change to its end. What
each of them saw is printed as JSON.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keyborn.device import files, slots
from keyborn.device.home import Home
from support.device_home import identify, now
from support.device_slots import change_mind, names_in, renew

Work = Callable[[Home, str, files.Checkpoint], None]
CHANGES: dict[str, Work] = {"renew": renew, "change_mind": change_mind}


@dataclass(frozen=True)
class Point:
    """A change, and the step before which the process dies."""

    change: str
    step: str
    turn: int


def forked(work: Callable[[], Any]) -> tuple[int, Any]:
    """What ``work`` returned in a process of its own, and how that ended (negative: by a signal)."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, json.dumps(work()).encode())
            os._exit(0)
        except BaseException as wrong:  # noqa: BLE001 - told to the parent, who asserts
            os.write(writing, json.dumps(repr(wrong)).encode())
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, json.loads(said) if said else None


def points_of(change: str, home: Home, first: str) -> list[Point]:
    """Every step of a change, from the code itself."""
    seen: list[Point] = []

    def note(step: str) -> None:
        seen.append(Point(change, step, sum(point.step == step for point in seen)))

    CHANGES[change](home, first, note)
    return seen


def die_at(point: Point) -> files.Checkpoint:
    left = [point.turn]

    def checkpoint(step: str) -> None:
        if step == point.step:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1

    return checkpoint


def standing(home: Home) -> dict[str, Any]:
    """What a device that starts sees, in a TLS context of its own."""
    with home.session():
        slots.settle(home)
    seen = slots.survey(home, now())
    current = seen.current.identity
    return {
        "state": seen.current.state.value,
        "id": current.certificate_id if current else None,
        "problems": seen.current.problems,
        "files": sorted(names_in(home)),
    }


def killed_at(point: Point, template: Home, folder: Path, first: str) -> dict[str, Any]:
    home = Home(folder / f"{point.change}-{point.step}-{point.turn}".replace(" ", "_"))
    shutil.copytree(template.path, home.path)
    work = CHANGES[point.change]
    died, _ = forked(lambda: _held(home, lambda: work(home, first, die_at(point))))
    _, after = forked(lambda: standing(home))
    finished, _ = forked(lambda: _held(home, lambda: work(home, first, files.no_checkpoint)))
    _, end = forked(lambda: standing(home))
    said = {"change": point.change, "step": point.step, "died": died}
    return {**said, "after": after, "finished": finished, "end": end}


def _held(home: Home, work: Callable[[], None]) -> None:
    with home.session():
        work()


def main(folder: Path) -> None:
    template = Home(folder / "template")
    first = identify(template).certificate_id
    report: list[dict[str, Any]] = []
    for change in CHANGES:
        twin = Home(folder / f"twin-{change}")
        shutil.copytree(template.path, twin.path)
        report += [killed_at(point, template, folder, first) for point in points_of(change, twin, first)]
    sys.stdout.write(json.dumps({"first": first, "points": report}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
