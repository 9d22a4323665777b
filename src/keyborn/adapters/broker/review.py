"""The rights of open and waiting sessions, read again after the registry has changed."""

import asyncio
from collections.abc import Collection, Sequence

from keyborn.adapters.broker.admission import Doorkeeper, Refused
from keyborn.adapters.broker.hub import Hub
from keyborn.adapters.broker.packets import Reason
from keyborn.adapters.broker.refusals import LOG, line
from keyborn.adapters.broker.session import Session
from keyborn.domain.access import Badge, Principal
from keyborn.domain.errors import KeybornError
from keyborn.domain.names import CertificateId, ThingName

_PAUSES = (0.0, 0.2, 1.0)
_CHUNK = 32
"""Badges between two looks at everything else that the loop has to do."""

_Todo = dict[CertificateId, list[tuple[Session, Principal]]]
"""Sessions by certificate, each with the principal it had when the review began."""


class Reviewer:
    """Reads badges again, one review at a time, so that none undoes what a later one has found.

    ``pauses`` are the seconds before each attempt at what could not be read.
    """

    def __init__(self, hub: Hub, doorkeeper: Doorkeeper, pauses: Sequence[float] = _PAUSES) -> None:
        self._hub = hub
        self._doorkeeper = doorkeeper
        self._pauses = pauses
        self._turn = asyncio.Lock()

    async def review(self, names: Collection[ThingName] | None) -> None:
        """Bind the rights of those things' sessions again (None: of all); those that no longer may, end.

        A session whose badge cannot be read in the end is closed: what an operator has taken away must
        not last as long as an outage. Who is being admitted meanwhile is asked about again.
        """
        self._doorkeeper.reviewed(names)
        async with self._turn:
            todo = self._sessions(None if names is None else frozenset(names))
            for pause in self._pauses:
                if todo:
                    await asyncio.sleep(pause)
                    todo = await self._read(todo)
        for session, principal in (pair for pairs in todo.values() for pair in pairs):
            if self._is_current(session, principal):
                self._end(session, "the registry could not be read again", Reason.ADMINISTRATIVE_ACTION)

    def _sessions(self, names: frozenset[ThingName] | None) -> _Todo:
        """Whom it concerns; open ones first."""
        concerned = [each for each in self._hub.sessions if names is None or each.principal.thing in names]
        concerned.sort(key=lambda session: session.outlet is None)
        todo: _Todo = {}
        for session in concerned:
            todo.setdefault(session.principal.certificate, []).append((session, session.principal))
        return todo

    async def _read(self, todo: _Todo) -> _Todo:
        """Ask about each certificate once; returns what could not be read.

        Where one gets no answer in time, the others are not asked about in vain: they are the first ones of
        the next attempt, in case it was that one alone.
        """
        unread: _Todo = {}
        last: _Todo = {}
        for number, (certificate, pairs) in enumerate(todo.items()):
            if last:
                unread[certificate] = pairs
                continue
            try:
                self._apply(await self._doorkeeper.badge(certificate), pairs)
            except Exception as error:  # noqa: BLE001 - whatever fails, nobody may keep what was taken away
                known = isinstance(error, TimeoutError | KeybornError)
                LOG.warning("badge %s could not be read again: %r", certificate, error, exc_info=not known)
                (last if isinstance(error, TimeoutError) else unread)[certificate] = pairs
            if number % _CHUNK == _CHUNK - 1:
                await asyncio.sleep(0)
        return {**unread, **last}

    def _apply(self, badge: Badge | None, pairs: list[tuple[Session, Principal]]) -> None:
        for session, principal in pairs:
            if not self._is_current(session, principal):
                continue
            try:
                live = session.outlet is not None
                self._hub.rebind(session, self._doorkeeper.bind(badge, session.circumstances, live=live))
            except Refused as refused:
                self._end(session, refused.why, refused.reason)

    def _is_current(self, session: Session, principal: Principal) -> bool:
        """Whether nobody has connected, or been asked about, meanwhile: that answer would be a newer one."""
        return session.principal is principal and self._hub.sessions.find(session.client_id) is session

    def _end(self, session: Session, why: str, code: Reason) -> None:
        principal = session.principal
        facts = {"thing": principal.thing, "certificate": principal.certificate, "reason": why}
        LOG.info("%s", line("session ended by review", client=session.client_id, **facts))
        self._hub.close(session, why, code)
