"""A message inside the broker: encoded once per protocol version and QoS, however many get it."""

from typing import NamedTuple

from keyborn.adapters.broker.encode import DUP, publish_parts
from keyborn.adapters.broker.packets import V5, Kind, Prop, Properties, Will
from keyborn.adapters.broker.properties import number, pack_block
from keyborn.domain.names import ThingName

OVERHEAD = 400
"""Bytes that a message costs beside its text: objects, dictionary and queue slots."""

RESERVED = "keyborn:"
"""User properties whose names start with this are the broker's own: no client may send them."""
PRETENDS = f"user properties that start with {RESERVED} are the broker's own"
"""Why such a message is refused."""
PUBLISHER = RESERVED + "thing"
"""The user property that tells a service who published a message."""


class Message:
    """What was published, by whom, and until when it is worth delivering.

    ``properties`` is the block of MQTT 5 properties to pass on, encoded, without length, alias and expiry.
    ``thing`` is None for the service itself. ``expires`` is a reading of the monotonic clock, or None.
    ``row`` is the message's id in the journal, 0 while no durable session and no topic holds it; ``holders``
    is how many do.
    """

    __slots__ = (
        "_wire",
        "expires",
        "holders",
        "payload",
        "properties",
        "qos",
        "retain",
        "row",
        "thing",
        "topic",
    )

    def __init__(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 0,
        retain: bool = False,
        thing: ThingName | None = None,
        properties: bytes = b"",
        expires: float | None = None,
    ) -> None:
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.thing = thing
        self.properties = properties
        self.expires = expires
        self.row = 0
        self.holders = 0
        self._wire: dict[int, tuple[bytes, bytes]] | None = {}

    @property
    def cost(self) -> int:
        """Bytes this message counts for where memory is bounded."""
        return len(self.payload) + len(self.topic) + len(self.properties) + OVERHEAD

    def expired(self, now: float) -> bool:
        """Whether its time has passed (MQTT 5 section 3.3.2.3.3)."""
        return self.expires is not None and now >= self.expires

    def parts(
        self, version: int, qos: int, *, retain: bool, dup: bool, now: float, signed: bool = False
    ) -> tuple[bytes, bytes]:
        """Head and tail of the PUBLISH, see ``publish_parts``; remembered while the message is routed.

        ``signed`` (MQTT 5 alone) adds the user property ``keyborn:thing``: the record that published it.
        """
        first = Kind.PUBLISH << 4 | qos << 1 | retain
        if dup:
            first |= DUP
        if version == V5 and self.expires is not None:
            return self._encode(first, self._block(signed=signed) + self._expiry(self.expires - now))
        wire = self._wire
        key = first << 4 | signed << 3 | version
        if wire is not None and key in wire:
            return wire[key]
        parts = self._encode(first, self._block(signed=signed) if version == V5 else None)
        if wire is not None:
            wire[key] = parts
        return parts

    def settle(self) -> None:
        """Routing is over: remember no encodings, so that a message that waits costs what ``cost`` says."""
        self._wire = None

    def _block(self, *, signed: bool) -> bytes:
        if not signed or self.thing is None:
            return self.properties
        return self.properties + pack_block({Prop.USER_PROPERTY: ((PUBLISHER, self.thing),)})

    def _encode(self, first: int, properties: bytes | None) -> tuple[bytes, bytes]:
        return publish_parts(first, self.topic.encode(), properties, self.payload)

    @staticmethod
    def _expiry(seconds: float) -> bytes:
        """The time that is left, whole seconds, rounded up."""
        return bytes((Prop.MESSAGE_EXPIRY,)) + max(1, int(seconds) + (seconds % 1 > 0)).to_bytes(4)


_NOT_PASSED_ON = frozenset({Prop.MESSAGE_EXPIRY, Prop.TOPIC_ALIAS, Prop.WILL_DELAY, Prop.SUBSCRIPTION_ID})


def pretends(properties: Properties) -> bool:
    """Whether somebody has set a user property that is the broker's own."""
    pairs = properties.get(Prop.USER_PROPERTY, ())
    return isinstance(pairs, tuple) and any(
        isinstance(pair, tuple) and pair[0].startswith(RESERVED) for pair in pairs
    )


def passed_on(properties: Properties) -> tuple[bytes, int | None]:
    """The block of properties that goes with a message, and its lifetime in seconds or None."""
    if not properties:
        return b"", None
    block = pack_block({name: value for name, value in properties.items() if name not in _NOT_PASSED_ON})
    expiry = number(properties, Prop.MESSAGE_EXPIRY, -1)
    return block, None if expiry < 0 else expiry


class LastWill(NamedTuple):
    """A will, ready to become a message; ``delay`` is seconds (MQTT 5)."""

    will: Will
    delay: int

    @classmethod
    def of(cls, will: Will) -> "LastWill":
        """A client's will."""
        return cls(will, number(will.properties, Prop.WILL_DELAY, 0))

    def message(self, thing: ThingName, now: float) -> Message:
        """What is published when ``thing`` has vanished."""
        block, lifetime = passed_on(self.will.properties)
        return Message(
            self.will.topic,
            self.will.payload,
            qos=self.will.qos,
            retain=self.will.retain,
            thing=thing,
            properties=block,
            expires=None if lifetime is None else now + lifetime,
        )
