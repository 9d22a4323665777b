"""Moves between a thing's states that an operator may order; pure, shared by every registry.

``claimed`` and the first ``active`` come from enrolment alone. Suspending is undone by activating; revoking
and retiring are final for the certificates and keys, and only a replacement frees the name again (design
PROTOCOL, rule 5 of "Enroll").
"""

from keyborn.domain.errors import ThingRevoked
from keyborn.domain.thing import Thing, ThingStatus


def require_here(thing: Thing) -> None:
    """Raise ThingRevoked for a thing that is gone."""
    if thing.status.is_gone:
        raise ThingRevoked(name=thing.name, status=thing.status.value)


def moves(thing: Thing, target: ThingStatus) -> bool:
    """Whether ordering ``target`` changes anything; a repeat does not.

    Raises ThingRevoked where the order would bring back what is gone, or activate what was not suspended, and
    ValueError for ``claimed``, which nobody can order.
    """
    if target is ThingStatus.CLAIMED:
        raise ValueError("a thing becomes claimed by an enrolment alone")
    if thing.status is target:
        return False
    undoes_tombstone = thing.status.is_gone and not target.is_gone
    not_suspended = target is ThingStatus.ACTIVE and thing.status is not ThingStatus.SUSPENDED
    if undoes_tombstone or not_suspended:
        raise ThingRevoked(name=thing.name, status=thing.status.value)
    return True
