"""The way out. It costs nothing before somebody is asked: on AWS it would be a part of every cold start."""

from typing import TYPE_CHECKING

from keyborn.ports.outbound import OutboundAnswer, OutboundRequest

if TYPE_CHECKING:
    from keyborn.adapters.asking import Asker


class HttpsOutbound:
    """Implements ``ports.Outbound``. For one event loop; any number of questions at a time."""

    def __init__(self) -> None:
        self._asker: Asker | None = None

    async def fetch(self, request: OutboundRequest) -> OutboundAnswer:
        """Ask once; raises NotAnswered."""
        if self._asker is None:
            from keyborn.adapters.asking import Asker  # noqa: PLC0415 - as said above

            self._asker = Asker()
        return await self._asker.fetch(request)
