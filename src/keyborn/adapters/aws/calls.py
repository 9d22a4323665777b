"""Calls to AWS: one narrow door to a botocore client, a deadline, and bounded repeats with full jitter.

botocore's own repeats are to be off (``total_max_attempts=1``): they know no deadline, and they repeat a
CreateCertificateFromCsr that timed out, which makes a second certificate.
"""

import math
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from secrets import SystemRandom
from typing import Any

from keyborn.adapters.aws.errors import (
    AWS_ERRORS,
    code_of,
    is_passing,
    proves_nothing_done,
    reasons_of,
    translate,
)

Answer = Mapping[str, Any]
"""What botocore returns: the parsed answer."""

_deadline: ContextVar[float | None] = ContextVar("keyborn_aws_deadline", default=None)
_random = SystemRandom()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let no call begin, and no pause end, later than ``seconds`` from now; the earlier of two counts.

    It holds for this thread or task and for what a registry does for it in its own threads.
    """
    until, outer = time.monotonic() + seconds, _deadline.get()
    mark = _deadline.set(until if outer is None else min(until, outer))
    try:
        yield
    finally:
        _deadline.reset(mark)


def time_left() -> float:
    """Seconds until the deadline of ``within``, for this thread or task; infinite without one."""
    until = _deadline.get()
    return math.inf if until is None else until - time.monotonic()


@dataclass(frozen=True, slots=True)
class Patience:
    """How long something is tried again and again, in seconds."""

    whole: float = 8.0
    first: float = 0.02
    """The longest first pause; each next one may be twice as long."""
    longest: float = 0.5


class Rounds:
    """The pauses between the rounds of one effort. Full jitter: who failed together returns apart."""

    def __init__(self, patience: Patience) -> None:
        """The time begins to run now."""
        self._patience = patience
        self._until = time.monotonic() + patience.whole
        outer = _deadline.get()
        if outer is not None:
            self._until = min(self._until, outer)
        self._number = 0

    def span(self) -> float | None:
        """How long to pause now, in seconds; None if the time would be over then."""
        most = min(self._patience.longest, self._patience.first * 2.0**self._number)
        self._number += 1
        span = _random.uniform(0, most)
        return None if time.monotonic() + span >= self._until else span

    def pause(self) -> bool:
        """Sleep that long, or say False at once. For a thread; a coroutine asks for the ``span``."""
        span = self.span()
        if span is None:
            return False
        time.sleep(span)
        return True


class Expected(Exception):
    """An error that the caller said it expects; it never leaves the adapter."""

    def __init__(self, error: Exception) -> None:
        super().__init__(code_of(error))
        self.code = code_of(error)
        self.reasons: Sequence[Mapping[str, Any]] = reasons_of(error)


class Service:
    """One service of AWS: every call is bounded, repeated where that is safe, and its errors are mapped."""

    def __init__(self, client: object, name: str, *, patience: Patience | None = None) -> None:
        """``client`` is a botocore client or makes one, at the first call; ``name`` stands before actions."""
        self._client = client
        self._name = name
        self._patience = patience or Patience()
        self._lock = threading.Lock()

    def call(
        self,
        operation: str,
        *,
        repeatable: bool = True,
        expected: Collection[str] = (),
        **parameters: object,
    ) -> Answer:
        """Call ``operation`` (``CreateThing``) and return its answer.

        One that is not ``repeatable`` is repeated only if it surely was not done. Raises Expected for a code
        of ``expected``, else a leaf of Unavailable; after that the call may or may not have had its effect.
        """
        method = self._method(operation)
        rounds = Rounds(self._patience)
        while True:
            try:
                return method(**parameters)
            except AWS_ERRORS as error:
                again = is_passing(error) and (repeatable or proves_nothing_done(error))
                if code_of(error) in expected and not again:
                    raise Expected(error) from error
                if not again or not rounds.pause():
                    raise translate(error, f"{self._name}:{operation}") from error

    def _method(self, operation: str) -> Callable[..., Answer]:
        with self._lock:
            if callable(self._client):
                self._client = self._client()
            client: Any = self._client
        words = "".join(f"_{one.lower()}" if one.isupper() else one for one in operation)
        method: Callable[..., Answer] = getattr(client, words.removeprefix("_"))
        return method
