"""What AWS IoT has yet to follow: written in the same transaction as the decision, read by who acts on it.

``owed``: a certificate, its policies or a thing must become what the table says. An entry says *that*, and
what was wanted when it was written; who acts on it reads the table again first, since a later order may
stand.
``dirt``: a certificate may have been signed whose answer nobody kept; it is to be found by its key.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from keyborn.adapters.aws.table import keys
from keyborn.adapters.aws.table.draft import Draft, Key
from keyborn.adapters.aws.table.items import Dossier, Waiting
from keyborn.adapters.aws.table.table import Table
from keyborn.adapters.aws.table.values import Item
from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.certificate import Certificate, CertificateStatus
from keyborn.domain.intent import IntentId
from keyborn.domain.names import CertificateId, KeyHash, ThingName
from keyborn.domain.thing import Thing, ThingKind

_ALL = 10**9


@dataclass(frozen=True, slots=True)
class Owed:
    """One thing that AWS IoT must be told. ``mark`` is its place in the list."""

    mark: str
    due: datetime
    thing: ThingName
    kind: ThingKind
    certificate: CertificateId | None
    """None: this is about the thing itself."""
    status: CertificateStatus | None = None
    """What the certificate was to become; None if this is about policies alone."""
    attach: tuple[PolicyName, ...] = ()
    detach: tuple[PolicyName, ...] = ()
    gone: tuple[str, ...] = ()
    """Attributes that the thing had and was not to have any more."""


@dataclass(frozen=True, slots=True)
class Dirt:
    """An intent for which a certificate may have been signed that no item knows. ``mark``: its place."""

    mark: str
    intent: IntentId
    thing: ThingName
    kind: ThingKind
    key: KeyHash
    since: datetime
    until: datetime
    """From here on nobody signs for it any more. The certificate, whatever status it has in AWS IoT, was made
    between these two moments, give or take the clocks and the time of one call."""


def owe_status(draft: Draft, thing: Thing, one: Certificate, due: datetime) -> None:
    """AWS IoT must give a certificate the status that it has in ``one``."""
    _owe(draft, thing, one, due, {"status": one.status.value})


def owe_policies(draft: Draft, before: Thing, after: Dossier, due: datetime) -> None:
    """AWS IoT must attach and detach for every certificate what changed between two records."""
    old, new = (one.policies or () for one in (before, after.thing))
    attach, detach = [name for name in new if name not in old], [name for name in old if name not in new]
    staged = [] if after.waiting is None or after.waiting.staged is None else [after.waiting.staged]
    for one in (*after.held, *staged):
        _owe(draft, before, one, due, {"attach": attach, "detach": detach})


def owe_review(draft: Draft, thing: Thing, one: Certificate, due: datetime) -> None:
    """A certificate must have the thing's policies and no others, whoever gave it some."""
    _owe(draft, thing, one, due, {})


def owe_description(draft: Draft, before: Dossier, gone: Sequence[str], at: datetime) -> None:
    """AWS IoT's thing must have the attributes of the record; a service has none.

    Who is at work may be making it as the record was: when that is over, once more.
    """
    if before.thing.kind is not ThingKind.DEVICE:
        return
    waiting = before.waiting
    late = None if waiting is None or not waiting.at_work(at) else waiting.leased_until
    for due in (at, late):
        if due is not None:
            _owe(draft, before.thing, None, due, {"gone": list(gone)})


def _owe(draft: Draft, thing: Thing, one: Certificate | None, due: datetime, what: Item) -> None:
    facts = {"thing": thing.name, "kind": thing.kind.value, "due": keys.to_ms(due)}
    about = {"certificate": None if one is None else one.id}
    draft.write((keys.OWED, f"{keys.sortable(due)}#{draft.stamp()}"), {**facts, **about, **what})


def soil(draft: Draft, kind: ThingKind, waiting: Waiting, at: datetime) -> None:
    """Note that ``waiting`` may have been signed, or be just now, without anybody knowing the certificate."""
    one, until = waiting.intent, waiting.leased_until or at
    place = f"{keys.sortable(until)}#{one.id}"
    facts = {"intent": one.id, "thing": one.thing, "kind": kind.value, "key": one.key_hash}
    span = {"since": keys.to_ms(one.created_at), "until": keys.to_ms(until)}
    draft.write((keys.DIRT, place), {**facts, **span})


def owed(table: Table, before: datetime, limit: int, of: ThingName | None = None) -> Sequence[Owed]:
    """What is due before a moment, earliest first; ``of``: about one thing only."""
    due = map(_owed, table.query(keys.OWED, before=keys.sortable(before), limit=_ALL))
    return list(islice((one for one in due if of is None or one.thing == of), limit))


def dirt(table: Table, limit: int) -> Sequence[Dirt]:
    """Possible strays, oldest first."""
    return [_dirt(item) for item in table.query(keys.DIRT, limit=limit)]


def settle(table: Table, done: Iterable[Owed | Dirt]) -> None:
    """Strike off what has been seen to; repeating is harmless."""
    for one in done:
        table.delete(_place(one))


def tidy(table: Table, limit: int) -> int:
    """Remove husks from the lists that are read each time, so that this stays cheap; how many."""
    husks = [key for one in (keys.OPEN, keys.SUCCESSORS) for key in table.husks(one, limit=limit)]
    for key in husks:
        table.delete(key)
    return len(husks)


def _place(one: Owed | Dirt) -> Key:
    return (keys.OWED if isinstance(one, Owed) else keys.DIRT, one.mark)


def _owed(item: Item) -> Owed:
    status, certificate = item.get("status"), item.get("certificate")
    return Owed(
        item["sk"],
        keys.from_ms(item["due"]),
        ThingName(item["thing"]),
        ThingKind(item["kind"]),
        None if certificate is None else CertificateId(certificate),
        None if status is None else CertificateStatus(status),
        tuple(map(PolicyName, item.get("attach", ()))),
        tuple(map(PolicyName, item.get("detach", ()))),
        tuple(item.get("gone", ())),
    )


def _dirt(item: Item) -> Dirt:
    return Dirt(
        item["sk"],
        IntentId(item["intent"]),
        ThingName(item["thing"]),
        ThingKind(item["kind"]),
        KeyHash(item["key"]),
        keys.from_ms(item["since"]),
        keys.from_ms(item["until"]),
    )
