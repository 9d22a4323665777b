"""Nonces of a stack: every instance makes them under one key, and the table knows which are spent.

The key comes of that of the seals, so there is nothing to agree on, and handing one out writes and, once the
key is known, reads nothing. Only a nonce that came with a good signature is spent: strangers cost no write.
"""

import math
import time
from collections.abc import Callable

from keyborn.adapters.aws.table import DynamoRegistry, keys
from keyborn.domain.errors import BadNonce
from keyborn.domain.nonce import (
    LIFETIME,
    NONCE_KEY_BYTES,
    NONCE_RANDOM_BYTES,
    issued_at,
    make_nonce,
    nonce_key,
    read_nonce,
)
from keyborn.ports import Clock, Entropy

_AGAIN = 1.0
"""Seconds until the key is asked for once more, where there was none."""


class TableNonces:
    """Implements ``keyborn.ports.Nonces`` for all instances of a stack together."""

    def __init__(
        self,
        registry: DynamoRegistry,
        clock: Clock,
        entropy: Entropy,
        *,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._entropy = entropy
        self._seconds = seconds
        self._key: bytes | None = None
        self._asked_at = -math.inf

    async def issue(self) -> str:
        """See ``Nonces.issue``. Raises leaves of Unavailable where the key cannot be had.

        A stack has its key before its first token and its first group. Until then nobody has anything to
        sign with, and a nonce is good for nothing.
        """
        key = await self._known() or self._entropy.token_bytes(NONCE_KEY_BYTES)
        now = keys.to_ms(self._clock.now())
        return make_nonce(key, now, self._entropy.token_bytes(NONCE_RANDOM_BYTES))

    async def spend(self, nonce: str) -> None:
        """See ``Nonces.spend``; of two instances that spend it at once one is told BadNonce.

        Raises leaves of Unavailable; then it may be spent or not.
        """
        key = await self._known()
        if key is None:
            raise BadNonce
        body = read_nonce(key, nonce)
        issued = keys.from_ms(issued_at(body))
        if not abs(self._clock.now() - issued) < LIFETIME:  # clocks of two instances may differ a little
            raise BadNonce
        if not await self._registry.spend(body, issued + LIFETIME):
            raise BadNonce

    async def _known(self) -> bytes | None:
        """The key of nonces; None before there is one of the seals."""
        if self._key is None and self._seconds() - self._asked_at >= _AGAIN:
            sealed = await self._registry.seal_key()
            self._asked_at = self._seconds()
            self._key = None if sealed is None else nonce_key(sealed)
        return self._key
