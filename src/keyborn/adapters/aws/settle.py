"""Settling: AWS IoT is brought to what the table says, and what lost answers left there is cleared away.

Nothing is touched that the table does not know or that has not the key of one of our intents. Every step may
be repeated, and may run in two processes at once.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from secrets import token_hex

from keyborn.adapters.aws.errors import in_short
from keyborn.adapters.aws.iot import GONE, Iot, aside
from keyborn.adapters.aws.presence import Presence
from keyborn.adapters.aws.strays import AFTER, Stray, StrayHunt
from keyborn.adapters.aws.table import Dirt, DynamoRegistry, Owed, Waiting
from keyborn.adapters.aws.tempo import Tempo
from keyborn.domain.access_policy.attaching import in_force
from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.audit import ChainHead
from keyborn.domain.certificate import Certificate, CertificateStatus
from keyborn.domain.errors import AwsRefused, RegistryUnavailable, Unavailable
from keyborn.domain.names import CertificateId
from keyborn.domain.thing import Thing, ThingKind, ThingStatus
from keyborn.ports import MAX_PAGE, Clock, Sessions

UPDATES_PER_SECOND = 2.0
"""Of UpdateCertificate, whose quota is 10 a second, adjustable; what enrolls is admitted to 98 % of it."""
LOOKS_PER_SECOND = 5.0
"""Of DescribeCertificate, whose quota is 10 a second and which nobody else of us calls."""
RESERVE = 10.0
"""Seconds of each run that are not for AWS IoT: the audit trail is chained every minute, come what may."""
_SWEEP = timedelta(minutes=2)
"""Longer than a run may take."""
_ROUNDS = 5

# ── one certificate ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Wish:
    """What AWS IoT is to be told about one certificate, by the table as it is now."""

    status: CertificateStatus | None = None
    policies: tuple[PolicyName, ...] | None = None
    """Exactly these; None: whatever they are."""
    clear: bool = False
    """Nobody has it any more: it is to be revoked and deleted."""
    orphaned: bool = False
    """Its thing has no record any more, either."""


def wish_of(one: Owed, certificate: Certificate | None, thing: Thing | None) -> Wish:
    """What is to be done for an entry. Pure.

    A certificate that was revoked with its thing stays, revoked, as long as the thing is in the table.
    """
    if certificate is None or certificate.status is CertificateStatus.REVOKED:
        kept = thing is not None and thing.status.is_gone
        return Wish(CertificateStatus.REVOKED, clear=not kept, orphaned=thing is None)
    if one.status is None:
        return Wish(policies=None if thing is None else in_force(thing))
    staged = certificate.status is CertificateStatus.INACTIVE
    if staged and (thing is None or thing.status is not ThingStatus.SUSPENDED):
        return Wish()  # stored, not active yet: whoever goes on with its intent switches it
    return Wish(certificate.status)


async def carry_out(registry: DynamoRegistry, iot: Iot, one: Owed, *, ordered: bool = True) -> Thing | None:
    """Do what an entry is about, until the table wished nothing else meanwhile, and strike it off.

    A certificate that somebody deleted in AWS IoT has nothing to follow any more. Only who has just ordered
    it to be active is told. Returns the thing's record. Raises leaves of Unavailable; then the entry stays.
    """
    if one.certificate is None:
        return await _describe(registry, iot, one)
    wish, thing = await _look(registry, one, one.certificate)
    for _ in range(_ROUNDS):
        try:
            await aside(_tell, iot, one, one.certificate, wish)
        except AwsRefused as refusal:
            told = ordered and wish.status is CertificateStatus.ACTIVE
            if told or not await aside(_is_gone, iot, one.certificate, refusal):
                raise
        before = wish
        wish, thing = await _look(registry, one, one.certificate)
        if wish == before:
            await registry.settle([one])
            return thing
    raise RegistryUnavailable(seconds=1)


async def _describe(registry: DynamoRegistry, iot: Iot, one: Owed) -> Thing | None:
    """The same for an entry that is about a thing itself."""
    thing = await registry.thing(one.thing)
    for _ in range(_ROUNDS):
        if thing is not None:
            await aside(iot.describe_thing, thing, one.gone)
        before, thing = thing, await registry.thing(one.thing)
        if thing == before:
            await registry.settle([one])
            return thing
    raise RegistryUnavailable(seconds=1)


async def _look(registry: DynamoRegistry, one: Owed, certificate: CertificateId) -> tuple[Wish, Thing | None]:
    found = await registry.certificate(certificate)
    thing = await registry.thing(one.thing)
    return wish_of(one, found, thing), thing


def _tell(iot: Iot, one: Owed, certificate: CertificateId, wish: Wish) -> None:
    if wish.clear:
        iot.clear_away(certificate)
        if wish.orphaned and one.kind is ThingKind.DEVICE:
            iot.delete_thing(one.thing)
    elif wish.status is not None:
        iot.set_status(certificate, wish.status)
    if wish.policies is not None:
        reconcile(iot, certificate, wish.policies)


def _is_gone(iot: Iot, certificate: CertificateId, refusal: AwsRefused) -> bool:
    """Whether it was refused since there is no such certificate, and not for want of a policy."""
    return refusal.facts.get("reason") == GONE and iot.der_of(certificate) is None


def reconcile(iot: Iot, certificate: CertificateId, policies: Iterable[PolicyName]) -> None:
    """Leave a certificate with exactly these policies of ours.

    What an administrator attached besides stays: it may deny everything to a device in quarantine.
    """
    wanted = {iot.account.policy(name): name for name in policies}
    there = {named for named in iot.attached(certificate) if iot.account.owns_policy(named)}
    for named, name in wanted.items():
        if named not in there:
            iot.attach_policy(certificate, name)
    for named in there - set(wanted):
        iot.detach_policy(certificate, named)


# ── the sweeper ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Settled:
    """What one run did."""

    dropped: int = 0
    """Open intents over the horizon."""
    told: int = 0
    """Entries that AWS IoT follows now."""
    strays: int = 0
    """Certificates whose answer was lost."""
    withdrawn: int = 0
    """Successors that nobody confirmed in time."""
    rescued: int = 0
    """Intents whose process had died or failed, and of which nothing is active now."""
    records: int = 0
    """Where the audit chain ends."""
    postponed: bool = False
    """There was not time enough for all: the next run goes on."""
    troubles: list[str] = field(default_factory=list)
    """What failed, each in short: the next run does it again."""


class Settlement:
    """The scheduled run: what is owed, dead attempts, strays, intents, connections, tidying, the audit."""

    def __init__(
        self,
        *,
        registry: DynamoRegistry,
        iot: Iot,
        clock: Clock,
        sweep: Callable[[], Awaitable[int]],
        overlap: Callable[[], Awaitable[int]] | None = None,
        vouch: Callable[[], Awaitable[object]] | None = None,
        sessions: Sessions | None = None,
        updates: Tempo | None = None,
        looks: Tempo | None = None,
    ) -> None:
        """``sweep`` drops overdue intents, ``overlap`` withdraws successors that waited too long.

        ``vouch`` signs where the audit trail ends, each time it has grown. In ``sessions`` those of a
        suspended or ended thing are closed. ``updates`` bounds the calls of UpdateCertificate, whose quota is
        shared with those who enroll; ``looks`` those of DescribeCertificate.
        """
        self._registry = registry
        self._iot = iot
        self._clock = clock
        self._sessions = sessions
        self._sweep = sweep
        self._overlap = overlap
        self._vouch = vouch
        self._vouched: ChainHead | None = None
        self._updates = updates or Tempo(UPDATES_PER_SECOND, reserve=RESERVE)
        self._hunt = StrayHunt(registry, iot, looks or Tempo(LOOKS_PER_SECOND, reserve=RESERVE))
        self._presence = Presence(registry, clock, reserve=RESERVE)
        self._tried: set[str] = set()

    async def settle(self) -> Settled:
        """Do all that is due, as far as there is time (``calls.within``): what takes away comes first.

        A step that fails does not keep the others from being done.
        """
        done = Settled()
        self._tried.clear()
        first, last = (self._tell, self._rescue, self._drop), (self._tell, self._tidy, self._chain)
        for step in (*first, self._meet, self._withdraw, *last):
            await self._try(step, done)
        return done

    async def _try(self, step: Callable[[Settled], Awaitable[None]], done: Settled) -> None:
        try:
            await step(done)
        except Unavailable as trouble:
            done.troubles.append(in_short(trouble))

    async def _drop(self, done: Settled) -> None:
        done.dropped = await self._sweep()

    async def _meet(self, done: Settled) -> None:
        """Who has connected: what a successor's first connection revokes is told right after."""
        if not await self._presence.look(done.troubles.append):
            done.postponed = True

    async def _withdraw(self, done: Settled) -> None:
        """After those who have connected were met: a replacement takes over by that."""
        if self._overlap is not None:
            done.withdrawn = await self._overlap()

    # ── what AWS IoT has to be told ───────────────────────────────────────────────────────────────────

    async def _tell(self, done: Settled) -> None:
        now = self._clock.now()
        owed = await self._registry.owed(before=now + timedelta(milliseconds=1), limit=MAX_PAGE)
        for one in sorted((one for one in owed if one.mark not in self._tried), key=_urgency):
            if not await self._updates.turn():
                done.postponed = True
                return
            self._tried.add(one.mark)
            await self._try(partial(self._tell_one, one), done)

    async def _tell_one(self, one: Owed, done: Settled) -> None:
        thing = await carry_out(self._registry, self._iot, one, ordered=False)
        done.told += 1
        await self._close(one, thing)

    async def _close(self, one: Owed, thing: Thing | None) -> None:
        """End the sessions of a thing that may not be connected, in case nobody else did."""
        barred = thing is not None and (thing.status.is_gone or thing.status is ThingStatus.SUSPENDED)
        if self._sessions is not None and one.status is not None and barred:
            await self._sessions.evict(one.thing, "its certificate was taken away")

    # ── dead attempts and strays ──────────────────────────────────────────────────────────────────────

    async def _rescue(self, done: Settled) -> None:
        """Of every attempt whose lease is over nothing stays active; then the next one may go on."""
        now, holder = self._clock.now(), f"sweeper {token_hex(8)}"
        seized: list[Waiting] = []
        for one in await self._registry.waiting(limit=MAX_PAGE):
            if one.leased_until is not None and one.leased_until <= now and not one.clean:
                await self._try(partial(self._seize, one, holder, seized), done)
        clean = await self._clear({one.intent.id for one in seized}, done)
        for one in seized:
            if one.staged is not None or clean:
                done.rescued += 1
                await self._registry.release(one.intent.id, holder, ended=one.leased_until)

    async def _seize(self, one: Waiting, holder: str, seized: list[Waiting], done: Settled) -> None:
        """Take the lease of an attempt that is over, and switch off what it stored."""
        if one.staged is not None and not await self._updates.turn():
            done.postponed = True
            return
        now = self._clock.now()
        mine = await self._registry.seize(one.intent.id, holder, at=now, until=now + _SWEEP)
        if mine is None:
            return
        if mine.staged is not None:
            await aside(self._iot.set_status, mine.staged.id, CertificateStatus.INACTIVE)
        seized.append(replace(mine, leased_until=one.leased_until))

    async def _clear(self, seized: Collection[str], done: Settled) -> bool:
        """Clear strays away; whether all were seen to."""
        now = self._clock.now()
        places = [one for one in await self._registry.dirt(limit=MAX_PAGE) if one.until <= now]
        if not places:
            return True
        strays = await self._hunt.look(places, seized)
        if strays is None:
            done.postponed = True
            return False
        before, gone = len(done.troubles), set[CertificateId]()
        for place, found in strays.items():
            left = [stray for stray in found if stray.id not in gone]
            await self._try(partial(self._clear_one, place, left, gone), done)
        return not done.postponed and len(done.troubles) == before

    async def _clear_one(
        self, place: Dirt, strays: Sequence[Stray], gone: set[CertificateId], done: Settled
    ) -> None:
        for stray in strays:
            if not await self._hunt.is_ours(stray, place):
                continue
            if not await self._updates.turn():
                done.postponed = True
                return
            await aside(self._iot.clear_away, stray.id)
            gone.add(stray.id)
            done.strays += 1
        if place.until + AFTER <= self._clock.now():
            if await self._registry.thing(place.thing) is None and place.kind is ThingKind.DEVICE:
                await aside(self._iot.delete_thing, place.thing)
            await self._registry.settle([place])

    # ── the table's own ───────────────────────────────────────────────────────────────────────────────

    async def _tidy(self, _done: Settled) -> None:
        await self._registry.tidy()

    async def _chain(self, done: Settled) -> None:
        head = await self._registry.chain()
        done.records = head.sequence
        if self._vouch is not None and head != self._vouched:
            await self._vouch()
            self._vouched = head


def _urgency(one: Owed) -> tuple[int, datetime]:
    """What takes rights away for good, then what takes them away, then the rest; the oldest first."""
    order = {CertificateStatus.REVOKED: 0, CertificateStatus.INACTIVE: 1}
    return (2 if one.status is None else order.get(one.status, 2), one.due)
