"""Enrolment groups in memory: the sides of ``ports.groups``; every method is one step, as in ``registry``."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from heapq import nsmallest

from keyborn.adapters.memory.state import State
from keyborn.domain.approval import Approval, ApprovalId, ApprovalState, admitted, decided
from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import NotFound, NotRegistered
from keyborn.domain.group import GroupDocument, GroupUse, account_of, revised_group
from keyborn.domain.lifecycle import require_here
from keyborn.domain.names import GroupName, KeyHash, ThingName
from keyborn.domain.registered import Registered, RegisteredKey, announce
from keyborn.domain.thing import Thing
from keyborn.ports import page_size, require_page


class GroupingInMemory:
    """What ``ports.GroupingRegistry`` adds to a renewing one."""

    _state: State

    # ── groups ────────────────────────────────────────────────────────────────────────────────────────

    async def put_group(self, group: GroupDocument, event: AuditEvent) -> GroupDocument:
        """See ``Groups.put_group``."""
        known = self._state.groups.get(group.name)
        kept = revised_group(known, group)
        if kept is not known:
            self._state.groups[group.name] = kept
            self._state.append(event)
        return kept

    async def group(self, name: GroupName) -> GroupDocument | None:
        """See ``Groups.group``."""
        return self._state.groups.get(name)

    async def remove_group(self, name: GroupName, event: AuditEvent) -> None:
        """See ``Groups.remove_group``."""
        self._require_group(name)
        del self._state.groups[name]
        self._state.append(event)

    def _require_group(self, name: GroupName) -> None:
        if name not in self._state.groups:
            raise NotFound(what="group", name=name)

    async def groups(self, *, after: GroupName | None = None, limit: int = 100) -> Sequence[GroupUse]:
        """See ``GroupList.groups``."""
        state = self._state
        later = (name for name in state.groups if name > (after or ""))
        page = nsmallest(page_size(limit), later)
        return [
            GroupUse(state.groups[name], len(state.redemptions.get(account_of(name), {}))) for name in page
        ]

    # ── things ────────────────────────────────────────────────────────────────────────────────────────

    async def set_release(self, name: ThingName, until: datetime | None, event: AuditEvent) -> Thing:
        """See ``Regrouping.set_release``."""
        thing = self._state.known(name)
        require_here(thing)
        changed = thing if thing.release_until == until else replace(thing, release_until=until)
        return self._state.change(thing, changed, event)

    async def set_group(self, name: ThingName, group: GroupName | None, event: AuditEvent) -> Thing:
        """See ``Regrouping.set_group``."""
        thing = self._state.known(name)
        if group is not None:
            self._require_group(group)
        changed = thing if thing.group == group else replace(thing, group=group)
        return self._state.change(thing, changed, event)

    async def set_attributes(
        self, name: ThingName, attributes: Mapping[str, str], event: AuditEvent
    ) -> Thing:
        """See ``Regrouping.set_attributes``."""
        thing = self._state.known(name)
        given = dict(attributes)
        changed = thing if thing.attributes == given else replace(thing, attributes=given)
        return self._state.change(thing, changed, event)

    # ── registered keys ───────────────────────────────────────────────────────────────────────────────

    async def register(self, keys: Sequence[RegisteredKey], event: AuditEvent) -> Registered:
        """See ``RegisteredKeys.register``."""
        require_page(keys)
        fresh, told = announce(keys, self._state.registered)
        self._state.registered.update({one.key_hash: one for one in fresh})
        if fresh:
            self._state.append(event)
        return told

    async def registered(self, key: KeyHash) -> RegisteredKey | None:
        """See ``RegisteredKeys.registered``."""
        return self._state.registered.get(key)

    async def unregister(self, key: KeyHash, event: AuditEvent) -> None:
        """See ``RegisteredKeys.unregister``."""
        if self._state.registered.pop(key, None) is None:
            raise NotRegistered(key=key)
        self._state.append(event)

    async def registered_in(
        self, group: GroupName, *, after: KeyHash | None = None, limit: int = 100
    ) -> Sequence[RegisteredKey]:
        """See ``RegisteredList.registered_in``."""
        registered = self._state.registered
        later = (key for key, one in registered.items() if one.group == group and key > (after or ""))
        return [registered[key] for key in nsmallest(page_size(limit), later)]

    # ── approvals ─────────────────────────────────────────────────────────────────────────────────────

    async def ask(self, wish: Approval, most: int, event: AuditEvent) -> Approval:
        """See ``Approvals.ask``."""
        known = self._state.approvals.get(wish.id)
        kept = admitted(known, wish, self._state.pending(wish.group, wish.asked_at), most)
        if kept is not known:
            self._state.approvals[wish.id] = kept
            self._state.append(event)
        return kept

    async def approval(self, approval: ApprovalId) -> Approval | None:
        """See ``Approvals.approval``."""
        return self._state.approvals.get(approval)

    async def decide(
        self, approval: ApprovalId, state: ApprovalState, until: datetime, event: AuditEvent
    ) -> Approval:
        """See ``Approvals.decide``."""
        known = self._state.approvals.get(approval)
        if known is None:
            raise NotFound(what="approval", name=approval)
        kept = decided(known, state, until, event)
        if kept is not known:
            self._state.approvals[approval] = kept
            self._state.append(event)
        return kept

    async def approvals(
        self, state: ApprovalState, *, after: ApprovalId | None = None, limit: int = 100
    ) -> Sequence[Approval]:
        """See ``ApprovalList.approvals``."""
        approvals = self._state.approvals
        later = (name for name, one in approvals.items() if one.state is state and name > (after or ""))
        return [approvals[name] for name in nsmallest(page_size(limit), later)]

    async def forget_approvals(self, *, before: datetime, limit: int = 1000) -> int:
        """See ``ApprovalList.forget_approvals``."""
        approvals = self._state.approvals
        old = (name for name, one in approvals.items() if one.expires_at < before)
        page = nsmallest(page_size(limit), old, key=lambda name: (approvals[name].expires_at, name))
        for name in page:
            del approvals[name]
        return len(page)
