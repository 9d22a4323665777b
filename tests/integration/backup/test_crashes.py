"""Killed at any step, a backup is there whole or not at all, and a folder is the old one or the new one."""

import shutil
from pathlib import Path

import pytest

from keyborn.domain.thing import ThingStatus
from support.backup_crash import killed, left_over
from support.backup_stage import Place, enrolling, moving, restore
from support.walks import FULL

MOST = 400
STEP = 1 if FULL else 3


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path / "data").make()
    made.do(enrolling("lamp"))
    return made


def test_a_killed_backup_leaves_no_file_or_a_whole_one(place: Place, tmp_path: Path) -> None:
    file, seen = tmp_path / "one.backup", set()
    for step in range(1, MOST, STEP):
        said = killed(lambda: place.backup(file), step)
        seen.add(said)
        if file.exists():
            restore(Place(tmp_path / "into"), file)
            shutil.rmtree(tmp_path / "into")
            file.unlink()
        if said == "done":
            break
    assert "done" in seen
    assert len(seen) > 1
    place.backup(file)
    assert left_over(tmp_path, "data", "one.backup") == set()  # keys do not lie about


def test_a_killed_restore_leaves_the_old_folder_or_the_new_one(place: Place, tmp_path: Path) -> None:
    file, seen, aside = tmp_path / "one.backup", set(), 0
    place.backup(file)
    place.do(moving(ThingStatus.REVOKED, "lamp"))
    old = place.folder.path / "old"
    for step in range(1, MOST, STEP):
        old.touch()
        said = killed(lambda: restore(place, file, replace=True), step)
        seen.add(said)
        assert place.rows("SELECT status FROM things") == [("revoked",)]
        assert place.rows("PRAGMA integrity_check") == [("ok",)]
        assert (place.folder.authority / "root.key").exists()
        assert not old.exists() or said != "done"
        for each in tmp_path.glob("data.aside-*"):
            shutil.rmtree(each)
            aside += 1
        if said == "done":
            break
    assert "done" in seen
    assert len(seen) > 1
    assert aside
    restore(place, file, replace=True)
    assert left_over(tmp_path, "data", "one.backup", "data.aside-20261124T120000Z") == set()
