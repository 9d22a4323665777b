"""The registry on DynamoDB, as ``ports.groups`` sees it: groups, announced keys, approvals, moves."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from keyborn.adapters.aws.table import approvals, grouped, groups, keys, registered
from keyborn.adapters.aws.table.sagas import DynamoSagas
from keyborn.domain.approval import Approval, ApprovalId, ApprovalState
from keyborn.domain.audit import AuditEvent
from keyborn.domain.group import GroupDocument, GroupUse
from keyborn.domain.names import GroupName, KeyHash, ThingName
from keyborn.domain.registered import Registered, RegisteredKey
from keyborn.domain.thing import Thing
from keyborn.ports import page_size, require_page


class DynamoGrouping(DynamoSagas):
    """What ``keyborn.ports.GroupingRegistry`` adds to a renewing one."""

    # ── groups ────────────────────────────────────────────────────────────────────────────────────────

    async def put_group(self, group: GroupDocument, event: AuditEvent) -> GroupDocument:
        """See ``Groups.put_group``."""
        return await self._run(lambda draft: groups.put_group(draft, group, event))

    async def group(self, name: GroupName) -> GroupDocument | None:
        """See ``Groups.group``."""
        item = await self._ask(lambda: self._table.get(keys.group(name)))
        return None if item is None else grouped.group(item)

    async def remove_group(self, name: GroupName, event: AuditEvent) -> None:
        """See ``Groups.remove_group``."""
        await self._run(lambda draft: groups.remove_group(draft, name, event))

    async def groups(self, *, after: GroupName | None = None, limit: int = 100) -> Sequence[GroupUse]:
        """See ``GroupList.groups``."""
        return await self._ask(lambda: groups.uses(self._table, after, page_size(limit)))

    # ── things ────────────────────────────────────────────────────────────────────────────────────────

    async def set_release(self, name: ThingName, until: datetime | None, event: AuditEvent) -> Thing:
        """See ``Regrouping.set_release``."""
        return await self._run(lambda draft: groups.set_release(draft, name, until, event))

    async def set_group(self, name: ThingName, group: GroupName | None, event: AuditEvent) -> Thing:
        """See ``Regrouping.set_group``."""
        return await self._run(lambda draft: groups.set_group(draft, name, group, event))

    async def set_attributes(
        self, name: ThingName, attributes: Mapping[str, str], event: AuditEvent
    ) -> Thing:
        """See ``Regrouping.set_attributes``."""
        given = dict(attributes)
        return await self._run(lambda draft: groups.set_attributes(draft, name, given, event))

    # ── announced keys ────────────────────────────────────────────────────────────────────────────────

    async def register(self, keys: Sequence[RegisteredKey], event: AuditEvent) -> Registered:
        """See ``RegisteredKeys.register``. A page is several effects.

        Where it is interrupted, the same page again goes on with the rest.
        """
        require_page(keys)
        return await self._ask(lambda: registered.register(self._table, keys, event))

    async def registered(self, key: KeyHash) -> RegisteredKey | None:
        """See ``RegisteredKeys.registered``."""
        item = await self._ask(lambda: self._table.get(keys.registered(key)))
        return None if item is None else grouped.registered(item)

    async def unregister(self, key: KeyHash, event: AuditEvent) -> None:
        """See ``RegisteredKeys.unregister``."""
        await self._run(lambda draft: registered.unregister(draft, key, event))

    async def registered_in(
        self, group: GroupName, *, after: KeyHash | None = None, limit: int = 100
    ) -> Sequence[RegisteredKey]:
        """See ``RegisteredList.registered_in``."""
        place, most = keys.registered_in(group), page_size(limit)
        found = await self._ask(lambda: list(self._table.query(place, after=after or "", limit=most)))
        return [grouped.registered(item) for item in found]

    # ── approvals ─────────────────────────────────────────────────────────────────────────────────────

    async def ask(self, wish: Approval, most: int, event: AuditEvent) -> Approval:
        """See ``Approvals.ask``."""
        return await self._run(lambda draft: approvals.ask(draft, wish, most, event))

    async def approval(self, approval: ApprovalId) -> Approval | None:
        """See ``Approvals.approval``."""
        return await self._ask(lambda: approvals.find(self._table, approval))

    async def decide(
        self, approval: ApprovalId, state: ApprovalState, until: datetime, event: AuditEvent
    ) -> Approval:
        """See ``Approvals.decide``."""
        return await self._run(lambda draft: approvals.decide(draft, approval, state, until, event))

    async def approvals(
        self, state: ApprovalState, *, after: ApprovalId | None = None, limit: int = 100
    ) -> Sequence[Approval]:
        """See ``ApprovalList.approvals``."""
        return await self._ask(lambda: approvals.page(self._table, state, after, page_size(limit)))

    async def forget_approvals(self, *, before: datetime, limit: int = 1000) -> int:
        """See ``ApprovalList.forget_approvals``. Nobody has to: DynamoDB does it by itself a week later."""
        return await self._ask(lambda: approvals.forget(self._table, before, page_size(limit)))
