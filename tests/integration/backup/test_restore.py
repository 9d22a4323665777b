"""Restoring: all or nothing, and whatever was taken away since the backup stays so."""

import io
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from keyborn.adapters.backup.archive import ArchiveWriter, unpack
from keyborn.adapters.backup.mirror import read_mirror
from keyborn.adapters.ca import open_authority
from keyborn.adapters.sql import SqliteRegistry
from keyborn.adapters.system import SystemClock, SystemEntropy
from keyborn.domain.audit import verify
from keyborn.domain.errors import (
    BackupDamaged,
    BackupExists,
    BackupTooNew,
    DataFolderInUse,
    KeybornError,
    KeyRevoked,
    MirrorDamaged,
    MirrorForeign,
    MirrorUnwritable,
    RestoreOccupied,
    RevocationsMissing,
    ThingRevoked,
)
from keyborn.domain.thing import ThingStatus
from support.backup_stage import Place, enrolling, moving, restore, withdrawing
from support.registry_cases import Desk


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path / "data", tmp_path / "elsewhere.log").make()
    made.do(enrolling("kept", "revoked", "retired", "barred"))
    return made


@pytest.fixture
def file(place: Place, tmp_path: Path) -> Path:
    """A backup; after it, something of everything is taken away, and somebody new is too."""
    path = tmp_path / "one.backup"
    place.do(enrolling("gone-before"))
    place.do(moving(ThingStatus.REVOKED, "gone-before"))
    place.backup(path)
    place.do(enrolling("came-later", "stays-later"))
    place.do(moving(ThingStatus.REVOKED, "revoked", "came-later"))
    place.do(moving(ThingStatus.RETIRED, "retired"))
    place.do(moving(ThingStatus.SUSPENDED, "barred", "kept"))
    place.do(moving(ThingStatus.ACTIVE, "kept"))
    return path


def statuses(place: Place) -> dict[str, str]:
    return {str(name): str(status) for name, status in place.rows("SELECT name, status FROM things")}


WANTED = {
    "kept": "active",
    "revoked": "revoked",
    "retired": "retired",
    "barred": "suspended",
    "gone-before": "revoked",
    "came-later": "revoked",
}


def refused(place: Place, name: str, key: str) -> KeybornError:
    """What an enrolment with a fresh token meets."""
    met: list[KeybornError] = []

    async def _try(_registry: SqliteRegistry, desk: Desk) -> None:
        token = await desk.token(f"fresh for {name} {key}")
        try:
            await desk.enroll(token, name, key)
        except KeybornError as refusal:
            met.append(refusal)

    place.do(_try)
    return met[0]


def test_what_was_revoked_since_stays_revoked(place: Place, file: Path) -> None:
    done = restore(place, file, replace=True)
    assert statuses(place) == WANTED
    assert done.aside is not None
    assert (done.aside / "registry.db").exists()
    active = place.rows("SELECT thing FROM certificates WHERE status = 'active'")
    assert active == [("kept",)]
    for name in ("revoked", "retired", "came-later"):
        assert isinstance(refused(place, name, "another key"), ThingRevoked)
        assert isinstance(refused(place, f"new-{name}", name), KeyRevoked)


def test_the_mirror_elsewhere_is_enough_where_the_folder_is_lost(place: Place, file: Path) -> None:
    shutil.rmtree(place.folder.path)
    done = restore(place, file)
    assert done.missed.source == place.elsewhere
    assert statuses(place) == WANTED
    place.do(moving(ThingStatus.REVOKED, "kept"))  # both copies go on where they were
    assert place.elsewhere is not None
    assert place.elsewhere.read_bytes() == place.folder.revocations.read_bytes()
    assert read_mirror(place.elsewhere)[1][-1].id == "kept"


def test_without_a_copy_it_is_refused_unless_the_loss_is_accepted(place: Place, file: Path) -> None:
    shutil.rmtree(place.folder.path)
    assert place.elsewhere is not None
    old = place.elsewhere.read_bytes()
    place.elsewhere.unlink()
    with pytest.raises(RevocationsMissing, match="good again"):
        restore(place, file)
    assert not place.folder.path.exists()
    restore(place, file, without=True)
    assert statuses(place)["revoked"] == "active"
    place.elsewhere.write_bytes(old)  # another history now: it is not continued
    with pytest.raises(MirrorUnwritable, match="another registry"):
        place.do(moving(ThingStatus.REVOKED, "kept"))
    assert place.elsewhere.read_bytes() == old
    with pytest.raises(MirrorForeign):
        restore(Place(place.folder.path.with_name("more")), second(place, file), named=(place.elsewhere,))


def second(place: Place, file: Path) -> Path:
    path = file.with_name("second.backup")
    place.backup(path)
    return path


def test_a_copy_that_is_named_counts_alone_and_must_be_good(place: Place, file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "carried"
    shutil.copy(place.folder.revocations, copy)
    new = Place(tmp_path / "new")
    lines = copy.read_bytes().splitlines(keepends=True)
    copy.write_bytes(b"".join(lines[:4] + lines[5:]))
    with pytest.raises(MirrorDamaged, match="line 5"):
        restore(new, file, named=(copy,))
    copy.write_bytes(b"".join(lines[:2]))
    with pytest.raises(RevocationsMissing, match="older than the backup"):
        restore(new, file, named=(copy,))
    with pytest.raises(OSError, match="No such file"):
        restore(new, file, named=(tmp_path / "nowhere",))
    copy.write_bytes(b"".join(lines)[:-7])  # a torn end
    restore(new, file, named=(copy,))
    assert statuses(new)["revoked"] == "revoked"


def test_the_registry_that_is_still_there_tells_what_its_copies_do_not(place: Place, file: Path) -> None:
    place.do(moving(ThingStatus.REVOKED, "kept"), mirrored=False)
    restore(place, file, replace=True)
    assert statuses(place)["kept"] == "revoked"


def test_restoring_twice_is_restoring_once(place: Place, file: Path) -> None:
    restore(place, file, replace=True)
    shutil.move(f"{place.folder.path}.aside-20261124T120000Z", f"{place.folder.path}.first")
    before = place.rows("SELECT what, id FROM revocations ORDER BY sequence")
    place.do(moving(ThingStatus.REVOKED, "kept"))
    restore(place, file, replace=True)
    assert statuses(place) == WANTED | {"kept": "revoked"}
    assert place.rows("SELECT what, id FROM revocations ORDER BY sequence")[: len(before)] == before


def test_open_tokens_are_void_unless_they_are_to_be_kept(place: Place, file: Path, tmp_path: Path) -> None:
    open_ones = "SELECT count(*) FROM tokens WHERE withdrawn_at IS NULL"
    kept = Place(tmp_path / "kept")
    assert restore(kept, file, keep_tokens=True).tokens_withdrawn == 0
    assert kept.rows(open_ones) == [(2,)]
    assert restore(place, file, replace=True).tokens_withdrawn == 2
    assert place.rows(open_ones) == [(0,)]


def test_a_token_that_was_withdrawn_since_stays_so_even_if_tokens_are_kept(
    place: Place, file: Path, tmp_path: Path
) -> None:
    [(token, *_), *_] = place.rows("SELECT id FROM tokens ORDER BY issued_at")
    place.do(withdrawing(str(token)))
    kept = Place(tmp_path / "kept")
    restore(kept, file, keep_tokens=True)
    ended = kept.rows("SELECT id FROM tokens WHERE withdrawn_at IS NOT NULL")
    assert ended == [(token,)]


def test_who_came_later_and_was_not_revoked_is_unknown(place: Place, file: Path) -> None:
    restore(place, file, replace=True)
    assert "stays-later" not in statuses(place)
    place.do(enrolling("stays-later"))  # with a new token it is let in again, key and name


def test_the_trail_says_so_and_holds(place: Place, file: Path) -> None:
    manifest = restore(place, file, replace=True).manifest

    async def _look(registry: SqliteRegistry, _desk: Desk) -> None:
        records = await registry.records()
        verify(records)
        last = records[-1]
        assert last.sequence == manifest.registry.head.sequence + 1
        assert (last.event.action, last.event.details["head"]) == ("restore", str(manifest.registry.head))
        assert (
            int(last.event.details["revocations"])
            == len(place.rows("SELECT 1 FROM revocations WHERE what <> 'token'"))
            - manifest.registry.revocations
        )

    place.do(_look)


@pytest.mark.parametrize("passphrase", [None, b"correct horse"])
def test_keys_are_in_it_as_they_lie(tmp_path: Path, passphrase: bytes | None) -> None:
    made = Place(tmp_path / "data").make(passphrase)
    assert made.backup(tmp_path / "one.backup").protected == (passphrase is not None)
    new = Place(tmp_path / "new")
    restore(new, tmp_path / "one.backup")
    names = {each.name for each in made.folder.authority.iterdir()}
    assert names == {each.name for each in new.folder.authority.iterdir()}
    for name in names:
        assert (new.folder.authority / name).read_bytes() == (made.folder.authority / name).read_bytes()
    new_clock, entropy = SystemClock(), SystemEntropy()
    open_authority(new.folder.authority, clock=new_clock, entropy=entropy, passphrase=passphrase)


# ── all or nothing ────────────────────────────────────────────────────────────────────────────────────


def test_a_folder_in_use_or_not_empty_is_left_alone(place: Place, file: Path, tmp_path: Path) -> None:
    with pytest.raises(RestoreOccupied):
        restore(place, file)
    with place.folder.lock(), pytest.raises(DataFolderInUse):
        restore(place, file, replace=True)
    (tmp_path / "empty").mkdir()
    restore(Place(tmp_path / "empty"), file)
    with pytest.raises(BackupExists):
        place.backup(file)


def rewritten(file: Path, folder: Path, change: Callable[[dict[str, bytes]], None], *, honest: bool) -> Path:
    """The backup with other members; ``honest`` is a manifest whose digests fit them."""
    folder.mkdir()
    with file.open("rb") as source:
        found, said = unpack(source, folder)
    members = {name: (folder / name).read_bytes() for name in found}
    members["manifest.json"] = said
    change(members)
    manifest = json.loads(members.pop("manifest.json"))
    path = folder.with_suffix(".backup")
    with path.open("wb") as out:
        writer = ArchiveWriter(out, 0)
        for name, content in members.items():
            writer.add(name, io.BytesIO(content), len(content))
        if honest:
            manifest["members"] = {
                name: {"size": one.size, "sha256": one.sha256} for name, one in writer.members.items()
            }
        text = json.dumps(manifest, indent=1).encode() + b"\n"
        writer.add("manifest.json", io.BytesIO(text), len(text))
        writer.end()
    return path


def sql(statement: str) -> Callable[[dict[str, bytes]], None]:
    """Change the registry in it."""

    def _change(members: dict[str, bytes]) -> None:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.deserialize(members["registry.db"])
            connection.execute(statement)
            connection.commit()
            members["registry.db"] = connection.serialize()

    return _change


def said(**facts: object) -> Callable[[dict[str, bytes]], None]:
    """Change the manifest in it."""

    def _change(members: dict[str, bytes]) -> None:
        manifest = json.loads(members["manifest.json"]) | facts
        members["manifest.json"] = json.dumps(manifest, indent=1).encode() + b"\n"

    return _change


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Path]:
    """A folder and its backup, which no case changes."""
    folder = tmp_path_factory.mktemp("standing")
    made = Place(folder / "data").make()
    made.do(enrolling("lamp"))
    made.do(moving(ThingStatus.REVOKED, "lamp"))
    made.backup(folder / "one.backup")
    return made, folder / "one.backup"


@pytest.mark.parametrize(
    ("change", "honest", "wanted"),
    [
        (sql("UPDATE things SET status = 'active'"), False, BackupDamaged),
        (lambda members: members.pop("ca/root.key"), False, BackupDamaged),
        (lambda members: members.pop("ca/root.crt"), True, BackupDamaged),
        (lambda members: members.pop("registry.db"), True, BackupDamaged),
        (lambda members: members.update({"registry.db": b"no database"}), True, BackupDamaged),
        (lambda members: members.update({"registry.db": members["registry.db"][:8192]}), True, BackupDamaged),
        (sql("DELETE FROM audit WHERE sequence = 2"), True, BackupDamaged),
        (sql("DELETE FROM audit WHERE sequence > 2"), True, BackupDamaged),
        (
            sql("UPDATE audit SET event = replace(event, 'done', 'gone') WHERE sequence = 2"),
            True,
            BackupDamaged,
        ),
        (sql("DELETE FROM revocations"), True, BackupDamaged),
        (sql("CREATE TRIGGER sly AFTER UPDATE ON tokens BEGIN SELECT 1; END"), True, BackupDamaged),
        (
            sql("CREATE TRIGGER sqlite0stat AFTER UPDATE ON tokens BEGIN SELECT 1; END"),
            True,
            BackupDamaged,
        ),
        (sql("CREATE TABLE sqlite0stat1 (one)"), True, BackupDamaged),
        (sql("CREATE VIEW sly AS SELECT 1"), True, BackupDamaged),
        (sql("DROP TRIGGER key_buried"), True, BackupDamaged),
        (said(format=2, version="9.9"), True, BackupTooNew),
        (said(format="1"), True, BackupDamaged),
        (said(registry=None), True, BackupDamaged),
        (said(extra=1), True, BackupDamaged),
    ],
)
def test_a_backup_that_is_not_as_it_was_written_changes_nothing(
    standing: tuple[Place, Path],
    tmp_path: Path,
    change: Callable[[dict[str, bytes]], None],
    honest: bool,  # noqa: FBT001 - a case's, not a switch
    wanted: type[KeybornError],
) -> None:
    place, file = standing
    other = rewritten(file, tmp_path / "rewritten", change, honest=honest)
    with pytest.raises(wanted):
        restore(place, other, replace=True)
    assert place.rows("SELECT name, status FROM things") == [("lamp", "revoked")]
    left = [each.name for each in place.folder.path.parent.iterdir()]
    assert sorted(left) == ["data", "one.backup"]
