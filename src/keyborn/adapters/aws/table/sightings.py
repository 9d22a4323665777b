"""Who has connected: a rule of AWS IoT puts it down here (template, ``SeenRule``), and the sweeper reads it.

The rule sees every connection of the account and can keep none apart: what lies here may be of a certificate
that the table does not know, or of no certificate at all. A certificate's newer connection takes the place of
its older one, so there is one item for each that connected since the last sweep. All are in one partition:
AWS IoT takes 500 connections a second of an account, and a partition twice as many writes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from keyborn.adapters.aws.table import keys
from keyborn.adapters.aws.table.table import Table
from keyborn.adapters.aws.table.values import Item
from keyborn.domain.names import CertificateId, is_certificate_id

_LATEST = 253402300799999
"""Milliseconds: the last of the year 9999."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One connection that was put down."""

    mark: str
    """Who connected, as AWS IoT has it: its place in the list."""
    stamp: object
    """When, as it lies there; None if it does not say."""

    @property
    def certificate(self) -> CertificateId | None:
        """The certificate, or None: identities of other kinds connect, too."""
        return CertificateId(self.mark) if is_certificate_id(self.mark) else None

    @property
    def at(self) -> datetime | None:
        """The moment, by AWS IoT's clock; None if there is none that could be read."""
        stamp = self.stamp
        return keys.from_ms(stamp) if isinstance(stamp, int) and 0 <= stamp <= _LATEST else None


def sightings(table: Table, after: str, limit: int) -> Sequence[Sighting]:
    """What lies there behind a mark, in the order of marks."""
    return [_sighting(item) for item in table.query(keys.SEEN, after=after, limit=limit)]


def news(table: Table, seen: Sequence[Sighting]) -> Sequence[Sighting]:
    """Those of certificates that the table knows, and that it has not seen connected."""
    named = {one: keys.certificate(one.certificate) for one in seen if one.certificate is not None}
    known = table.get_many(named.values())
    return [one for one, key in named.items() if _is_new(known[key])]


def strike(table: Table, one: Sighting) -> None:
    """Take one off the list, unless it has connected again meanwhile."""
    table.delete_same((keys.SEEN, one.mark), "at", one.stamp)


def _is_new(item: Item | None) -> bool:
    return item is not None and item.get("connectedAt") is None


def _sighting(item: Item) -> Sighting:
    return Sighting(item["sk"], item.get("at"))
