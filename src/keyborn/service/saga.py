"""The enrolment saga's steps, by name. The list is the plan: a test kills a real server at each of them."""

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
