"""What an instance remembers of tokens: a fleet's token need not be read again for each of its devices.

Nothing is decided by it. The secret is compared at each request, and a claim looks at the token as it is:
one that was withdrawn or used up since enrolls nobody and repeats no answer. What else a token says never
changes.
"""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from keyborn.domain.token import EnrollmentToken, TokenId
from keyborn.service.authenticate import TokenFinder
from keyborn.service.together import beside

KEPT = 60.0
"""Seconds for which a token is remembered."""
_MOST = 256


class TokenMemory:
    """``TokenFinder`` that remembers what was found, for a minute; never that nothing was."""

    def __init__(
        self,
        tokens: TokenFinder,
        *,
        meanwhile: Callable[[], Awaitable[None]] | None = None,
        seconds: Callable[[], float] = time.monotonic,
        most: int = _MOST,
    ) -> None:
        """``meanwhile`` runs with each read, and raises nothing.

        ``most``: so many tokens at once; the one asked for longest ago goes.
        """
        self._tokens = tokens
        self._meanwhile = meanwhile
        self._seconds = seconds
        self._most = most
        self._known: OrderedDict[TokenId, tuple[float, EnrollmentToken]] = OrderedDict()

    async def find(self, token: TokenId) -> EnrollmentToken | None:
        """Look one up by its public id. One that was withdrawn is read each time."""
        now = self._seconds()
        since, known = self._known.pop(token, (now, None))
        if known is not None and now - since < KEPT:
            self._known[token] = since, known
            return known
        found = await self._read(token)
        if found is not None and found.withdrawn_at is None:
            self._known[token] = now, found
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        return found

    async def _read(self, token: TokenId) -> EnrollmentToken | None:
        if self._meanwhile is None:
            return await self._tokens.find(token)
        return await beside(self._tokens.find(token), self._meanwhile())
