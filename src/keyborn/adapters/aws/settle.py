"""Settling: AWS IoT is brought to what the table says, and what lost answers left there is cleared away.

Nothing is touched that the table does not know or that has not the key of one of our intents. Every step may
be repeated, and may run in two processes at once.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyborn.adapters.aws.iot import Iot, Listed, aside
from keyborn.adapters.aws.table import Dirt, DynamoRegistry, Owed
from keyborn.domain.access_policy.attaching import in_force
from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.certificate import Certificate, CertificateStatus
from keyborn.domain.errors import RegistryUnavailable, Unavailable
from keyborn.domain.names import CertificateId, KeyHash, ThingName, key_hash
from keyborn.domain.thing import Thing, ThingKind, ThingStatus
from keyborn.ports import MAX_PAGE, Clock, Sessions

BEFORE, AFTER = timedelta(minutes=2), timedelta(minutes=5)
"""How far our clocks and those of AWS may be apart, and a call may be under way."""
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


async def carry_out(registry: DynamoRegistry, iot: Iot, one: Owed) -> Thing | None:
    """Do what an entry is about, until the table wished nothing else meanwhile, and strike it off.

    Returns the thing's record. Raises leaves of Unavailable; then the entry stays.
    """
    wish, thing = await _look(registry, one)
    for _ in range(_ROUNDS):
        await _fulfil(iot, one, wish)
        before = wish
        wish, thing = await _look(registry, one)
        if wish == before:
            await registry.settle([one])
            return thing
    raise RegistryUnavailable(seconds=1)


async def _look(registry: DynamoRegistry, one: Owed) -> tuple[Wish, Thing | None]:
    certificate = await registry.certificate(one.certificate)
    thing = await registry.thing(one.thing)
    return wish_of(one, certificate, thing), thing


async def _fulfil(iot: Iot, one: Owed, wish: Wish) -> None:
    await aside(_tell, iot, one, wish)


def _tell(iot: Iot, one: Owed, wish: Wish) -> None:
    if wish.clear:
        iot.clear_away(one.certificate)
        if wish.orphaned and one.kind is ThingKind.DEVICE:
            iot.delete_thing(one.thing)
    elif wish.status is not None:
        iot.set_status(one.certificate, wish.status)
    if wish.policies is not None:
        reconcile(iot, one.certificate, wish.policies)


def reconcile(iot: Iot, certificate: CertificateId, policies: Iterable[PolicyName]) -> None:
    """Leave a certificate with exactly these policies."""
    wanted = {iot.account.policy(name): name for name in policies}
    there = set(iot.attached(certificate))
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
    records: int = 0
    """Where the audit chain ends."""
    troubles: list[str] = field(default_factory=list)
    """What failed, each in short: the next run does it again."""


def in_short(trouble: Unavailable) -> str:
    """A trouble's code, and the call that AWS refused if it names one; for logs."""
    action = trouble.facts.get("action")
    return trouble.code if action is None else f"{trouble.code} ({action})"


class Settlement:
    """The scheduled run: intents, owed entries, strays, tidying, the audit chain."""

    def __init__(
        self,
        *,
        registry: DynamoRegistry,
        iot: Iot,
        clock: Clock,
        sweep: Callable[[], Awaitable[int]],
        sessions: Sessions | None = None,
    ) -> None:
        """``sweep`` drops overdue intents; in ``sessions`` those of a suspended or ended thing are closed."""
        self._registry = registry
        self._iot = iot
        self._clock = clock
        self._sessions = sessions
        self._sweep = sweep

    async def settle(self) -> Settled:
        """Do all that is due. A step that fails does not keep the others from being done."""
        done = Settled()
        for step in (self._drop, self._tell, self._clear, self._tidy, self._chain):
            await self._try(step, done)
        return done

    async def _try(self, step: Callable[[Settled], Awaitable[None]], done: Settled) -> None:
        try:
            await step(done)
        except Unavailable as trouble:
            done.troubles.append(in_short(trouble))

    async def _drop(self, done: Settled) -> None:
        done.dropped = await self._sweep()

    async def _tell(self, done: Settled) -> None:
        for one in await self._registry.owed(before=self._clock.now() + timedelta(milliseconds=1)):
            try:
                thing = await carry_out(self._registry, self._iot, one)
                done.told += 1
                await self._close(one, thing)
            except Unavailable as trouble:
                done.troubles.append(in_short(trouble))

    async def _close(self, one: Owed, thing: Thing | None) -> None:
        """End the sessions of a thing that may not be connected, in case nobody else did."""
        barred = thing is not None and (thing.status.is_gone or thing.status is ThingStatus.SUSPENDED)
        if self._sessions is not None and one.status is not None and barred:
            await self._sessions.evict(one.thing, "its certificate was taken away")

    # ── strays ────────────────────────────────────────────────────────────────────────────────────────

    async def _clear(self, done: Settled) -> None:
        """Find by their keys the certificates whose answers were lost, and clear them away.

        First the account's list, then the open intents, then the table: whoever signed before the list was
        made has stored it by then, has an open intent, or has lost it.
        """
        ripe = [one for one in await self._registry.dirt() if one.until + AFTER <= self._clock.now()]
        if not ripe:
            return
        since = min(one.since for one in ripe) - BEFORE
        listed = await aside(lambda: list(self._iot.certificates(since)))
        busy = await self._signing({one.thing for one in ripe})
        strays = await self._unknown(listed, ripe)
        for one in ripe:
            if one.thing not in busy:
                await self._try(partial(self._clear_one, one, strays), done)

    async def _signing(self, names: set[ThingName]) -> set[ThingName]:
        """The things for which somebody may be signing now."""
        far = self._clock.now() + timedelta(days=1)
        busy = set()
        for intent in await self._registry.leftovers(before=far, limit=MAX_PAGE):
            if intent.thing in names:
                flight = await self._registry.flight(intent.id)
                if flight is not None and flight.staged is None:
                    busy.add(intent.thing)
        return busy

    async def _unknown(
        self, listed: Sequence[Listed], ripe: Sequence[Dirt]
    ) -> dict[CertificateId, tuple[KeyHash, datetime]]:
        """Certificates in the times in question that no item knows, with their keys."""
        found = {}
        for one in listed:
            wanted = any(_within(one.created_at, dirt) for dirt in ripe)
            if wanted and await self._registry.certificate(one.id) is None:
                key = await self._key_of(one.id)
                if key is not None:
                    found[one.id] = (key, one.created_at)
        return found

    async def _key_of(self, certificate: CertificateId) -> KeyHash | None:
        der = await aside(self._iot.der_of, certificate)
        if der is None:
            return None
        public = x509.load_der_x509_certificate(der).public_key()
        return key_hash(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    async def _clear_one(
        self, dirt: Dirt, strays: dict[CertificateId, tuple[KeyHash, datetime]], done: Settled
    ) -> None:
        """Clear what one entry is about; a certificate that somebody bound to another thing is left alone."""
        for certificate, (key, made) in strays.items():
            if key != dirt.key or not _within(made, dirt):
                continue
            things = await aside(self._iot.things_of, certificate)
            if set(things) <= {dirt.thing}:
                await aside(self._iot.clear_away, certificate)
                done.strays += 1
        if await self._registry.thing(dirt.thing) is None and dirt.kind is ThingKind.DEVICE:
            await aside(self._iot.delete_thing, dirt.thing)
        await self._registry.settle([dirt])

    async def _tidy(self, _done: Settled) -> None:
        await self._registry.tidy()

    async def _chain(self, done: Settled) -> None:
        done.records = (await self._registry.chain()).sequence


def _within(moment: datetime, dirt: Dirt) -> bool:
    return dirt.since - BEFORE <= moment <= dirt.until + AFTER
