"""A world in memory for the machine that empties an outbox: an outbox, a broker, a network that fails."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from keyborn.device.drain import LOOK_AHEAD, Drain, Ending, Ping, Send, Settle, Terms, Verdicts, Wait
from keyborn.device.messages import Fate, Message, Outcome

DENIED, DENIED_NAME = 0x87, "Not authorized"


@dataclass
class Shelf:
    """What ``Outbox`` is to the machine: messages on a disk that survives."""

    waiting_ones: dict[int, Message] = field(default_factory=dict)
    fates: dict[int, Fate] = field(default_factory=dict)
    count: int = 0

    def append(self, topic: str, *, qos: int = 1, expires_at: float | None = None, size: int = 1) -> int:
        self.count += 1
        message = Message(self.count, topic, bytes(size), qos, expires_at)
        self.waiting_ones[message.id] = message
        return message.id

    def waiting(self, after: int, limit: int) -> list[Message]:
        held_up = {each.topic for each in self.suspects()}
        found = [
            each
            for number, each in sorted(self.waiting_ones.items())
            if number > after and each.strikes is None and each.topic not in held_up
        ]
        return found[:limit]

    def suspects(self) -> list[Message]:
        return [each for _, each in sorted(self.waiting_ones.items()) if each.strikes is not None]

    def settle(self, ends: Iterable[tuple[Message, Fate]]) -> None:
        for message, fate in ends:
            del self.waiting_ones[message.id]
            assert message.id not in self.fates, "an end is recorded once"
            self.fates[message.id] = fate

    def suspect(self, strikes: dict[int, int]) -> None:
        for number, count in strikes.items():
            self.waiting_ones[number] = replace(self.waiting_ones[number], strikes=count)


@dataclass
class Broker:
    """Takes everything but what is poisoned; handles packets in the order in which they came."""

    poisoned: set[int] = field(default_factory=set)
    """On these it hangs up (3.1.1), or answers with a refusal (5)."""
    ignored: set[int] = field(default_factory=set)
    """These it never acknowledges."""
    taken: list[Message] = field(default_factory=list)

    def first_taken(self, topic: str) -> list[int]:
        """The messages of a topic in the order in which they came first."""
        return list(dict.fromkeys(each.id for each in self.taken if each.topic == topic))


class World:
    """An outbox that is emptied, step by step."""

    def __init__(self) -> None:
        self.shelf = Shelf()
        self.broker = Broker()
        self.drain = Drain()
        self.terms = Terms()
        self.connected = False
        self.wire: deque[Message | Ping] = deque()
        self.unacknowledged: set[int] = set()
        self.open: list[tuple[Message, Fate]] = []
        self.now, self.wall = 1000.0, 1.7e9
        self.hang_ups = 0
        self.sent: list[int] = []
        self.sent_here: set[int] = set()

    def connect(self, terms: Terms | None = None) -> None:
        self.record()
        self.terms = terms or self.terms
        self.drain.begin(self.terms, self.shelf.suspects())
        self.connected = True
        self.sent_here.clear()
        self.wire.clear()
        self.unacknowledged.clear()

    def push(self) -> float:
        """Do what the machine says until it wants to wait; for how long."""
        while True:
            while self.drain.hungry:
                self.drain.feed(self.shelf.waiting(self.drain.after, LOOK_AHEAD))
            match self.drain.step(self.now, self.wall):
                case Wait(seconds):
                    return seconds
                case Settle(message, fate):
                    self.open.append((message, fate))
                case Ping() as ping:
                    self.wire.append(ping)
                case Send(message):
                    self._send(message)

    def _send(self, message: Message) -> None:
        assert self.connected
        assert message.id not in self.sent_here, "sent twice over one connection"
        self.sent_here.add(message.id)
        self.sent.append(message.id)
        self.wire.append(message)
        if message.qos:
            self.unacknowledged.add(message.id)
            assert len(self.unacknowledged) <= self.terms.in_flight, "more than the broker takes"
        else:
            self.note(self.drain.answered(message.id, 0, ""))

    def serve(self, packets: int = 1000) -> None:
        """Let the broker handle up to so many packets, and the device hear of it."""
        for _ in range(min(packets, len(self.wire))):
            if self.connected:
                self._handle(self.wire.popleft())

    def _handle(self, packet: Message | Ping) -> None:
        if isinstance(packet, Ping):
            return self.drain.ponged()
        if packet.id in self.broker.poisoned:
            return self._deny(packet)
        if packet.id in self.broker.ignored:
            return None
        self.broker.taken.append(packet)
        if packet.qos:
            self._answer(packet, 0, "Success")
        return None

    def _deny(self, packet: Message) -> None:
        if not self.terms.explains:
            self.hang_ups += 1
            return self.lose(Ending.UNEXPLAINED)
        if packet.qos:
            self._answer(packet, DENIED, DENIED_NAME)
        return None

    def _answer(self, packet: Message, code: int, name: str) -> None:
        self.unacknowledged.discard(packet.id)
        self.note(self.drain.answered(packet.id, code, name))

    def lose(self, ending: Ending, *, handled: int = 0) -> None:
        """The connection ends; the broker had handled some more, of which the device never heard."""
        for packet in list(self.wire)[:handled]:
            if isinstance(packet, Message):
                if packet.id in self.broker.poisoned | self.broker.ignored:
                    break
                self.broker.taken.append(packet)
        self.connected = False
        self.note(self.drain.lost(ending, ending.value))
        self.record()

    def note(self, verdicts: Verdicts) -> None:
        self.open += verdicts.ends
        self.shelf.suspect(verdicts.strikes)

    def record(self) -> None:
        self.shelf.settle(self.open)
        self.drain.recorded([message.id for message, _ in self.open])
        self.open.clear()
        self.drain.look_again()

    def crash(self) -> None:
        """Power off: what was not recorded is forgotten."""
        self.open.clear()
        self.drain = Drain()
        self.connected = False

    def settle(self, terms: Terms | None = None, *, connections: int = 500) -> int:
        """A good network until nothing waits; returns how many connections that took."""
        for used in range(1, connections + 1):
            if not self.connected:
                self.connect(terms)
            while self.connected and self.shelf.waiting_ones:
                self.now += min(self.push(), 3600)
                before = len(self.wire)
                self.serve()
                self.record()
                if not before and self.connected and not self.drain.hungry and not self.open:
                    break
            if not self.shelf.waiting_ones:
                return used
            if self.connected:
                self.lose(Ending.NETWORK)
        waiting = sorted(self.shelf.waiting_ones)
        raise AssertionError(f"after {connections} connections these still wait: {waiting}")

    def outcome(self, number: int) -> Outcome:
        fate = self.shelf.fates.get(number)
        return Outcome.WAITING if fate is None else fate.outcome
