"""Nonces of one process: nobody can make one up, none lives long, none is taken twice, and memory is bounded.

They are made under a key that this process drew (``domain.nonce``), and handing one out keeps nothing. Only
a nonce that came with a good signature is spent, so only devices of this service can fill what is remembered;
were they to, older nonces would be refused, never taken twice. After a restart all are refused, and their
holders get fresh ones with the refusal.
"""

from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush

from keyborn.domain.errors import BadNonce
from keyborn.domain.nonce import (
    LIFETIME,
    NONCE_KEY_BYTES,
    NONCE_RANDOM_BYTES,
    issued_at,
    make_nonce,
    read_nonce,
)
from keyborn.ports import Clock, Entropy

MOST_REMEMBERED = 100_000
"""Spent nonces at once: some 20 MB. It is 333 renewals a second for five minutes."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class MemoryNonces:
    """Implements ``keyborn.ports.Nonces`` for one process; for one event loop."""

    def __init__(
        self,
        clock: Clock,
        entropy: Entropy,
        *,
        lifetime: timedelta = LIFETIME,
        most: int = MOST_REMEMBERED,
    ) -> None:
        self._clock = clock
        self._entropy = entropy
        self._lifetime = lifetime // _MILLISECOND
        self._most = most
        self._key = entropy.token_bytes(NONCE_KEY_BYTES)
        self._latest = 0
        """The latest time there was: a clock that is set back must not make old nonces good again."""
        self._floor = 0
        """Nonces of this time or before are refused: some of them may have been spent and forgotten."""
        self._spent: set[bytes] = set()
        self._by_age: list[bytes] = []

    async def issue(self) -> str:
        """See ``Nonces.issue``; keeps nothing."""
        issued = max(self._now(), self._floor + 1)
        return make_nonce(self._key, issued, self._entropy.token_bytes(NONCE_RANDOM_BYTES))

    async def spend(self, nonce: str) -> None:
        """See ``Nonces.spend``; nothing else runs between the look and the note."""
        body = read_nonce(self._key, nonce)
        now = self._now()
        issued = issued_at(body)
        if issued <= max(self._floor, now - self._lifetime) or body in self._spent:
            raise BadNonce
        self._spent.add(body)
        heappush(self._by_age, body)  # time first, so the oldest one is the smallest
        self._forget(now)

    @property
    def remembered(self) -> int:
        """How many spent nonces are remembered."""
        return len(self._spent)

    def _now(self) -> int:
        """Milliseconds since the epoch; it never goes back."""
        self._latest = max(self._latest, (self._clock.now() - _EPOCH) // _MILLISECOND)
        return self._latest

    def _forget(self, now: int) -> None:
        """Drop what is too old to be taken again, and the oldest of what is too much."""
        while self._by_age and (self._is_old(self._by_age[0], now) or len(self._by_age) > self._most):
            oldest = heappop(self._by_age)
            self._spent.discard(oldest)
            self._floor = max(self._floor, issued_at(oldest))

    def _is_old(self, body: bytes, now: int) -> bool:
        return issued_at(body) <= now - self._lifetime
