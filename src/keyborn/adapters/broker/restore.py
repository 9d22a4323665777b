"""Start where an earlier run ended: sessions, what waits for them, retained messages.

A session comes back if its thing is in good standing, whatever has become of the certificate: a device
renews, and shows a live one before it gets anything. A thing that was suspended, revoked or retired while the
broker was down loses its session, and what it published, as if it had been evicted.
"""

from collections.abc import Iterable
from typing import Protocol

from keyborn.adapters.broker.hub import Hub
from keyborn.adapters.broker.journal_rows import Kept, MessageRow, SessionRow
from keyborn.adapters.broker.keeper import Keeper, Page
from keyborn.adapters.broker.limits import Limits
from keyborn.adapters.broker.message import Message
from keyborn.adapters.broker.refusals import LOG, line
from keyborn.adapters.broker.session import Delivery, Session
from keyborn.domain.access import Circumstances, ConnectAttribute, Principal, RightsOf
from keyborn.domain.names import CertificateId, ThingName
from keyborn.domain.thing import Thing, ThingStatus
from keyborn.ports import DeviceDirectory


class Records(Protocol):
    """The one question of the port Fleet that a restart has."""

    async def thing(self, name: ThingName) -> Thing | None:
        """One thing, or None."""
        ...


class Restorer:
    """Fills an empty hub from its keeper's journal, once, before anybody connects."""

    def __init__(
        self,
        hub: Hub,
        keeper: Keeper,
        limits: Limits,
        *,
        directory: DeviceDirectory,
        records: Records,
        rights_of: RightsOf,
    ) -> None:
        self._hub = hub
        self._keeper = keeper
        self._limits = limits
        self._directory = directory
        self._records = records
        self._rights_of = rights_of
        self._standing: dict[ThingName, bool] = {}
        self._sessions: dict[int, tuple[Session, Principal]] = {}
        self._messages: dict[int, Message] = {}

    async def restore(self) -> None:
        """Take back what still counts, forget the rest, and make that durable.

        Raises BrokerFileUnusable and BrokerUnwritable, and what the directory raises.
        """
        kept = await self._keeper.journal.read()
        self._keeper.count_from(_beyond(kept))
        for message in kept.messages:
            await self._take_message(message)
        for session in kept.sessions:
            await self._take_session(session)
        self._take_subscriptions(kept)
        lost = self._take_deliveries(kept) + self._take_retained(kept)
        self._drop_orphans(kept)
        self._let_in(kept)
        await self._keeper.journal.durable()
        if lost:
            LOG.warning("%s", line("more was kept than the limits allow, the newest dropped", messages=lost))
        LOG.info("%s", line("restored", sessions=len(self._hub.sessions), messages=len(self._messages)))

    async def _good(self, name: ThingName) -> bool:
        """Whether a thing has lost nothing of what a claim gave it."""
        if name not in self._standing:
            self._standing[name] = _stands(await self._records.thing(name))
        return self._standing[name]

    # ── what counts ───────────────────────────────────────────────────────────────────────────────────

    async def _take_message(self, row: MessageRow) -> None:
        times = self._keeper.times
        expires = None if row.expires is None else times.reading(row.expires)
        thing = None if row.thing is None else ThingName(row.thing)
        message = Message(
            row.topic,
            row.payload,
            qos=row.qos,
            retain=False,
            thing=thing,
            properties=row.properties,
            expires=expires,
        )
        if message.expired(times.now()) or (thing is not None and not await self._good(thing)):
            return
        message.settle()
        message.row = row.id
        self._messages[row.id] = message

    async def _take_session(self, row: SessionRow) -> None:
        now = self._keeper.times.now()
        longest = now + row.expiry  # of one that was connected; and where the clock was set back
        ends = longest if row.ends is None else min(self._keeper.times.reading(row.ends), longest)
        principal = await self._principal(row) if ends > now else None
        if principal is None:
            LOG.info("%s", line("session not restored", client=row.client_id, thing=row.thing))
            self._keeper.journal.changes.sessions.drop(row.id)
            return
        session = Session(row.client_id, principal, self._limits, self._hub.budget)
        session.circumstances = _circumstances(row)
        session.expiry, session.expires = row.expiry, ends
        session.page = Page(self._keeper, row.id)
        self._sessions[row.id] = session, principal
        if row.ends is None:
            self._keeper.waits(session)

    async def _principal(self, row: SessionRow) -> Principal | None:
        badge = await self._directory.badge(CertificateId(row.certificate))
        if badge is None or badge.thing.name != row.thing or not _stands(badge.thing):
            return None
        rights = self._rights_of(badge, _circumstances(row))
        return Principal(badge.certificate.id, badge.thing.name, rights, badge.thing.kind)

    # ── what belongs to it ────────────────────────────────────────────────────────────────────────────

    def _take_subscriptions(self, kept: Kept) -> None:
        changes = self._keeper.journal.changes
        for row in kept.subscriptions:
            if row.session in self._sessions:
                self._sessions[row.session][0].subscriptions[row.wanted.topic_filter] = row.wanted
            else:
                changes.subscriptions.drop((row.session, row.wanted.topic_filter))

    def _take_deliveries(self, kept: Kept) -> int:
        """All of them in the order in which they were queued; returns how many there is no room for."""
        lost = 0
        for row in kept.deliveries:
            message = self._messages.get(row.message)
            if message is not None and row.session in self._sessions:
                session = self._sessions[row.session][0]
                if session.restore(Delivery(message, row.retain, row.id), row.packet_id):
                    message.holders += 1
                    continue
                lost += 1
            self._keeper.journal.changes.deliveries.drop(row.id)
        return lost

    def _take_retained(self, kept: Kept) -> int:
        lost = 0
        for row in kept.retained:
            message = self._messages.get(row.message)
            if message is not None and self._hub.retained.restore(message):
                message.holders += 1
                continue
            lost += message is not None
            self._keeper.journal.changes.retained.drop(row.topic)
        return lost

    def _drop_orphans(self, kept: Kept) -> None:
        """Messages that nobody holds any more."""
        for row in kept.messages:
            message = self._messages.get(row.id)
            if message is None or not message.holders:
                self._messages.pop(row.id, None)
                self._keeper.journal.changes.messages.drop(row.id)

    def _let_in(self, kept: Kept) -> None:
        """Under the policies of today: what they deny ends, as in a review."""
        for row in kept.sessions:
            if row.id not in self._sessions:
                continue
            session, principal = self._sessions[row.id]
            if self._hub.adopt(session):
                self._hub.rebind(session, principal)
            else:
                LOG.warning("%s", line("too many sessions, one not restored", client=session.client_id))
                self._hub.end(session)


def _stands(thing: Thing | None) -> bool:
    return thing is not None and thing.status is not ThingStatus.SUSPENDED and not thing.status.is_gone


def _circumstances(row: SessionRow) -> Circumstances:
    words = set(row.attributes.split())
    return Circumstances(row.client_id, frozenset(each for each in ConnectAttribute if each.value in words))


def _beyond(kept: Kept) -> int:
    """The first id that stands nowhere in the file."""
    parts: Iterable[list[int]] = (
        [row.id for row in kept.sessions],
        [row.id for row in kept.messages],
        [row.id for row in kept.deliveries],
        [row.session for row in kept.subscriptions],
    )
    return 1 + max((each for part in parts for each in part), default=0)
