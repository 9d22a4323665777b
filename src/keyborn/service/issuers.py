"""The keys of identity providers: fetched from configured issuers, kept, fetched again when they change.

OpenID Connect Discovery 1.0, section 4: the issuer's document names the address of its keys. A token decides
nothing of where is asked, and little of how often: a key's name that nobody knows may be a new key's, so it
has the keys fetched again, but once in half a minute of one issuer, however many such tokens come.
"""

import asyncio
import json
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from keyborn.domain.errors import IdTokenUnproved, IssuerUnavailable
from keyborn.domain.identity_token import Header
from keyborn.ports import Clock, NotAnswered, Outbound, OutboundAnswer, OutboundRequest

DISCOVERY = "/.well-known/openid-configuration"
PAUSE = timedelta(seconds=30)
"""Between two fetches from one issuer while there are keys."""
RETRY = timedelta(seconds=5)
"""Between two while there are none."""
LEAST_FRESH, USUAL_FRESH, MOST_FRESH = timedelta(minutes=5), timedelta(hours=1), timedelta(hours=24)
"""For how long keys are used before they are fetched again, whatever ``max-age`` says."""
MOST_STALE = timedelta(hours=24)
"""For how long after they came keys are used at most, while the issuer cannot be reached."""
MOST_BYTES = 64 * 1024
SECONDS = 2.5
"""For each of the two documents."""
MOST_ISSUERS = 256
"""Kept in memory; operators configure them, so that there are as many as groups at most."""
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=\"?([0-9]{1,9})\"?(?=$|[\s,])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whom to ask, as a group's document has it."""

    url: str
    roots_pem: str | None = field(default=None, repr=False)


K = TypeVar("K", covariant=True)  # noqa: PLC0105 - one letter, as everywhere


class Keys(Protocol[K]):
    """What was read of an issuer's keys."""

    def fitting(self, header: Header) -> tuple[K, ...]:
        """Those that may have signed a token with this header."""
        ...


@dataclass(slots=True)
class _Held[K]:
    """What is known of one issuer."""

    keys: Keys[K] | None = None
    came_at: datetime | None = None
    fresh_until: datetime | None = None
    next_at: datetime | None = None
    """Before this moment nobody fetches again."""
    flight: asyncio.Task[None] | None = None
    """The fetch that is under way: who comes meanwhile waits for it."""
