"""What the broker's file holds, row by row, and the changes that wait to be written.

Times are milliseconds since 1970-01-01 UTC. Ids are never given twice while a broker runs.
"""

from typing import Generic, NamedTuple, TypeVar

from keyborn.adapters.broker.packets import Subscription

Key = TypeVar("Key", int, str, tuple[int, str])
Row = TypeVar("Row")


class SessionRow(NamedTuple):
    """A session that outlives its connection."""

    id: int
    client_id: str
    certificate: str
    thing: str
    attributes: str
    """What the latest CONNECT asked for (``ConnectAttribute``), separated by spaces."""
    expiry: int
    """Seconds without a connection."""
    ends: int | None
    """When it ends if nobody comes back; None while its client is connected."""


class SubscriptionRow(NamedTuple):
    """One filter of a session."""

    session: int
    wanted: Subscription


class MessageRow(NamedTuple):
    """A message, once, however many sessions wait for it."""

    id: int
    topic: str
    payload: bytes
    qos: int
    thing: str | None
    """Who published it; None is the service itself."""
    properties: bytes
    expires: int | None


class DeliveryRow(NamedTuple):
    """A message on its way to one session, sent already if it has a packet identifier; ids grow in order."""

    id: int
    session: int
    message: int
    retain: bool
    packet_id: int | None


class RetainedRow(NamedTuple):
    """The message that a topic keeps."""

    topic: str
    message: int


class Kept(NamedTuple):
    """The whole file, each part by id or by name."""

    sessions: list[SessionRow]
    subscriptions: list[SubscriptionRow]
    messages: list[MessageRow]
    deliveries: list[DeliveryRow]
    retained: list[RetainedRow]


class Pending(Generic[Key, Row]):
    """What a table shall hold, for the keys that have changed; None: no row."""

    __slots__ = ("_fresh", "rows")

    def __init__(self) -> None:
        self.rows: dict[Key, Row | None] = {}
        self._fresh: set[Key] = set()

    def add(self, key: Key, row: Row) -> None:
        """A row whose key has never been in the file."""
        self.rows[key] = row
        self._fresh.add(key)

    def put(self, key: Key, row: Row) -> None:
        """A row, whether the file has an older one or not."""
        self.rows[key] = row

    def drop(self, key: Key) -> None:
        """No row; one that was never handed to the writer need not be written at all."""
        if key in self._fresh:
            self._fresh.discard(key)
            del self.rows[key]
        else:
            self.rows[key] = None

    def take_back(self, older: "Pending[Key, Row]") -> None:
        """Go on with changes that could not be written, where there are no newer ones.

        Whether a failed commit has reached the disk is not known, so none of them counts as fresh.
        """
        for key, row in older.rows.items():
            self.rows.setdefault(key, row)


class Changes:
    """One batch: what has changed since the last one. The state that is wanted, not the steps to it."""

    __slots__ = ("deliveries", "messages", "retained", "sessions", "subscriptions")

    def __init__(self) -> None:
        self.sessions: Pending[int, SessionRow] = Pending()
        self.subscriptions: Pending[tuple[int, str], SubscriptionRow] = Pending()
        self.messages: Pending[int, MessageRow] = Pending()
        self.deliveries: Pending[int, DeliveryRow] = Pending()
        self.retained: Pending[str, RetainedRow] = Pending()

    def __bool__(self) -> bool:
        return bool(
            self.deliveries.rows
            or self.messages.rows
            or self.sessions.rows
            or self.subscriptions.rows
            or self.retained.rows
        )

    def take_back(self, older: "Changes") -> None:
        """Go on with a batch that could not be written."""
        self.sessions.take_back(older.sessions)
        self.subscriptions.take_back(older.subscriptions)
        self.messages.take_back(older.messages)
        self.deliveries.take_back(older.deliveries)
        self.retained.take_back(older.retained)
