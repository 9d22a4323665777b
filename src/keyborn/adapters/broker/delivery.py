"""What goes out to one client: every delivery asks the rules; what a slow client cannot take yet waits."""

from collections import deque

from keyborn.adapters.broker.client import Client
from keyborn.adapters.broker.message import Message
from keyborn.adapters.broker.session import Delivery
from keyborn.domain.access import Action
from keyborn.domain.thing import ThingKind


class Sender:
    """The outgoing side of a connection.

    ``window`` bounds unacknowledged messages, ``max_packet`` is the largest packet the client takes (bytes).
    """

    def __init__(self, client: Client, window: int, max_packet: int) -> None:
        self._client = client
        self._session = client.session
        self._link = client.link
        self._window = window
        self._max_packet = max_packet
        self._signed = client.is_v5 and client.principal.kind is ThingKind.SERVICE
        """A service is told who published what it hears."""
        self._sent: set[int] = set()
        self._again = deque(client.session.unacknowledged())

    def deliver(self, message: Message, qos: int, *, retain: bool) -> None:
        """Send now, or queue while the client is slow or owes acknowledgements; drop if that is full."""
        if not qos and self._link.writable and not self._session.queued:
            self._send0(message, retain=retain)
        elif self._session.offer(message, qos, retain=retain):
            self.pump()
        else:
            self._dropped(message)

    def pump(self) -> None:
        """Send what waits, as far as the client takes it; first what an earlier one left unacknowledged."""
        link, session = self._link, self._session
        while link.writable and (delivery := session.take0()) is not None:
            self._send0(delivery.message, retain=delivery.retain)
        while link.writable and len(self._sent) < self._window:
            if self._again:
                packet_id = self._again.popleft()
                self._send1(packet_id, session.sent(packet_id), dup=True)
            elif (taken := session.take()) is not None:
                self._send1(*taken, dup=False)
            else:
                return

    def acknowledged(self, packet_id: int) -> None:
        """A PUBACK: an unknown identifier is harmless, the message may have been purged."""
        self._session.acknowledge(packet_id)
        self._sent.discard(packet_id)
        self.pump()

    def _send0(self, message: Message, *, retain: bool) -> None:
        packet = self._packet(message, 0, retain=retain)
        if packet is not None:
            self._link.send(packet[0] + packet[1])

    def _send1(self, packet_id: int, delivery: Delivery | None, *, dup: bool) -> None:
        if delivery is None:
            return
        packet = self._packet(delivery.message, 1, retain=delivery.retain, dup=dup)
        if packet is None:
            self._session.acknowledge(packet_id)
            return
        self._sent.add(packet_id)
        self._link.send(packet[0] + packet_id.to_bytes(2) + packet[1])

    def _packet(
        self, message: Message, qos: int, *, retain: bool, dup: bool = False
    ) -> tuple[bytes, bytes] | None:
        """The two parts of a PUBLISH, or None where it may not, or need not, be sent any more."""
        client = self._client
        now = 0.0 if message.expires is None else client.house.now()
        if message.expired(now) or not client.allows(Action.RECEIVE, message.topic):
            return None
        head, tail = message.parts(client.version, qos, retain=retain, dup=dup, now=now, signed=self._signed)
        size = len(head) + len(tail) + (2 if qos else 0)
        return (head, tail) if size <= self._max_packet else None

    def _dropped(self, message: Message) -> None:
        principal = self._client.principal
        self._client.house.refusals.say(
            f"slow {principal.certificate}",
            "queue full, message dropped",
            thing=principal.thing,
            topic=message.topic,
        )
