"""The operator's office on a data folder where no server runs, and what a server's office shares with it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from keyborn.adapters.backup import RevocationMirror
from keyborn.adapters.broker.absent import AbsentBroker
from keyborn.adapters.ca import FolderNotary, describe_authority
from keyborn.adapters.data_folder import DataFolder
from keyborn.adapters.sql import SqliteRegistry
from keyborn.adapters.system import SystemClock, SystemEntropy
from keyborn.domain.errors import ServerNotRunning
from keyborn.domain.moment import shown
from keyborn.http.admin import Office
from keyborn.http.bodies import fingerprint_text
from keyborn.ports import Clock, Notary, RootKeeper
from keyborn.service.audit import AuditOffice, AuditPorts
from keyborn.service.roots import RootsPorts
from keyborn.service.sealing import RandomSecrets
from keyborn.settings import Address, ServerSettings, read_settings
from keyborn.wiring.roots import FolderRoots, root_names
from keyborn.wiring.use_cases import Grouping, Offices, Retention


@asynccontextmanager
async def open_office(folder: DataFolder, passphrase: bytes | None = None) -> AsyncIterator[Office]:
    """The operator's office without a server: takes the folder's lock for as long as it is open.

    ``passphrase``: of the authority's keys, which a change of the root opens.
    """
    settings = read_settings(folder.settings)
    clock, entropy = SystemClock(), SystemEntropy()
    authority_rows(folder)  # where there is none, nothing else is begun
    registry = SqliteRegistry(folder.registry)

    def _trust() -> tuple[str, bytes]:
        if not settings.https.port and not settings.url:
            raise ServerNotRunning(path=folder.path)  # the port is only known while it runs
        return public_url(settings, settings.https), bytes.fromhex(
            authority_rows(folder)[0]["fingerprint"].replace(":", "")
        )

    with folder.lock():
        async with registry:
            offices = Offices(
                registry,
                clock,
                RandomSecrets(entropy),
                settings.reserved_names,
                grace=registry,
                grouping=Grouping(registry, entropy),
                keys=registry,
                entropy=entropy,
                retention=Retention(registry, settings.retention_days),
            )
            keeper = FolderRoots(folder, clock, entropy, passphrase=passphrase)
            notary = FolderNotary(folder.authority, entropy, passphrase=passphrase)
            mirror = revocation_mirror(folder, settings)
            await mirror.open()
            office = offices.office(
                AbsentBroker(folder.broker),
                trust=_trust,
                authorities=partial(authority_rows, folder),
                about=dict,
                roots=roots_ports(folder, registry, keeper, clock),
                audit=AuditOffice(audit_ports(registry, notary, clock), lambda: settings.url),
            )
            yield replace(office, mirror=mirror)


def revocation_mirror(folder: DataFolder, settings: ServerSettings) -> RevocationMirror:
    """The copies of a data folder's revocations: the one in it, and the one elsewhere if there is one."""
    elsewhere = [Path(settings.revocation_mirror)] if settings.revocation_mirror else []
    return RevocationMirror(folder.registry, [folder.revocations, *elsewhere])


def roots_ports(folder: DataFolder, registry: SqliteRegistry, keeper: RootKeeper, clock: Clock) -> RootsPorts:
    """Whom the office of the roots asks, where everything is in one data folder."""
    names = root_names(partial(authority_rows, folder))
    return RootsPorts(registry, registry, keeper, registry, clock, names)


def audit_ports(registry: SqliteRegistry, notary: Notary, clock: Clock) -> AuditPorts:
    """Whom the office of the audit trail asks, where everything is in one data folder."""
    return AuditPorts(registry, registry, notary, clock)


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
            "notBefore": shown(certificate.not_before),
            "notAfter": shown(certificate.not_after),
            "pem": certificate.pem,
        }
        for certificate in describe_authority(folder.authority)
    ]
