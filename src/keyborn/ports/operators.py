"""API keys at rest: a capability of a registry that is reached from elsewhere. Errors as of the registry."""

from collections.abc import Sequence
from typing import Protocol

from keyborn.domain.api_key import ApiKey, ApiKeyId
from keyborn.domain.audit import AuditEvent


class ApiKeys(Protocol):
    """API keys, by the digests of their secrets."""

    async def add_api_key(self, key: ApiKey, event: AuditEvent) -> None:
        """Keep a new key; repeating it changes and appends nothing.

        Raises RegistryUnavailable for another secret with a known id (64 bits of its hash): draw a new one.
        """
        ...

    async def api_key(self, key: ApiKeyId) -> ApiKey | None:
        """Look one up by its public id, withdrawn and expired ones included."""
        ...

    async def withdraw_api_key(self, key: ApiKeyId, event: AuditEvent) -> ApiKey:
        """End a key at ``event.at``; a repeat keeps the first time and appends nothing. Raises NotFound."""
        ...


class ApiKeyList(Protocol):
    """Capability: the operator's view of keys."""

    async def api_keys(self, *, after: ApiKeyId | None = None, limit: int = 100) -> Sequence[ApiKey]:
        """A page, by id."""
        ...


class Mirror(Protocol):
    """The copy, outside the registry, of what must never be undone."""

    async def keep(self) -> None:
        """Have in it, durably, all that the registry knows now; raises MirrorUnwritable."""
        ...


class KeyRegistry(ApiKeys, ApiKeyList, Protocol):
    """Both sides of one registry."""
