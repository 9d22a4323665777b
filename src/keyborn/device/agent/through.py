"""Publishing and listening through the agent of a home: what ``Messenger`` does where none runs."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

from keyborn.device import identity, topics
from keyborn.device.agent.client import PATIENCE, AgentClient
from keyborn.device.agent.protocol import received_of
from keyborn.device.home import Home
from keyborn.device.messages import Counts, Outcome
from keyborn.device.messenger import NO_TIME, TOO_SHORT, Delivery, Published
from keyborn.device.session import Received
from keyborn.domain.errors import AgentGone, OutboxFull, PublishDenied, SessionRefused

LATER = "sent by the agent"
_TURNED_AWAY = frozenset({"turned_away", "both"})
"""What the agent says of a device whose certificate the broker refuses."""


def publish(agent: AgentClient, home: Home, topic: str, payload: bytes, *, wait: float) -> Published:
    """As ``Messenger.publish``, SessionRefused with the message kept, too.

    Raises AgentGone where nobody can say whether it was kept.
    """
    topics.check_topic(topic)
    topics.check_payload(payload)
    body = {"payloadBase64": base64.b64encode(payload).decode()}
    answer = agent.ask("publish", patience=wait + PATIENCE, topic=topic, wait=wait, **body)
    try:
        outcome = Outcome(answer["outcome"])
        counts = Counts(**(answer.get("outbox") or {"waiting": 0, "refused": 0}))
    except (KeyError, TypeError, ValueError):
        raise AgentGone(path=home.path) from None
    if outcome is Outcome.QUARANTINED:
        own = identity.read_settings(home).broker.topic
        raise PublishDenied(topic=topic, reason=answer.get("reason"), own=own)
    if outcome is Outcome.DROPPED:
        raise OutboxFull(path=home.outbox)
    if outcome is Outcome.WAITING:
        if wait and answer.get("trouble") in _TURNED_AWAY:
            raise _refusal(home, str(answer.get("detail")))
        why = str(answer.get("reason"))
        return Published(Delivery.KEPT, counts, why if wait or why != TOO_SHORT else NO_TIME, LATER)
    return Published(Delivery.DELIVERED, counts)


def _refusal(home: Home, detail: str) -> SessionRefused:
    own = identity.read_settings(home)
    broker = f"{own.broker.endpoint}:{own.broker.port}"
    return SessionRefused(broker=broker, detail=detail.removeprefix(f"{broker}: "), thing=own.thing)


def listen(
    agent: AgentClient, home: Home, topic_filter: str, *, seconds: float | None, say: Callable[[str], None]
) -> Iterator[Received]:
    """As ``Messenger.listen``, but it waits where the agent has no session just now."""
    topics.check_filter(topic_filter)
    agent.send("subscribe", filter=topic_filter)
    for told in agent.lines(seconds):
        if "subscribed" in told:
            say(f"Listening for {topic_filter} (interrupt to end).")
        elif "waiting" in told:
            say(f"The agent has no session just now: {told.get('reason')}")
        elif "message" in told:
            yield _received(told["message"], home)


def _received(told: Any, home: Home) -> Received:  # noqa: ANN401 - JSON
    try:
        return received_of(told)
    except (KeyError, TypeError, ValueError):
        raise AgentGone(path=home.path) from None
