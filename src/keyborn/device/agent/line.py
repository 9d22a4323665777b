"""The agent's line to the broker: the journey's session, over which messages go out and come in.

It sleeps until something arrives, a program wants something, or it is time for a sign of life: an agent with
nothing to do wakes up for its keep-alive alone (GOALS P11).
"""

import time
from math import inf

from keyborn.device.agent.box import Box
from keyborn.device.agent.bridge import Arrived, Bridge, Denied, Ended, Granted
from keyborn.device.agent.notify import Notifier
from keyborn.device.courier import Courier
from keyborn.device.home import Home
from keyborn.device.identity import Identity
from keyborn.device.line import BrokerLine
from keyborn.device.messages import Fate, OutboxLimits
from keyborn.device.opening import Will
from keyborn.device.session import KEEP_ALIVE, Session
from keyborn.device.surroundings import Surroundings
from keyborn.domain.errors import FileNotPrivate, OutboxUnusable, SessionLost, SubscribeDenied

PING_EVERY = KEEP_ALIVE * 5 / 6
"""Seconds between our signs of life, so that paho, which wakes more often, gives none."""
_OWED = 1.0
"""Seconds after which a session that owes an answer is looked at again."""
_INSTANT = 0.001
_SICK = 0.5, 30.0
"""Seconds in which an outbox that cannot be used is left alone: at first, doubling, and at most."""


class AgentLine:
    """Implements ``keyborn.device.journey.Line``."""

    def __init__(
        self,
        bridge: Bridge,
        home: Home,
        around: Surroundings,
        *,
        rate: float,
        limits: OutboxLimits,
        notifier: Notifier,
        will: Will | None = None,
    ) -> None:
        self._bridge = bridge
        self._around = around
        self._rate = rate
        self._notifier = notifier
        self._line = BrokerLine(around.clock, will)
        self._box = Box(home.outbox, limits, self._tell_end)
        self._courier: Courier | None = None
        self._begun = False
        self._sick_until = 0.0
        self._sick_for = _SICK[0]
        self._sick_of = ""
        self._ping_at = inf
        self._pinged = False
        self._granted: dict[str, int] = {}

    # ── as the journey wants it ──

    def connect(self, home: Home, own: Identity) -> None:
        """See ``Line.connect``."""
        self._line.connect(home, own)
        self._begun = self._pinged = False
        self._sick_until = 0.0
        self._granted = {}
        self._ping_at = time.monotonic() + PING_EVERY

    def serve(self, seconds: float) -> None:
        """See ``Line.serve``; ends at once where somebody calls."""
        self._carry(time.monotonic() + seconds, until_empty=False)

    def drain(self, seconds: float) -> None:
        """Send what waits for up to ``seconds``, if there is a session; raises SessionLost."""
        if self._line.session is not None:
            self._carry(time.monotonic() + seconds, until_empty=True)

    def close(self) -> None:
        """See ``Line.close``; what was acknowledged is recorded first."""
        session = self._line.session
        try:
            if session is not None:
                self._hand_over(session)
                if self._courier is not None and self._begun:
                    self._courier.finish(session)
        except OutboxUnusable as wrong:
            self._around.say(str(wrong))
        finally:
            self._begun = False
            self._line.close()

    def release(self) -> None:
        """Close the outbox: the line is not used any more."""
        self._courier = None
        self._box.close()

    # ── the work ──

    def _carry(self, deadline: float, *, until_empty: bool) -> None:
        session = self._line.session
        assert session is not None, "it is connected first"
        try:
            while (left := deadline - time.monotonic()) > 0 and (until_empty or not self._bridge.called):
                self._notifier.beat()
                pause = self._pump(session)
                self._subscribe(session)
                self._hand_over(session)
                if until_empty and not self._has_work(pause):
                    return
                self._rest(session, min(pause, left))
        except SessionLost as wrong:
            self._lost(session, wrong)
            raise

    def _has_work(self, pause: float) -> bool:
        return (self._courier is not None and self._courier.busy) or pause < inf

    def _pump(self, session: Session) -> float:
        """The outbox's turn; a disk that refuses ends no session, and loses no message."""
        if (sick := self._sick_until - time.monotonic()) > 0:
            return sick
        try:
            if self._courier is None:
                self._courier = Courier(self._box.open(), self._around, self._rate)
            if not self._begun:
                self._courier.begin(session)
                self._begun = True
            pause = self._courier.pump(session)
        except (OutboxUnusable, FileNotPrivate) as wrong:
            if str(wrong) != self._sick_of:
                self._sick_of = str(wrong)
                self._around.say(self._sick_of)
            pause = self._sick_for
            self._sick_until, self._sick_for = time.monotonic() + pause, min(2 * pause, _SICK[1])
        else:
            self._sick_for, self._sick_of = _SICK[0], ""
        return pause

    def _lost(self, session: Session, wrong: SessionLost) -> None:
        self._hand_over(session)
        if self._courier is None or not self._begun:
            return
        try:
            self._courier.lost(session, wrong)
        except OutboxUnusable as trouble:
            self._around.say(str(trouble))

    def _subscribe(self, session: Session) -> None:
        """Ask the broker for what programs want and it does not send yet, in each session anew."""
        wanted = self._bridge.wants
        for gone in self._granted.keys() - wanted.keys():
            session.unsubscribe(gone)
            del self._granted[gone]
        for name, number in wanted.items():
            if (before := self._granted.get(name)) == number:
                continue
            self._granted[name] = number
            try:
                session.subscribe(name)
            except SubscribeDenied as wrong:
                self._bridge.tell(Denied(name, wrong))
            else:
                self._bridge.tell(Granted(name, 0 if before is None else number))

    def _hand_over(self, session: Session) -> None:
        for received in session.leftover():
            self._bridge.tell(Arrived(received))

    def _rest(self, session: Session, seconds: float) -> None:
        """Sleep, then let the network move once."""
        now = time.monotonic()
        if now >= self._ping_at:
            self._ping_at = now + PING_EVERY
            self._pinged = True
            session.ping()
        if self._owed(session):
            seconds = min(seconds, _OWED)
        seconds = min(seconds, self._ping_at - now, self._notifier.every)
        if not session.unread and session.fileno() >= 0:  # else it is over, which ``wait`` tells
            self._bridge.rest(seconds, session.fileno(), writing=bool(session.unsent))
        session.wait(_INSTANT)

    def _owed(self, session: Session) -> bool:
        busy = self._courier is not None and self._courier.busy
        return busy or bool(session.unsent) or (self._pinged and not session.ponged)

    def _tell_end(self, message: int, fate: Fate) -> None:
        if message in self._bridge.awaited:
            self._bridge.tell(Ended(message, fate))
