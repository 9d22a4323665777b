"""Nonces of one process: nobody can make one up, none lives long, none is taken twice, and memory is bounded.

A nonce is its time, random bytes, and an HMAC over both under a key that this process drew: handing one out
keeps nothing. Only a nonce that came with a good signature is spent, so only devices of this service can fill
what is remembered; were they to, older nonces would be refused, never taken twice. After a restart all are
refused, and their holders get fresh ones with the refusal.
"""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush

from keyborn.domain.errors import BadNonce, JwsMalformed
from keyborn.domain.jws import decode, encode
from keyborn.ports import Clock, Entropy

LIFETIME = timedelta(minutes=5)
MOST_REMEMBERED = 100_000
"""Spent nonces at once: some 20 MB. It is 333 renewals a second for five minutes."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_TIME_BYTES, _RANDOM_BYTES, _MAC_BYTES = 8, 16, 16
_KEY_BYTES = 32


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
        self._key = entropy.token_bytes(_KEY_BYTES)
        self._latest = 0
        """The latest time there was: a clock that is set back must not make old nonces good again."""
        self._floor = 0
        """Nonces of this time or before are refused: some of them may have been spent and forgotten."""
        self._spent: set[bytes] = set()
        self._by_age: list[bytes] = []

    async def issue(self) -> str:
        """See ``Nonces.issue``; keeps nothing."""
        issued = max(self._now(), self._floor + 1)
        body = issued.to_bytes(_TIME_BYTES) + self._entropy.token_bytes(_RANDOM_BYTES)
        return encode(body + self._mac(body))

    async def spend(self, nonce: str) -> None:
        """See ``Nonces.spend``; nothing else runs between the look and the note."""
        body = self._genuine(nonce)
        now = self._now()
        issued = int.from_bytes(body[:_TIME_BYTES])
        if issued <= max(self._floor, now - self._lifetime) or body in self._spent:
            raise BadNonce
        self._spent.add(body)
        heappush(self._by_age, body)  # time first, so the oldest one is the smallest
        self._forget(now)

    @property
    def remembered(self) -> int:
        """How many spent nonces are remembered."""
        return len(self._spent)

    def _genuine(self, nonce: str) -> bytes:
        """Time and random bytes of a nonce that this process made."""
        try:
            raw = decode(nonce, "nonce")
        except JwsMalformed:
            raise BadNonce from None
        body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if len(raw) != _TIME_BYTES + _RANDOM_BYTES + _MAC_BYTES:
            raise BadNonce
        if not hmac.compare_digest(mac, self._mac(body)):
            raise BadNonce
        return body

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, hashlib.sha256)[:_MAC_BYTES]

    def _now(self) -> int:
        """Milliseconds since the epoch; it never goes back."""
        self._latest = max(self._latest, (self._clock.now() - _EPOCH) // _MILLISECOND)
        return self._latest

    def _forget(self, now: int) -> None:
        """Drop what is too old to be taken again, and the oldest of what is too much."""
        while self._by_age and (self._is_old(self._by_age[0], now) or len(self._by_age) > self._most):
            oldest = heappop(self._by_age)
            self._spent.discard(oldest)
            self._floor = max(self._floor, int.from_bytes(oldest[:_TIME_BYTES]))

    def _is_old(self, body: bytes, now: int) -> bool:
        return int.from_bytes(body[:_TIME_BYTES]) <= now - self._lifetime
