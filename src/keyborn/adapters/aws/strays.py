"""Certificates whose answers were lost: found in the account's list by the keys of our own intents.

A certificate is taken for ours only if the table does not know it, it was made while one of our intents was
being signed for, it has that intent's key, it is bound to no other thing and has no policy but ours. That is
so whatever its status: a process may die when AWS IoT has activated what the table never came to know.

Somebody may have registered a device's CSR by hand. Before the intent, or after it, that is not ours, and
left alone. Within those seconds nothing tells it from one of ours, unless it was put to use.
"""

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyborn.adapters.aws.iot import Iot, Listed, aside
from keyborn.adapters.aws.table import Dirt, DynamoRegistry
from keyborn.adapters.aws.tempo import Tempo
from keyborn.domain.access_policy.document import DEFAULT_POLICY, PolicyName
from keyborn.domain.names import CertificateId, KeyHash, ThingName, key_hash

BEFORE = timedelta(seconds=5)
"""How far the clocks of AWS IoT may be behind ours: what is older than an intent is not its."""
AFTER = timedelta(minutes=5)
"""How long a call may be under way after nobody signs any more, before we look for the last time."""
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Stray:
    """A certificate of the account that no item of the table knows."""

    id: CertificateId
    key: KeyHash
    made: datetime


class StrayHunt:
    """Looks for strays; remembers the keys of certificates that are nobody's business here."""

    def __init__(self, registry: DynamoRegistry, iot: Iot, tempo: Tempo) -> None:
        """``tempo`` is kept for DescribeCertificate, which has a quota of its own."""
        self._registry = registry
        self._iot = iot
        self._tempo = tempo
        self._keys: OrderedDict[CertificateId, KeyHash | None] = OrderedDict()

    async def look(
        self, places: Sequence[Dirt], seized: Collection[str]
    ) -> Mapping[Dirt, Sequence[Stray]] | None:
        """The strays of each place that may be judged now; None if the time did not suffice.

        First the account's list, then who may be signing, then the table: whoever signed before the list was
        made has stored it by then, has the lease, or can store it no more. ``seized``: intents whose lease
        is in the hands of who asks.
        """
        listed = await aside(lambda: list(self._iot.certificates(min(one.since for one in places) - BEFORE)))
        busy = await self._signing({one.thing for one in places}, seized)
        unknown = await self._unknown([one for one in listed if _in_any(one, places)])
        if unknown is None:
            return None
        free = [one for one in places if one.thing not in busy]
        return {one: [stray for stray in unknown if _matches(stray, one)] for one in free}

    async def _signing(self, things: Collection[ThingName], seized: Collection[str]) -> set[ThingName]:
        """Those for which somebody may be signing now, or has signed and not stored yet."""
        waiting = await self._registry.waiting_for(things)
        unsettled = (one for one in waiting if one.holder is not None and one.staged is None)
        return {one.intent.thing for one in unsettled if one.intent.id not in seized}

    async def _unknown(self, listed: Sequence[Listed]) -> list[Stray] | None:
        known = await self._registry.known(one.id for one in listed)
        found = []
        for one in listed:
            if one.id in known:
                continue
            if one.id not in self._keys and not await self._describe(one.id):
                return None
            key = self._keys.get(one.id)
            if key is not None:
                found.append(Stray(one.id, key, one.created_at))
        return found

    async def _describe(self, certificate: CertificateId) -> bool:
        """Come to know its key, if there is time."""
        if not await self._tempo.turn():
            return False
        der = await aside(self._iot.der_of, certificate)
        self._keys[certificate] = None if der is None else _key_of(der)
        while len(self._keys) > _REMEMBERED:
            self._keys.popitem(last=False)
        return True

    async def is_ours(self, stray: Stray, place: Dirt) -> bool:
        """Whether nobody else has put it to use: bound it to another thing, given it another policy."""
        if not set(await aside(self._iot.things_of, stray.id)) <= {place.thing}:
            return False
        attached = await aside(self._iot.attached, stray.id)
        return all([await self._is_our_policy(named) for named in attached])

    async def _is_our_policy(self, named: str) -> bool:
        """Whether the table knows it: anybody may call a policy so that it begins with our prefix."""
        account = self._iot.account
        name = PolicyName(named.removeprefix(account.policy_prefix))
        if not account.owns_policy(named):
            return False
        return name == DEFAULT_POLICY or await self._registry.policy(name) is not None


def _key_of(der: bytes) -> KeyHash:
    public = x509.load_der_x509_certificate(der).public_key()
    return key_hash(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _in_any(one: Listed, places: Sequence[Dirt]) -> bool:
    return any(_within(one.created_at, place) for place in places)


def _matches(stray: Stray, place: Dirt) -> bool:
    return stray.key == place.key and _within(stray.made, place)


def _within(moment: datetime, place: Dirt) -> bool:
    return place.since - BEFORE <= moment <= place.until + AFTER
