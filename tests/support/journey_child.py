"""``python -m support.journey_child HOME TURNS``: a real device that renews, killed at each step in turn.

One process with everything loaded, and no thread, forks the devices. The first renews once and tells its
steps. Then, for every ``TURNS``-th of them, one is killed before that step of the next renewal, and another
one carries the renewal to its end: real files, HTTPS and MQTT, each in a process of its own. Prints JSON.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from keyborn.adapters.system import SystemClock
from keyborn.device import files, identity
from keyborn.device.home import Home
from keyborn.device.journey import Runner
from keyborn.device.line import BrokerLine
from keyborn.device.renewal import RenewalClient
from keyborn.device.surroundings import Surroundings
from keyborn.domain.journey import Stage
from support.slots_child import Point, die_at, forked, standing

MOST_STEPS = 60


def renew(home: Home, checkpoint: files.Checkpoint) -> dict[str, Any]:
    """One renewal, now, by a process that ends with it."""
    clock = SystemClock()
    around = Surroundings(clock, "host", lambda _text: None, checkpoint=checkpoint)
    with home.session():
        runner = Runner(home, around, BrokerLine(clock), RenewalClient(home, clock), now=True)
        steps = 0
        while not (runner.renewed and runner.journey.stage is Stage.CONNECTED):
            steps += 1
            assert steps < MOST_STEPS, runner.journey
            assert runner.journey.trouble is None, runner.journey
            runner.step()
        runner.close()
    return {"id": identity.read_settings(home).certificate_id}


def plan(home: Home) -> list[list[Any]]:
    """The steps of a renewal that nobody disturbs, each with its turn."""
    seen: list[list[Any]] = []

    def note(step: str) -> None:
        seen.append([step, sum(earlier == step for earlier, _ in seen)])

    renew(home, note)
    return seen


def main(folder: Path, every: int) -> None:
    home = Home(folder)
    _, points = forked(lambda: plan(home))
    report = []
    for step, turn in points[::every]:
        point = Point("renew", step, turn)
        died, _ = forked(lambda point=point: renew(home, die_at(point)))  # type: ignore[misc] # bound now
        _, after = forked(lambda: standing(home))
        status, end = forked(lambda: renew(home, files.no_checkpoint))
        report.append({"step": step, "died": died, "after": after, "status": status, "end": end})
        sys.stdout.write(json.dumps(report[-1]) + "\n")
        sys.stdout.flush()
        sys.stdin.readline()  # the test looks at the server between two of them
    sys.stdout.write(json.dumps({"steps": len(points)}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
    os._exit(0)
