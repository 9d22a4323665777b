"""Roots for tests of the office: what it orders is noted, and the names change as it would have them."""

from dataclasses import dataclass, field, replace

from keyborn.domain.roots import RootSet
from keyborn.service.roots import RootNames

OLD, BOTH, NEW = RootSet("0" * 64), RootSet("1" * 64), RootSet("2" * 64)
ISSUER = b"\x30\x0fKeyborn Devices"


@dataclass
class StillRoots:
    """Implements ``ports.RootKeeper`` without files."""

    names: RootNames = field(default_factory=lambda: RootNames(OLD, "First"))
    orders: list[str] = field(default_factory=list)
    trouble: Exception | None = None

    async def introduce(self) -> None:
        """See ``RootKeeper.introduce``."""
        self._change("introduce", replace(self.names, newest=BOTH, following="Second"))

    async def switch(self, *, back: bool) -> None:
        """See ``RootKeeper.switch``."""
        if back:
            self._change("back", RootNames(BOTH, "First", following="Second"))
        else:
            self._change("switch", RootNames(BOTH, "Second", old="First", old_issuer=ISSUER))

    async def retire(self) -> None:
        """See ``RootKeeper.retire``."""
        self._change("retire", RootNames(NEW, "Second"))

    def _change(self, order: str, names: RootNames) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.orders.append(order)
        self.names = names
