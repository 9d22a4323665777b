"""The operator's use cases over one registry, whatever that is and wherever it is."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from keyborn.http.admin import Office
from keyborn.ports import (
    Clock,
    Entropy,
    Grace,
    GroupingRegistry,
    KeyRegistry,
    Pruning,
    Registry,
    Searches,
    Sessions,
)
from keyborn.service.api_keys import ApiKeyOffice
from keyborn.service.approvals import ApprovalOffice
from keyborn.service.audit import AuditOffice
from keyborn.service.fleet import FleetView
from keyborn.service.grace import GraceOffice
from keyborn.service.group_keys import GroupKeyOffice
from keyborn.service.groups import GroupOffice, GroupPorts
from keyborn.service.policies import PolicyOffice
from keyborn.service.pruning import PruneOffice
from keyborn.service.registering import RegisteredOffice, RegisteredPorts
from keyborn.service.regroup import RegroupOffice
from keyborn.service.roots import RootsOffice, RootsPorts
from keyborn.service.sealing import Secrets
from keyborn.service.services import ServiceOffice
from keyborn.service.things import ThingOffice
from keyborn.service.tokens import TokenOffice
from keyborn.service.watching import Watching


@dataclass(frozen=True, slots=True)
class Grouping:
    """Where enrolment groups are kept, and what differs between places."""

    registry: GroupingRegistry
    entropy: Entropy
    """For group keys and the secrets of webhooks."""
    own_dates: bool = True
    """Whether the service chooses how long certificates live."""
    prepare: Callable[[], Awaitable[object]] | None = None
    """Done before a group is kept, where something is to be done."""


class Fleets(Registry, Searches, Protocol):
    """A registry that can be searched."""


@dataclass(frozen=True, slots=True)
class Retention:
    """Where old records are forgotten, and after how many days by itself; 0 is never."""

    pruning: Pruning
    days: int = 0


class Offices:
    """The operator's use cases over one registry, with or without a running broker."""

    def __init__(
        self,
        registry: Fleets,
        clock: Clock,
        secrets: Secrets,
        reserved: frozenset[str] = frozenset(),
        *,
        grace: Grace | None = None,
        grouping: Grouping | None = None,
        keys: KeyRegistry | None = None,
        entropy: Entropy | None = None,
        retention: Retention | None = None,
    ) -> None:
        """``secrets`` makes those of tokens. ``reserved``: names that no thing and no service may have.

        ``grace``: where things renew. ``grouping``: where there are enrolment groups. ``keys``: where
        operators elsewhere have API keys, whose secrets ``entropy`` makes. ``retention``: where
        something is forgotten.
        """
        self._retention = retention
        self._keys = keys
        self._entropy = entropy
        self._registry = registry
        self._clock = clock
        self._secrets = secrets
        self._reserved = reserved
        self._grace = grace
        self._grouping = grouping

    def office(
        self,
        sessions: Sessions | None,
        *,
        trust: Callable[[], tuple[str, bytes]],
        authorities: Callable[[], Sequence[Mapping[str, Any]]],
        about: Callable[[], Mapping[str, Any]],
        actor: Callable[[], str] = lambda: "operator",
        roots: RootsPorts | None = None,
        audit: AuditOffice | None = None,
        watching: Watching | None = None,
    ) -> Office:
        """All of them together; ``sessions`` is None where no broker runs, ``actor`` as in ``Office``.

        ``roots``: where they can be changed, and things tell which ones they believe. ``audit``: where
        somebody signs checkpoints. ``watching``: where a service runs that tells figures.
        """
        registry, tokens, policies = self._registry, self.tokens(trust), self.policies(sessions)
        graces = self._grace
        return Office(
            tokens=tokens,
            fleet=FleetView(fleet=registry, trail=registry, searches=registry),
            things=ThingOffice(
                fleet=registry, directory=registry, lifecycle=registry, sessions=sessions, clock=self._clock
            ),
            policies=policies,
            services=ServiceOffice(fleet=registry, policies=policies, tokens=tokens, reserved=self._reserved),
            clock=self._clock,
            authorities=authorities,
            about=about,
            actor=actor,
            grace=None if graces is None else GraceOffice(fleet=registry, grace=graces, clock=self._clock),
            roots=None if roots is None else RootsOffice(roots),
            groups=self.groups(),
            regroup=self.regroup(sessions),
            group_keys=self.group_keys(trust),
            approvals=self._approvals(),
            registered=self._registered(),
            audit=audit,
            keys=self.keys(trust),
            pruning=self.pruning(),
            watching=watching,
        )

    def groups(self) -> GroupOffice | None:
        """Enrolment groups; None where there are none."""
        if self._grouping is None:
            return None
        registry = self._grouping.registry
        return GroupOffice(
            GroupPorts(registry, registry, registry),
            clock=self._clock,
            entropy=self._grouping.entropy,
            own_dates=self._grouping.own_dates,
            prepare=self._grouping.prepare,
            reserved=self._reserved,
        )

    def group_keys(self, trust: Callable[[], tuple[str, bytes]]) -> GroupKeyOffice | None:
        """Group keys, and codes of groups, that name the service that ``trust`` tells; None as ``groups``."""
        if self._grouping is None:
            return None
        return GroupKeyOffice(
            tokens=self._registry,
            groups=self._grouping.registry,
            clock=self._clock,
            entropy=self._grouping.entropy,
            trust=trust,
        )

    def regroup(self, sessions: Sessions | None) -> RegroupOffice | None:
        """What changes of a thing's record; attributes are in force on ``sessions`` at once."""
        if self._grouping is None:
            return None
        registry = self._grouping.registry
        return RegroupOffice(fleet=registry, regrouping=registry, sessions=sessions, clock=self._clock)

    def pruning(self) -> PruneOffice | None:
        """Forgetting; None where nothing is forgotten by hand."""
        kept = self._retention
        return None if kept is None else PruneOffice(kept.pruning, self._clock, days=kept.days)

    def _approvals(self) -> ApprovalOffice | None:
        if self._grouping is None:
            return None
        registry = self._grouping.registry
        return ApprovalOffice(approvals=registry, listing=registry, clock=self._clock)

    def _registered(self) -> RegisteredOffice | None:
        if self._grouping is None:
            return None
        registry = self._grouping.registry
        ports = RegisteredPorts(registry, registry, registry)
        return RegisteredOffice(ports, clock=self._clock, reserved=self._reserved)

    def keys(self, trust: Callable[[], tuple[str, bytes]]) -> ApiKeyOffice | None:
        """API keys whose words name the service that ``trust`` tells; None where there are none."""
        if self._keys is None or self._entropy is None:
            return None
        return ApiKeyOffice(self._keys, self._clock, self._entropy, trust)

    def tokens(self, trust: Callable[[], tuple[str, bytes]]) -> TokenOffice:
        """Tokens whose codes name the service that ``trust`` tells."""
        return TokenOffice(
            tokens=self._registry,
            listing=self._registry,
            clock=self._clock,
            secrets=self._secrets,
            trust=trust,
            groups=None if self._grouping is None else self._grouping.registry,
        )

    def policies(self, sessions: Sessions | None) -> PolicyOffice:
        """Policies, in force on ``sessions`` at once."""
        registry = self._registry
        return PolicyOffice(
            policies=registry,
            listing=registry,
            use=registry,
            fleet=registry,
            directory=registry,
            sessions=sessions,
            clock=self._clock,
        )
