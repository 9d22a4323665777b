"""The steps of an enrolment and of a renewal, by name: the plan of tests that kill a real server at each.

Where a registry signs within the claim, CLAIMED, SIGNED and STORED happen in its writer's thread, in one
transaction; nothing of them is on disk before ACTIVATED is announced.
"""

from collections.abc import Callable
from enum import StrEnum


class SagaStep(StrEnum):
    """What has just happened when the step is announced."""

    AUTHENTICATED = "authenticated"
    ADMITTED = "admitted"
    PARSED = "parsed"
    CLAIMED = "claimed"
    """The intent is on disk; within a claim: it is decided and approved."""
    SIGNED = "signed"
    STORED = "stored"
    """The certificate is on disk, inactive and attached; within a claim: all is written, not committed."""
    ACTIVATED = "activated"
    """Active and audited; only the answer is missing."""


StepListener = Callable[[SagaStep], None]


def ignore(_step: SagaStep) -> None:
    """The listener of a service nobody is watching."""
