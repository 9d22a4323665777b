"""What a CONNECT asks for, and what CONNACK grants of it."""

from keyborn.adapters.broker.limits import Limits
from keyborn.adapters.broker.packets import V5, ConnAck, Connect, Prop, PropertyValue
from keyborn.adapters.broker.properties import number


def expiry(connect: Connect, longest: int) -> int:
    """How long the session may wait: 3.1.1 has yes or no, 5 has seconds; both are capped."""
    if connect.version != V5:
        return 0 if connect.clean_start else longest
    return min(number(connect.properties, Prop.SESSION_EXPIRY, 0), longest)


def welcome(connect: Connect, granted: int, limits: Limits, *, present: bool) -> ConnAck:
    """CONNACK with what this broker grants (MQTT 5 section 3.2.2.3); ``granted`` is the session's expiry."""
    if connect.version != V5:
        return ConnAck(present, 0)
    properties: dict[int, PropertyValue] = {
        Prop.RECEIVE_MAXIMUM: limits.in_flight,
        Prop.MAXIMUM_QOS: 1,
        Prop.MAXIMUM_PACKET_SIZE: limits.packet,
        Prop.TOPIC_ALIAS_MAXIMUM: limits.topic_aliases,
        Prop.SUBSCRIPTION_ID_AVAILABLE: 0,
        Prop.SHARED_AVAILABLE: 0,
    }
    if granted != number(connect.properties, Prop.SESSION_EXPIRY, 0):
        properties[Prop.SESSION_EXPIRY] = granted
    if not 0 < connect.keep_alive <= limits.keep_alive:
        properties[Prop.SERVER_KEEP_ALIVE] = limits.keep_alive
    return ConnAck(present, 0, properties)
