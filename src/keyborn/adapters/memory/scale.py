"""Find, count and forget, in memory."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from heapq import nsmallest

from keyborn.adapters.memory.state import Pair, State
from keyborn.domain.audit import AuditEvent
from keyborn.domain.census import Census
from keyborn.domain.certificate import Certificate, CertificateStatus
from keyborn.domain.names import ThingName
from keyborn.domain.pruning import Pruned, told
from keyborn.domain.search import Search
from keyborn.domain.thing import Thing, ThingKind
from keyborn.domain.token import TokenId
from keyborn.ports import page_size


class MemoryScale:
    """Implements ``Searches``, ``Censuses`` and ``Pruning`` over the tables; pruning is one step."""

    _state: State

    async def find_things(
        self,
        search: Search,
        *,
        kind: ThingKind = ThingKind.DEVICE,
        after: ThingName | None = None,
        limit: int = 100,
    ) -> Sequence[Thing]:
        """See ``Searches.find_things``."""
        found = (
            one
            for one in self._state.things.values()
            if one.kind is kind and one.name > (after or "") and search.finds(one)
        )
        return nsmallest(page_size(limit), found, key=lambda one: one.name)

    async def census(self, at: datetime) -> Census:
        """See ``Censuses.census``."""
        certificates = self._state.certificates.values()
        active = (one for one in certificates if one.status is CertificateStatus.ACTIVE)
        days = Counter((one.not_after.date() - at.date()).days for one in active)
        return Census(
            Counter(one.status for one in self._state.things.values()),
            Counter(one.status for one in certificates),
            {left: count for left, count in sorted(days.items()) if left >= 0},
        )

    async def due(
        self,
        *,
        before: datetime,
        after: str | None = None,  # noqa: ARG002 - there is one step
        limit: int = 200,  # noqa: ARG002
    ) -> Pruned:
        """See ``Pruning.due``."""
        redemptions = list(self._spent(before))
        approvals = [one for one in self._state.approvals.values() if one.expires_at < before]
        return Pruned(len(list(self._ended(before))), len(redemptions), len(approvals))

    async def prune(
        self, event: AuditEvent, *, before: datetime, after: str | None = None, limit: int = 200
    ) -> Pruned:
        """See ``Pruning.prune``."""
        state = self._state
        pruned = await self.due(before=before, after=after, limit=limit)
        for certificate in list(self._ended(before)):
            del state.certificates[certificate.id]
            state.signed = {key: one for key, one in state.signed.items() if one != certificate.id}
        for token, pair in list(self._spent(before)):
            del state.redemptions[token][pair]
            state.settled[token] += 1
        state.approvals = {key: one for key, one in state.approvals.items() if one.expires_at >= before}
        if pruned.total:
            state.append(told(event, pruned))
        return pruned

    def _ended(self, before: datetime) -> Iterator[Certificate]:
        """What no thing holds, and no open intent waits for."""
        state = self._state
        kept = set(state.attached.values()) | {state.signed.get(intent) for intent in state.intents}
        return (one for one in state.certificates.values() if one.not_after < before and one.id not in kept)

    def _spent(self, before: datetime) -> Iterator[tuple[TokenId, Pair]]:
        state = self._state
        for token in state.tokens.values():
            if token.expires_at < before:
                for pair, intent in state.redemptions.get(token.id, {}).items():
                    if intent not in state.intents:
                        yield token.id, pair
