"""Enrolment groups, as a part of the registry: writes go to the one writer, reads past it."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from keyborn.adapters.sql import grouping, rows
from keyborn.adapters.sql.reads import Reader
from keyborn.adapters.sql.writer import Writer
from keyborn.domain.approval import Approval, ApprovalId, ApprovalState
from keyborn.domain.audit import AuditEvent
from keyborn.domain.group import GroupDocument, GroupUse
from keyborn.domain.names import GroupName, KeyHash, ThingName
from keyborn.domain.registered import Registered, RegisteredKey
from keyborn.domain.thing import Thing
from keyborn.ports import page_size, require_page


class GroupTables:
    """What ``ports.GroupingRegistry`` adds, for a registry that has the writer and the readers."""

    _writer: Writer
    _lookups: Reader
    _pages: Reader

    # ── groups ────────────────────────────────────────────────────────────────────────────────────────

    async def put_group(self, group: GroupDocument, event: AuditEvent) -> GroupDocument:
        """See ``Groups.put_group``."""
        return await self._writer.run(lambda session: grouping.put_group(session, group, event))

    async def group(self, name: GroupName) -> GroupDocument | None:
        """See ``Groups.group``."""
        return self._lookups.one(grouping.group, grouping.GROUPS + "WHERE name = ?", name)

    async def remove_group(self, name: GroupName, event: AuditEvent) -> None:
        """See ``Groups.remove_group``."""
        await self._writer.run(lambda session: grouping.remove_group(session, name, event))

    async def groups(self, *, after: GroupName | None = None, limit: int = 100) -> Sequence[GroupUse]:
        """See ``GroupList.groups``."""
        return await self._pages.page(
            grouping.group_use,
            grouping.GROUPS_USED + "WHERE name > ? ORDER BY name LIMIT ?",
            after or "",
            page_size(limit),
        )

    # ── things ────────────────────────────────────────────────────────────────────────────────────────

    async def set_release(self, name: ThingName, until: datetime | None, event: AuditEvent) -> Thing:
        """See ``Regrouping.set_release``."""
        return await self._writer.run(lambda session: grouping.set_release(session, name, until, event))

    async def set_group(self, name: ThingName, group: GroupName | None, event: AuditEvent) -> Thing:
        """See ``Regrouping.set_group``."""
        return await self._writer.run(lambda session: grouping.set_group(session, name, group, event))

    async def set_attributes(
        self, name: ThingName, attributes: Mapping[str, str], event: AuditEvent
    ) -> Thing:
        """See ``Regrouping.set_attributes``."""
        return await self._writer.run(
            lambda session: grouping.set_attributes(session, name, attributes, event)
        )

    # ── registered keys ───────────────────────────────────────────────────────────────────────────────

    async def register(self, keys: Sequence[RegisteredKey], event: AuditEvent) -> Registered:
        """See ``RegisteredKeys.register``."""
        require_page(keys)
        return await self._writer.run(lambda session: grouping.register(session, keys, event))

    async def registered(self, key: KeyHash) -> RegisteredKey | None:
        """See ``RegisteredKeys.registered``."""
        return self._lookups.one(grouping.registered, grouping.REGISTERED + "WHERE key_hash = ?", key)

    async def unregister(self, key: KeyHash, event: AuditEvent) -> None:
        """See ``RegisteredKeys.unregister``."""
        await self._writer.run(lambda session: grouping.unregister(session, key, event))

    async def registered_in(
        self, group: GroupName, *, after: KeyHash | None = None, limit: int = 100
    ) -> Sequence[RegisteredKey]:
        """See ``RegisteredList.registered_in``."""
        return await self._pages.page(
            grouping.registered,
            grouping.REGISTERED + "WHERE grp = ? AND key_hash > ? ORDER BY key_hash LIMIT ?",
            group,
            after or "",
            page_size(limit),
        )

    # ── approvals ─────────────────────────────────────────────────────────────────────────────────────

    async def ask(self, wish: Approval, most: int, event: AuditEvent) -> Approval:
        """See ``Approvals.ask``."""
        return await self._writer.run(lambda session: grouping.ask(session, wish, most, event))

    async def approval(self, approval: ApprovalId) -> Approval | None:
        """See ``Approvals.approval``."""
        return self._lookups.one(grouping.read_approval, grouping.APPROVALS + "WHERE id = ?", approval)

    async def decide(
        self, approval: ApprovalId, state: ApprovalState, until: datetime, event: AuditEvent
    ) -> Approval:
        """See ``Approvals.decide``."""
        return await self._writer.run(lambda session: grouping.decide(session, approval, state, until, event))

    async def approvals(
        self, state: ApprovalState, *, after: ApprovalId | None = None, limit: int = 100
    ) -> Sequence[Approval]:
        """See ``ApprovalList.approvals``."""
        return await self._pages.page(
            grouping.read_approval,
            grouping.APPROVALS + "WHERE state = ? AND id > ? ORDER BY id LIMIT ?",
            state.value,
            after or "",
            page_size(limit),
        )

    async def forget_approvals(self, *, before: datetime, limit: int = 1000) -> int:
        """See ``ApprovalList.forget_approvals``."""
        moment, most = rows.to_ms(before), page_size(limit)
        return await self._writer.run(lambda session: session.run(grouping.FORGET, moment, most))
