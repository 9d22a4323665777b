"""Routing: who gets what. Sessions, subscriptions, retained messages, wills that wait.

No sockets and no clock of its own: ``now`` is a monotonic reading, and ``tick`` does what has become due.
"""

from collections.abc import Callable

from keyborn.adapters.broker.gate import Gate
from keyborn.adapters.broker.keeper import Keeper
from keyborn.adapters.broker.limits import Limits
from keyborn.adapters.broker.message import LastWill, Message
from keyborn.adapters.broker.packets import Reason, Subscription
from keyborn.adapters.broker.refusals import LOG, Refusals, line
from keyborn.adapters.broker.session import Budget, Outlet, Session
from keyborn.adapters.broker.store import (
    RETAINED_FULL,
    MemoryRetained,
    MemorySessions,
    RetainedStore,
    SessionStore,
)
from keyborn.adapters.broker.topics import FilterTree
from keyborn.domain.access import Action, Principal
from keyborn.domain.names import ThingName


class Hub:
    """The broker's state and its routing. Everything happens between two awaits, so nothing needs a lock."""

    def __init__(
        self,
        gate: Gate,
        refusals: Refusals,
        limits: Limits,
        now: Callable[[], float],
        *,
        sessions: SessionStore | None = None,
        retained: RetainedStore | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self.budget = Budget(limits.total_queue_bytes)
        self.sessions: SessionStore = MemorySessions(limits) if sessions is None else sessions
        self.retained: RetainedStore = MemoryRetained(limits, keeper) if retained is None else retained
        self.keeper = keeper
        """Who writes down what outlives this run; None where nothing does."""
        self.evicted = 0
        """Sessions that were closed while their client was connected."""
        self._gate = gate
        self._refusals = refusals
        self._limits = limits
        self._now = now
        self._tree: FilterTree[Session, Subscription] = FilterTree()
        self._waiting: dict[str, Session] = {}

    # ── sessions ──────────────────────────────────────────────────────────────────────────────────────

    def attach(
        self, client_id: str, principal: Principal, outlet: Outlet, *, clean: bool
    ) -> tuple[Session, bool] | None:
        """Give an admitted connection its session, and whether it is an old one; None if there are too many.

        An older connection of the same client id is displaced, a session of another thing is not inherited.
        """
        old = self.sessions.find(client_id)
        if old is not None and old.outlet is not None:
            old.outlet.displaced()
        old = self.sessions.find(client_id)
        if old is not None and (clean or old.principal.thing != principal.thing):
            self.end(old)
            old = None
        session = Session(client_id, principal, self._limits, self.budget) if old is None else old
        if old is None and not self.sessions.keep(session):
            return None
        self._waiting.pop(client_id, None)
        session.will = None
        session.principal = principal
        session.outlet = outlet
        self._review(session)
        return session, old is not None

    def keep(self, session: Session) -> None:
        """Its client is in, its expiry and circumstances are known: from now on it is durable, or is not."""
        if self.keeper is not None:
            self.keeper.keep(session)

    def adopt(self, session: Session) -> bool:
        """Take in a session of an earlier run, which waits for its client; False if there are too many."""
        if not self.sessions.keep(session):
            return False
        for subscription in session.subscriptions.values():
            self._tree.add(subscription.topic_filter, session, subscription)
        self._waiting[session.client_id] = session
        return True

    def detach(self, session: Session, will: LastWill | None) -> None:
        """A connection is gone: send its will, now or after its delay, and let the session wait or end."""
        now = self._now()
        session.outlet = None
        session.forget_qos0()
        if will is not None:
            session.will = (now + will.delay, will)
        if session.expiry <= 0:
            self.end(session)
            return
        session.expires = now + session.expiry
        self._waiting[session.client_id] = session
        if self.keeper is not None:
            self.keeper.waits(session)
        self._send_will_if_due(session, now)

    def end(self, session: Session) -> None:
        """Forget a session; a will that waited for it is sent (MQTT 5 section 3.1.3.2.2)."""
        for topic_filter in list(session.subscriptions):
            self.unsubscribe(session, topic_filter)
        session.clear()
        if self.keeper is not None:
            self.keeper.forget(session)
        self.sessions.drop(session)
        self._waiting.pop(session.client_id, None)
        self._send_will_if_due(session, None)

    def remove(self, thing: ThingName, reason: str) -> int:
        """End every session of ``thing``, no will, and forget what it published; how many were connected."""
        closed = 0
        for session in self.sessions:
            if session.principal.thing == thing:
                closed += self.close(session, reason)
            else:
                session.purge_from(thing)
        self.retained.purge_from(thing)
        return closed

    def close(self, session: Session, reason: str, code: Reason = Reason.ADMINISTRATIVE_ACTION) -> bool:
        """End one session and send no will; whether it was connected. MQTT 5 clients are told ``code``."""
        session.will = None
        outlet, session.outlet = session.outlet, None
        if outlet is not None:
            self.evicted += 1
            outlet.removed(reason, code)
        self.end(session)
        return outlet is not None

    def tick(self) -> None:
        """Do what has become due: delayed wills are sent, sessions and messages expire.

        Call it about once a second.
        """
        now = self._now()
        self.retained.forget_expired(now)
        for session in list(self._waiting.values()):
            self._send_will_if_due(session, now)
            session.forget_expired(now)
            if session.expires <= now:
                LOG.info("%s", line("session expired", client=session.client_id, queued=session.queued))
                self.end(session)

    def _send_will_if_due(self, session: Session, now: float | None) -> None:
        """Send a session's will if its delay is over; with ``now`` None the session ends, so it is."""
        if session.will is None or (now is not None and session.will[0] > now):
            return
        will = session.will[1].message(session.principal.thing, self._now())
        session.will = None
        allowed = self._gate.may_publish(session.principal, will.topic, retain=will.retain)
        if allowed and not self.publish(will):
            self._gate.deny(session.principal, Action.RETAIN, will.topic, f"the will: {RETAINED_FULL}")

    # ── subscriptions ─────────────────────────────────────────────────────────────────────────────────

    def subscribe(self, session: Session, subscription: Subscription) -> bool:
        """Add or replace a subscription that the rules allow; whether it is new."""
        new = subscription.topic_filter not in session.subscriptions
        session.subscriptions[subscription.topic_filter] = subscription
        self._tree.add(subscription.topic_filter, session, subscription)
        if self.keeper is not None:
            self.keeper.subscribed(session, subscription)
        return new

    def unsubscribe(self, session: Session, topic_filter: str) -> bool:
        """End a subscription; whether there was one."""
        if session.subscriptions.pop(topic_filter, None) is None:
            return False
        self._tree.remove(topic_filter, session)
        if self.keeper is not None:
            self.keeper.unsubscribed(session, topic_filter)
        return True

    def rebind(self, session: Session, principal: Principal) -> bool:
        """Go on under rights that were read again; False if the session ended because it may not connect.

        An operator's change is not the client's vanishing: no will is sent. What is queued is asked about
        when it is delivered.
        """
        session.principal = principal
        if self._gate.allows(principal, Action.CONNECT, session.client_id):
            self._review(session)
            return True
        self.close(session, "its policies no longer let it connect", Reason.NOT_AUTHORIZED)
        return False

    def _review(self, session: Session) -> None:
        for topic_filter in list(session.subscriptions):
            if not self._gate.allows(session.principal, Action.SUBSCRIBE, topic_filter):
                self.unsubscribe(session, topic_filter)

    # ── messages ──────────────────────────────────────────────────────────────────────────────────────

    def publish(self, message: Message, origin: Session | None = None) -> bool:
        """Route an accepted message; False, with nothing routed, if it cannot be retained as asked.

        ``origin`` is the publishing session, for subscriptions that do not want their own messages.
        """
        if message.retain and not self._retain(message):
            return False
        for session, subscription in self._best(message, origin).items():
            self._deliver(session, subscription, message)
        message.settle()
        return True

    def _best(self, message: Message, origin: Session | None) -> dict[Session, Subscription]:
        """Who gets a message, each by the best of its subscriptions."""
        best: dict[Session, Subscription] = {}
        for session, subscription in self._tree.match(message.topic):
            if subscription.no_local and session is origin:
                continue
            other = best.get(session)
            if other is None or other.qos < subscription.qos:
                best[session] = subscription
        return best

    def unwritable(self, message: Message, origin: Session | None) -> bool:
        """Whether this message would have to be written down, while the file takes nothing."""
        if self.keeper is None or not self.keeper.journal.failing:
            return False
        return message.retain or any(
            session.page is not None and subscription.qos
            for session, subscription in self._best(message, origin).items()
        )

    def _retain(self, message: Message) -> bool:
        if message.payload:
            return self.retained.keep(message)
        self.retained.drop(message.topic)
        return True

    def _deliver(self, session: Session, subscription: Subscription, message: Message) -> None:
        qos = min(message.qos, subscription.qos)
        retain = message.retain and subscription.retain_as_published
        if session.outlet is not None:
            session.outlet.deliver(message, qos, retain=retain)
        elif not qos or not self._gate.allows(session.principal, Action.RECEIVE, message.topic):
            return
        elif not session.offer(message, qos, retain=retain):
            source = f"slow {session.principal.certificate}"
            self._refusals.say(source, "queue full, message dropped", client=session.client_id)
