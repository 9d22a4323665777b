"""Secrets of tokens: how they are made, and how a sealed one proves its caller before anything is asked.

A sealed secret says what its token permits (``domain.seal``). So a caller costs the registry no look-up, and
a stranger costs it nothing at all. That the token is known and not withdrawn, the claim demands in its own
transaction: the applicant carries the digest for that.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from keyborn.domain.applicant import Applicant
from keyborn.domain.errors import CredentialMissing, CredentialRefused, Unavailable
from keyborn.domain.seal import RANDOM_BYTES, SEAL_KEY_BYTES, TokenFacts, seal, unseal
from keyborn.domain.token import SECRET_BYTES, TokenId, decode_secret, digest, token_id
from keyborn.ports import Credential, Entropy, SealKeys

_AGAIN = 1.0
"""Seconds until the key is asked for once more, where a secret does not fit the one that is known."""
_MOST_ENDED = 1024


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


class SealedAuthenticator:
    """Bearer secrets that were sealed here. The key is remembered; nothing else is asked of the registry."""

    def __init__(self, keys: SealKeys, *, seconds: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._seconds = seconds
        self._key: bytes | None = None
        self._asked_at = -math.inf
        self._ended: OrderedDict[TokenId, None] = OrderedDict()

    async def prepare(self) -> None:
        """Look for the key before the first caller comes. Raises leaves of Unavailable."""
        self._asked_at = self._seconds()
        self._key = await self._keys.seal_key() or self._key

    async def authenticate(self, credential: Credential) -> Applicant:
        """Raise CredentialMissing or CredentialRefused, or Unavailable where the key cannot be had.

        An expired token still proves who asks: the rules of enrolment let it repeat a lost answer.
        """
        if credential.bearer is None:
            raise CredentialMissing
        secret = decode_secret(credential.bearer)
        facts, proof, token = await self._facts(secret), digest(secret), token_id(secret)
        if token in self._ended:
            raise CredentialRefused
        return Applicant(
            method="token",
            token=token,
            scope=facts.scope,
            uses=facts.uses,
            expires_at=facts.expires_at,
            may_replace=facts.replace,
            kind=facts.kind,
            policies=facts.policies,
            digest=proof,
        )

    def end(self, token: TokenId) -> None:
        """A claim found it withdrawn, which is for ever: it need not be asked again for this one."""
        self._ended[token] = None
        while len(self._ended) > _MOST_ENDED:
            self._ended.popitem(last=False)

    async def _facts(self, secret: bytes) -> TokenFacts:
        """The key may be newer than what is remembered: it is asked for once more, now and then."""
        try:
            return self._unseal(secret)
        except CredentialRefused:
            if not self._may_ask():
                raise
        try:
            await self.prepare()
        except Unavailable:
            if self._key is None:
                raise
        return self._unseal(secret)

    def _unseal(self, secret: bytes) -> TokenFacts:
        if self._key is None:
            raise CredentialRefused
        return unseal(self._key, secret)

    def _may_ask(self) -> bool:
        return self._key is None or self._seconds() - self._asked_at >= _AGAIN
