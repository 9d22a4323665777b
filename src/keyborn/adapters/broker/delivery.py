"""What goes out to one client: every delivery asks the rules; a slow client loses QoS 0 and waits for QoS 1."""

from collections import deque

from keyborn.adapters.broker.client import Client
from keyborn.adapters.broker.message import Message
from keyborn.adapters.broker.session import Delivery
from keyborn.domain.access import Action


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
        self._sent: set[int] = set()
        self._again: deque[tuple[int, Delivery]] = deque(client.session.unacknowledged())

    def deliver(self, message: Message, qos: int, *, retain: bool) -> None:
        """Send now, or queue at QoS 1; at QoS 0 a client that does not keep up loses the message."""
        if qos:
            if self._session.offer(message, retain=retain):
                self.pump()
            else:
                self._dropped("queue full, message dropped", message)
        elif not self._link.writable:
            self._dropped("slow reader, QoS 0 message dropped", message)
        elif self._client.allows(Action.RECEIVE, message.topic):
            self._send0(message, retain=retain)

    def pump(self) -> None:
        """Send what waits, as far as the client takes it; first what an earlier connection left unacknowledged."""
        while self._link.writable and len(self._sent) < self._window:
            if self._again:
                packet_id, delivery = self._again.popleft()
                dup = True
            elif (taken := self._session.take()) is not None:
                packet_id, delivery = taken
                dup = False
            else:
                return
            self._send1(packet_id, delivery, dup=dup)

    def acknowledged(self, packet_id: int) -> None:
        """A PUBACK: an unknown identifier is harmless, the message may have been purged."""
        self._session.acknowledge(packet_id)
        self._sent.discard(packet_id)
        if self._again:
            self._again = deque(each for each in self._again if each[0] != packet_id)
        self.pump()

    def _send0(self, message: Message, *, retain: bool) -> None:
        now = self._client.house.now()
        if message.expired(now):
            return
        head, tail = message.parts(self._client.version, 0, retain=retain, dup=False, now=now)
        if len(head) + len(tail) <= self._max_packet:
            self._link.send(head + tail)

    def _send1(self, packet_id: int, delivery: Delivery, *, dup: bool) -> None:
        message = delivery.message
        now = self._client.house.now()
        if not message.expired(now) and self._client.allows(Action.RECEIVE, message.topic):
            version = self._client.version
            head, tail = message.parts(version, 1, retain=delivery.retain, dup=dup, now=now)
            if len(head) + len(tail) + 2 <= self._max_packet:
                self._sent.add(packet_id)
                self._link.send(head + packet_id.to_bytes(2) + tail)
                return
        self._session.acknowledge(packet_id)

    def _dropped(self, event: str, message: Message) -> None:
        principal = self._client.principal
        self._client.house.refusals.say(
            f"slow {principal.certificate}", event, thing=principal.thing, topic=message.topic
        )
