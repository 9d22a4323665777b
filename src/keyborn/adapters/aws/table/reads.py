"""Questions: strongly consistent, and a badge as one snapshot."""

from collections.abc import Iterable, Sequence

from keyborn.adapters.aws.table import items, keys
from keyborn.adapters.aws.table.draft import Key
from keyborn.adapters.aws.table.items import Waiting
from keyborn.adapters.aws.table.table import Table
from keyborn.adapters.aws.table.values import Item
from keyborn.domain.access import Badge
from keyborn.domain.access_policy.attaching import in_force
from keyborn.domain.certificate import Certificate
from keyborn.domain.names import CertificateId, ThingName
from keyborn.domain.thing import Thing, ThingKind

_ALL = 10**9


def thing(table: Table, name: ThingName) -> Thing | None:
    """A record of either kind."""
    found = table.get_many(keys.thing(kind, name) for kind in ThingKind)
    return next((items.thing_of(item) for item in found.values() if item is not None), None)


def certificate(table: Table, certificate_id: CertificateId) -> Certificate | None:
    """A certificate by its id."""
    item = table.get(keys.certificate(certificate_id))
    return None if item is None else items.certificate(item)


def certificates(table: Table, name: ThingName) -> Sequence[Certificate]:
    """Every certificate of a thing, in the order they were stored."""
    rows = table.query(keys.certificates_of(name), limit=_ALL)
    wanted = [keys.certificate(CertificateId(row["certificate"])) for row in rows]
    found = table.get_many(wanted)
    return [items.certificate(item) for key in wanted if (item := found[key]) is not None]


def known(table: Table, certificate_ids: Iterable[CertificateId]) -> set[CertificateId]:
    """Those of them that the table knows, whatever their status."""
    wanted = {keys.certificate(one): one for one in certificate_ids}
    found = table.get_many(wanted)
    return {one for key, one in wanted.items() if found[key] is not None}


def waiting(table: Table, limit: int) -> Sequence[Waiting]:
    """What is known of open intents, oldest first."""
    rows = list(table.query(keys.OPEN, limit=limit))
    wanted = [keys.thing(ThingKind(row["kind"]), ThingName(row["thing"])) for row in rows]
    found = table.get_many(wanted)
    files = [(row["id"], found[key]) for row, key in zip(rows, wanted, strict=True)]
    known = [(one, items.dossier(item).waiting) for one, item in files if item is not None]
    return [held for one, held in known if held is not None and held.intent.id == one]


def waiting_for(table: Table, names: Iterable[ThingName]) -> Sequence[Waiting]:
    """What is known of the open intents of these things, of either kind."""
    found = table.get_many(keys.thing(kind, name) for name in names for kind in ThingKind)
    known = (items.dossier(item).waiting for item in found.values() if item is not None)
    return [one for one in known if one is not None]


def badge(table: Table, certificate_id: CertificateId) -> Badge | None:
    """See ``DeviceDirectory.badge``: read again until one snapshot holds all that belongs together."""
    wanted: list[Key] = [keys.certificate(certificate_id)]
    while True:
        found = table.get_many(wanted)
        needed = _belonging(found, keys.certificate(certificate_id))
        if set(needed) <= found.keys():
            return _badge(found, needed)
        wanted = needed


def _belonging(found: dict[Key, Item | None], first: Key) -> list[Key]:
    """The certificate, its thing, the policies in force: as far as what was found tells."""
    item = found[first]
    if item is None:
        return [first]
    second = keys.thing(ThingKind(item["kind"]), ThingName(item["thing"]))
    record = found.get(second)
    names = () if record is None else in_force(items.thing_of(record))
    return [first, second, *map(keys.policy, names)]


def _badge(found: dict[Key, Item | None], needed: list[Key]) -> Badge | None:
    known = [found[key] for key in needed]
    if len(known) < 2 or known[0] is None or known[1] is None:  # noqa: PLR2004 - certificate and thing
        return None
    kept = (items.policy_in_force(item) for item in known[2:] if item is not None)
    policies = tuple(policy for policy in kept if policy is not None)
    return Badge(items.certificate(known[0]), items.thing_of(known[1]), policies)
