"""One client's session: what it wants, what waits for it, what it has not acknowledged. No I/O."""

from collections import deque
from collections.abc import Iterator, Sized
from itertools import chain
from math import inf
from typing import NamedTuple, Protocol

from keyborn.adapters.broker.limits import Limits
from keyborn.adapters.broker.message import LastWill, Message
from keyborn.adapters.broker.packets import Reason, Subscription
from keyborn.domain.access import Circumstances, Principal
from keyborn.domain.names import ThingName

_MAX_PACKET_ID = 0xFFFF


class Delivery(NamedTuple):
    """A message on its way to one session; ``retain`` is the flag the client will see."""

    message: Message
    retain: bool
    row: int = 0
    """Its id in the journal; 0 where the session does not outlive its connection, and for QoS 0."""


class Budget:
    """Bytes that many share; ``take`` says no instead of going over."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = 0

    def take(self, count: int) -> bool:
        """Reserve ``count`` bytes, if they are there."""
        if self.used + count > self._limit:
            return False
        self.used += count
        return True

    def give(self, count: int) -> None:
        """Give ``count`` bytes back."""
        self.used -= count

    @property
    def free(self) -> int:
        """Bytes that nobody has taken."""
        return self._limit - self.used


class Outlet(Protocol):
    """The connection of a session, as the hub sees it."""

    def deliver(self, message: Message, qos: int, *, retain: bool) -> None:
        """Send or queue a message, if the rules let this client receive it."""
        ...

    def displaced(self) -> None:
        """A newer connection of the same client id has been admitted: close."""
        ...

    def removed(self, reason: str, code: Reason) -> None:
        """The operator ends the session: close, and send no will; MQTT 5 clients are told ``code``."""
        ...


class Page(Protocol):
    """The journal, as a durable session sees it: what happens to its QoS 1 messages."""

    @property
    def id(self) -> int:
        """The session's id in the journal."""
        ...

    def queued(self, message: Message, *, retain: bool) -> int:
        """A message waits; returns the id of its delivery."""
        ...

    def sent(self, delivery: Delivery, packet_id: int) -> None:
        """A delivery is under way."""
        ...

    def done(self, delivery: Delivery) -> None:
        """A delivery has been acknowledged, or is forgotten."""
        ...


class Session:
    """State that outlives connections.

    ``expiry`` is how many seconds it lives without a connection; 0 ends it with the connection. ``budget`` is
    what all sessions' queues share.
    """

    def __init__(self, client_id: str, principal: Principal, limits: Limits, budget: Budget) -> None:
        self.client_id = client_id
        self.principal = principal
        """Who acts, with the rights in force now: another object whenever these have been read again."""
        self.circumstances = Circumstances(client_id)
        """What the latest CONNECT asked for: rights that are read again are bound with it."""
        self.expiry = 0
        self.outlet: Outlet | None = None
        self.expires = 0.0
        """While it waits for its client: when it ends, monotonic."""
        self.will: tuple[float, LastWill] | None = None
        """A will that waits, and until when."""
        self.subscriptions: dict[str, Subscription] = {}
        self.page: Page | None = None
        """Its place in the journal, where it outlives both its connection and the broker."""
        self._limits = limits
        self._budget = budget
        self._queue: deque[Delivery] = deque()
        self._queue0: deque[Delivery] = deque()
        self._in_flight: dict[int, Delivery] = {}
        self._bytes = 0
        self._last_id = 0
        self._soonest = inf
        """No waiting message expires before this moment."""

    @property
    def queued(self) -> int:
        """Messages that have not been sent yet, of both QoS."""
        return len(self._queue) + len(self._queue0)

    @property
    def in_flight(self) -> int:
        """Messages sent and not acknowledged."""
        return len(self._in_flight)

    @property
    def held_bytes(self) -> int:
        """What queue and flight cost together."""
        return self._bytes

    def offer(self, message: Message, qos: int, *, retain: bool) -> bool:
        """Queue a message; False if the session, or all of them, hold as much as they may."""
        queue = self._queue if qos else self._queue0
        if not self._room(queue, message.cost):
            return False
        row = self.page.queued(message, retain=retain) if qos and self.page is not None else 0
        queue.append(Delivery(message, retain, row))
        self._note_expiry(message)
        return True

    def restore(self, delivery: Delivery, packet_id: int | None) -> bool:
        """Take back what an earlier run has left, in its order; False if that would be too much now."""
        if packet_id is not None:
            if packet_id in self._in_flight or not self._room((), delivery.message.cost):
                return False
            self._in_flight[packet_id] = delivery
            self._last_id = packet_id
            return True
        if not self._room(self._queue, delivery.message.cost):
            return False
        self._queue.append(delivery)
        self._note_expiry(delivery.message)
        return True

    def forget_expired(self, now: float) -> int:
        """Forget QoS 1 messages that wait in vain, so that they keep no room; returns how many."""
        if now < self._soonest:
            return 0
        gone = [each for each in self._queue if each.message.expired(now)]
        self._queue = deque(each for each in self._queue if not each.message.expired(now))
        self._soonest = inf
        for each in self._queue:
            self._note_expiry(each.message)
        for each in gone:
            self._release(each)
        return len(gone)

    def _note_expiry(self, message: Message) -> None:
        if message.expires is not None and message.expires < self._soonest:
            self._soonest = message.expires

    def _room(self, queue: Sized, cost: int) -> bool:
        """Reserve ``cost`` bytes for one more in ``queue``, if the limits let it in.

        No session may hold more than is still free for all (Choudhury and Hahne's dynamic threshold): full
        queues of many stop growing while there is room for those whose own are short.
        """
        limits = self._limits
        if len(queue) >= limits.queue_messages or self._bytes + cost > limits.queue_bytes:
            return False
        if self._bytes + cost > self._budget.free:
            return False
        if not self._budget.take(cost):
            return False
        self._bytes += cost
        return True

    def take0(self) -> Delivery | None:
        """The next QoS 0 message, which is forgotten by that; None if none waits."""
        if not self._queue0:
            return None
        delivery = self._queue0.popleft()
        self._release(delivery)
        return delivery

    def forget_qos0(self) -> None:
        """QoS 0 messages do not wait for another connection."""
        while self.take0() is not None:
            pass

    def take(self) -> tuple[int, Delivery] | None:
        """The next message, under way from now on with a packet identifier of its own; None if none waits."""
        if not self._queue:
            return None
        delivery = self._queue.popleft()
        packet_id = self._free_id()
        self._in_flight[packet_id] = delivery
        if delivery.row and self.page is not None:
            self.page.sent(delivery, packet_id)
        return packet_id, delivery

    def acknowledge(self, packet_id: int) -> bool:
        """Forget a message under way; False if there is none of that identifier."""
        delivery = self._in_flight.pop(packet_id, None)
        if delivery is None:
            return False
        self._release(delivery)
        return True

    def unacknowledged(self) -> list[int]:
        """What must be sent again after a reconnection, in the order of the first sending."""
        return list(self._in_flight)

    def sent(self, packet_id: int) -> Delivery | None:
        """An unacknowledged message."""
        return self._in_flight.get(packet_id)

    def purge_from(self, thing: ThingName) -> int:
        """Forget messages that ``thing`` published, waiting or unacknowledged; returns how many."""
        gone = [each for each in self._held() if each.message.thing == thing]
        self._queue = deque(each for each in self._queue if each.message.thing != thing)
        self._queue0 = deque(each for each in self._queue0 if each.message.thing != thing)
        self._in_flight = {key: each for key, each in self._in_flight.items() if each.message.thing != thing}
        for each in gone:
            self._release(each)
        return len(gone)

    def clear(self) -> None:
        """Forget every message."""
        gone = list(self._held())
        self._queue.clear()
        self._queue0.clear()
        self._in_flight.clear()
        for each in gone:
            self._release(each)

    def tear_out(self) -> None:
        """Outlive the connection no longer: the messages stay, the journal forgets them."""
        page, self.page = self.page, None
        for each in self._held():
            if each.row and page is not None:
                page.done(each)

    def _held(self) -> Iterator[Delivery]:
        return chain(self._in_flight.values(), self._queue, self._queue0)

    def _release(self, delivery: Delivery) -> None:
        self._bytes -= delivery.message.cost
        self._budget.give(delivery.message.cost)
        if delivery.row and self.page is not None:
            self.page.done(delivery)

    def _free_id(self) -> int:
        candidate = self._last_id
        while True:
            candidate = candidate % _MAX_PACKET_ID + 1
            if candidate not in self._in_flight:
                self._last_id = candidate
                return candidate
