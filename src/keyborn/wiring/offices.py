"""The operator's use cases put together, with a running broker or, where none runs, in process."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from keyborn.adapters.broker.absent import AbsentBroker
from keyborn.adapters.ca import describe_authority
from keyborn.adapters.data_folder import DataFolder
from keyborn.adapters.sql import SqliteRegistry
from keyborn.adapters.system import SystemClock, SystemEntropy
from keyborn.domain.errors import ServerNotRunning
from keyborn.http.admin import Office
from keyborn.http.bodies import fingerprint_text
from keyborn.ports import Clock, Entropy, Sessions
from keyborn.service.fleet import FleetView
from keyborn.service.policies import PolicyOffice
from keyborn.service.services import ServiceOffice
from keyborn.service.things import ThingOffice
from keyborn.service.tokens import TokenOffice
from keyborn.settings import Address, ServerSettings, read_settings


class Offices:
    """The operator's use cases over one registry, with or without a running broker."""

    def __init__(
        self, registry: SqliteRegistry, clock: Clock, entropy: Entropy, settings: ServerSettings
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._entropy = entropy
        self._settings = settings

    def office(
        self,
        sessions: Sessions | None,
        *,
        trust: Callable[[], tuple[str, bytes]],
        authorities: Sequence[Mapping[str, Any]],
        about: Callable[[], Mapping[str, Any]],
    ) -> Office:
        """All of them together; ``sessions`` is None where no broker runs."""
        registry, tokens, policies = self._registry, self.tokens(trust), self.policies(sessions)
        return Office(
            tokens=tokens,
            fleet=FleetView(fleet=registry, trail=registry),
            things=ThingOffice(
                fleet=registry, directory=registry, lifecycle=registry, sessions=sessions, clock=self._clock
            ),
            policies=policies,
            services=ServiceOffice(
                fleet=registry, policies=policies, tokens=tokens, reserved=self._settings.reserved_names
            ),
            clock=self._clock,
            authorities=authorities,
            about=about,
        )

    def tokens(self, trust: Callable[[], tuple[str, bytes]]) -> TokenOffice:
        """Tokens whose codes name the service that ``trust`` tells."""
        return TokenOffice(
            tokens=self._registry,
            listing=self._registry,
            clock=self._clock,
            entropy=self._entropy,
            trust=trust,
        )

    def policies(self, sessions: Sessions | None) -> PolicyOffice:
        """Policies, in force on ``sessions`` at once."""
        registry = self._registry
        return PolicyOffice(
            policies=registry,
            listing=registry,
            use=registry,
            fleet=registry,
            directory=registry,
            sessions=sessions,
            clock=self._clock,
        )


@asynccontextmanager
async def open_office(folder: DataFolder) -> AsyncIterator[Office]:
    """The operator's office without a server: takes the folder's lock for as long as it is open."""
    settings = read_settings(folder.settings)
    clock, entropy = SystemClock(), SystemEntropy()
    rows = authority_rows(folder)
    registry = SqliteRegistry(folder.registry)

    def _trust() -> tuple[str, bytes]:
        if not settings.https.port and not settings.url:
            raise ServerNotRunning(path=folder.path)  # the port is only known while it runs
        return public_url(settings, settings.https), bytes.fromhex(rows[0]["fingerprint"].replace(":", ""))

    with folder.lock():
        async with registry:
            offices = Offices(registry, clock, entropy, settings)
            yield offices.office(AbsentBroker(folder.broker), trust=_trust, authorities=rows, about=dict)


def public_url(settings: ServerSettings, bound: Address) -> str:
    """The URL that enrolment codes carry."""
    return settings.url or f"https://{Address(settings.public_host(bound), bound.port)}"


def authority_rows(folder: DataFolder) -> list[Mapping[str, Any]]:
    """Every certificate of the authority, root first, for people and programs."""
    return [
        {
            "role": certificate.role,
            "name": certificate.name,
            "issuer": certificate.issuer,
            "serial": certificate.serial,
            "fingerprint": fingerprint_text(bytes.fromhex(certificate.fingerprint)),
            "notBefore": certificate.not_before.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "notAfter": certificate.not_after.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "pem": certificate.pem,
        }
        for certificate in describe_authority(folder.authority)
    ]
