"""Secrets of tokens: how they are made, and how a sealed one proves its caller before anything is asked.

A sealed secret says what its token permits (``domain.seal``). So who enrolls costs the registry no look-up,
and all strangers together one a second of each instance. That the token is known and not withdrawn, the claim
demands in its own transaction: the applicant carries the digest for that. Where no claim will ask, it is
looked up.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from keyborn.domain.applicant import Applicant
from keyborn.domain.errors import CredentialMissing, CredentialRefused, RegistryUnavailable
from keyborn.domain.seal import RANDOM_BYTES, SEAL_KEY_BYTES, TokenFacts, seal, unseal
from keyborn.domain.token import SECRET_BYTES, TokenId, decode_secret, digest, token_id
from keyborn.ports import Credential, Entropy, SealKeys, Tokens
from keyborn.service.authenticate import applicant_of

_AGAIN = 1.0
"""Seconds until the key is asked for once more, where a secret does not fit the one that is known."""
_STANDS = 60.0
"""Seconds for which a token that was found to stand is not looked up again."""
_MOST = 1024
"""Tokens remembered of either kind; the one noted longest ago goes."""


class Secrets(Protocol):
    """Makes the secrets of new tokens."""

    async def make(self, facts: TokenFacts) -> bytes:
        """A secret that nobody can guess, for a token that permits this."""
        ...


class RandomSecrets:
    """256 random bits, that say nothing."""

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy

    async def make(self, facts: TokenFacts) -> bytes:  # noqa: ARG002 - as the protocol has it
        """32 bytes."""
        return self._entropy.token_bytes(SECRET_BYTES)


class SealedSecrets:
    """Secrets that say what they permit; the first one makes the key of the service."""

    def __init__(self, keys: SealKeys, entropy: Entropy) -> None:
        self._keys = keys
        self._entropy = entropy

    async def make(self, facts: TokenFacts) -> bytes:
        """About 80 bytes. Raises leaves of Unavailable."""
        key = await self.key()
        return seal(key, self._entropy.token_bytes(RANDOM_BYTES), facts)

    async def key(self) -> bytes:
        """The key of the service, made if there is none."""
        known = await self._keys.seal_key()
        return known or await self._keys.make_seal_key(self._entropy.token_bytes(SEAL_KEY_BYTES))


class LateProof(Protocol):
    """Where an applicant was let in before its token was looked up: the look-up, and what came of it."""

    async def confirm(self, applicant: Applicant) -> None:
        """Look it up where no claim will; raises CredentialRefused for a token that does not stand."""
        ...

    def end(self, token: TokenId) -> None:
        """Somebody found that a token does not stand, which is for ever."""
        ...


class NothingLate:
    """Every applicant was looked up when it was authenticated."""

    async def confirm(self, applicant: Applicant) -> None:
        """Return at once."""

    def end(self, token: TokenId) -> None:
        """Do nothing."""


class SealedAuthenticator:
    """Bearer secrets that were sealed here; implements ``ports.Authenticator`` and ``LateProof``.

    The key is remembered, and for a while which tokens were found to stand, or not to. Nothing else is asked.
    """

    def __init__(
        self, keys: SealKeys, tokens: Tokens, *, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self._keys = keys
        self._tokens = tokens
        self._seconds = seconds
        self._key: bytes | None = None
        self._asked_at = -math.inf
        self._away = False
        """Whether the last look for the key failed."""
        self._stood: OrderedDict[TokenId, float] = OrderedDict()
        self._ended: OrderedDict[TokenId, float] = OrderedDict()

    async def prepare(self) -> None:
        """Look for the key before the first caller comes. Raises leaves of Unavailable."""
        self._asked_at, self._away = self._seconds(), True
        self._key = await self._keys.seal_key() or self._key
        self._away = False

    async def authenticate(self, credential: Credential) -> Applicant:
        """Raise CredentialMissing or CredentialRefused, or Unavailable where the key cannot be had.

        An expired token still proves who asks: the rules of enrolment let it repeat a lost answer.
        """
        if credential.bearer is None:
            raise CredentialMissing
        secret = decode_secret(credential.bearer)
        facts, token = await self._facts(secret), token_id(secret)
        if token in self._ended:
            raise CredentialRefused
        return applicant_of(token, facts, digest=digest(secret))

    async def confirm(self, applicant: Applicant) -> None:
        """Look the token up, once a minute at most; raises CredentialRefused, and leaves of Unavailable.

        Whoever was proved in another way has been looked up, or has nothing that could be.
        """
        if applicant.digest is None:
            return
        if self._seconds() - self._stood.get(applicant.token, -math.inf) < _STANDS:
            return
        found = await self._tokens.find(applicant.token)
        if found is None or found.withdrawn_at is not None or not applicant.showed(found.digest):
            self.end(applicant.token)
            raise CredentialRefused
        self._note(self._stood, applicant.token)

    def end(self, token: TokenId) -> None:
        """Refuse it from now on without a question."""
        self._note(self._ended, token)

    def _note(self, memory: "OrderedDict[TokenId, float]", token: TokenId) -> None:
        memory[token] = self._seconds()
        memory.move_to_end(token)
        while len(memory) > _MOST:
            memory.popitem(last=False)

    async def _facts(self, secret: bytes) -> TokenFacts:
        """The key may be newer than what is remembered: it is asked for once more, now and then."""
        try:
            return self._unseal(secret)
        except CredentialRefused:
            if self._key is not None and self._seconds() - self._asked_at < _AGAIN:
                if self._away:
                    raise RegistryUnavailable from None  # nobody knows whether it is a stranger
                raise
        await self.prepare()
        return self._unseal(secret)

    def _unseal(self, secret: bytes) -> TokenFacts:
        if self._key is None:
            raise CredentialRefused
        return unseal(self._key, secret)
