"""Use cases of API keys: create (the word is shown once), list, withdraw."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from keyborn.domain.api_key import (
    DEFAULT_TTL,
    MAX_TTL,
    ApiKey,
    ApiKeyId,
    ApiKeyWord,
    Role,
    api_key_id,
    require_operator_name,
)
from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import InvalidSetting
from keyborn.domain.token import SECRET_BYTES, digest
from keyborn.ports import Clock, Entropy, KeyRegistry


@dataclass(frozen=True, slots=True)
class ApiKeyWish:
    """What is asked for: who shall be able to do what, and for how long."""

    name: str
    role: Role
    ttl: timedelta = DEFAULT_TTL

    def __post_init__(self) -> None:
        """Raise InvalidSetting for wishes that make no sense."""
        require_operator_name(self.name)
        if not timedelta(seconds=1) <= self.ttl <= MAX_TTL:
            raise InvalidSetting(setting="--ttl", detail="it takes one second to a year, such as 12h or 90d")


@dataclass(frozen=True, slots=True)
class FreshApiKey:
    """A key and its word; the only moment at which the secret is known."""

    key: ApiKey
    word: ApiKeyWord


class ApiKeyOffice:
    """Hands out and takes back permissions to operate the service from elsewhere."""

    def __init__(
        self,
        keys: KeyRegistry,
        clock: Clock,
        entropy: Entropy,
        trust: Callable[[], tuple[str, bytes]],
    ) -> None:
        """``trust`` tells the service's URL and its root's fingerprint at the time of asking."""
        self._keys = keys
        self._clock = clock
        self._entropy = entropy
        self._trust = trust

    async def create(self, wish: ApiKeyWish, *, actor: str = "operator") -> FreshApiKey:
        """Make a key; only the digest of its secret is kept."""
        url, fingerprint = self._trust()
        now, secret = self._clock.now(), self._entropy.token_bytes(SECRET_BYTES)
        key = ApiKey(api_key_id(secret), digest(secret), wish.name, wish.role, now, now + wish.ttl)
        details = {"name": key.name, "role": key.role.value}
        event = AuditEvent(now, "api-key.create", "done", key.id, actor, details=details)
        await self._keys.add_api_key(key, event)
        return FreshApiKey(key, ApiKeyWord(url, fingerprint, secret))

    async def withdraw(self, key: ApiKeyId, *, actor: str = "operator") -> ApiKey:
        """End a key now; raises NotFound."""
        event = AuditEvent(self._clock.now(), "api-key.withdraw", "done", key[:128], actor)
        return await self._keys.withdraw_api_key(key, event)

    async def page(self, *, after: ApiKeyId | None = None, limit: int = 100) -> Sequence[ApiKey]:
        """A page of keys, by id."""
        return await self._keys.api_keys(after=after, limit=limit)
