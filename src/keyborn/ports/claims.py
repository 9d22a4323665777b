"""Claims that reach a registry past the event loop: their values, and the port to where they come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from keyborn.domain.enrollment import Attempt, Outcome


@dataclass(eq=False, slots=True)
class Claim:
    """One claim on its way, as of ``Enrollments.claim``: what is asked, and then what came of it."""

    attempt: Attempt
    origin: Any = None
    """Of its source: where the answer goes."""
    outcome: Outcome | None = None
    error: Exception | None = None
    """Instead of an outcome."""


class ClaimSource(Protocol):
    """Where claims come from, and where answers go, for the one thread in which a registry decides them.

    It never waits and never raises: a caller that is in trouble, or makes some, is forgotten.
    """

    descriptor: int
    """Readable, as of poll(2), while there is something to take or to go on with."""

    def take(self, most: int) -> Sequence[Claim]:
        """Up to ``most`` of those that are there. Who got as many asks again before it waits."""
        ...

    def answer(self, claims: Sequence[Claim]) -> None:
        """Send what came of them: of what succeeded, the effect is durable."""
        ...

    def close(self) -> None:
        """Nobody decides any more: every caller hears so. Repeating is harmless."""
        ...
