"""The operator's office on a data folder where no server runs, and what a server's office shares with it."""

from collections.abc import AsyncIterator, Mapping
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
from keyborn.service.sealing import RandomSecrets
from keyborn.settings import Address, ServerSettings, read_settings
from keyborn.wiring.use_cases import Offices


@asynccontextmanager
async def open_office(folder: DataFolder) -> AsyncIterator[Office]:
    """The operator's office without a server: takes the folder's lock for as long as it is open."""
    settings = read_settings(folder.settings)
    clock, secrets = SystemClock(), RandomSecrets(SystemEntropy())
    rows = authority_rows(folder)
    registry = SqliteRegistry(folder.registry)

    def _trust() -> tuple[str, bytes]:
        if not settings.https.port and not settings.url:
            raise ServerNotRunning(path=folder.path)  # the port is only known while it runs
        return public_url(settings, settings.https), bytes.fromhex(rows[0]["fingerprint"].replace(":", ""))

    with folder.lock():
        async with registry:
            offices = Offices(
                registry, clock, secrets, settings.reserved_names, grace=registry, beliefs=registry
            )
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
