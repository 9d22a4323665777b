"""Everything that a stack's registry knows in AWS IoT is taken away: certificates, things, policies.

Only what is in the table, or is of the stack's own thing type, is touched. Every step may be repeated.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from keyborn.adapters.aws.iot import Iot, aside
from keyborn.adapters.aws.stack.orders import Orders
from keyborn.adapters.aws.stack.stacks import Tell
from keyborn.adapters.aws.table import DynamoRegistry
from keyborn.domain.access_policy.document import DEFAULT_POLICY, PolicyName
from keyborn.domain.errors import ThingNotCleared, Unavailable
from keyborn.domain.names import ThingName
from keyborn.domain.thing import Thing, ThingKind
from keyborn.ports import MAX_PAGE, Sessions

ROUNDS, PAUSE = 40, 3.0
"""Two minutes: AWS IoT takes a while to see that a certificate is detached, and enrolments to end."""
_SIDE_BY_SIDE = 8
_MANY = 100
SHOWN = 3


@dataclass(slots=True)
class Cleared:
    """What was taken away."""

    things: set[str] = field(default_factory=set)
    """Devices and services of the registry."""
    certificates: set[str] = field(default_factory=set)
    policies: set[str] = field(default_factory=set)
    open_sessions: bool = False
    """Whether some session could not be ended; it lasts until its device or AWS IoT ends it."""


class Clearing:
    """Takes away what one registry has in AWS IoT."""

    def __init__(
        self,
        *,
        registry: DynamoRegistry,
        iot: Iot,
        orders: Orders,
        sessions: Sessions,
        settle: Callable[[], Awaitable[Sequence[str]]],
        tell: Tell,
        listed: Callable[[], list[str]],
    ) -> None:
        """``listed``: the things of our type, as AWS IoT has them now.

        ``settle`` ends open enrolments, however young, and clears away what they left; what it met.
        """
        self._registry = registry
        self._iot = iot
        self._orders = orders
        self._sessions = sessions
        self._settle = settle
        self._tell = tell
        self._listed = listed
        self._troubles: dict[str, str] = {}
        self.done = Cleared()

    async def clear(self) -> Cleared:
        """Do it all. Raises ThingNotCleared where something does not go, and RegistryUnavailable."""
        for number in range(ROUNDS):
            if number:
                await asyncio.sleep(PAUSE)
            self._troubles.clear()
            for trouble in await self._settle():
                self._troubles["an enrolment that was broken off"] = trouble
            await self._certificates()
            left = [*await self._things(), *self._troubles]
            if not left:
                break
            if not number:
                self._tell("AWS IoT has not let go of everything yet; trying again for two minutes.")
        else:
            reason = next(iter(self._troubles.values()), "a certificate that is not Keyborn's is attached")
            raise ThingNotCleared(
                stack=self._iot.account.policy_prefix.removesuffix("_"),
                what=", ".join(left[:SHOWN]),
                reason=reason,
            )
        await self._policies()
        return self.done

    async def _certificates(self) -> None:
        batch: list[Thing] = []
        async for thing in self._fleet():
            batch.append(thing)
            if len(batch) == _SIDE_BY_SIDE:
                await self._all(batch)
                batch = []
        await self._all(batch)

    async def _all(self, batch: Iterable[Thing]) -> None:
        await asyncio.gather(*map(self._one, batch))

    async def _one(self, thing: Thing) -> None:
        """A device or service with all certificates it ever had."""
        try:
            for certificate in await self._registry.certificates(thing.name):
                if certificate.id not in self.done.certificates:
                    await aside(self._iot.clear_away, certificate.id)
                    self.done.certificates.add(certificate.id)
            await self._end_session(thing)
        except Unavailable as trouble:
            self._troubles[thing.name] = str(trouble)
            return
        self.done.things.add(thing.name)
        if len(self.done.things) % _MANY == 0:
            self._tell(f"{len(self.done.things):,} devices and services are taken away.")

    async def _end_session(self, thing: Thing) -> None:
        if thing.name in self.done.things or thing.status.is_gone:
            return
        try:
            await self._sessions.evict(thing.name, "the stack is removed")
        except Unavailable:
            self.done.open_sessions = True

    async def _fleet(self) -> AsyncIterator[Thing]:
        for kind in ThingKind:
            after: ThingName | None = None
            while page := await self._registry.things(kind=kind, after=after, limit=MAX_PAGE):
                for thing in page:
                    yield thing
                after = page[-1].name

    async def _things(self) -> list[str]:
        """Delete the things of our type; those that are left."""
        for name in await aside(self._listed):
            try:
                await aside(self._iot.delete_thing, ThingName(name))
            except Unavailable as trouble:
                self._troubles[name] = str(trouble)
        return await aside(self._listed)

    async def _policies(self) -> None:
        """Policies that operators made; of the stack's own, every version but the one in force."""
        after: PolicyName | None = None
        while page := await self._registry.policies(after=after, limit=MAX_PAGE):
            for policy in page:
                if policy.name != DEFAULT_POLICY:
                    await aside(self._iot.remove_policy, policy.name)
                    self.done.policies.add(policy.name)
            after = page[-1].name
        await aside(forget_versions, self._orders, self._iot.account.policy(DEFAULT_POLICY))


def forget_versions(orders: Orders, policy: str) -> None:
    """Delete a policy's versions that are not in force; CloudFormation deletes the rest."""
    found = orders.ask("iot", "ListPolicyVersions", policyName=policy)
    for one in found["policyVersions"]:
        if not one["isDefaultVersion"]:
            orders.ask("iot", "DeletePolicyVersion", policyName=policy, policyVersionId=one["versionId"])
