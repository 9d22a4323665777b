"""Operators from elsewhere: who asks, whether that role may, and the record of every call.

Order (design PROTOCOL "Refusing well"): the key, then its role, then a slot. Only failures are charged, so
that nobody locks out whoever has a good key behind the same address. An address that has failed too often
gets its refusals late: that, and not a lock, is what slows guessing down.
"""

import asyncio
import hmac
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import SystemRandom

from keyborn.domain.api_key import ApiKey, ApiKeyWord, Operator, Role, api_key_id
from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import (
    ApiKeyExpired,
    ApiKeyMissing,
    ApiKeyRefused,
    InvalidApiKey,
    KeybornError,
    LocalOnly,
    RoleTooLow,
    Unauthenticated,
    Unavailable,
)
from keyborn.domain.moment import shown
from keyborn.domain.token import digest
from keyborn.ports import ApiKeys, AuditTrail, Clock
from keyborn.service.admission import Admission, FailureBudget, LateRefusals
from keyborn.service.strangers import Strangers

_random = SystemRandom()
_NOBODY = bytes(32)
WINDOW = timedelta(minutes=1)
"""Calls that are alike are told one by one no more often than this: the others are counted."""
_MOST = 1024
"""Counts that are kept at once."""
DONE = "done"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an operator's route; calls that are equal are alike."""

    route: str
    """Method and path as declared, never as asked for: ``GET /v1/things/{name:path}``."""
    source: str
    """Network address of the caller."""


class CallBook:
    """Every call into the trail, and no trail of calls: what repeats within a minute is counted.

    The first of those that are alike (key, route, address, outcome) is recorded before it is answered. The
    others are counted, and the count is recorded when the minute is over, or when the service ends: the
    records say of how many calls they tell, and none is left out. A crash loses counts of one minute at most,
    never that there were such calls.
    """

    def __init__(self, audit: AuditTrail, clock: Clock) -> None:
        self._audit = audit
        self._clock = clock
        self._open: OrderedDict[tuple[str, Call, str], tuple[datetime, int]] = OrderedDict()

    async def note(self, actor: str, call: Call, outcome: str) -> None:
        """Record or count one call; raises leaves of Unavailable."""
        now, alike = self._clock.now(), (actor, call, outcome)
        known = self._open.get(alike)
        if known is not None and _within(known[0], now):
            self._open[alike] = known[0], known[1] + 1
            return
        await self.tell(now)
        self._open[alike] = now, 0  # before the record is written: those that come meanwhile are counted
        try:
            await self._record(alike, now, 1)
        except BaseException:
            self._keep(alike, self._open.pop(alike, (now, 0))[1])
            raise

    async def tell(self, now: datetime | None = None) -> None:
        """Record the counts whose minute is over; all of them, where no time is given.

        Raises leaves of Unavailable; what could not be recorded is kept for the next time.
        """
        everything = now is None or len(self._open) >= _MOST
        for alike, (since, _) in list(self._open.items()):
            if everything or (now is not None and not _within(since, now)):
                more = self._open.pop(alike, (since, 0))[1]
                try:
                    if more:
                        await self._record(alike, self._clock.now(), more)
                except BaseException:
                    self._keep(alike, more)
                    raise

    def _keep(self, alike: tuple[str, Call, str], more: int) -> None:
        """Keep a count that nobody was told, so that the next ``tell`` finds its minute over."""
        if more:
            before = self._open.get(alike, (datetime.min.replace(tzinfo=UTC), 0))[1]
            self._open[alike] = datetime.min.replace(tzinfo=UTC), before + more

    async def _record(self, alike: tuple[str, Call, str], at: datetime, calls: int) -> None:
        actor, call, outcome = alike
        details = {"calls": str(calls)}
        event = AuditEvent(at, "admin.call", outcome, call.route, actor, call.source, details)
        await self._audit.append(event)


def _within(since: datetime, now: datetime) -> bool:
    """Whether a count that began then is still open; a clock that went back closes it."""
    return timedelta(0) <= now - since < WINDOW


class OperatorDoor:
    """Lets operators in, one call after the other."""

    def __init__(
        self,
        keys: ApiKeys,
        audit: AuditTrail,
        clock: Clock,
        *,
        failures: FailureBudget | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        fraction: Callable[[], float] = _random.random,
    ) -> None:
        """``failures`` of each address to show a good key. ``fraction`` lies in [0, 1)."""
        self.book = CallBook(audit, clock)
        self.slots = Admission(slots=8, waiting=200)
        self._keys = keys
        self._clock = clock
        self._strangers = Strangers(audit, clock, failures, LateRefusals(sleep=sleep, fraction=fraction))

    async def admit(self, bearer: str | None, call: Call, wanted: Role | None) -> Operator:
        """Prove who asks, and that the role may; ``wanted`` None is what no role may from elsewhere.

        Raises leaves of Unauthenticated, RoleTooLow, LocalOnly, Throttled after too many failures of the same
        address, or leaves of Unavailable. Whatever it raises, the trail knows.
        """
        try:
            key = await self._prove(bearer)
        except Unauthenticated as refusal:
            await self._turn_away(call, refusal)
            raise
        operator = Operator(key.id, key.name, key.role)
        forbidden = self._forbidden(key, wanted)
        if forbidden is not None:
            await self.book.note(operator.actor, call, forbidden.code)
            raise forbidden
        return operator

    async def _prove(self, bearer: str | None) -> ApiKey:
        """The key of a good secret, expired or not; who has no good one learns nothing else."""
        if bearer is None:
            raise ApiKeyMissing
        try:
            secret = ApiKeyWord.decode(bearer).secret
        except InvalidApiKey:
            raise ApiKeyRefused from None
        key = await self._keys.api_key(api_key_id(secret))
        genuine = hmac.compare_digest(key.digest if key else _NOBODY, digest(secret))
        if key is None or not genuine or key.withdrawn_at is not None:
            raise ApiKeyRefused
        return key

    def _forbidden(self, key: ApiKey, wanted: Role | None) -> KeybornError | None:
        if key.expired(self._clock.now()):
            return ApiKeyExpired(expired=shown(key.expires_at))
        if wanted is None:
            return LocalOnly()
        if not key.role.covers(wanted):
            return RoleTooLow(role=key.role.value, wanted=wanted.value)
        return None

    async def _turn_away(self, call: Call, refusal: Unauthenticated) -> None:
        """Count and record; raises Throttled, late, where the address has failed too often."""
        try:
            await self._strangers.refused("admin.call", call.source, refusal, call.route)
        except Unavailable:  # nothing can be recorded now: the refusal stands
            return
