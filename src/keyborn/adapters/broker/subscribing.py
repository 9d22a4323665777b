"""SUBSCRIBE and UNSUBSCRIBE of one client. On MQTT 3.1.1 a refused filter ends the connection, as on AWS."""

from keyborn.adapters.broker.client import Client, Denied
from keyborn.adapters.broker.delivery import Sender
from keyborn.adapters.broker.encode import encode_suback, encode_unsuback
from keyborn.adapters.broker.packets import (
    Prop,
    Reason,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
)
from keyborn.adapters.broker.topics import SHARED_PREFIX, filter_fault, size_fault
from keyborn.adapters.broker.wire import ProtocolError
from keyborn.domain.access import Action

_SEND_IF_NEW = 1
_SEND_NEVER = 2


def subscribe(client: Client, sender: Sender, packet: Subscribe) -> None:
    """Grant what is allowed, answer, then send the retained messages; raises ProtocolError to end it all."""
    if Prop.SUBSCRIPTION_ID in packet.properties:
        raise ProtocolError(Reason.SUBSCRIPTION_IDS_NOT_SUPPORTED, "a subscription identifier")
    verdicts = _verdicts(client, packet.subscriptions)
    if not client.is_v5 and (refused := next(filter(None, verdicts), None)):
        raise Denied(refused, "a subscription was refused")
    reasons: list[int] = []
    retained: list[Subscription] = []
    mark = client.answers.mark()
    for wanted, refusal in zip(packet.subscriptions, verdicts, strict=True):
        if refusal:
            reasons.append(refusal)
            continue
        granted = wanted._replace(qos=min(wanted.qos, 1))
        new = client.house.hub.subscribe(client.session, granted)
        reasons.append(granted.qos)
        if wanted.retain_handling != _SEND_NEVER and (new or wanted.retain_handling != _SEND_IF_NEW):
            retained.append(granted)

    def _answer(written: bool) -> None:  # noqa: FBT001 - a callback's one argument
        if not written:
            client.unwritten("a subscription")
            return
        client.link.send(encode_suback(SubAck(packet.packet_id, tuple(reasons)), client.version))
        _send_retained(client, sender, retained)

    client.answers.after(mark, _answer)


def _verdicts(client: Client, subscriptions: tuple[Subscription, ...]) -> list[Reason | None]:
    """Why each is refused, or None; nothing is granted yet."""
    limit = client.house.limits.filters_per_subscribe
    if len(subscriptions) > limit:
        client.deny(
            Action.SUBSCRIBE, subscriptions[0].topic_filter, f"more than {limit} filters in one packet"
        )
        return [Reason.QUOTA_EXCEEDED] * len(subscriptions)
    held = set(client.session.subscriptions)
    verdicts: list[Reason | None] = []
    for wanted in subscriptions:
        verdicts.append(_refusal(client, wanted.topic_filter, held))
        if verdicts[-1] is None:
            held.add(wanted.topic_filter)
    return verdicts


def _refusal(client: Client, topic_filter: str, held: set[str]) -> Reason | None:
    limits = client.house.limits
    fault = filter_fault(topic_filter) or size_fault(topic_filter, limits)
    if fault:
        reason = Reason.TOPIC_FILTER_INVALID
    elif topic_filter.startswith(SHARED_PREFIX):
        fault, reason = "shared subscriptions are not offered", Reason.SHARED_NOT_SUPPORTED
    elif topic_filter not in held and len(held) >= limits.subscriptions:
        fault, reason = f"more than {limits.subscriptions} subscriptions", Reason.QUOTA_EXCEEDED
    elif not client.allows(Action.SUBSCRIBE, topic_filter):
        return Reason.NOT_AUTHORIZED
    else:
        return None
    client.deny(Action.SUBSCRIBE, topic_filter, fault)
    return reason


def _send_retained(client: Client, sender: Sender, subscriptions: list[Subscription]) -> None:
    hub, now = client.house.hub, client.house.now()
    for wanted in subscriptions:
        for message in hub.retained.select(wanted.topic_filter, now):
            sender.deliver(message, min(message.qos, wanted.qos), retain=True)


def unsubscribe(client: Client, packet: Unsubscribe) -> None:
    """End subscriptions, and answer."""
    hub = client.house.hub
    mark = client.answers.mark()
    ended = [hub.unsubscribe(client.session, each) for each in packet.filters]
    reasons = tuple(int(Reason.SUCCESS if one else Reason.NO_SUBSCRIPTION_EXISTED) for one in ended)

    def _answer(written: bool) -> None:  # noqa: FBT001 - a callback's one argument
        if written:
            client.link.send(encode_unsuback(UnsubAck(packet.packet_id, reasons), client.version))
        else:
            client.unwritten("the end of a subscription")

    client.answers.after(mark, _answer)
