"""What a running service does by itself: settle leftovers, sign the trail, copy revocations, forget."""

import asyncio
import logging
from dataclasses import dataclass

from keyborn.adapters.backup.mirror import RevocationMirror
from keyborn.adapters.sql import SqliteRegistry
from keyborn.domain.errors import KeybornError
from keyborn.ports import Clock, Sessions
from keyborn.service.approvals import ApprovalSweeper
from keyborn.service.audit import AuditOffice
from keyborn.service.operators import OperatorDoor
from keyborn.service.pruning import PruneOffice
from keyborn.service.sweep import OverlapSweeper, Sweeper

SWEEP_EVERY = 60.0
FORGET_EVERY = 86_400.0
_log = logging.getLogger("keyborn.serve")


@dataclass(frozen=True, slots=True)
class Chores:
    """Who does it."""

    audit: AuditOffice
    door: OperatorDoor
    mirror: RevocationMirror
    pruning: PruneOffice | None


class Upkeep:
    """The tasks of one running service."""

    def __init__(self, registry: SqliteRegistry, clock: Clock, chores: Chores, *, is_forgetful: bool) -> None:
        """``is_forgetful``: whether anything is to be forgotten after a while."""
        self._registry = registry
        self._clock = clock
        self._chores = chores
        self._is_forgetful = is_forgetful

    async def vouch(self) -> None:
        """Sign where the audit trail ends; what keeps it from being signed is for the operator to see to."""
        try:
            await self._chores.audit.vouch()
        except KeybornError as trouble:
            _log.error("the end of the audit trail is not signed: %s", trouble)

    async def tell_calls(self) -> None:
        """The counts of operators' calls go into the trail before it is closed."""
        try:
            await self._chores.door.book.tell()
        except KeybornError as trouble:
            _log.error("calls of operators could not be counted in the trail: %s", trouble)

    async def forget(self) -> None:
        """Prune a minute after the start and every day, where there is a retention."""
        office = self._chores.pruning
        while office is not None and self._is_forgetful:
            await asyncio.sleep(SWEEP_EVERY)
            try:
                if forgotten := (await office.run()).total:
                    _log.info("forgot %d records that ended long ago", forgotten)
            except KeybornError as trouble:
                _log.warning("old records will be forgotten tomorrow: %s", trouble)
            await asyncio.sleep(FORGET_EVERY - SWEEP_EVERY)

    async def sweep(self, sessions: Sessions) -> None:
        """Settle leftovers and sign the audit trail, now and every minute."""
        sweeper = Sweeper(leftovers=self._registry, clock=self._clock)
        overlap = OverlapSweeper(successors=self._registry, clock=self._clock, sessions=sessions)
        approvals = ApprovalSweeper(listing=self._registry, clock=self._clock)
        while True:
            try:
                if dropped := await sweeper.sweep():
                    _log.info("swept %d unfinished enrolments", dropped)
                if withdrawn := await overlap.sweep():
                    _log.warning("withdrew %d certificates that nobody confirmed in time", withdrawn)
                if forgotten := await approvals.sweep():
                    _log.info("forgot %d requests that had expired", forgotten)
                await self._chores.door.book.tell(self._clock.now())
                await (
                    self._chores.mirror.keep()
                )  # what no operator waits for: keys that renewals have retired
            except KeybornError as trouble:
                _log.warning("the sweeper will try again: %s", trouble)
            await self.vouch()
            await asyncio.sleep(SWEEP_EVERY)
