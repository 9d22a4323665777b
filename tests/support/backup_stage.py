"""Data folders without a server: an authority, a registry that tests fill, settings; and backups of them."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from keyborn.adapters.backup import RevocationMirror
from keyborn.adapters.backup.manifest import Manifest
from keyborn.adapters.backup.restoring import Restored, Restorer, RestoreWish
from keyborn.adapters.backup.taking import take
from keyborn.adapters.ca import open_authority
from keyborn.adapters.data_folder import DataFolder
from keyborn.adapters.sql import SqliteRegistry
from keyborn.adapters.system import SystemClock, SystemEntropy
from keyborn.domain.names import ThingName
from keyborn.domain.thing import Thing, ThingStatus
from keyborn.domain.token import TokenId
from keyborn.settings import ServerSettings, write_settings
from support.registry_cases import Desk, event

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
Doing = Callable[[SqliteRegistry, Desk], Awaitable[None]]


def silent(_what: str, _done: int, _total: int) -> None:
    """Progress that nobody reads."""


class Place:
    """One data folder, and what is done there."""

    def __init__(self, path: Path, elsewhere: Path | None = None) -> None:
        self.folder = DataFolder(path)
        self.elsewhere = elsewhere

    def make(self, passphrase: bytes | None = None) -> "Place":
        """Authority, registry and settings."""
        self.folder.create()
        open_authority(
            self.folder.authority, clock=SystemClock(), entropy=SystemEntropy(), passphrase=passphrase
        )
        mirror = "" if self.elsewhere is None else str(self.elsewhere)
        self.folder.write_once(self.folder.settings, write_settings(ServerSettings(revocation_mirror=mirror)))
        self.do(_nothing)
        return self

    @property
    def mirror(self) -> RevocationMirror:
        """Its copies, as a service keeps them."""
        more = [] if self.elsewhere is None else [self.elsewhere]
        return RevocationMirror(self.folder.registry, [self.folder.revocations, *more])

    def do(self, work: Doing, *, mirrored: bool = True) -> None:
        """Open the registry and do something there."""

        async def _do() -> None:
            async with SqliteRegistry(self.folder.registry) as registry:
                await work(registry, Desk(registry))
                if mirrored:
                    await self.mirror.keep()

        asyncio.run(_do())

    def backup(self, file: Path) -> Manifest:
        """Take one."""
        return take(self.folder, file, NOW, silent)[0]

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        """What the registry's file says."""
        with closing(sqlite3.connect(self.folder.registry)) as connection:
            return connection.execute(sql).fetchall()

    def thing(self, name: str, *, mirrored: bool = True) -> Thing | None:
        """A record."""
        found: list[Thing | None] = []

        async def _look(registry: SqliteRegistry, _desk: Desk) -> None:
            found.append(await registry.thing(ThingName(name)))

        self.do(_look, mirrored=mirrored)
        return found[0]


async def _nothing(_registry: SqliteRegistry, _desk: Desk) -> None:
    return


def restore(place: Place, file: Path, *, replace: bool = False, **more: object) -> Restored:
    """Put a backup back at ``place``."""
    wish = RestoreWish(file, replace, **more)  # type: ignore[arg-type] # the wish's own members
    return Restorer(place.folder.path, wish, SystemEntropy(), NOW, silent).restore()


def enrolling(*names: str) -> Doing:
    """Things with a key of the same name."""

    async def _enroll(_registry: SqliteRegistry, desk: Desk) -> None:
        token = await desk.token(f"secret of {names}")
        for name in names:
            await desk.enroll(token, name, name)

    return _enroll


def moving(status: ThingStatus, *names: str) -> Doing:
    """Orders."""

    async def _move(registry: SqliteRegistry, _desk: Desk) -> None:
        for name in names:
            await registry.set_status(ThingName(name), status, event("order", name))

    return _move


def withdrawing(token: str) -> Doing:
    """End a token."""

    async def _withdraw(registry: SqliteRegistry, _desk: Desk) -> None:
        await registry.withdraw(TokenId(token), event("token.withdraw", token))

    return _withdraw
