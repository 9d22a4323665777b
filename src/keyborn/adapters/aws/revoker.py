"""The broker's sessions on AWS: they are ended one by one, and access policies need no second look."""

from collections.abc import Collection
from contextlib import suppress

from keyborn.adapters.aws.calls import Expected, Patience, Service
from keyborn.adapters.aws.errors import code_of
from keyborn.adapters.aws.iot import GONE, aside
from keyborn.adapters.aws.table import DynamoRegistry
from keyborn.domain.errors import SessionLeftOpen, Unavailable
from keyborn.domain.names import ThingName
from keyborn.ports import Clock


class Revoker:
    """Implements ``keyborn.ports.Sessions`` by DeleteConnection (AWS IoT Core data plane)."""

    def __init__(self, client: object, *, patience: Patience | None = None) -> None:
        """``client``: a botocore client for ``iot-data``, or what makes one at the first call."""
        self._service = Service(client, "iot", patience=patience or Patience(whole=4.0))

    async def evict(self, name: ThingName, reason: str) -> int:  # noqa: ARG002 - AWS IoT takes no reason
        """End the session under the thing's name, the only client id it may have; 0 if there is none.

        Its will is not sent and its session state goes. AWS IoT may still send what was in its hands. Raises
        leaves of Unavailable.
        """
        return await aside(self._evict, name)

    def _evict(self, name: ThingName) -> int:
        try:
            self._service.call(
                "DeleteConnection", expected={GONE}, clientId=name, cleanSession=True, preventWillMessage=True
            )
        except Expected:
            return 0
        return 1

    async def review(self, names: Collection[ThingName] | None = None) -> None:
        """Nothing to do: AWS IoT asks the policies anew at every publish, delivery and subscription."""


class OrderedRevoker(Revoker):
    """A Revoker for an operator's order: what it cannot close is said, and left to the sweeper.

    By then the certificate is off in AWS IoT, which closes the session itself "within a few minutes" (AWS IoT
    API Reference, UpdateCertificate): this is about those minutes.
    """

    def __init__(
        self, client: object, registry: DynamoRegistry, clock: Clock, *, patience: Patience | None = None
    ) -> None:
        """``registry``: where the sweeper finds what it has to do."""
        super().__init__(client, patience=patience)
        self._registry = registry
        self._clock = clock

    async def evict(self, name: ThingName, reason: str) -> int:
        """See ``Revoker.evict``; raises SessionLeftOpen, and no other leaf of Unavailable.

        Who never had a certificate here has no session here: a client id is the account's, and the session
        under it may be that of another stack's thing.
        """
        try:
            if not await self._registry.certificates(name):
                return 0
            return await super().evict(name, reason)
        except Unavailable as trouble:
            with suppress(Unavailable):
                await self._leave_to_the_sweeper(name)
            cause = trouble.__cause__
            raise SessionLeftOpen(
                thing=name, reason=trouble.code if cause is None else code_of(cause)
            ) from trouble

    async def _leave_to_the_sweeper(self, name: ThingName) -> None:
        thing, held = await self._registry.thing(name), await self._registry.certificates(name)
        if thing is not None and held:
            await self._registry.owe(thing, held[-1], self._clock.now())
