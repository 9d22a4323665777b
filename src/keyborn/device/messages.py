"""What the outbox holds and tells: messages, what becomes of them, how many there may be. Values alone."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from keyborn.device.topics import MAX_PAYLOAD, MAX_TOPIC
from keyborn.domain.errors import InvalidSetting

MIB = 1024 * 1024
LONGEST_LIFE = 0xFFFF_FFFF
"""Seconds: what MQTT 5 can say of a message's expiry (3.3.2.3.3)."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A message before it is kept; ``lifetime`` in seconds, None without end."""

    topic: str
    payload: bytes
    qos: int = 1
    lifetime: float | None = None

    def __post_init__(self) -> None:
        """Raise InvalidSetting for another quality of service than 0 or 1, and for a life that cannot be."""
        if self.qos not in (0, 1):
            raise InvalidSetting(setting="qos", detail="messages are sent with 0 or 1")
        if self.lifetime is not None and not 0 < self.lifetime <= LONGEST_LIFE:
            raise InvalidSetting(setting="lifetime", detail=f"it takes seconds, above 0 up to {LONGEST_LIFE}")

    @property
    def size(self) -> int:
        """What it counts for: bytes of topic and payload."""
        return len(self.topic.encode()) + len(self.payload)


@dataclass(frozen=True, slots=True)
class Message:
    """One message that waits; ids grow with age."""

    id: int
    topic: str
    payload: bytes
    qos: int = 1
    expires_at: float | None = None
    """Seconds since 1970 on this machine's clock, or None: it never does."""
    strikes: int | None = None
    """How often the broker hung up on it alone; None as long as it is not suspected of that."""

    def lifetime(self, wall: float) -> float | None:
        """Seconds it has left; None without end."""
        return None if self.expires_at is None else self.expires_at - wall


class Outcome(StrEnum):
    """What became of a message."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    """Acknowledged by the broker; with QoS 0: given to the network."""
    QUARANTINED = "quarantined"
    """The broker will never take it: set aside with the reason."""
    EXPIRED = "expired"
    DROPPED = "dropped"
    """It had to make room, or the operator dropped it."""
    FORGOTTEN = "forgotten"
    """It has left, so long ago that nobody knows how; or there never was such a message."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a message, and where it is not obvious, why."""

    outcome: Outcome
    reason: str | None = None

    @property
    def waiting(self) -> bool:
        """Whether that is still open."""
        return self.outcome is Outcome.WAITING


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that was set aside, without its payload; ``size`` is that of the payload in bytes."""

    id: int
    topic: str
    created_at: datetime
    reason: str
    size: int


@dataclass(frozen=True, slots=True)
class Counts:
    """How many wait and were set aside; how many were dropped and expired since the outbox was made."""

    waiting: int
    refused: int
    dropped: int = 0
    expired: int = 0


class Overflow(StrEnum):
    """What gives way when a bounded outbox is full."""

    DROP_OLDEST = "drop-oldest"
    DROP_NEWEST = "drop-newest"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class OutboxLimits:
    """How much may wait; None is without bound. Messages that were set aside have bounds of their own.

    Bytes are those of topics and payloads; the file is larger by some tens of bytes for each message.
    """

    messages: int | None = 100_000
    size: int | None = 256 * MIB
    overflow: Overflow = Overflow.DROP_OLDEST
    set_aside: int = 1000
    set_aside_size: int = 16 * MIB

    def __post_init__(self) -> None:
        """Raise InvalidSetting for limits that no message fits into."""
        largest = MAX_PAYLOAD + MAX_TOPIC
        for name, least in (
            ("messages", 1),
            ("size", largest),
            ("set_aside", 1),
            ("set_aside_size", largest),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InvalidSetting(setting=f"outbox {name}", detail=f"it takes {least} or more")

    def fits(self, messages: int, size: int) -> bool:
        """Whether so many messages of so many bytes together may wait."""
        return (self.messages is None or messages <= self.messages) and (
            self.size is None or size <= self.size
        )

    def fits_aside(self, messages: int, size: int) -> bool:
        """Whether so many may be set aside."""
        return messages <= self.set_aside and size <= self.set_aside_size


UNBOUNDED = OutboxLimits(messages=None, size=None)
"""Whatever the disk takes (design MISSION "The flow", 4)."""
