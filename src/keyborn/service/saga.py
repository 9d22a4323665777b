"""The steps of an enrolment and of a renewal, by name: the plan of tests that kill a real server at each."""

from collections.abc import Callable
from enum import StrEnum


class SagaStep(StrEnum):
    """What has just happened when the step is announced."""

    AUTHENTICATED = "authenticated"
    ADMITTED = "admitted"
    PARSED = "parsed"
    CLAIMED = "claimed"
    """The intent is on disk."""
    SIGNED = "signed"
    STORED = "stored"
    """The certificate is on disk, inactive and attached."""
    ACTIVATED = "activated"
    """Active and audited; only the answer is missing."""


StepListener = Callable[[SagaStep], None]


def ignore(_step: SagaStep) -> None:
    """The listener of a service nobody is watching."""
