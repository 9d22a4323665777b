"""How many there are: the registry counted, for whoever watches a service."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from keyborn.domain.certificate import CertificateStatus
from keyborn.domain.thing import ThingStatus

DAYS_LEFT = (0, 7, 30, 90)
"""Within so many days expires what is told apart; 0: it has expired."""


@dataclass(frozen=True, slots=True)
class Census:
    """The registry in numbers; a status that nobody has is there too, with 0."""

    things: Mapping[ThingStatus, int]
    certificates: Mapping[CertificateStatus, int]
    days_left: Mapping[int, int]
    """Active certificates by ``DAYS_LEFT``: how many have at most so many left, those before included."""


class Censuses(Protocol):
    """Capability of a registry: it counts."""

    async def census(self, at: datetime) -> Census:
        """Count everything, as of one moment. Raises RegistryUnavailable."""
        ...
