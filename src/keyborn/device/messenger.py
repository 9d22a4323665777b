"""Publishing and listening: the outbox, the session and the home's lock put together.

A message is kept first and sent afterwards. Whoever holds the home's lock empties the outbox: a publisher, or
a listener that is connected anyway; then a publisher only watches its message leave.
"""

import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from keyborn.device import topics
from keyborn.device.agent import client as agent
from keyborn.device.connecting import CONNECT_TIMEOUT, connect, tls_context
from keyborn.device.courier import Courier
from keyborn.device.home import Home
from keyborn.device.identity import Identity, require_identity
from keyborn.device.keystore import FileKeyStore
from keyborn.device.messages import Counts, OutboxLimits, Outcome
from keyborn.device.outbox import Outbox, open_outbox
from keyborn.device.outbox_settings import DEFAULT_RATE
from keyborn.device.pace import FIRST_DELAY, LONGEST_DELAY, Deadline
from keyborn.device.session import Received, Session
from keyborn.device.surroundings import Surroundings
from keyborn.domain.errors import BrokerUnreachable, HomeBusy, PublishDenied, SessionLost

DEFAULT_WAIT = 5.0
NO_TIME = "no time was given to send it"
TOO_SHORT = "the time was too short for all that waits"
_GLANCE = 0.1
_GOODBYE = 1.0
"""Seconds for the answers that are still due when a command is done."""
_SHORTEST_CONNECT = 1.0
_LISTEN = 0.5


class Delivery(StrEnum):
    """What became of a message: acknowledged by the broker, or durable and waiting."""

    DELIVERED = "delivered"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Published:
    """The outcome of ``publish``."""

    delivery: Delivery
    outbox: Counts
    why: str | None = None
    """Why it was kept, in the middle of a sentence."""
    later: str = "sent with the next publish or subscribe"
    """What becomes of what waits, at the end of a sentence."""


@dataclass(frozen=True, slots=True)
class Messenger:
    """Publishing and listening for one home."""

    home: Home
    around: Surroundings
    rate: float = DEFAULT_RATE
    limits: OutboxLimits = field(default_factory=OutboxLimits)

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        wait: float = DEFAULT_WAIT,
        qos: int = 1,
        lifetime: float | None = None,
    ) -> Published:
        """Keep a message, then send what waits, in order, for up to ``wait`` seconds.

        ``lifetime``: seconds after which nobody wants it any more; it is then given up, here or there.
        Raises PublishDenied where the broker will never take it; InvalidTopic, MessageTooLarge, NoIdentity,
        OutboxFull and OutboxUnusable before anything is kept; SessionRefused and BrokerUntrusted with the
        message kept.
        """
        topics.check_topic(topic)
        topics.check_payload(payload)
        with self._work() as work:
            number = work.outbox.append(topic, payload, self.around.clock.now(), qos=qos, lifetime=lifetime)
            agent.wake(self.home)  # one may have started just now: it has the session
            why = work.send_until(number, Deadline.after(wait, self.around.pace))
            fate = work.outbox.fate(number)
            if fate.outcome is Outcome.QUARANTINED:
                raise PublishDenied(topic=topic, reason=fate.reason, own=work.identity.broker.topic)
            if fate.waiting:
                return Published(Delivery.KEPT, work.outbox.counts(), why)
            return Published(Delivery.DELIVERED, work.outbox.counts())

    def listen(self, topic_filter: str, *, seconds: float | None = None) -> Iterator[Received]:
        """Messages as they arrive, for ``seconds`` or without end; the outbox is emptied meanwhile.

        A lost connection is made again, with full jitter. Raises HomeBusy, SubscribeDenied, SessionRefused,
        BrokerUntrusted, and BrokerUnreachable if the first connection fails.
        """
        topics.check_filter(topic_filter)
        deadline = Deadline.after(math.inf if seconds is None else seconds, self.around.pace)
        with self._work() as work, self.home.session():
            yield from work.listen(topic_filter, deadline)

    @contextmanager
    def _work(self) -> Iterator["_Work"]:
        identity = require_identity(self.home, self.around.clock.now())
        with open_outbox(self.home.outbox, self.limits) as outbox:
            yield _Work(self.home, self.around, identity, outbox, Courier(outbox, self.around, self.rate))


@dataclass(frozen=True, slots=True)
class _Work:
    """One command's work: everything that is open while it runs."""

    home: Home
    around: Surroundings
    identity: Identity
    outbox: Outbox
    courier: Courier

    def send_until(self, number: int, deadline: Deadline) -> str:
        """Send until message ``number`` has left, or watch another session do it; returns why it has not.

        A broker that is away is tried again, with full jitter, until ``deadline``.
        """
        self.courier.told = number
        attempt, why = 0, NO_TIME
        while self.outbox.fate(number).waiting and deadline.left() > 0:
            try:
                with self.home.session(), self._session(deadline.left()) as session:
                    self._drain(session, number, deadline)
                    return TOO_SHORT  # another connection would not help
            except HomeBusy:
                why = "another keyborn command has the connection"
                self.around.pace.sleep(min(_GLANCE, deadline.left()))
            except (BrokerUnreachable, SessionLost) as wrong:
                why = _because(wrong)
                if not deadline.allows(FIRST_DELAY) or not self.outbox.fate(number).waiting:
                    break
                self.around.pace.sleep(min(self.around.pace.backoff(attempt), deadline.left() / 2))
                attempt += 1
        return why

    def listen(self, topic_filter: str, deadline: Deadline) -> Iterator[Received]:
        """Connections one after the other, until ``deadline``."""
        attempt: int | None = None
        while deadline.left() > 0:
            begun = self.around.pace.monotonic()
            try:
                for received in self._listen_once(topic_filter, deadline):
                    attempt = attempt or 0
                    if received is not None:
                        yield received
            except (BrokerUnreachable, SessionLost) as wrong:
                if attempt is None:
                    raise
                if self.around.pace.monotonic() - begun > LONGEST_DELAY:
                    attempt = 0  # it held for a while; one that never does must not be asked ever faster
                self.around.say(str(wrong))
                self.around.pace.sleep(min(self.around.pace.backoff(attempt), deadline.left()))
                attempt += 1

    def _listen_once(self, topic_filter: str, deadline: Deadline) -> Iterator[Received | None]:
        """First None, once the subscription stands; then messages."""
        with self._session() as session:
            session.subscribe(topic_filter)
            self.around.say(f"Listening for {topic_filter} (interrupt to end).")
            yield None
            try:
                yield from self._converse(session, deadline)
            except SessionLost:
                yield from session.leftover()
                raise
            yield from session.leftover()

    def _converse(self, session: Session, deadline: Deadline) -> Iterator[Received]:
        """Messages in, and the outbox out."""
        while deadline.left() > 0:
            pause = self.courier.pump(session)
            yield from session.leftover()
            session.wait(min(pause, _LISTEN, deadline.left()))

    @contextmanager
    def _session(self, seconds: float = CONNECT_TIMEOUT) -> Iterator[Session]:
        """A session over which the courier works."""
        with closing(self._connect(seconds)) as session:
            self.courier.begin(session)
            try:
                yield session
            except SessionLost as wrong:
                self.courier.lost(session, wrong)
                raise
            finally:
                self.courier.finish(session)

    def _connect(self, seconds: float = CONNECT_TIMEOUT) -> Session:
        context = tls_context(self.home, FileKeyStore(self.home.key), self.identity, self.around.clock.now())
        patience = min(CONNECT_TIMEOUT, max(seconds, _SHORTEST_CONNECT))
        return connect(self.identity, context, patience=patience)

    def _drain(self, session: Session, number: int, deadline: Deadline) -> None:
        """Send what waits, until that message has left or the time is up."""
        while self.outbox.fate(number).waiting:
            pause = self.courier.pump(session)
            if not (self.courier.busy or deadline.allows(pause)) or not deadline.left():
                return
            session.wait(min(pause, deadline.left()))
        self.courier.linger(session, min(_GOODBYE, deadline.left()))


def _because(wrong: BrokerUnreachable | SessionLost) -> str:
    what = "cannot be reached" if isinstance(wrong, BrokerUnreachable) else "ended the connection"
    return f"the broker {wrong.facts['broker']} {what}: {wrong.facts['detail']}"
