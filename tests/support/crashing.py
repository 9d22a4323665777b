"""``python -m support.crashing``: ``keyborn serve`` that kills itself (SIGKILL) at a named step of the saga.

``KILL_AT`` names the step; the composition is the product's own, with a listener in the place made for it.
"""

import os
import signal
from functools import partial

import keyborn.wiring.service
from keyborn.cli.main import main
from keyborn.service.saga import SagaStep


def die_at(step: SagaStep) -> None:
    if step.value == os.environ.get("KILL_AT"):
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    options = partial(keyborn.wiring.service.ServeOptions, on_step=die_at)
    keyborn.wiring.service.ServeOptions = options  # type: ignore[assignment,misc]
    main()
