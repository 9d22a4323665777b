"""What of the broker's state is durable, told to the journal as it changes; no clean session, no QoS 0."""

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count

from keyborn.adapters.broker.journal import Journal
from keyborn.adapters.broker.journal_rows import (
    DeliveryRow,
    MessageRow,
    RetainedRow,
    SessionRow,
    SubscriptionRow,
)
from keyborn.adapters.broker.message import Message
from keyborn.adapters.broker.packets import Subscription
from keyborn.adapters.broker.session import Delivery, Page as SessionPage, Session
from keyborn.ports import Clock

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Times:
    """Readings of the monotonic clock ``now`` as wall-clock milliseconds, and back."""

    def __init__(self, clock: Clock, now: Callable[[], float]) -> None:
        self._clock = clock
        self.now = now

    def wall(self, reading: float) -> int:
        """A reading as milliseconds since 1970-01-01 UTC."""
        return self._wall_now() + round((reading - self.now()) * 1000)

    def reading(self, wall: int) -> float:
        """Milliseconds since 1970-01-01 UTC as a reading, which may lie in the past."""
        return self.now() + (wall - self._wall_now()) / 1000

    def _wall_now(self) -> int:
        return round((self._clock.now() - _EPOCH).total_seconds() * 1000)


class Keeper:
    """Turns what happens to sessions and retained messages into rows. One per journal."""

    def __init__(self, journal: Journal, times: Times) -> None:
        self.journal = journal
        self.times = times
        self._ids = count(1)

    def count_from(self, first: int) -> None:
        """Ids below ``first`` stand in the file."""
        self._ids = count(first)

    # ── sessions ──────────────────────────────────────────────────────────────────────────────────────

    def keep(self, session: Session) -> None:
        """A client has connected: its session lasts or does not, as ``session.expiry`` says."""
        if session.expiry <= 0:
            self.forget(session)
            return
        if session.page is None:
            session.page = Page(self, next(self._ids))
        self._write(session, session.page, None)
        self.journal.touch(urgent=True)

    def waits(self, session: Session) -> None:
        """Its client is gone; the session waits until ``session.expires``. Nobody waits for this row."""
        if session.page is not None:
            self._write(session, session.page, self.times.wall(session.expires))
            self.journal.touch(urgent=False)

    def forget(self, session: Session) -> None:
        """The session ends, or lasts no longer than its connection; what it holds costs no more rows."""
        page = session.page
        if page is None:
            return
        for topic_filter in session.subscriptions:
            self.unsubscribed(session, topic_filter)
        session.tear_out()
        self.journal.changes.sessions.drop(page.id)
        self.journal.touch(urgent=True)

    def subscribed(self, session: Session, wanted: Subscription) -> None:
        """A subscription is new or has changed."""
        if session.page is not None:
            page = session.page.id
            self.journal.changes.subscriptions.put((page, wanted.topic_filter), SubscriptionRow(page, wanted))
            self.journal.touch(urgent=True)

    def unsubscribed(self, session: Session, topic_filter: str) -> None:
        """A subscription has ended."""
        if session.page is not None:
            self.journal.changes.subscriptions.drop((session.page.id, topic_filter))
            self.journal.touch(urgent=True)

    def _write(self, session: Session, page: SessionPage, ends: int | None) -> None:
        principal = session.principal
        row = SessionRow(
            page.id,
            session.client_id,
            principal.certificate,
            principal.thing,
            " ".join(sorted(session.circumstances.attributes)),
            session.expiry,
            ends,
        )
        self.journal.changes.sessions.put(page.id, row)

    # ── messages ──────────────────────────────────────────────────────────────────────────────────────

    def retain(self, message: Message) -> None:
        """A topic keeps this message from now on."""
        self._hold(message)
        self.journal.changes.retained.put(message.topic, RetainedRow(message.topic, message.row))
        self.journal.touch(urgent=True)

    def release(self, message: Message) -> None:
        """Its topic keeps this message no longer."""
        self.journal.changes.retained.drop(message.topic)
        self._let_go(message)
        self.journal.touch(urgent=True)

    def queue(self, page: int, message: Message, *, retain: bool) -> int:
        """A message has been queued for a session; returns the id of its delivery."""
        self._hold(message)
        name = next(self._ids)
        row = DeliveryRow(name, page, message.row, retain, None)
        self.journal.changes.deliveries.add(name, row)
        self.journal.touch(urgent=True)
        return name

    def send(self, page: int, delivery: Delivery, packet_id: int) -> None:
        """A delivery is under way with a packet identifier.

        Nobody waits for this row: one that was sent in the turn it was queued in shares that row's commit; if
        a crash is faster than another's, the message comes again as if it were new.
        """
        row = DeliveryRow(delivery.row, page, delivery.message.row, delivery.retain, packet_id)
        self.journal.changes.deliveries.put(delivery.row, row)
        self.journal.touch(urgent=False)

    def drop(self, delivery: Delivery) -> None:
        """A delivery is over; if the crash comes before the commit, it is sent again, which QoS 1 allows."""
        self.journal.changes.deliveries.drop(delivery.row)
        self._let_go(delivery.message)
        self.journal.touch(urgent=False)

    def _hold(self, message: Message) -> None:
        message.holders += 1
        if message.row:
            return
        message.row = next(self._ids)
        row = MessageRow(
            message.row,
            message.topic,
            message.payload,
            message.qos,
            message.thing,
            message.properties,
            None if message.expires is None else self.times.wall(message.expires),
        )
        self.journal.changes.messages.add(message.row, row)

    def _let_go(self, message: Message) -> None:
        message.holders -= 1
        if not message.holders:
            self.journal.changes.messages.drop(message.row)
            message.row = 0


class Page:
    """One session's place in the journal, as the session sees it."""

    __slots__ = ("_keeper", "id")

    def __init__(self, keeper: Keeper, name: int) -> None:
        self._keeper = keeper
        self.id = name

    def queued(self, message: Message, *, retain: bool) -> int:
        """A QoS 1 message waits; returns the id of its delivery."""
        return self._keeper.queue(self.id, message, retain=retain)

    def sent(self, delivery: Delivery, packet_id: int) -> None:
        """It is under way."""
        self._keeper.send(self.id, delivery, packet_id)

    def done(self, delivery: Delivery) -> None:
        """It has been acknowledged, or is forgotten."""
        self._keeper.drop(delivery)
