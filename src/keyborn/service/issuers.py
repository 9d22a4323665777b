"""The keys of identity providers: fetched from configured issuers, kept, fetched again when they change.

OpenID Connect Discovery 1.0, section 4: the issuer's document names the address of its keys. A token decides
nothing of where is asked, and little of how often: a key's name that nobody knows may be a new key's, so it
has the keys fetched again, but once in half a minute of one issuer, however many such tokens come.
"""

import asyncio
import json
import logging
import math
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from keyborn.domain.errors import IdTokenUnproved, IssuerUnavailable
from keyborn.domain.identity_token import Header
from keyborn.ports import Clock, NotAnswered, Outbound, OutboundAnswer, OutboundRequest

DISCOVERY = "/.well-known/openid-configuration"
PAUSE = timedelta(seconds=30)
"""Between two fetches from one issuer for a key that nobody knows, and after one that failed."""
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
_log = logging.getLogger("keyborn.service")
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=\"?([0-9]{1,9})\"?(?=$|[\s,])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whom to ask, as a group's document has it."""

    url: str
    roots_pem: str | None = field(default=None, repr=False)


PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """One public key, and what it may verify."""

    kid: str | None
    algorithms: frozenset[str]
    key: PublicKey = field(repr=False)

    def fits(self, header: Header) -> bool:
        """Whether a token with this header may be signed by it; one without ``kid`` by any of its kind."""
        return header.algorithm in self.algorithms and header.kid in (None, self.kid)


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of an issuer that are of use."""

    keys: tuple[IssuerKey, ...]

    def fitting(self, header: Header) -> tuple[IssuerKey, ...]:
        """Those that may have signed a token with this header."""
        return tuple(each for each in self.keys if each.fits(header))


ReadKeys = Callable[[bytes], KeySet]
"""Raises ValueError, which says why, for what is no set of usable keys."""


@dataclass(slots=True)
class _Held:
    """What is known of one issuer."""

    keys: KeySet | None = None
    came_at: datetime | None = None
    fresh_until: datetime | None = None
    next_at: datetime | None = None
    """Before this moment nobody asks it again."""
    flight: asyncio.Task[None] | None = None
    """The fetch that is under way: who comes meanwhile waits for it."""

    def usable(self, now: datetime) -> KeySet | None:
        """The last keys that came, unless that is too long ago."""
        if self.came_at is None or now - self.came_at >= MOST_STALE:
            return None
        return self.keys

    def is_fresh(self, now: datetime) -> bool:
        """Whether they need not be fetched again for their age alone."""
        return self.fresh_until is not None and timedelta(0) < self.fresh_until - now <= MOST_FRESH

    def wait(self, now: datetime) -> timedelta:
        """Until it may be asked again. A clock that was set back makes nobody wait longer than ``PAUSE``."""
        ahead = timedelta(0) if self.next_at is None else self.next_at - now
        return ahead if timedelta(0) < ahead <= PAUSE else timedelta(0)


class Issuers:
    """Finds the keys that may have signed a token."""

    def __init__(self, outbound: Outbound, clock: Clock, read: ReadKeys) -> None:
        self._outbound = outbound
        self._clock = clock
        self._read = read
        self._held: OrderedDict[Issuer, _Held] = OrderedDict()

    async def find(self, issuer: Issuer, header: Header) -> tuple[IssuerKey, ...]:
        """Find the keys that may have signed a token with this header.

        Raises IdTokenUnproved where the issuer has no such key, IssuerUnavailable where it cannot be asked
        whether it has: it gives no answer, or was asked a moment ago.
        """
        held = self._of(issuer)
        now = self._clock.now()
        keys = held.usable(now)
        found = keys.fitting(header) if keys is not None else ()
        if found and held.is_fresh(now):
            return found
        asked = held.came_at
        if held.flight is not None or not held.wait(now):
            await self._refresh(issuer, held)
        now = self._clock.now()
        keys = held.usable(now)
        found = keys.fitting(header) if keys is not None else ()
        if found:
            return found
        if held.came_at != asked and keys is not None:
            raise IdTokenUnproved
        raise IssuerUnavailable(issuer=issuer.url, seconds=max(1, math.ceil(held.wait(now).total_seconds())))

    def _of(self, issuer: Issuer) -> _Held:
        held = self._held.setdefault(issuer, _Held())
        self._held.move_to_end(issuer)
        while len(self._held) > MOST_ISSUERS:
            self._held.popitem(last=False)
        return held

    async def _refresh(self, issuer: Issuer, held: _Held) -> None:
        """Fetch, or wait for whom fetches; who is told to stop waiting leaves the fetch to the others."""
        if held.flight is None:
            held.flight = asyncio.get_running_loop().create_task(self._fetch(issuer, held))
        await asyncio.shield(held.flight)

    async def _fetch(self, issuer: Issuer, held: _Held) -> None:
        """Raises nothing: keys that are there stay, for as long as they are usable."""
        for_unknown = held.is_fresh(self._clock.now())
        try:
            keys, answer = await self._ask(issuer)
        except (NotAnswered, ValueError) as wrong:
            now = self._clock.now()
            held.next_at = now + (RETRY if held.usable(now) is None else PAUSE)
            _log.warning("the keys of the issuer %s cannot be fetched: %s", ascii(issuer.url), wrong)
        else:
            now = self._clock.now()
            held.keys, held.came_at = keys, now
            held.next_at = now + PAUSE if for_unknown else None
            held.fresh_until = now + _freshness(answer)
        finally:
            held.flight = None

    async def _ask(self, issuer: Issuer) -> tuple[KeySet, OutboundAnswer]:
        """Two documents; raises NotAnswered, or ValueError for one that is not as it must be."""
        discovered = await self._get(issuer, issuer.url.rstrip("/") + DISCOVERY, public_only=False)
        place = _place_of_keys(issuer, discovered.body)
        elsewhere = _authority(place) != _authority(issuer.url)
        answer = await self._get(issuer, place, public_only=elsewhere)
        return self._read(answer.body), answer

    async def _get(self, issuer: Issuer, url: str, *, public_only: bool) -> OutboundAnswer:
        request = OutboundRequest(
            "GET", url, SECONDS, MOST_BYTES, roots_pem=issuer.roots_pem, public_only=public_only
        )
        answer = await self._outbound.fetch(request)
        if answer.status != HTTPStatus.OK:
            raise NotAnswered(f"it answered {answer.status}")
        return answer


def _place_of_keys(issuer: Issuer, document: bytes) -> str:
    """``jwks_uri`` of a discovery document that is this issuer's own; raises ValueError."""
    try:
        members = json.loads(document.decode())
    except (ValueError, RecursionError):
        raise ValueError("its discovery document is not JSON") from None
    if not isinstance(members, dict) or members.get("issuer") != issuer.url:
        raise ValueError("its discovery document is another issuer's")
    place = members.get("jwks_uri")
    if not isinstance(place, str) or not place.startswith("https://"):
        raise ValueError("its discovery document names no https address of keys")
    return place


def _authority(url: str) -> tuple[str | None, int]:
    parts = urlsplit(url)
    return parts.hostname, parts.port or 443


def _freshness(answer: OutboundAnswer) -> timedelta:
    """From ``Cache-Control`` (RFC 9111, 5.2.2.1), within our own bounds."""
    told = _MAX_AGE.search(answer.headers.get("cache-control", ""))
    wished = timedelta(seconds=int(told[1])) if told else USUAL_FRESH
    return min(max(wished, LEAST_FRESH), MOST_FRESH)
