"""What a program is given: values, and nothing that has to be closed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keyborn.device.messages import Counts, Fate, Outcome


@dataclass(frozen=True, slots=True)
class Receipt:
    """A message that is kept: it is on disk, and survives a power cut."""

    id: int
    """Of the home's outbox; good to ask ``outcome`` with, from any process and at any time."""
    topic: str


@dataclass(frozen=True, slots=True)
class Status:
    """Where the device stands."""

    stage: str
    """Of the device's journey (docs/reference/journey.md), or ``starting``."""
    connected: bool
    """Whether there is a session with the broker."""
    trouble: str | None
    """What is in the way, in a word."""
    error: str | None
    """The same in a sentence."""
    thing: str | None
    certificate_id: str | None
    renewed: int
    """Renewals since the agent started."""
    renewal_error: str | None
    """Why the last one came to nothing, in a sentence; None once one has gone well."""
    outbox: Counts | None
    """None where the outbox cannot be read."""
    own: bool
    """Whether this program itself has the session, because no agent runs."""


def status_of(told: Mapping[str, Any], *, own: bool) -> Status:
    """The status in an agent's answer; raises KeyError, TypeError or ValueError for anything else."""
    return Status(
        stage=str(told["stage"]),
        connected=bool(told["connected"]),
        trouble=_text(told, "trouble"),
        error=_text(told, "error"),
        thing=_text(told, "thing"),
        certificate_id=_text(told, "certificateId"),
        renewed=int(told["renewed"]),
        renewal_error=_text(told, "renewalError"),
        outbox=None if told["outbox"] is None else Counts(**told["outbox"]),
        own=own,
    )


def fate_of(told: Mapping[str, Any]) -> Fate:
    """What became of a message, in an agent's answer; raises KeyError or ValueError for anything else."""
    return Fate(Outcome(told["outcome"]), _text(told, "reason"))


def _text(told: Mapping[str, Any], name: str) -> str | None:
    value = told.get(name)
    return None if value is None else str(value)
