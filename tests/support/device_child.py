"""``python -m support.device_child``: real devices, one process each, which die where they are told to.

One process with everything loaded, and no thread, forks them. Orders come as JSON, one a line, each with the
``home``; the answer is a line, too:

    {"do": "enroll", "code": CODE, "thing": NAME}   its first identity, up to the first session
    {"do": "renew"}                                 a renewal, up to its confirmation and a session
    {"do": "look"}                                  what a device that starts sees

With ``"death": [STEP, TURN]`` it kills itself (SIGKILL) before that step: an effect of the journey, or a
write, name or sync of a file. It waits in no time, and ends at the first trouble, as a person would see it.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keyborn.adapters.system import SystemClock
from keyborn.device import enroll, files, identity
from keyborn.device.home import Home
from keyborn.device.journey import Runner
from keyborn.device.line import BrokerLine
from keyborn.device.pace import Pace
from keyborn.device.renewal import RenewalClient
from keyborn.device.surroundings import Surroundings
from keyborn.domain.journey import Stage
from keyborn.domain.token import EnrollmentCode
from support.slots_child import Point, die_at, forked, standing

MOST_STEPS = 60
BRIEFLY = 0.005
"""Seconds that a pause takes, whatever its length."""


@dataclass(slots=True)
class Steps:
    """A checkpoint that notes each step with its turn, and dies before one of them."""

    die: files.Checkpoint
    seen: list[tuple[str, int]] = field(default_factory=list)

    def __call__(self, step: str) -> None:
        """Before it happens."""
        self.die(step)
        self.seen.append((step, sum(earlier == step for earlier, _ in self.seen)))


@dataclass(slots=True)
class Pauses:
    """Waiting that lets only the device's own time go by."""

    skipped: float = 0.0

    def pace(self) -> Pace:
        """For a device whose jitter is half of what it may be."""
        return Pace(lambda: time.monotonic() + self.skipped, self._sleep, lambda: 0.5)

    def _sleep(self, seconds: float) -> None:
        self.skipped += seconds
        time.sleep(min(seconds, BRIEFLY))


def live(order: dict[str, Any], until: Callable[[Runner], bool]) -> dict[str, Any]:
    """One process of a device, until it is done or in trouble: its certificate, its steps, its trouble."""
    home, clock, death = Home(Path(order["home"])), SystemClock(), order.get("death")
    die = die_at(Point(order["do"], *death)) if death else files.no_checkpoint
    steps = Steps(die)
    around = Surroundings(clock, "host", lambda _text: None, Pauses().pace(), steps)
    wish = enroll.Wish(thing=order.get("thing"))
    code = lambda: EnrollmentCode.decode(order["code"])  # noqa: E731 - one expression, called late
    first = lambda: enroll.enroll(home, wish, code, around, held=True)  # noqa: E731 - as above
    home.prepare()
    with home.session():
        runner = Runner(
            home,
            around,
            BrokerLine(clock),
            RenewalClient(home, clock),
            enroll=first if "code" in order else None,
            now=order["do"] == "renew",
        )
        trouble = _run(runner, until)
    own = None if runner.own is None else identity.read_settings(home).certificate_id
    return {"id": own, "steps": steps.seen, "trouble": trouble, "stage": runner.journey.stage.value}


def _run(runner: Runner, until: Callable[[Runner], bool]) -> str | None:
    """What troubled it, if anything did."""
    try:
        for _ in range(MOST_STEPS):
            runner.step()
            if runner.journey.trouble is not None:
                return f"{runner.journey.trouble.name}: {runner.journey.detail}"
            if runner.journey.stage is Stage.CONNECTED and until(runner):
                return None
    finally:
        runner.close()
    raise AssertionError(runner.journey)


WORK: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "enroll": lambda order: live(order, lambda _runner: True),
    "renew": lambda order: live(order, lambda runner: runner.renewed > 0),
    "look": lambda order: standing(Home(Path(order["home"]))),
}


def main() -> None:
    """Obey until there are no more orders."""
    for line in sys.stdin:
        order = json.loads(line)
        status, said = forked(lambda order=order: WORK[order["do"]](order))  # type: ignore[misc] # bound now
        sys.stdout.write(json.dumps({"status": status, "said": said}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
    os._exit(0)
