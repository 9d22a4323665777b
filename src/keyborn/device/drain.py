"""Emptying the outbox: which message goes when, and what an answer or a lost connection says about it.

A state machine on values: no I/O, no clock, no broker. Whoever drives it (``courier``) feeds it messages,
does what ``step`` says, and tells what happened; what comes back are verdicts, to be recorded.

Messages of one topic leave in order, several of them on the way at once. A broker that refuses a message
says so (MQTT 5), and it is quarantined. One that hangs up without a word (MQTT 3.1.1, AWS IoT Core Developer
Guide, "MQTT") leaves suspects: all that was on the way. They go alone, one at a time, and a topic waits for
its own; on which the broker hangs up three times, having answered just before, is quarantined. A network that
fails accuses no message. One that the broker does not take just now goes again, behind what was on the way
with it.
"""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from math import inf

from keyborn.device.messages import Fate, Message, Outcome

WINDOW = 50
"""Messages on the way at once, at most: AWS IoT Core takes 100 that are not acknowledged. As many more may be
acknowledged and not recorded yet, so that a crash repeats 100 messages at most."""
WINDOW_SIZE = 256 * 1024
"""Bytes on the way at once, so that slow networks acknowledge in time; a larger message goes alone."""
LOOK_AHEAD = 64
"""Messages in memory that are not on the way."""
STRIKES = 3
"""Identical ends of a connection that condemn a message."""
OTHERS = 20
"""How many others may go before a suspect gets its next try."""
OVERHEAD = 32
"""Bytes of a PUBLISH beside topic and payload, at most: header, packet id, expiry."""
FAILURE = 0x80
NEVER = frozenset({0x87, 0x90, 0x95, 0x99})
"""Not authorized, topic invalid, packet too large, payload format invalid: sending it again will not help."""
UNEXPLAINING = frozenset({0x80, 0x81, 0x82, 0x83})
"""Unspecified, malformed, protocol error, implementation specific: no better than no reason at all."""


class Ending(Enum):
    """What the end of a connection says."""

    NETWORK = "network"
    """The network failed or was silent, or we left: nothing about any message."""
    EXPLAINED = "explained"
    """The broker said why, and it was no message: shutting down, taken over."""
    REFUSED = "refused"
    """The broker said that it will never take what it was sent."""
    UNEXPLAINED = "unexplained"
    """It hung up."""
    IGNORED = "ignored"
    """It answered everything but a message."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the broker of a connection takes; sizes in bytes, rates per second."""

    explains: bool = True
    """Whether a refusal is an answer (MQTT 5), or a hang-up (3.1.1)."""
    in_flight: int = WINDOW
    packet: float = inf
    messages: float = inf
    bytes: float = inf


@dataclass(frozen=True, slots=True)
class Send:
    """Send this message now."""

    message: Message


@dataclass(frozen=True, slots=True)
class Ping:
    """Ask the broker for a sign of life, and tell ``ponged``."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do, unless something happens, for so many seconds."""

    seconds: float = inf


@dataclass(frozen=True, slots=True)
class Settle:
    """This message goes nowhere: record its end."""

    message: Message
    fate: Fate


Order = Send | Ping | Wait | Settle


@dataclass(slots=True)
class Verdicts:
    """What is to be recorded: how messages ended, and of whom the broker is suspicious how often."""

    ends: list[tuple[Message, Fate]] = field(default_factory=list)
    strikes: dict[int, int] = field(default_factory=dict)


class Pacer:
    """So many messages and bytes a second, the first message at once; time that nobody used is not saved."""

    def __init__(self) -> None:
        self._next = -inf

    def delay(self, now: float) -> float:
        """Seconds until the next message may go."""
        return max(0.0, self._next - now)

    def spend(self, size: int, now: float, terms: Terms) -> None:
        """A message of ``size`` bytes goes now."""
        self._next = max(now, self._next) + max(1 / terms.messages, size / terms.bytes)


class Drain:
    """The state of emptying one outbox, over many connections."""

    def __init__(self) -> None:
        self._terms = Terms()
        self._pacer = Pacer()
        self._queue: deque[Message] = deque()
        self._suspects: dict[int, Message] = {}
        self._tries: Counter[int] = Counter()
        self._flight: dict[int, Message] = {}
        self._under_way = 0
        self._held: set[int] = set()
        self._freeing: set[int] = set()
        """Suspects that have come to their ends: their topics go on once that is on disk."""
        self._probe: int | None = None
        self._after = 0
        self._dry = False
        self._proven = self._pinging = self._fruitful = False
        self._fruitless = 0
        self._others = 0
        self.leave: str | None = None
        """Why the connection has to end, in the broker's words: it does not take a message just now."""

    # ── what there is ──

    def begin(self, terms: Terms, suspects: Iterable[Message]) -> None:
        """A connection stands; ``suspects`` are those on record. Ends that were told must be recorded."""
        self._terms = terms
        self._suspects = {each.id: each for each in suspects if each.id not in self._held}
        self._queue.clear()
        self._flight.clear()
        self._under_way = 0
        self._probe = self.leave = None
        self._after, self._dry = 0, False
        self._proven = self._pinging = self._fruitful = False

    @property
    def after(self) -> int:
        """Messages beyond this id, and of no suspect's topic, are to be fed next."""
        return self._after

    @property
    def hungry(self) -> bool:
        """Whether it could take more messages, and does not know that there are none."""
        return not self._dry and len(self._queue) < LOOK_AHEAD // 2

    @property
    def busy(self) -> bool:
        """Whether something is on the way, or an answer."""
        return bool(self._flight) or self._pinging

    def feed(self, messages: Sequence[Message]) -> None:
        """Give it the messages that come next; none says that there are no more for now."""
        known = self._held | self._flight.keys() | self._suspects.keys() | {each.id for each in self._queue}
        self._queue.extend(each for each in messages if each.id not in known)
        self._dry = not messages
        self._after = messages[-1].id if messages else 0

    def look_again(self) -> None:
        """There may be new messages."""
        self._dry = False

    # ── what to do ──

    def step(self, now: float, wall: float) -> Order:
        """What to do at ``now`` on the monotonic clock, ``wall`` seconds since 1970."""
        if self.leave is not None or self._probe is not None or self._pinging:
            return Wait()
        suspect = self._due()
        message = suspect or (self._queue[0] if self._queue else None)
        if message is None:
            return Wait()
        if (end := self._end_unsent(message, wall)) is not None:
            self._remove(message)
            return Settle(message, end)
        return self._pass(message, now, alone=suspect is not None)

    def _pass(self, message: Message, now: float, *, alone: bool) -> Order:
        """Send it, unless something has to come first."""
        if self._flight and (alone or not self._has_room(message)):
            return Wait()
        if (delay := self._pacer.delay(now)) > 0:
            return Wait(delay)
        if not self._proven and (alone or not self._terms.explains):
            self._pinging = True
            return Ping()
        return self._send(message, now, alone=alone)

    def _has_room(self, message: Message) -> bool:
        return (
            len(self._flight) < min(WINDOW, self._terms.in_flight)
            and self._under_way + _size(message) <= WINDOW_SIZE
        )

    def _due(self) -> Message | None:
        """The suspect whose turn it is: of the first ones of their topics, the one that was tried least."""
        if not self._suspects or (self._others > 0 and not (self._dry and not self._queue)):
            return None
        first: dict[str, Message] = {}
        for each in self._suspects.values():
            first.setdefault(each.topic, each)
        return min(first.values(), key=lambda each: (self._tries[each.id], each.id))

    def _end_unsent(self, message: Message, wall: float) -> Fate | None:
        if message.expires_at is not None and message.expires_at <= wall:
            return Fate(Outcome.EXPIRED)
        if _size(message) > self._terms.packet:
            return Fate(Outcome.QUARANTINED, f"Packet too large: the broker takes {self._terms.packet} bytes")
        return None

    def _send(self, message: Message, now: float, *, alone: bool) -> Send:
        if alone:
            self._probe = message.id
            self._tries[message.id] += 1
        else:
            self._queue.popleft()
        self._flight[message.id] = message
        self._under_way += (size := _size(message))
        self._pacer.spend(size, now, self._terms)
        return Send(message)

    # ── what happened ──

    def ponged(self) -> None:
        """The broker gave a sign of life."""
        self._proven, self._pinging = True, False

    def answered(self, message_id: int, code: int, name: str) -> Verdicts:
        """The broker answered with this reason code of MQTT 5 and its name; 0 is a plain acknowledgement.

        With QoS 0 nobody answers: then it says that the message was given to the network.
        """
        verdicts = Verdicts()
        message = self._flight.pop(message_id, None)
        if message is None:
            return verdicts
        self._under_way -= _size(message)
        if message.qos:
            self._proven = self._fruitful = True
        if message_id == self._probe:
            self._probe = None
        else:
            self._others -= 1
        if code < FAILURE:
            verdicts.ends.append((message, Fate(Outcome.DELIVERED)))
        elif code in NEVER:
            verdicts.ends.append((message, Fate(Outcome.QUARANTINED, name)))
        else:
            self.leave = name
            self._accuse([message], verdicts, name, struck=code in UNEXPLAINING)
        for ended, _ in verdicts.ends:
            self._remove(ended)
        return verdicts

    def recorded(self, ids: Iterable[int]) -> None:
        """The ends of these messages are on disk: the outbox will not offer them again."""
        recorded = set(ids)
        self._held -= recorded
        if not self._freeing.isdisjoint(recorded):  # what waited behind them, in their topics, is older
            self._freeing -= recorded
            self._after, self._dry = 0, False

    def lost(self, ending: Ending, name: str) -> Verdicts:
        """The connection is over."""
        verdicts = Verdicts()
        flight = list(self._flight.values())
        self._fruitless = self._fruitless + 1 if flight and not self._fruitful else 0
        if not flight or ending is Ending.EXPLAINED:
            return verdicts
        alone = len(flight) == 1
        if ending is Ending.REFUSED and alone:
            verdicts.ends.append((flight[0], Fate(Outcome.QUARANTINED, name)))
        elif ending is not Ending.NETWORK:
            answering = self._fruitful if ending is Ending.IGNORED else self._proven
            self._accuse(flight, verdicts, name, struck=alone and answering)
        else:
            self._spare(flight, verdicts)
        for ended, _ in verdicts.ends:
            self._remove(ended)
        return verdicts

    def _accuse(self, messages: list[Message], verdicts: Verdicts, name: str, *, struck: bool) -> None:
        """They may be what the broker does not take; ``struck``: one alone, and on that it hung up."""
        for message in messages:
            strikes = (message.strikes or 0) + struck
            if strikes >= STRIKES:
                verdicts.ends.append((message, Fate(Outcome.QUARANTINED, name)))
            else:
                verdicts.strikes[message.id] = strikes
        if len(messages) == 1:
            self._others = OTHERS

    def _spare(self, flight: list[Message], verdicts: Verdicts) -> None:
        """The network failed. If it fails again and again on the same ones, they must not hold up others.

        A link that carries only small packets does that to a large message.
        """
        if self._probe is not None:
            self._others = OTHERS
        elif self._fruitless >= STRIKES:
            verdicts.strikes |= {each.id: each.strikes or 0 for each in flight}

    def _remove(self, message: Message) -> None:
        """It has come to its end, which will be recorded."""
        self._held.add(message.id)
        self._tries.pop(message.id, None)
        if self._queue and self._queue[0].id == message.id:
            self._queue.popleft()
        if self._suspects.pop(message.id, None) is not None:
            self._freeing.add(message.id)


def _size(message: Message) -> int:
    return len(message.topic.encode()) + len(message.payload) + OVERHEAD
