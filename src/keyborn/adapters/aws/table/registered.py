"""Announced keys: each is two items that are written together, one found by its key, one in its group's list.

A page of them does not fit into one transaction. It is written piece by piece, and each piece whole: who is
interrupted registers the same page again, and what is there counts as known. The event lies with the first
piece that adds anything, so that nothing is ever added without one.
"""

from collections.abc import Sequence
from functools import partial

from keyborn.adapters.aws.table import filing, grouped, keys
from keyborn.adapters.aws.table.draft import MOST_ITEMS, Draft
from keyborn.adapters.aws.table.table import Table
from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import NotRegistered
from keyborn.domain.names import KeyHash
from keyborn.domain.registered import Registered, RegisteredKey, announce

PIECE = (MOST_ITEMS - 1) // 2
"""Keys of one transaction: each is two items, and there may be an event."""


def register(table: Table, wanted: Sequence[RegisteredKey], event: AuditEvent) -> Registered:
    """See ``RegisteredKeys.register``: effects of ``PIECE`` keys each, one after the other."""
    added, known, refused = 0, 0, list[RegisteredKey]()
    for start in range(0, len(wanted), PIECE):
        piece = wanted[start : start + PIECE]
        told = None if added else event
        guess = {keys.registered(one.key_hash): None for one in piece}
        done = table.run(partial(_register, piece=piece, event=told), guess)
        added, known, refused = added + done.added, known + done.known, [*refused, *done.refused]
    return Registered(added, known, tuple(refused))


def _register(draft: Draft, piece: Sequence[RegisteredKey], event: AuditEvent | None) -> Registered:
    places = {one.key_hash: keys.registered(one.key_hash) for one in piece}
    draft.need(*places.values())
    found = {key: draft.peek(place) for key, place in places.items()}
    before = {key: grouped.registered(item) for key, item in found.items() if item is not None}
    fresh, told = announce(piece, before)
    for one in fresh:
        item = grouped.registered_item(one)
        draft.put(places[one.key_hash], item)
        draft.write((keys.registered_in(one.group), one.key_hash), item)
    if fresh and event is not None:
        filing.tell(draft, event)
    return told


def unregister(draft: Draft, key: KeyHash, event: AuditEvent) -> None:
    """See ``RegisteredKeys.unregister``."""
    item = draft.peek(keys.registered(key))
    if item is None:
        raise NotRegistered(key=key)
    draft.void(keys.registered(key), event.at, relies=True)
    draft.void((keys.registered_in(grouped.registered(item).group), key), event.at)
    filing.tell(draft, event)
