"""``python -m support.crashing``: ``keyborn serve`` that kills itself (SIGKILL) at a named step of the saga.

``KILL_AT`` names the step; or ``KILLS`` is a folder, in whose file ``death`` the step and its turn stand as
long as it is to die there, and where ``passed`` lists the steps that were announced. The composition is the
product's own, with a listener in the place made for it.
"""

import json
import os
import signal
from functools import partial
from pathlib import Path

import keyborn.wiring.service
from keyborn.cli.main import main
from keyborn.service.saga import SagaStep


def die_at(step: SagaStep) -> None:
    """Where the environment says so."""
    if step.value == os.environ.get("KILL_AT"):
        os.kill(os.getpid(), signal.SIGKILL)
    if folder := os.environ.get("KILLS"):
        die_in(Path(folder), step)


def die_in(folder: Path, step: SagaStep) -> None:
    """Where the folder says so."""
    passed = folder / "passed"
    turn = passed.read_text().split().count(step.value)
    with passed.open("a") as file:
        file.write(f"{step.value}\n")
    if json.loads((folder / "death").read_text()) == [step.value, turn]:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    options = partial(keyborn.wiring.service.ServeOptions, on_step=die_at)
    keyborn.wiring.service.ServeOptions = options  # type: ignore[assignment,misc]
    main()
