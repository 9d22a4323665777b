"""API keys: their commands and questions, as a part of the registry."""

from collections.abc import Sequence

from keyborn.adapters.sql import rows
from keyborn.adapters.sql.reads import Reader
from keyborn.adapters.sql.session import Session
from keyborn.adapters.sql.writer import Writer
from keyborn.domain.api_key import ApiKey, ApiKeyId, Role
from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import NotFound, RegistryUnavailable
from keyborn.ports import page_size

KEYS = "SELECT id, digest, name, role, created_at, expires_at, withdrawn_at FROM api_keys "
_ADD = (
    "INSERT INTO api_keys (id, digest, name, role, created_at, expires_at, withdrawn_at) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_END = "UPDATE api_keys SET withdrawn_at = ? WHERE id = ? AND withdrawn_at IS NULL"


class ApiKeyTable:
    """Implements ``keyborn.ports.KeyRegistry`` for a registry that has the writer and the readers."""

    _writer: Writer
    _lookups: Reader
    _pages: Reader

    async def add_api_key(self, key: ApiKey, event: AuditEvent) -> None:
        """See ``ApiKeys.add_api_key``."""
        await self._writer.run(lambda session: _add(session, key, event))

    async def api_key(self, key: ApiKeyId) -> ApiKey | None:
        """See ``ApiKeys.api_key``."""
        return self._lookups.one(_read, KEYS + "WHERE id = ?", key)

    async def withdraw_api_key(self, key: ApiKeyId, event: AuditEvent) -> ApiKey:
        """See ``ApiKeys.withdraw_api_key``."""
        return await self._writer.run(lambda session: _withdraw(session, key, event))

    async def api_keys(self, *, after: ApiKeyId | None = None, limit: int = 100) -> Sequence[ApiKey]:
        """See ``ApiKeyList.api_keys``."""
        return await self._pages.page(
            _read, KEYS + "WHERE id > ? ORDER BY id LIMIT ?", after or "", page_size(limit)
        )


def _add(session: Session, key: ApiKey, event: AuditEvent) -> None:
    known = session.one("SELECT digest FROM api_keys WHERE id = ?", key.id)
    if known is None:
        session.run(_ADD, *_row(key))
        session.chain(event)
    elif known[0] != key.digest:
        raise RegistryUnavailable  # two secrets, one id: the next attempt draws another secret


def _withdraw(session: Session, key: ApiKeyId, event: AuditEvent) -> ApiKey:
    changed = session.run(
        "UPDATE api_keys SET withdrawn_at = ? WHERE id = ? AND withdrawn_at IS NULL",
        rows.to_ms(event.at),
        key,
    )
    row = session.one(KEYS + "WHERE id = ?", key)
    if row is None:
        raise NotFound(what="api-key", name=key)
    if changed:
        session.chain(event)
    return _read(row)


def _read(row: rows.Row) -> ApiKey:
    key, digest, name, role, created_at, expires_at, withdrawn_at = row
    return ApiKey(
        ApiKeyId(key),
        digest,
        name,
        Role(role),
        rows.from_ms(created_at),
        rows.from_ms(expires_at),
        rows.maybe_moment(withdrawn_at),
    )


def _row(key: ApiKey) -> tuple[object, ...]:
    ended = None if key.withdrawn_at is None else rows.to_ms(key.withdrawn_at)
    made, expires = rows.to_ms(key.created_at), rows.to_ms(key.expires_at)
    return key.id, key.digest, key.name, key.role.value, made, expires, ended
