"""Which roots a device believes, as it tells the registry: a digest of the set, and since when."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NewType

from keyborn.domain.names import ThingName

RootSet = NewType("RootSet", str)
"""A set of roots: lower-case hex SHA-256 of the sorted SHA-256 digests of their DER, one after the other."""


@dataclass(frozen=True, slots=True)
class Belief:
    """What a thing believes; without roots, it never said."""

    thing: ThingName
    roots: RootSet | None = None
    since: datetime | None = None
    """When it first said so."""


def root_set(ders: Iterable[bytes]) -> RootSet:
    """The set of these roots, in any order and number."""
    digests = sorted({hashlib.sha256(der).digest() for der in ders})
    return RootSet(hashlib.sha256(b"".join(digests)).hexdigest())
