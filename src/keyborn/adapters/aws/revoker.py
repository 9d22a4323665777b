"""The broker's sessions on AWS: they are ended one by one, and access policies need no second look."""

from collections.abc import Collection

from keyborn.adapters.aws.calls import Expected, Patience, Service
from keyborn.adapters.aws.iot import GONE, aside
from keyborn.domain.errors import Overloaded
from keyborn.domain.names import ThingName


class Revoker:
    """Implements ``keyborn.ports.Sessions`` by DeleteConnection (AWS IoT Core data plane)."""

    def __init__(self, client: object, *, patience: Patience | None = None) -> None:
        """``client``: a botocore client for ``iot-data``, or what makes one at the first call."""
        self._service = Service(client, "iot-data", busy=Overloaded, patience=patience or Patience(whole=4.0))

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
