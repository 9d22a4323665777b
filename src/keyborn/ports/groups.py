"""The sides of the registry that enrolment groups and their methods need.

What ``ports.registry`` says of all holds for them, too.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from keyborn.domain.approval import Approval, ApprovalId, ApprovalState
from keyborn.domain.audit import AuditEvent
from keyborn.domain.group import GroupDocument, GroupUse
from keyborn.domain.names import GroupName, KeyHash, ThingName
from keyborn.domain.registered import Registered, RegisteredKey
from keyborn.domain.thing import Thing
from keyborn.ports.registry import RenewingRegistry


class Groups(Protocol):
    """Enrolment groups by name."""

    async def put_group(self, group: GroupDocument, event: AuditEvent) -> GroupDocument:
        """Keep a document; over an older one of that name it counts the version up. Returns what is kept.

        ``group.version`` is ignored. A webhook secret that is kept already stays. The same text changes and
        appends nothing.
        """
        ...

    async def group(self, name: GroupName) -> GroupDocument | None:
        """One group, or None."""
        ...

    async def remove_group(self, name: GroupName, event: AuditEvent) -> None:
        """Forget a document: nobody enrols under it any more. Its count stays. Raises NotFound."""
        ...


class GroupList(Protocol):
    """Capability: the operator's view of groups."""

    async def groups(self, *, after: GroupName | None = None, limit: int = 100) -> Sequence[GroupUse]:
        """A page, by name, byte order."""
        ...


class Regrouping(Protocol):
    """What an operator changes of a thing's record."""

    async def set_release(self, name: ThingName, until: datetime | None, event: AuditEvent) -> Thing:
        """Let another key be brought until then, or end that; a repeat appends nothing.

        A claim that records a replacement ends it. Raises NotFound, ThingRevoked for what is gone.
        """
        ...

    async def set_group(self, name: ThingName, group: GroupName | None, event: AuditEvent) -> Thing:
        """Move a thing; a repeat appends nothing. Raises NotFound for the thing or the group."""
        ...

    async def set_attributes(
        self, name: ThingName, attributes: Mapping[str, str], event: AuditEvent
    ) -> Thing:
        """Give a thing these attributes and no others; a repeat appends nothing. Raises NotFound."""
        ...


class RegisteredKeys(Protocol):
    """Keys that were announced before their devices came."""

    async def register(self, keys: Sequence[RegisteredKey], event: AuditEvent) -> Registered:
        """Announce at most ``MAX_PAGE`` keys, in one effect; what is known already stays as it is.

        The event is appended if anything was added. Raises ValueError for more. Many pages are announced
        far sooner where the keys come in the order of their hashes.
        """
        ...

    async def registered(self, key: KeyHash) -> RegisteredKey | None:
        """What was announced of a key, or None."""
        ...

    async def unregister(self, key: KeyHash, event: AuditEvent) -> None:
        """Take an announcement back. Raises NotFound. What has enrolled with it, stays."""
        ...


class RegisteredList(Protocol):
    """Capability: the operator's view of announced keys."""

    async def registered_in(
        self, group: GroupName, *, after: KeyHash | None = None, limit: int = 100
    ) -> Sequence[RegisteredKey]:
        """A page of a group's, by key hash."""
        ...


class Approvals(Protocol):
    """Requests that wait for a person."""

    async def ask(self, wish: Approval, most: int, event: AuditEvent) -> Approval:
        """Find the request of this id, or keep ``wish`` and append ``event``: one effect.

        One that has expired at ``wish.asked_at`` counts as none, and ``wish`` takes its place. Raises
        ApprovalsFull where ``most`` requests of its group are pending and have not expired.
        """
        ...

    async def approval(self, approval: ApprovalId) -> Approval | None:
        """One request, whatever its state and dates."""
        ...

    async def decide(
        self, approval: ApprovalId, state: ApprovalState, until: datetime, event: AuditEvent
    ) -> Approval:
        """Approve or refuse, by ``event.actor`` at ``event.at``; good ``until`` then.

        A repeat appends nothing; the last word counts, so that an approval may be taken back by refusing.
        Raises NotFound, also for one that has expired, and ValueError for pending.
        """
        ...


class ApprovalList(Protocol):
    """Capability: the operator's view of them."""

    async def approvals(
        self, state: ApprovalState, *, after: ApprovalId | None = None, limit: int = 100
    ) -> Sequence[Approval]:
        """A page, by id; those that have expired may be among them until they are forgotten."""
        ...

    async def forget_approvals(self, *, before: datetime, limit: int = 1000) -> int:
        """Forget what expired before ``before``; how many were."""
        ...


class GroupingRegistry(
    RenewingRegistry, Groups, GroupList, Regrouping, RegisteredKeys, RegisteredList, Approvals, ApprovalList,
    Protocol,
):  # fmt: skip
    """A registry that knows enrolment groups, and what their methods keep."""
