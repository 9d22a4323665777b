"""For which programs a message is that came over the agent's one session."""

from collections.abc import Mapping, Sequence

from paho.mqtt.client import topic_matches_sub

from keyborn.device.agent.guest import Guest
from keyborn.device.session import Received
from keyborn.device.topics import is_shared, unshared


def audience(guests: Sequence[Guest], received: Received, since: Mapping[str, int]) -> list[Guest]:
    """Every program that wants it, and of those who share a filter one, each in its turn.

    What the broker had kept is for those who asked since (``since``: by filter, the first wish that it counts
    for), and never for a shared filter (MQTT 5 3.3.1.3). The broker does not say for which of several filters
    it sent a message, so who shares a filter may also get what came for a plain one.
    """
    plain = [guest for guest in guests if _wants(guest, received, since)]
    if received.retain:
        return plain
    return plain + _turns([guest for guest in guests if guest not in plain], received.topic)


def _wants(guest: Guest, received: Received, since: Mapping[str, int]) -> bool:
    return any(
        not is_shared(name)
        and (not received.retain or number >= since.get(name, 0))
        and topic_matches_sub(name, received.topic)
        for name, number in guest.filters.items()
    )


def _turns(guests: Sequence[Guest], topic: str) -> list[Guest]:
    """One of those who share a filter: who has waited for longest. Nobody is chosen twice."""
    names = {name for guest in guests for name in guest.filters if is_shared(name)}
    chosen: list[Guest] = []
    for name in sorted(names):
        if not topic_matches_sub(unshared(name), topic):
            continue
        members = [guest for guest in guests if name in guest.filters and guest not in chosen]
        if members:
            turn = min(members, key=lambda guest: guest.turns)
            turn.turns = 1 + max(guest.turns for guest in members)
            chosen.append(turn)
    return chosen
