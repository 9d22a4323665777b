"""``python -m support.crashing``: ``keyborn serve`` that kills itself (SIGKILL) at a named step of the saga.

``KILL_AT`` names the step; or ``KILLS`` is a folder, in whose file ``death`` the step and its turn stand as
long as it is to die there, and where ``passed`` lists the steps that were announced. The composition is the
product's own, with a listener in the place made for it, and without workers: it hears of one process alone.
"""

import json
import os
import signal
from pathlib import Path
from typing import Any

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
    whole = keyborn.wiring.service.ServeOptions

    def listening(*words: Any, **options: Any) -> Any:  # noqa: ANN401 - as it takes
        return whole(*words, **{**options, "on_step": die_at, "workers": 0})

    keyborn.wiring.service.ServeOptions = listening  # type: ignore[assignment, misc]
    main()
