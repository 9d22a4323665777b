"""A quota and leases that note what they are asked."""

from dataclasses import dataclass, field

from keyborn.domain.errors import Queued
from keyborn.domain.intent import Intent
from keyborn.service.quota import Confirm


@dataclass
class Quota:
    """Notes what it is asked; sends everybody away if it is closed, or before the signature if it is late."""

    asked: list[str] = field(default_factory=list)
    closed: bool = False
    late: bool = False

    async def admit(self, who: str, confirm: Confirm) -> "Quota":
        self.asked.append(who)
        if self.closed:
            await confirm()
            raise Queued(seconds=9)
        return self

    async def meanwhile(self) -> None:
        self.asked.append("meanwhile")

    async def demand(self) -> None:
        self.asked.append("demand")
        if self.late:
            raise Queued(seconds=9)

    def give_back(self) -> None:
        self.asked.append("back")


@dataclass
class Leases:
    """Notes what is given up."""

    given_up: list[Intent] = field(default_factory=list)

    async def forgo(self, intent: Intent) -> None:
        self.given_up.append(intent)
