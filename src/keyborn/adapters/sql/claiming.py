"""Claims of a ``ports.ClaimSource`` as commands of the writer."""

from collections.abc import Callable, Sequence

from keyborn.adapters.sql.session import Session
from keyborn.adapters.sql.writer import Command, Job
from keyborn.domain.enrollment import Attempt, Outcome
from keyborn.ports import Claim, ClaimSource


class Claiming:
    """Implements ``writer.Source``."""

    def __init__(self, source: ClaimSource, claim: Callable[[Session, Attempt], Outcome]) -> None:
        self.descriptor = source.descriptor
        self._source = source
        self._claim = claim
        self._taken: Sequence[Claim] = ()

    def take(self, most: int) -> Sequence[Job]:
        """See ``Source.take``."""
        self._taken = self._source.take(most)
        return [Job(self._command(claim.attempt)) for claim in self._taken]

    def answer(self, jobs: Sequence[Job]) -> None:
        """See ``Source.answer``."""
        for claim, job in zip(self._taken, jobs, strict=True):
            claim.outcome, claim.error = job.result, job.error
        self._source.answer(self._taken)

    def close(self) -> None:
        """See ``Source.close``."""
        self._source.close()

    def _command(self, attempt: Attempt) -> Command[Outcome]:
        return lambda session: self._claim(session, attempt)
