"""Carries the outbox to the broker, over one session after the other: does what ``drain`` decides.

Whoever holds the home's session drives it: ``begin`` with each new session, then ``pump`` and wait in turns,
``lost`` when the session broke, ``finish`` in any case. Ends are recorded many at a time; until they are on
disk nothing more than a window of them is open, so that a crash repeats few messages.
"""

from dataclasses import replace
from math import inf

from keyborn.device.drain import LOOK_AHEAD, WINDOW, Drain, Ending, Ping, Send, Settle, Verdicts, Wait
from keyborn.device.messages import Fate, Message, Outcome
from keyborn.device.outbox import Outbox
from keyborn.device.session import Session
from keyborn.device.surroundings import Surroundings
from keyborn.domain.errors import SessionLost

RECORDED_AT_ONCE = 50
"""Acknowledged messages that are taken off the disk together: each time costs a sync of the disk.

As many more as the broker takes fewer than ``WINDOW`` at once, so that a crash repeats the same number."""
_SOON = 0.05
_UNSENT = 256 * 1024
"""Bytes that may wait for a slow network before more is given to it."""
_SILENT = {
    Ending.UNEXPLAINED: "it hangs up on it, and does not say why",
    Ending.IGNORED: "it answers everything else, and never acknowledges it",
}


class Courier:
    """Empties one outbox, at up to ``rate`` messages per second; 0 is as fast as the broker takes them."""

    def __init__(self, outbox: Outbox, around: Surroundings, rate: float) -> None:
        self._outbox = outbox
        self._around = around
        self._rate = rate or inf
        self._drain = Drain()
        self._open: list[tuple[Message, Fate]] = []
        self._at_once = RECORDED_AT_ONCE
        self._seen: tuple[int, int] | None = None
        self.told: int | None = None
        """A message whose refusal is told by whoever asked for it."""

    @property
    def busy(self) -> bool:
        """Whether something is on the way, or an answer."""
        return self._drain.busy

    def begin(self, session: Session) -> None:
        """Go on over a new session; raises OutboxUnusable."""
        self._record()
        terms = replace(session.terms, messages=min(self._rate, session.terms.messages))
        self._drain.begin(terms, self._outbox.suspects())
        self._at_once = RECORDED_AT_ONCE + max(WINDOW - terms.in_flight, 0)
        self._seen = None

    def pump(self, session: Session) -> float:
        """Take in what was answered, send what may go now; returns the seconds after which to do it again.

        Sooner, where something arrives. Raises SessionLost where the broker does not take a message just now,
        and OutboxUnusable.
        """
        heard = self._hear(session)
        pause = self._send(session)
        if self._drain.leave is not None:
            raise session.lost(f"it did not take the message ({self._drain.leave})")
        if self._open and (len(self._open) >= self._at_once or not heard or not self._drain.busy):
            self._record()
            return 0.0  # what waited for that may go now
        return min(pause, _SOON) if self._open or session.unsent else pause

    def linger(self, session: Session, seconds: float) -> None:
        """Send no more, but wait so long for answers that are due: what has none is sent again next time.

        Raises SessionLost and OutboxUnusable.
        """
        pace = self._around.pace
        deadline = pace.monotonic() + seconds
        while self._drain.busy and (left := deadline - pace.monotonic()) > 0:
            session.wait(left)
            self._hear(session)

    def lost(self, session: Session, wrong: SessionLost) -> None:
        """The session broke: who is to blame? Raises OutboxUnusable."""
        self._hear(session)
        name = _SILENT.get(session.ending, str(wrong.facts["detail"]))
        self._note(self._drain.lost(session.ending, name))
        self._record()

    def finish(self, session: Session) -> None:
        """Record what is known by now; raises OutboxUnusable."""
        self._hear(session)
        self._record()

    def _hear(self, session: Session) -> bool:
        answers = session.answers()
        for message, reason in answers.items():
            self._note(self._drain.answered(message, reason.code, reason.name))
        if session.ponged:
            self._drain.ponged()
        return bool(answers)

    def _send(self, session: Session) -> float:
        """Everything that may go now, as one write."""
        batch: list[tuple[Message, float | None]] = []
        wall = self._around.clock.now().timestamp()
        self._look()
        while session.unsent < _UNSENT:
            self._feed()
            order = self._drain.step(self._around.pace.monotonic(), wall)
            match order:
                case Send(message):
                    batch.append((message, message.lifetime(wall)))
                case Settle(message, fate):
                    self._note(Verdicts([(message, fate)]))
                case Ping():
                    session.ping()
                case Wait(seconds):
                    session.send(batch)
                    return seconds
        return _SOON

    def _look(self) -> None:
        if (seen := self._outbox.version()) != self._seen:
            self._seen = seen
            self._drain.look_again()

    def _feed(self) -> None:
        while self._drain.hungry:
            self._drain.feed(self._outbox.waiting(self._drain.after, LOOK_AHEAD))

    def _note(self, verdicts: Verdicts) -> None:
        for message, fate in verdicts.ends:
            if fate.outcome is Outcome.QUARANTINED and message.id != self.told:
                self._around.say(
                    f"The broker refused a message for {message.topic} ({fate.reason}): set aside."
                )
        self._open += verdicts.ends
        if verdicts.strikes:
            self._outbox.suspect(verdicts.strikes)

    def _record(self) -> None:
        if self._open:
            self._outbox.settle((message.id, fate) for message, fate in self._open)
            self._drain.recorded(message.id for message, _ in self._open)
            self._open.clear()
