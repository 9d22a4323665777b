"""API keys in memory: a part of the registry, on the same state."""

from collections.abc import Sequence
from dataclasses import replace
from heapq import nsmallest

from keyborn.adapters.memory.state import State
from keyborn.domain.api_key import ApiKey, ApiKeyId
from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import NotFound, RegistryUnavailable
from keyborn.ports import page_size


class ApiKeyTable:
    """Implements ``keyborn.ports.KeyRegistry`` for a registry that has the state."""

    _state: State

    async def add_api_key(self, key: ApiKey, event: AuditEvent) -> None:
        """See ``ApiKeys.add_api_key``."""
        known = self._state.api_keys.get(key.id)
        if known is None:
            self._state.api_keys[key.id] = key
            self._state.append(event)
        elif known.digest != key.digest:
            raise RegistryUnavailable  # two secrets, one id: the next attempt draws another secret

    async def api_key(self, key: ApiKeyId) -> ApiKey | None:
        """See ``ApiKeys.api_key``."""
        return self._state.api_keys.get(key)

    async def withdraw_api_key(self, key: ApiKeyId, event: AuditEvent) -> ApiKey:
        """See ``ApiKeys.withdraw_api_key``."""
        known = self._state.api_keys.get(key)
        if known is None:
            raise NotFound(what="api-key", name=key)
        if known.withdrawn_at is not None:
            return known
        withdrawn = replace(known, withdrawn_at=event.at)
        self._state.api_keys[key] = withdrawn
        self._state.append(event)
        return withdrawn

    async def api_keys(self, *, after: ApiKeyId | None = None, limit: int = 100) -> Sequence[ApiKey]:
        """See ``ApiKeyList.api_keys``."""
        keys = self._state.api_keys
        page = nsmallest(page_size(limit), (one for one in keys if after is None or one > after))
        return [keys[one] for one in page]
