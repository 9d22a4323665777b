"""Sessions and retained messages in memory, within limits; a keeper writes down what shall outlive it."""

from collections.abc import Iterator
from math import inf
from typing import Protocol

from keyborn.adapters.broker.limits import Limits
from keyborn.adapters.broker.message import Message
from keyborn.adapters.broker.session import Session
from keyborn.adapters.broker.topics import TopicTree
from keyborn.domain.names import ThingName

RETAINED_FULL = "there are as many retained messages as there may be"
"""Why a message is not retained, and so not routed either."""


class SessionStore(Protocol):
    """Sessions by client id."""

    def find(self, client_id: str) -> Session | None:
        """The session of a client id, connected or waiting."""
        ...

    def keep(self, session: Session) -> bool:
        """Add a session; False if there are as many as there may be."""
        ...

    def drop(self, session: Session) -> None:
        """Forget a session."""
        ...

    def __iter__(self) -> Iterator[Session]:
        """All of them, over a snapshot."""
        ...

    def __len__(self) -> int:
        """How many there are."""
        ...


class MemorySessions:
    """Sessions of one run; what of them is durable is said to a keeper by the hub."""

    def __init__(self, limits: Limits) -> None:
        self._limit = limits.sessions
        self._by_id: dict[str, Session] = {}

    def find(self, client_id: str) -> Session | None:
        """The session of a client id, connected or waiting."""
        return self._by_id.get(client_id)

    def keep(self, session: Session) -> bool:
        """Add a session; False if there are as many as there may be."""
        if len(self._by_id) >= self._limit:
            return False
        self._by_id[session.client_id] = session
        return True

    def drop(self, session: Session) -> None:
        """Forget a session."""
        self._by_id.pop(session.client_id, None)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)


class RetainedStore(Protocol):
    """The last retained message of each topic."""

    def keep(self, message: Message) -> bool:
        """Keep a message in place of its topic's older one; False if that would be too many, or too big."""
        ...

    def restore(self, message: Message) -> bool:
        """Take back what an earlier run has kept; False if that would be too many, or too big, now."""
        ...

    def drop(self, topic: str) -> None:
        """Forget a topic's message."""
        ...

    def select(self, topic_filter: str, now: float) -> list[Message]:
        """The messages a filter takes, expired ones forgotten."""
        ...

    def forget_expired(self, now: float) -> int:
        """Forget messages whose time has passed, so that they keep no room; returns how many."""
        ...

    def purge_from(self, thing: ThingName) -> int:
        """Forget what ``thing`` published; returns how many."""
        ...


class RetainedKeeper(Protocol):
    """Who writes retained messages down."""

    def retain(self, message: Message) -> None:
        """A topic keeps this message from now on."""
        ...

    def release(self, message: Message) -> None:
        """Its topic keeps this message no longer."""
        ...


class MemoryRetained:
    """Retained messages, bounded in number, bytes, and number per thing; durable where there is a keeper."""

    def __init__(self, limits: Limits, keeper: RetainedKeeper | None = None) -> None:
        self._limits = limits
        self._keeper = keeper
        self._tree: TopicTree[Message] = TopicTree()
        self._topics: dict[ThingName | None, set[str]] = {}
        self._count = 0
        self._bytes = 0
        self._soonest = inf
        """No message expires before this moment."""

    def __len__(self) -> int:
        return self._count

    def keep(self, message: Message) -> bool:
        """Keep a message in place of its topic's older one; False if that would be too many, or too big."""
        old = next(self._tree.select(message.topic), None)
        if not self._fits(message, old):
            return False
        self.drop(message.topic)
        self._take(message)
        if self._keeper is not None:
            self._keeper.retain(message)
        return True

    def restore(self, message: Message) -> bool:
        """Take back what an earlier run has kept; False if that would be too many, or too big, now."""
        if not self._fits(message, None):
            return False
        self._take(message)
        return True

    def _take(self, message: Message) -> None:
        self._tree.put(message.topic, message)
        self._topics.setdefault(message.thing, set()).add(message.topic)
        self._count += 1
        self._bytes += message.cost
        if message.expires is not None:
            self._soonest = min(self._soonest, message.expires)

    def _fits(self, message: Message, old: Message | None) -> bool:
        limits = self._limits
        count = self._count + (old is None)
        size = self._bytes + message.cost - (old.cost if old else 0)
        own = self._topics.get(message.thing, set())
        crowded = message.thing is not None and len(own | {message.topic}) > limits.retained_per_thing
        return not crowded and count <= limits.retained_messages and size <= limits.retained_bytes

    def drop(self, topic: str) -> None:
        """Forget a topic's message."""
        message = self._tree.drop(topic)
        if message is None:
            return
        self._count -= 1
        self._bytes -= message.cost
        own = self._topics[message.thing]
        own.discard(topic)
        if not own:
            del self._topics[message.thing]
        if self._keeper is not None:
            self._keeper.release(message)

    def select(self, topic_filter: str, now: float) -> list[Message]:
        """The messages a filter takes, expired ones forgotten."""
        found = list(self._tree.select(topic_filter))
        for message in found:
            if message.expired(now):
                self.drop(message.topic)
        return [message for message in found if not message.expired(now)]

    def forget_expired(self, now: float) -> int:
        """Forget messages whose time has passed, so that they keep no room; returns how many."""
        if now < self._soonest:
            return 0
        before = self._count
        left = self.select("#", now)
        self._soonest = min((each.expires for each in left if each.expires is not None), default=inf)
        return before - self._count

    def purge_from(self, thing: ThingName) -> int:
        """Forget what ``thing`` published; returns how many."""
        topics = list(self._topics.get(thing, ()))
        for topic in topics:
            self.drop(topic)
        return len(topics)
