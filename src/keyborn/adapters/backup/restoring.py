"""Putting a backup back: everything is checked, and made as it has to be, before anything takes its place."""

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from keyborn.adapters.backup.archive import REGISTRY, SETTINGS, ArchiveDamagedError, unpack
from keyborn.adapters.backup.manifest import LaterFormatError, Manifest, parse_manifest, require_members
from keyborn.adapters.backup.missed import MIRROR, Missed, find_missed
from keyborn.adapters.backup.placing import put_in_place, staging
from keyborn.adapters.backup.taking import Told, read_standing
from keyborn.adapters.ca import describe_authority
from keyborn.adapters.data_folder import DataFolder
from keyborn.adapters.sql import revocations, rows, schema
from keyborn.adapters.sql.session import Session
from keyborn.domain.audit import AuditEvent, ChainHead, verify
from keyborn.domain.errors import (
    AuditBroken,
    BackupDamaged,
    BackupTooNew,
    InvalidSetting,
    KeybornError,
    RegistryTooNew,
    RestoreOccupied,
)
from keyborn.domain.revocation import Act
from keyborn.ports import Entropy
from keyborn.settings import read_settings

_PAGE = 5000
_TABLES = (
    "SELECT type, name, tbl_name, sql FROM sqlite_master "
    "WHERE NOT (type = 'table' AND name IN ('sqlite_stat1', 'sqlite_stat4')) ORDER BY type, name"
)
"""All but what ``ANALYZE`` leaves behind."""


@dataclass(frozen=True, slots=True)
class RestoreWish:
    """What the operator wants."""

    file: Path
    replace: bool = False
    """Whether what is in the folder now is to be moved aside."""
    named: tuple[Path, ...] = ()
    """Copies of revocations."""
    without: bool = False
    """Whether to restore although nobody knows what was revoked since."""
    keep_tokens: bool = False


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done."""

    manifest: Manifest
    missed: Missed
    tokens_withdrawn: int
    aside: Path | None
    """Where the folder is that was there before."""


class Restorer:
    """Restores into one place."""

    def __init__(self, target: Path, wish: RestoreWish, entropy: Entropy, now: datetime, told: Told) -> None:
        """Touches nothing. ``target``: no link."""
        self._target = target
        self._wish = wish
        self._entropy = entropy
        self._now = now
        self._told = told

    def restore(self) -> Restored:
        """All of it or nothing.

        Raises RestoreOccupied, DataFolderInUse, BackupDamaged, BackupTooNew, RegistryTooNew, OSError, and
        what ``find_missed`` raises; then the folder is as it was.
        """
        with self._held(), staging(self._target) as made:
            manifest = self._unpacked(made)
            known = self._checked(made / REGISTRY, manifest)
            missed = self._missed(made, manifest, known)
            withdrawn = self._made_good(made / REGISTRY, manifest, missed)
            aside = put_in_place(made, self._target, self._now)
        return Restored(manifest, missed, withdrawn, aside)

    @contextmanager
    def _held(self) -> Iterator[None]:
        """With what is there now held, so that nobody serves it."""
        target = self._target
        if target.exists() and not target.is_dir():
            raise RestoreOccupied(path=target)
        there = target.exists() and any(target.iterdir())
        if there and not self._wish.replace:
            raise RestoreOccupied(path=target)
        with DataFolder(target).lock() if there else nullcontext():
            yield

    # ── checks ────────────────────────────────────────────────────────────────────────────────────────

    def _unpacked(self, made: Path) -> Manifest:
        size, done = self._wish.file.stat().st_size, 0

        def _passed(count: int) -> None:
            nonlocal done
            done += count
            self._told("unpacking", done, size)

        try:
            with self._wish.file.open("rb") as source:
                members, said = unpack(source, made, passed=_passed)
            manifest = parse_manifest(said)
            require_members(manifest, members)
        except ArchiveDamagedError as damage:
            raise self._damaged(damage) from None
        except LaterFormatError as later:
            raise BackupTooNew(path=self._wish.file, version=later) from None
        try:
            describe_authority(made / "ca")
        except KeybornError as trouble:
            raise self._damaged(trouble) from trouble
        return manifest

    def _damaged(self, detail: object) -> BackupDamaged:
        return BackupDamaged(path=self._wish.file, detail=str(detail).rstrip("."))

    def _checked(self, registry: Path, manifest: Manifest) -> list[Act]:
        """The acts of a registry that is whole, ours, and where the manifest says. Raises BackupDamaged."""
        newest = max(step.version for step in schema.migrations())
        if manifest.registry.schema > newest:
            raise RegistryTooNew(path=self._wish.file, found=manifest.registry.schema, known=newest)
        try:
            with closing(schema.connect_writer(registry)) as connection:
                connection.execute("PRAGMA query_only = ON")
                if connection.execute(_TABLES).fetchall() != _tables_of(manifest.registry.schema):
                    raise self._damaged("its registry has other tables than it should")
                self._told("checking the registry", 0, 0)
                if connection.execute("PRAGMA integrity_check(1)").fetchall() != [("ok",)]:
                    raise self._damaged("its registry is damaged")
                if read_standing(connection) != manifest.registry:
                    raise self._damaged("its registry does not stand where it says")
                self._require_chain(connection, manifest.registry.head)
                return revocations.acts(connection)
        except sqlite3.Error as error:
            raise self._damaged(f"its registry cannot be read ({error})") from error

    def _require_chain(self, connection: sqlite3.Connection, wanted: ChainHead) -> None:
        head = ChainHead()
        try:
            while found := connection.execute(
                rows.AUDIT + "WHERE sequence > ? ORDER BY sequence LIMIT ?", (head.sequence, _PAGE)
            ).fetchall():
                head = verify(map(rows.audit_record, found), head)
                self._told("checking the audit trail", head.sequence, wanted.sequence)
        except (AuditBroken, ValueError) as broken:
            raise self._damaged(broken) from None
        if head != wanted:
            raise self._damaged("its audit trail does not end where it says")

    def _missed(self, made: Path, manifest: Manifest, known: Sequence[Act]) -> Missed:
        """What came after the backup; looked for beside the old registry and where settings keep a copy."""
        if self._wish.without:
            return Missed((), None)
        folders = (self._target, Path(manifest.folder))
        places = [folder / name for folder in folders for name in (MIRROR, REGISTRY)]
        places += _elsewhere(self._target / SETTINGS, made / SETTINGS)
        return find_missed(manifest, known, self._wish.named, places)

    # ── changes, in the folder beside ─────────────────────────────────────────────────────────────────

    def _made_good(self, registry: Path, manifest: Manifest, missed: Missed) -> int:
        """Do again what was missed; how many tokens were withdrawn beside."""
        schema.prepare(registry)
        with closing(schema.connect_writer(registry)) as connection:
            session = Session(connection).begin()
            if missed.source is None:
                revocations.begin_lineage(session, self._entropy.token_bytes(16).hex())
            else:
                revocations.catch_up(session, missed.acts)
            withdrawn = 0 if self._wish.keep_tokens else revocations.void_tokens(session, self._now)
            session.chain(self._event(manifest, missed, withdrawn))
            session.commit()
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return withdrawn

    def _event(self, manifest: Manifest, missed: Missed, withdrawn: int) -> AuditEvent:
        details = {
            "taken": manifest.taken,
            "head": str(manifest.registry.head),
            "revocations": "unknown" if missed.source is None else str(len(missed.acts)),
            "tokensWithdrawn": str(withdrawn),
        }
        return AuditEvent(self._now, "restore", "done", "registry", "operator", details=details)


def _elsewhere(*settings: Path) -> list[Path]:
    """Where settings keep a copy of revocations; settings that cannot be read keep none."""
    found = []
    for path in settings:
        with suppress(OSError, InvalidSetting):
            found.append(read_settings(path).revocation_mirror)
    return [Path(each) for each in found if each]


def _tables_of(version: int) -> list[tuple[object, ...]]:
    """What a registry of that version has in it, so that no foreign trigger or view runs here."""
    steps = [step for step in schema.migrations() if step.version <= version]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / REGISTRY
        schema.prepare(path, steps)
        with closing(schema.connect_reader(path)) as connection:
            return connection.execute(_TABLES).fetchall()
