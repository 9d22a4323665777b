"""The change of a root: who believes which roots, and the three steps that wait for them.

A next root is introduced, and things come to believe both. Then certificates come from it, and renewals move
things over. Last, the old one is retired. The second and the third step are refused while they would lock a
thing out, unless the operator insists.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import NoNextRoot, NoOldRoot, OldRootInUse, OldRootThere, RootsLacking
from keyborn.domain.names import ThingName
from keyborn.domain.roots import Belief, RootSet
from keyborn.ports import AuditTrail, Beliefs, Clock, Holders, RootKeeper


@dataclass(frozen=True, slots=True)
class RootNames:
    """Which roots the authority has, now."""

    newest: RootSet
    """The set that the service's trust bundle is."""
    present: str
    """The name of the root that issues."""
    following: str | None = None
    """The name of the next one."""
    old: str | None = None
    """The name of the one before, which is still believed."""
    old_issuer: bytes = b""
    """The subject of the old device intermediate, DER."""


@dataclass(frozen=True, slots=True)
class RootsReport:
    """Things by the set that they believe; those that are revoked, retired or only claimed do not count."""

    names: RootNames
    sets: Sequence[tuple[RootSet | None, int]]
    """The newest first, who never said last."""
    under_old: int = 0
    """Things with a certificate that comes from the old root, and holds."""

    @property
    def lacking(self) -> int:
        """How many things do not believe the newest set, or never said."""
        return sum(count for roots, count in self.sets if roots != self.names.newest)

    @property
    def may_switch(self) -> bool:
        """Whether nobody would be locked out if certificates came from the next root."""
        return self.names.following is not None and not self.lacking

    @property
    def may_retire(self) -> bool:
        """Whether nobody would be locked out if the old root went."""
        return self.names.old is not None and not self.lacking and not self.under_old


@dataclass(frozen=True, slots=True)
class RootsPorts:
    """Whom the office asks."""

    beliefs: Beliefs
    holders: Holders
    keeper: RootKeeper
    audit: AuditTrail
    clock: Clock
    names: Callable[[], RootNames]


class RootsOffice:
    """What an operator asks, and orders."""

    def __init__(self, ports: RootsPorts) -> None:
        self._ports = ports

    async def report(self) -> RootsReport:
        """How many things have which set, and what the next step waits for."""
        names = self._ports.names()
        sets = await self._ports.beliefs.root_sets()
        order = {names.newest: 0, None: 2}
        under_old = 0
        if names.old is not None:
            under_old = await self._ports.holders.count_holders(names.old_issuer, self._ports.clock.now())
        return RootsReport(
            names, sorted(sets, key=lambda one: (order.get(one[0], 1), -one[1], one[0] or "")), under_old
        )

    async def lacking(self, *, after: str | None = None, limit: int = 100) -> Sequence[Belief]:
        """A page of those that do not believe the newest set, by name."""
        newest = self._ports.names().newest
        return await self._ports.beliefs.lacking(newest, after=_after(after), limit=limit)

    async def under_old(self, *, after: str | None = None, limit: int = 100) -> Sequence[ThingName]:
        """A page of those whose certificate comes from the old root, by name; none without one."""
        names, now = self._ports.names(), self._ports.clock.now()
        if names.old is None:
            return ()
        return await self._ports.holders.holders(names.old_issuer, now, after=_after(after), limit=limit)

    async def of(self, name: ThingName) -> Belief:
        """What one thing believes."""
        return await self._ports.beliefs.belief(name)

    def is_newest(self, belief: Belief) -> bool:
        """Whether it is what the service shows now."""
        return belief.roots == self._ports.names().newest

    # ── the three steps ──

    async def introduce(self, *, actor: str = "operator") -> RootsReport:
        """Make a next root; one that is there stays. Raises OldRootThere, or a leaf of OperatorError."""
        names = self._ports.names()
        if names.old is not None:
            raise OldRootThere
        if names.following is None:
            await self._carry_out("ca.renew-root", actor, self._ports.keeper.introduce)
        return await self.report()

    async def switch(
        self, *, force: bool = False, back: bool = False, actor: str = "operator"
    ) -> RootsReport:
        """Have certificates come from the next root, or ``back`` from the one before.

        The way back locks nobody out: no thing drops a root that the bundle still shows. Raises NoNextRoot,
        NoOldRoot, or a leaf of OperatorError; on the way there and unless ``force``, RootsLacking.
        """
        before = await self.report()
        if (before.names.old if back else before.names.following) is None:
            raise (NoOldRoot if back else NoNextRoot)
        if before.lacking and not force and not back:
            raise RootsLacking(count=before.lacking)
        action = "ca.switch-root.back" if back else "ca.switch-root"
        await self._carry_out(
            action, actor, lambda: self._ports.keeper.switch(back=back), lacking=before.lacking
        )
        return await self.report()

    async def retire(self, *, force: bool = False, actor: str = "operator") -> RootsReport:
        """Have the old root believed no more, and destroy its keys.

        Raises NoOldRoot, or a leaf of OperatorError; unless ``force``, RootsLacking and OldRootInUse.
        """
        before = await self.report()
        if before.names.old is None:
            raise NoOldRoot
        if before.lacking and not force:
            raise RootsLacking(count=before.lacking)
        if before.under_old and not force:
            raise OldRootInUse(count=before.under_old)
        await self._carry_out(
            "ca.retire-root",
            actor,
            self._ports.keeper.retire,
            lacking=before.lacking,
            underOld=before.under_old,
        )
        return await self.report()

    async def _carry_out(
        self, action: str, actor: str, act: Callable[[], Awaitable[None]], **left_behind: int
    ) -> None:
        """Two records: the files are not the registry's, so the order is in the trail before they change."""
        subject = self._ports.names().present
        details = {name: str(count) for name, count in left_behind.items() if count}
        await self._record(action, "ordered", subject, actor, details)
        await act()
        await self._record(action, "done", self._ports.names().present, actor, details)

    async def _record(
        self, action: str, outcome: str, subject: str, actor: str, details: dict[str, str]
    ) -> None:
        event = AuditEvent(self._ports.clock.now(), action, outcome, subject, actor, details=details)
        await self._ports.audit.append(event)


def _after(name: str | None) -> ThingName | None:
    return ThingName(name) if name else None
