"""What the device side needs from the machine it runs on, as one argument."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keyborn.device import files
from keyborn.device.pace import Pace

if TYPE_CHECKING:
    from keyborn.ports import Clock  # brings the certificate library, which a publisher does without

Say = Callable[[str], None]
"""Tells the person what is happening; never given a secret."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Clock, waiting, the host's name, someone to talk to, and the checkpoint of a stepped run."""

    clock: "Clock"
    hostname: str
    say: Say
    pace: Pace = field(default_factory=Pace)
    checkpoint: files.Checkpoint = files.no_checkpoint
