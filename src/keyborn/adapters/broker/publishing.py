"""What comes in from one client: PUBLISH. A denied one is never acknowledged as if it had been accepted."""

from functools import partial

from keyborn.adapters.broker.client import Client, Denied
from keyborn.adapters.broker.encode import encode_puback
from keyborn.adapters.broker.message import PRETENDS, Message, passed_on, pretends
from keyborn.adapters.broker.packets import Prop, Publish, Reason
from keyborn.adapters.broker.properties import number
from keyborn.adapters.broker.store import RETAINED_FULL
from keyborn.adapters.broker.topics import size_fault, topic_fault
from keyborn.adapters.broker.wire import ProtocolError, violation
from keyborn.domain.access import Action


class Intake:
    """The incoming side of a connection, with the topic aliases that live as long as it does."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._aliases: dict[int, str] = {}

    def publish(self, packet: Publish) -> None:
        """Accept, route and acknowledge, or refuse; raises ProtocolError where the connection must end."""
        client = self._client
        if packet.qos > 1:
            raise ProtocolError(Reason.QOS_NOT_SUPPORTED, "a publish at QoS 2")
        if len(packet.payload) > client.house.limits.payload:
            raise ProtocolError(Reason.PACKET_TOO_LARGE, f"a payload of {len(packet.payload)} bytes")
        topic = self._topic(packet) if packet.properties else packet.topic
        mark = client.answers.mark()
        refused = self._refusal(topic, packet) or self._route(topic, packet)
        if refused:
            self._turn_down(packet, refused)
        elif packet.qos:
            self._accept(packet.packet_id, mark)

    def _accept(self, packet_id: int, mark: int) -> None:
        """Acknowledge: at once, or when all that was enqueued or retained since ``mark`` is durable."""
        client = self._client
        if client.answers.free(mark):
            client.link.send(encode_puback(packet_id, client.version))
        else:
            client.answers.after(mark, partial(self._acknowledge, packet_id))

    def _acknowledge(self, packet_id: int, written: bool) -> None:  # noqa: FBT001 - a callback's argument
        """MQTT 3.1.1 has no word for no: close, and the client sends it again."""
        client = self._client
        if written:
            client.link.send(encode_puback(packet_id, client.version))
        elif client.is_v5:
            client.link.send(encode_puback(packet_id, client.version, Reason.QUOTA_EXCEEDED))
        else:
            client.unwritten("a publish")

    def _topic(self, packet: Publish) -> str:
        """The topic, whether it was sent or stands behind an alias (MQTT 5 section 3.3.2.3.4)."""
        if Prop.SUBSCRIPTION_ID in packet.properties:
            raise violation("a client sent a subscription identifier")
        alias = number(packet.properties, Prop.TOPIC_ALIAS, 0)
        if not alias:
            return packet.topic
        limits = self._client.house.limits
        if alias > limits.topic_aliases:
            raise ProtocolError(Reason.TOPIC_ALIAS_INVALID, f"topic alias {alias}")
        if packet.topic:
            if size_fault(packet.topic, limits):
                raise ProtocolError(Reason.TOPIC_NAME_INVALID, "an alias for a topic beyond the limits")
            self._aliases[alias] = packet.topic
        if alias not in self._aliases:
            raise violation(f"topic alias {alias} stands for nothing")
        return self._aliases[alias]

    def _refusal(self, topic: str, packet: Publish) -> Reason | None:
        client = self._client
        fault = topic_fault(topic)
        if fault:
            raise ProtocolError(Reason.TOPIC_NAME_INVALID, fault)
        fault = size_fault(topic, client.house.limits)
        if fault:
            client.deny(Action.PUBLISH, topic, fault)
            return Reason.TOPIC_NAME_INVALID
        if topic[0] == "$":
            client.deny(Action.PUBLISH, topic, "topics that start with $ are the broker's own")
            return Reason.NOT_AUTHORIZED
        if packet.properties and pretends(packet.properties):
            client.deny(Action.PUBLISH, topic, PRETENDS)
            return Reason.NOT_AUTHORIZED
        if not client.allows(Action.PUBLISH, topic):
            return Reason.NOT_AUTHORIZED
        if packet.retain and not client.allows(Action.RETAIN, topic):
            return Reason.NOT_AUTHORIZED
        return None

    def _route(self, topic: str, packet: Publish) -> Reason | None:
        client = self._client
        block, lifetime = passed_on(packet.properties)
        message = Message(
            topic,
            packet.payload,
            qos=packet.qos,
            retain=packet.retain,
            thing=client.principal.thing,
            properties=block,
            expires=None if lifetime is None else client.house.now() + lifetime,
        )
        hub = client.house.hub
        if packet.qos and hub.unwritable(message, client.session):
            client.deny(Action.PUBLISH, topic, "the broker cannot write its file")
            return Reason.QUOTA_EXCEEDED
        if hub.publish(message, client.session):
            return None
        client.deny(Action.RETAIN, topic, RETAINED_FULL)
        return Reason.QUOTA_EXCEEDED

    def _turn_down(self, packet: Publish, reason: Reason) -> None:
        """MQTT 3.1.1 has no word for no: close. MQTT 5 says it where an answer is due, and stays up."""
        client = self._client
        if not client.is_v5:
            raise Denied(reason, "a publish was refused")
        if packet.qos:
            answer = encode_puback(packet.packet_id, client.version, reason)
            client.answers.after(client.answers.mark(), lambda _: client.link.send(answer))
