"""The ports of enrolment groups as a rude world shows them; see ``wrappers``."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from keyborn.domain.approval import Approval, ApprovalId, ApprovalState
from keyborn.domain.audit import AuditEvent
from keyborn.domain.group import GroupDocument, GroupUse
from keyborn.domain.names import GroupName, KeyHash, ThingName
from keyborn.domain.registered import Registered, RegisteredKey
from keyborn.domain.thing import Thing
from keyborn.ports import GroupingRegistry
from keyborn.testing.wrappers import Effects, FaultyRenewingRegistry


class FaultyGroupingRegistry(FaultyRenewingRegistry):
    """Implements ``keyborn.ports.GroupingRegistry`` over a real one."""

    def __init__(self, real: GroupingRegistry, world: Effects) -> None:
        super().__init__(real, world)
        self._grouping = real

    async def put_group(self, group: GroupDocument, event: AuditEvent) -> GroupDocument:
        """See ``Groups.put_group``."""
        return await self._world.effect("registry.put_group", lambda: self._grouping.put_group(group, event))

    async def group(self, name: GroupName) -> GroupDocument | None:
        """See ``Groups.group``."""
        return await self._world.effect("registry.group", lambda: self._grouping.group(name))

    async def remove_group(self, name: GroupName, event: AuditEvent) -> None:
        """See ``Groups.remove_group``; never duplicated, since what is gone is not found."""
        await self._world.effect(
            "registry.remove_group", lambda: self._grouping.remove_group(name, event), repeatable=False
        )

    async def groups(self, *, after: GroupName | None = None, limit: int = 100) -> Sequence[GroupUse]:
        """See ``GroupList.groups``."""
        return await self._world.effect(
            "registry.groups", lambda: self._grouping.groups(after=after, limit=limit)
        )

    async def set_release(self, name: ThingName, until: datetime | None, event: AuditEvent) -> Thing:
        """See ``Regrouping.set_release``."""
        return await self._world.effect(
            "registry.set_release", lambda: self._grouping.set_release(name, until, event)
        )

    async def set_group(self, name: ThingName, group: GroupName | None, event: AuditEvent) -> Thing:
        """See ``Regrouping.set_group``."""
        return await self._world.effect(
            "registry.set_group", lambda: self._grouping.set_group(name, group, event)
        )

    async def set_attributes(
        self, name: ThingName, attributes: Mapping[str, str], event: AuditEvent
    ) -> Thing:
        """See ``Regrouping.set_attributes``."""
        return await self._world.effect(
            "registry.set_attributes", lambda: self._grouping.set_attributes(name, attributes, event)
        )

    async def register(self, keys: Sequence[RegisteredKey], event: AuditEvent) -> Registered:
        """See ``RegisteredKeys.register``."""
        return await self._world.effect("registry.register", lambda: self._grouping.register(keys, event))

    async def registered(self, key: KeyHash) -> RegisteredKey | None:
        """See ``RegisteredKeys.registered``."""
        return await self._world.effect("registry.registered", lambda: self._grouping.registered(key))

    async def unregister(self, key: KeyHash, event: AuditEvent) -> None:
        """See ``RegisteredKeys.unregister``; never duplicated, since what is gone is not found."""
        await self._world.effect(
            "registry.unregister", lambda: self._grouping.unregister(key, event), repeatable=False
        )

    async def registered_in(
        self, group: GroupName, *, after: KeyHash | None = None, limit: int = 100
    ) -> Sequence[RegisteredKey]:
        """See ``RegisteredList.registered_in``."""
        return await self._world.effect(
            "registry.registered_in",
            lambda: self._grouping.registered_in(group, after=after, limit=limit),
        )

    async def ask(self, wish: Approval, most: int, event: AuditEvent) -> Approval:
        """See ``Approvals.ask``."""
        return await self._world.effect("registry.ask", lambda: self._grouping.ask(wish, most, event))

    async def approval(self, approval: ApprovalId) -> Approval | None:
        """See ``Approvals.approval``."""
        return await self._world.effect("registry.approval", lambda: self._grouping.approval(approval))

    async def decide(
        self, approval: ApprovalId, state: ApprovalState, until: datetime, event: AuditEvent
    ) -> Approval:
        """See ``Approvals.decide``."""
        return await self._world.effect(
            "registry.decide", lambda: self._grouping.decide(approval, state, until, event)
        )

    async def approvals(
        self, state: ApprovalState, *, after: ApprovalId | None = None, limit: int = 100
    ) -> Sequence[Approval]:
        """See ``ApprovalList.approvals``."""
        return await self._world.effect(
            "registry.approvals", lambda: self._grouping.approvals(state, after=after, limit=limit)
        )

    async def forget_approvals(self, *, before: datetime, limit: int = 1000) -> int:
        """See ``ApprovalList.forget_approvals``."""
        return await self._world.effect(
            "registry.forget_approvals",
            lambda: self._grouping.forget_approvals(before=before, limit=limit),
        )
