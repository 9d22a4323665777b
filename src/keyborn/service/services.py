"""Use cases of backend services: programs with a broker identity of their own, by the devices' enrolment.

A service gets a policy ``service-NAME`` and a token that enrols just that name, once, with just that policy.
The rest is the same enrolment that devices use: the program's key is born where the program runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.errors import NotFound
from keyborn.domain.names import NameScope, ThingName, parse_thing_name
from keyborn.domain.thing import Thing, ThingKind
from keyborn.ports import Fleet
from keyborn.service.policies import Kept, PolicyOffice, read_document
from keyborn.service.things import require_kind
from keyborn.service.tokens import FreshToken, TokenOffice, TokenWish

CODE_LIFETIME = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a service enrols with, and the policy it will have."""

    name: ThingName
    policy: Kept
    token: FreshToken


def policy_of(service: ThingName) -> PolicyName:
    """``service-NAME``; a policy's name has no colon, and no service's has the dot that stands for it."""
    return PolicyName(f"service-{service}".replace(":", "."))


class ServiceOffice:
    """Invites services and lists them; suspending and revoking is ``ThingOffice``'s."""

    def __init__(
        self,
        *,
        fleet: Fleet,
        policies: PolicyOffice,
        tokens: TokenOffice,
        reserved: frozenset[str] = frozenset(),
    ) -> None:
        self._fleet = fleet
        self._policies = policies
        self._tokens = tokens
        self._reserved = reserved

    async def invite(
        self, name: str, document: str, *, replace: bool = False, own: bool = False, actor: str = "operator"
    ) -> Invitation:
        """Keep the service's policy and make its enrolment code; repeating it makes another code.

        ``replace`` lets another key take over the name; ``own`` permits a reserved name, for Keyborn's own
        services. Raises InvalidThingName, ReservedThingName, KindMismatch for a device's name, InvalidPolicy.
        """
        granted = ThingName(name) if own else None
        service = parse_thing_name(name, reserved=self._reserved, granted=granted)
        known = await self._fleet.thing(service)
        if known is not None:
            require_kind(known, ThingKind.SERVICE)
        read_document(document)
        policy = policy_of(service)
        wish = TokenWish(
            NameScope(service), ttl=CODE_LIFETIME, replace=replace, kind=ThingKind.SERVICE, policies=(policy,)
        )
        token = await self._tokens.create(wish, actor=actor)  # first: without one the policy stays as it is
        return Invitation(
            service, await self._policies.put(policy, document, actor=actor, shipped=own), token
        )

    async def page(self, *, after: str | None = None, limit: int = 100) -> Sequence[Thing]:
        """A page of services, by name."""
        return await self._fleet.things(
            kind=ThingKind.SERVICE, after=ThingName(after) if after else None, limit=limit
        )

    async def show(self, name: str) -> Thing:
        """One service; raises NotFound or KindMismatch."""
        found = await self._fleet.thing(ThingName(name))
        if found is None:
            raise NotFound(what="service", name=ascii(name[:64]))
        require_kind(found, ThingKind.SERVICE)
        return found
