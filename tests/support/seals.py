"""Sealed tokens as an operator's office makes them, from words; and seals that no office would make."""

import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta

from keyborn.domain.names import NameScope
from keyborn.domain.seal import RANDOM_BYTES, TokenFacts, seal
from keyborn.domain.thing import ThingKind
from keyborn.domain.token import EnrollmentToken, digest, token_id
from support.registry_cases import policy_names

KEY = hashlib.sha256(b"seal").digest()


class KeyAtHand:
    """``SealKeys`` of a function that has read the key while it started."""

    async def seal_key(self) -> bytes | None:
        return KEY

    async def make_seal_key(self, _fresh: bytes) -> bytes:
        return KEY


def sealed_token(
    seed: str,
    pattern: str = "*",
    uses: int | None = None,
    *,
    now: datetime,
    key: bytes = KEY,
    ttl: timedelta = timedelta(days=1),
    replaces: bool = False,
    kind: ThingKind = ThingKind.DEVICE,
    policies: Sequence[str] | None = None,
) -> tuple[EnrollmentToken, bytes]:
    """A token and its secret, under ``key``; the same word at the same time makes the same one."""
    named = None if policies is None else policy_names(*policies)
    facts = TokenFacts(NameScope(pattern), uses, now + ttl, replaces, kind, named)
    secret = seal(key, hashlib.sha256(seed.encode()).digest()[:RANDOM_BYTES], facts)
    token = EnrollmentToken(
        token_id(secret),
        digest(secret),
        facts.scope,
        facts.uses,
        now,
        facts.expires_at,
        replace=facts.replace,
        kind=facts.kind,
        policies=facts.policies,
    )
    return token, secret


def resealed(key: bytes, random: bytes, said: bytes) -> bytes:
    """``said`` under a right seal."""
    return random + hmac.digest(key, random + said, "sha256")[:16] + said
